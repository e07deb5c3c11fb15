"""Training: it learns, it repeats, and it goes on where it stopped."""

import json
import random

import pytest
import torch
from conftest import OPTIONS

from kefu_training.calibration import expected_calibration_error, fit_temperature
from kefu_training.data import Schema, read_file
from kefu_training.metrics import coverage_curve, measure, out_of_scope
from kefu_training.start import Sizes, load_start
from kefu_training.train import RunError, RunFolder, Teacher, _build, batches, intent_weights, train


@pytest.fixture
def inputs(files, tiny_start):
    schema = Schema.read(files / "schema.yaml")
    rows = read_file(files / "train.tsv", schema).examples
    return dict(start=tiny_start, schema=schema, train_examples=rows, dev_examples=rows, options=OPTIONS, about={"data_sha256": "1"})


def weights(folder):
    return torch.load(folder.last, weights_only=True)["model"]


def test_a_resumed_run_ends_like_an_uninterrupted_one(inputs, tmp_path):
    whole, parts, other = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts"), RunFolder(tmp_path / "other")
    train(whole, **inputs)
    train(parts, **inputs, stop_after=2)
    train(parts, **inputs, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(parts).values(), strict=True))
    assert whole.epochs.read_text() == parts.epochs.read_text() and whole.epochs.read_text().count("\n") == 4
    train(other, **inputs | {"options": OPTIONS.__class__(**{**OPTIONS.__dict__, "seed": 8})}, stop_after=1)
    first = json.loads(other.epochs.read_text().splitlines()[0])
    assert first["loss"] != json.loads(whole.epochs.read_text().splitlines()[0])["loss"]


def test_it_learns(inputs, tmp_path):
    options = OPTIONS.__class__(**{**OPTIONS.__dict__, "epochs": 30})
    figures = train(RunFolder(tmp_path / "run"), **inputs | {"options": options})
    assert figures.intent_accuracy == 1.0 and figures.slot_f1 > 0.9


def test_a_frozen_embedding_and_bfloat16(inputs, tmp_path):
    options = OPTIONS.__class__(**{**OPTIONS.__dict__, "epochs": 1, "embedding_rate": 0.0, "precision": "bfloat16"})
    run = RunFolder(tmp_path / "run")
    train(run, **inputs | {"options": options})
    model, _ = run.read_best()
    torch.manual_seed(OPTIONS.seed * 100_003)
    before = _build(inputs["start"], inputs["schema"], options)
    assert torch.equal(model.encoder.embedding.word.weight, before.encoder.embedding.word.weight)
    assert not torch.equal(model.encoder.embedding.position, before.encoder.embedding.position)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_it_stops_when_dev_gains_nothing(inputs, tmp_path):
    options = OPTIONS.__class__(
        **{**OPTIONS.__dict__, "epochs": 9, "patience": 2, "encoder_rate": 0.0, "embedding_rate": 0.0, "head_rate": 0.0}
    )
    run = RunFolder(tmp_path / "run")
    train(run, **inputs | {"options": options})
    assert run.epochs.read_text().count("\n") == 3


def test_runs_are_not_mixed(inputs, tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(RunError, match="nothing to resume"):
        train(run, **inputs, resume=True)
    with pytest.raises(RunError, match="not a finished run"):
        run.read_best()
    train(run, **inputs, stop_after=1)
    with pytest.raises(RunError, match="holds a run already"):
        train(run, **inputs)
    with pytest.raises(RunError, match="another seed"):
        train(run, **inputs | {"options": OPTIONS.__class__(**{**OPTIONS.__dict__, "seed": 8})}, resume=True)
    with pytest.raises(RunError, match="data has changed"):
        train(run, **inputs | {"about": {"data_sha256": "2"}}, resume=True)


def test_batches_hold_every_row_once():
    lengths = [random.Random(1).randint(3, 60) for _ in range(205)]
    found = list(batches(lengths, 8, random.Random(2)))
    assert sorted(i for batch in found for i in batch) == list(range(205)) and max(map(len, found)) == 8
    spread = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in found]
    assert sum(spread) / len(spread) < 6
    assert found != list(batches(lengths, 8, random.Random(3)))


def test_figures(files):
    rows = read_file(files / "train.tsv", None).examples
    right = measure(rows, [e.intent for e in rows], [e.spans for e in rows])
    assert right.intent_accuracy == right.slot_f1 == right.sentence_accuracy == right.intent_macro_f1 == 1 and right.confusions == []
    wrong = measure(rows, ["greet"] * 12, [[]] * 12)
    assert wrong.intent_accuracy == wrong.sentence_accuracy == 4 / 12 and wrong.slot_f1 == 0
    assert wrong.intent_macro_f1 == pytest.approx((2 * 4 / 16) / 3)
    assert wrong.confusions == [("move", "greet", 4), ("refund", "greet", 4)]
    assert measure(rows[4:5], ["greet"], [[]]).slot_f1 is None


