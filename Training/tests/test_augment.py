"""Augmentation: changes keep intent and slot values, and are drawn from the seed alone."""

import random

from kefu_training.augment import (
    EXCHANGEABLE,
    NEGATIONS,
    Augmentation,
    Augmenter,
    example_of,
    mishear,
    parts_of,
    slip,
    swap_synonym,
)
from kefu_training.data import Example, Span, read_file
from kefu_training.text import find_cut_words


def test_parts_and_back(files):
    for example in read_file(files / "train.tsv", None).examples:
        assert example_of(example, parts_of(example)) == example
    moved = example_of(Example("a", "", ()), [(" ", None), ("手机", "product"), ("坏了 ", None)])
    assert (moved.text, moved.spans) == ("手机坏了", (Span(0, 2, "product"),))


def test_changes_keep_intent_and_slots(files):
    examples = read_file(files / "train.tsv", None).examples
    augmenter = Augmenter(examples, Augmentation(digit=0.0).scaled(4.0))
    known = {slot: {e.text[s.start : s.end] for e in examples for s in e.spans if s.slot == slot} for slot in EXCHANGEABLE}
    first, again = ([augmenter.draw(e, random.Random(f"{seed}")) for seed in range(40) for e in examples] for _ in range(2))
    assert first == again and len({e.text for e in first}) > 4 * len(examples)
    for original, changed in zip(examples * 40, first):
        assert changed.intent == original.intent and changed.origin == original.origin
        assert [s.slot for s in changed.spans] == [s.slot for s in original.spans]
        assert all(changed.text[s.start : s.end] in known[s.slot] for s in changed.spans)
        assert changed.text == changed.text.strip() != ""
    assert find_cut_words(first) == []
    assert all(e.text in {x.text for x in examples} for e in map(Augmenter(examples, Augmentation().scaled(0.0)).draw, examples[:8], [random.Random(1)] * 8))


def test_digits_become_hashes():
    changed = Augmenter([], Augmentation(digit=1.0).scaled(0.0)).draw(Example("move", "改成13５吧", (Span(2, 5, "phone"),)), random.Random(1))
    assert (changed.text, changed.spans) == ("改成###吧", (Span(2, 5, "phone"),))


def test_words():
    draws = [random.Random(i) for i in range(200)]
    assert {swap_synonym("为什么退款", d) for d in draws} == {"为啥退款"} and swap_synonym("退款", draws[0]) == "退款"
    heard = {mishear("不退", d) for d in draws}
    assert len(heard) > 3 and all(h[0] == "不" and len(h) == 2 for h in heard) and mishear("ok", draws[0]) == "ok"
    slipped = {slip("我不要退款", d) for d in draws}
    assert len(slipped) > 3 and all(any(c in NEGATIONS for c in s) for s in slipped)
