"""Tokens, labels and spans."""

import itertools
import json

import numpy as np
import pytest
import torch
from conftest import TRAINING

from kefu_training.data import Example, Schema, Span, parse_text
from kefu_training.predict import predict
from kefu_training.text import LabelReader, Tokenizer, labels_of, normalize, spans_of

CASES = TRAINING.parent / "Tests" / "TokenizationTests" / "Resources"
SCHEMA = Schema.of(["a"], ["product", "phone"])


@pytest.mark.skipif(not (CASES / "preprocessing.jsonl").exists(), reason="the Swift tests are not beside Training/")
def test_preprocessing_is_that_of_the_server():
    cases = [json.loads(line) for line in (CASES / "preprocessing.jsonl").read_text(encoding="utf-8").split("\n") if line]
    assert len(cases) >= 100
    for case in cases:
        assert normalize(case["text"]) == case["half_width"]
        encoding = Tokenizer(CASES / "vocab.txt", case["max_length"]).encode(case["text"])
        assert encoding.tokens == case["tokens"] and encoding.ids == case["ids"], case["text"]
        assert [list(o) for o in encoding.offsets] == case["offsets"], case["text"]


def test_words_point_into_the_text_as_sent(vocabulary):
    text = "改１３8　ｈｅｌｌｏ,改"
    encoding = Tokenizer(vocabulary).encode(text)
    assert encoding.tokens == ["[CLS]", "改", "1", "##3", "##8", "hello", ",", "改", "[SEP]"]
    assert [text[w.start : w.end] for w in encoding.words] == ["改", "１３8", "ｈｅｌｌｏ", ",", "改"]
    assert [w.position for w in encoding.words] == [1, 2, 5, 6, 7]


def test_repeated_words_stay_apart(vocabulary):
    encoding = Tokenizer(vocabulary).encode("退退退")
    assert [(w.start, w.end) for w in encoding.words] == [(0, 1), (1, 2), (2, 3)]


def test_labels_and_back(vocabulary):
    text, spans = parse_text("我要退[手机](product)[衣服](product),改成[138 00](phone)吧")
    encoding = Tokenizer(vocabulary).encode(text)
    labels = [SCHEMA.labels[i] for i in labels_of(Example("a", text, spans), encoding, SCHEMA)]
    assert labels == (
        ["X", "O", "O", "O", "B-product", "I-product", "B-product", "I-product", "O", "O", "O"]
        + ["B-phone", "X", "X", "I-phone", "X", "O", "X"]
    )
    assert spans_of([labels[word.position] for word in encoding.words], encoding) == list(spans)


def rows(*words):
    """Logits [words, labels] from what is said of each word; 0 where nothing is."""
    logits = np.zeros((len(words), len(SCHEMA.labels)), dtype=np.float32)
    for row, said in zip(logits, words):
        for label, value in said.items():
            row[SCHEMA.labels.index(label)] = value
    return logits


def test_labels_are_read_as_spans_that_can_be():
    reader = LabelReader(SCHEMA)
    assert reader.read(rows()) == []
    assert reader.read(rows({"X": 9})) == ["O"]
    # An I that follows no B of its slot: the surer of the two words decides whether there is a span.
    assert reader.read(rows({"O": 2, "B-product": 1}, {"I-product": 5})) == ["B-product", "I-product"]
    assert reader.read(rows({"O": 5, "B-product": 1}, {"I-product": 2, "O": 1})) == ["O", "O"]
    assert reader.read(rows({"B-product": 5}, {"I-phone": 2, "I-product": 1, "O": -1})) == ["B-product", "I-product"]
    assert reader.read(rows({"I-phone": 5}, {"I-phone": 5})) == ["B-phone", "I-phone"]
    # Two spans of one slot stay apart.
    assert reader.read(rows({"B-phone": 3}, {"B-phone": 3}, {"I-phone": 3})) == ["B-phone", "B-phone", "I-phone"]


def test_no_other_permitted_row_of_labels_is_likelier():
    labels = SCHEMA.labels
    reader, draw = LabelReader(SCHEMA), np.random.default_rng(1)

    def permitted(row):
        return "X" not in row and all(
            not label.startswith("I-") or (at > 0 and row[at - 1] in (f"B-{label[2:]}", label)) for at, label in enumerate(row)
        )

    every = [row for row in itertools.product(labels, repeat=4) if permitted(row)]
    for _ in range(50):
        logits = draw.normal(size=(4, len(labels))).astype(np.float32)
        best = max(every, key=lambda row: sum(logits[at, labels.index(label)] for at, label in enumerate(row)))
        assert tuple(reader.read(logits)) == best


def test_prediction_leaves_out_x_and_keeps_the_order_of_texts(vocabulary):
    texts = ["退", "我要退手机", "手机"]

    def forward(ids, mask):
        assert mask.sum(1).tolist() == (ids != 0).sum(1).tolist()
        slots = torch.zeros(*ids.shape, len(SCHEMA.labels))
        slots[..., SCHEMA.labels.index("X")] = 9.0
        slots[:, 1, SCHEMA.labels.index("B-phone")] = 1.0
        return mask.sum(1, keepdim=True).float(), slots

    found = predict(forward, Tokenizer(vocabulary), SCHEMA, texts, batch=2)
    assert [p.logits.tolist() for p in found] == [[3.0], [7.0], [4.0]]
    assert [p.spans for p in found] == [[Span(0, 1, "phone")]] * 3 and {p.intent for p in found} == {"a"}


def test_long_texts_are_cut(vocabulary):
    encoding = Tokenizer(vocabulary, 8).encode("我" * 30)
    assert len(encoding.ids) == 8 and encoding.tokens[-1] == "[SEP]" and len(encoding.words) == 6


def test_vocabularies_without_special_tokens_are_refused(tmp_path):
    path = tmp_path / "bad.txt"
    path.write_text("[PAD]\n我\n", encoding="utf-8")
    with pytest.raises(ValueError, match="expected the tokens"):
        Tokenizer(path)