def test_out_of_scope_and_coverage(files):
    rows = read_file(files / "train.tsv", None).examples
    assert [e.intent for e in rows] == ["refund"] * 4 + ["greet"] * 4 + ["move"] * 4
    found = out_of_scope(rows, ["refund"] * 3 + ["greet"] * 4 + ["move"] * 5, "greet")
    assert (found.recall, found.false_alarms) == (3 / 4, 1 / 8)
    assert out_of_scope(rows, ["greet"] * 12, "other").recall is None
    assert coverage_curve([True, False, True], [0.5, 0.2, 0.9]) == [(1 / 3, 1, 0.9), (2 / 3, 1, 0.5), (1, 2 / 3, 0.2)]


def test_a_student_learns_from_a_teacher_of_another_vocabulary(inputs, files, vocabulary, tmp_path):
    options = OPTIONS.__class__(**{**OPTIONS.__dict__, "epochs": 30})
    folder = RunFolder(tmp_path / "teacher")
    train(folder, **inputs | {"options": options})
    smaller = tmp_path / "smaller.txt"
    # Without the ending of "hello" and some digits, so that words fall into other pieces.
    smaller.write_text("".join(t + "\n" for t in reversed(vocabulary.read_text().splitlines()) if t not in ("hello", "##1", "##3")))
    start = load_start("random", Sizes(layers=1, hidden=32, heads=4, feed_forward=64, positions=64), smaller)
    teacher = Teacher(folder, inputs["schema"], "float32", "cpu")
    # The annotation is wrong in all places and counts for nothing: what is learnt comes from the teacher.
    wrong = [e.__class__("greet", e.text) for e in inputs["train_examples"]]
    alone = OPTIONS.__class__(**{**OPTIONS.__dict__, "epochs": 40, "patience": 40, "teacher_share": 1.0, "teacher_temperature": 1.0})
    figures = train(RunFolder(tmp_path / "student"), **inputs | {"start": start, "options": alone, "train_examples": wrong}, teacher=teacher)
    assert figures.intent_accuracy == 1.0 and figures.slot_f1 > 0.6
    with pytest.raises(RunError, match="other intents or slots"):
        Teacher(folder, Schema.of(["a"], ["b"]), "float32", "cpu")


def test_a_run_can_start_from_another(inputs, tmp_path):
    first = RunFolder(tmp_path / "first")
    train(first, **inputs)
    still = OPTIONS.__class__(**{**OPTIONS.__dict__, "epochs": 1, "encoder_rate": 0.0, "embedding_rate": 0.0, "head_rate": 0.0})
    start = load_start(f"run:{first.path}", Sizes())
    second = RunFolder(tmp_path / "second")
    train(second, **inputs | {"start": start, "options": still})
    before, after = first.read_best()[0].state_dict(), second.read_best()[0].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with pytest.raises(RunError, match="gru.forwards.weight_input.*not of this schema and --gru"):
        train(RunFolder(tmp_path / "third"), **inputs | {"start": start, "options": OPTIONS.__class__(**{**OPTIONS.__dict__, "gru": 8})})


def test_average_and_class_weights(inputs, tmp_path):
    rows, schema = inputs["train_examples"], inputs["schema"]
    assert intent_weights(rows, schema, 0.0) is None
    uneven = rows[:8] + rows[8:9]
    weights = intent_weights(uneven, schema, 1.0)
    counts = [sum(e.intent == i for e in uneven) for i in schema.intents]
    assert [float(w) * c for w, c in zip(weights, counts)] == pytest.approx([3.0, 3.0, 3.0])
    options = OPTIONS.__class__(**{**OPTIONS.__dict__, "average": 0.9, "class_weight": 0.5, "augment": 0.0})
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    train(whole, **inputs | {"options": options})
    train(parts, **inputs | {"options": options}, stop_after=2)
    train(parts, **inputs | {"options": options}, resume=True)
    state, resumed = (torch.load(f.last, weights_only=True) for f in (whole, parts))
    name = "intent.weight"
    assert torch.equal(state["average"]["model"][name], resumed["average"]["model"][name])
    assert not torch.equal(state["average"]["model"][name], state["model"][name])


def test_temperature_makes_confidence_meet_accuracy():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4000, 6, generator=generator) * 2
    targets = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    assert fit_temperature(logits, targets) == pytest.approx(1.0, abs=0.05)
    assert fit_temperature(logits * 3, targets) == pytest.approx(3.0, abs=0.15)
    assert expected_calibration_error(logits * 3, targets, 1.0) > 0.1 > 0.03 > expected_calibration_error(logits * 3, targets, 3.0)
