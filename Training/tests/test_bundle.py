"""The commands from data to a bundle, and what a bundle's reader refuses."""

import json

import pytest
import torch
from conftest import TRAINING

from kefu_training.bundle import BundleError, load_bundle, sha256
from kefu_training.cli import main
from kefu_training.data import read_file
from kefu_training.frontier import THRESHOLDS, Point, default_threshold
from kefu_training.metrics import measure
from kefu_training.predict import predict
from kefu_training.start import Sizes, load_start
from kefu_training.train import RunFolder


@pytest.fixture
def bundle(files, vocabulary, capsys):
    """A bundle made by the commands themselves."""
    common = ["--schema", str(files / "schema.yaml")]
    data = ["--train", str(files / "train.tsv"), "--dev", str(files / "dev.tsv")]
    sizes = "--encoder random --layers 1 --hidden 16 --heads 2 --feed-forward 32 --positions 64 --gru 8".split()
    sizes += "--epochs 2 --batch 4 --threads 1".split()
    assert main(["train", *common, *data, *sizes, "--run", str(files / "run"), "--vocabulary", str(vocabulary)]) == 0
    folder = files / "tiny" / "1"
    assert main(["export", "--run", str(files / "run"), "--bundle", str(folder), "--dev", str(files / "dev.tsv")]) == 0
    capsys.readouterr()
    return folder


def test_manifest_says_what_is_there(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["format"] == 1 and manifest["name"] == "tiny" and manifest["version"] == "1" and manifest["language"] == "zh-CN"
    assert manifest["intents"] == ["refund", "greet", "move"]
    assert manifest["slot_labels"] == ["O", "B-product", "I-product", "B-phone", "I-phone", "X"]
    assert manifest["max_length"] == 64 and 0.05 <= manifest["temperature"] <= 20
    assert manifest["files"]["model.pt"] == {"sha256": sha256(bundle / "model.pt"), "bytes": (bundle / "model.pt").stat().st_size}
    assert manifest["model"] | {"vocabulary": 0} == {
        "encoder_layers": 1, "hidden": 16, "gru": 8, "vocabulary": 0, "storage": "float16", "initialised_from": "random",
    }  # fmt: skip
    assert manifest["training"]["examples"] == 12 and manifest["training"]["command"].startswith("python -m kefu_training train ")
    assert manifest["training"]["figures"]["dev_examples"] == 3


def test_evaluate_parity_and_latency(bundle, files, capsys):
    assert main(["evaluate", "--bundle", str(bundle), "--threads", "1", "--errors", str(files / "dev.tsv")]) == 0
    output = capsys.readouterr().out
    assert all(words in output for words in ("intent accuracy", "slot F1", "calibration error", " 100.0%")) and "out of scope" not in output
    plot = files / "plots" / "coverage.png"
    assert main(["evaluate", "--bundle", str(bundle), "--out-of-scope", "greet", "--plot", str(plot), str(files / "dev.tsv")]) == 0
    assert "of 'greet' found" in capsys.readouterr().out and plot.read_bytes()[:4] == b"\x89PNG"
    assert main(["parity", "--bundle", str(bundle), "--output", str(files / "parity.json")]) == 0
    parity = json.loads((files / "parity.json").read_text(encoding="utf-8"))
    assert len(parity["cases"]) >= 40 and parity["model_sha256"] == sha256(bundle / "model.pt")
    assert all(len(c["intent"]) == 3 and len(c["slots"]) == len(c["ids"]) and len(c["slots"][0]) == 6 for c in parity["cases"])
    assert main(["latency", "--bundle", str(bundle), "--seconds", "0.01", "--batches", "1", "2"]) == 0
    assert capsys.readouterr().out.count("ms of CPU a row") == 2


def test_frontier(bundle, files, capsys):
    plot = files / "frontier.png"
    arguments = ["frontier", "--light", str(bundle), "--standard", str(bundle), "--seconds", "0.01", "--plot", str(plot)]
    assert main([*arguments, str(files / "dev.tsv")]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| cascade")]
    # One model in both places: the cascade answers as either, whatever the threshold.
    assert len(rows) == len(THRESHOLDS) and len({row.rsplit("|", 4)[1] for row in rows}) == 1
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_default_threshold():
    def point(name, threshold, cost, accuracy):
        return Point(name, threshold, 0.0, cost, accuracy, 0.0, 0.0)

    points = [point("light", None, 1, 0.90), point("standard", None, 10, 0.95)]
    points += [point("cascade", t, m, a) for t, m, a in ((0.5, 2, 0.94), (0.7, 3, 0.946), (0.9, 4, 0.95), (0.95, 6, 0.951))]
    assert default_threshold(points, 0.005, 0.4) == 0.7
    assert default_threshold(points, 0.0, 0.4) == 0.9
    assert default_threshold(points, 0.0, 0.3) is None


def test_random_bundle(files, capsys):
    folder = files / "full" / "1"
    sizes = "--tokens 9500 --layers 1 --hidden 16 --heads 2 --feed-forward 32 --positions 64 --gru 8".split()
    assert main(["random-bundle", "--bundle", str(folder), "--schema", str(files / "schema.yaml"), *sizes]) == 0
    assert "random weights" in capsys.readouterr().out
    bundle = load_bundle(folder)
    assert bundle.tokenizer.size == 9500 and bundle.manifest["max_length"] == 64


def change(bundle, edit):
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    edit(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.update(format=9), "manifest.json: format 9: expected 1"),
        (lambda m: m.pop("intents"), "manifest.json: the field intents is missing"),
        (lambda m: m["intents"].append("more"), "model.pt: gives 3 intents, manifest.json lists 4"),
        (lambda m: m["slot_labels"].pop(), "manifest.json: slot_labels: expected O"),
        (lambda m: m.update(slot_labels=["O", "B-a", "I-a", "X"]), "model.pt: gives 6 slot_labels, manifest.json lists 4"),
        (lambda m: m["files"]["vocab.txt"].update(sha256="0"), "vocab.txt: its sha256 is not the one in manifest.json"),
        (lambda m: m["files"].update(extra={"sha256": "0"}), "extra: No such file"),
        (lambda m: m["model"].update(vocabulary=1), "tokens: expected 1"),
    ],
)
def test_bundles_that_do_not_match_are_refused(bundle, edit, message):
    load_bundle(bundle)
    change(bundle, edit)
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle)
    assert message in str(caught.value)


def test_training_goes_on_from_a_bundle(bundle, files, capsys):
    start = load_start(f"bundle:{bundle}", Sizes())
    stored = load_bundle(bundle).model.state_dict()
    assert start.sizes == Sizes(layers=1, hidden=16, heads=2, feed_forward=32, positions=64)
    assert start.tokens == (bundle / "vocab.txt").read_text(encoding="utf-8").splitlines()
    data = ["--schema", str(files / "schema.yaml"), "--train", str(files / "train.tsv"), "--dev", str(files / "dev.tsv")]
    still = "--gru 8 --epochs 1 --encoder-rate 0 --embedding-rate 0 --head-rate 0 --threads 1".split()
    assert main(["train", *data, *still, "--encoder", f"bundle:{bundle}", "--run", str(files / "on")]) == 0
    model = RunFolder(files / "on").read_best()[0].state_dict()
    assert model.keys() == stored.keys() and all(torch.equal(tensor, stored[name]) for name, tensor in model.items())
    assert main(["export", "--run", str(files / "on"), "--bundle", str(files / "tiny" / "2"), "--dev", str(files / "dev.tsv")]) == 0
    manifest = json.loads((files / "tiny" / "2" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["model"]["initialised_from"] == "random, through bundle tiny/1"
    assert main(["train", *data, "--encoder", f"bundle:{files}", "--run", str(files / "none")]) == 1
    assert "manifest.json: No such file" in capsys.readouterr().err


def test_export_minds_its_limit(bundle, files, capsys):
    arguments = ["export", "--run", str(files / "run"), "--bundle", str(files / "b" / "1"), "--dev", str(files / "dev.tsv")]
    assert main([*arguments, "--limit-mb", "0.001"]) == 1
    assert "larger than --limit-mb" in capsys.readouterr().err


def test_check_data_counts_or_complains(files, capsys):
    arguments = ["check-data", "--schema", str(files / "schema.yaml"), str(files / "train.tsv"), str(files / "dev.tsv")]
    assert main(arguments) == 0
    assert "train.tsv: 12 examples, 3 of 3 intents, 8 slot values" in capsys.readouterr().out
    with (files / "dev.tsv").open("a", encoding="utf-8") as file:
        file.write("greet\t你好\nrefund\t在吗\n")
    assert main(arguments) == 1
    problems = capsys.readouterr().err.splitlines()
    assert problems == [
        f"{files / 'dev.tsv'}:4: duplicate: '你好' is also at {files / 'train.tsv'}:6",
        f"{files / 'dev.tsv'}:5: label clash: '在吗' is refund here and greet at {files / 'train.tsv'}:7",
    ]
    assert main(["check-data", "--schema", "auto", *arguments[3:]]) == 0
    assert "warning: 2 " in capsys.readouterr().err


def test_check_data_keeps_held_out_texts_apart(files, capsys):
    arguments = ["check-data", "--schema", str(files / "schema.yaml"), str(files / "train.tsv"), "--held-out", str(files / "dev.tsv")]
    assert main(arguments) == 0
    assert "dev.tsv: 3 examples" in capsys.readouterr().out
    with (files / "dev.tsv").open("a", encoding="utf-8") as file:
        file.write("greet\t您好呀～！\nmove\t电话改成：[15800001111](phone)\nmove\t[13900002222](phone)\n")
    assert main(arguments) == 1
    problems = capsys.readouterr().err.splitlines()
    assert [p.split(": ")[1:3] for p in problems] == [
        ["near-duplicate", f"'您好呀～！' is '您好呀' at {files / 'train.tsv'}:8 but for digits or marks"],
        ["near-duplicate", f"'电话改成：15800001111' is '电话改成13800138000' at {files / 'train.tsv'}:10 but for digits or marks"],
    ]


MODELS = TRAINING.parent / "Deploy" / "models"
SHIPPED = MODELS / "ecommerce" / "2"
LIGHT = MODELS / "ecommerce-light" / "1"


@pytest.mark.skipif(not SHIPPED.exists(), reason="no shipped bundle beside Training/")
def test_shipped_bundle_is_that_of_the_parity_cases(tmp_path):
    bundle = load_bundle(SHIPPED)
    assert sum(f["bytes"] for f in bundle.manifest["files"].values()) <= 32_000_000
    assert len(bundle.schema.intents) == 35 and len(bundle.schema.labels) == 20 and bundle.manifest["max_length"] == 512
    assert main(["parity", "--bundle", str(SHIPPED), "--output", str(tmp_path / "parity.json")]) == 0
    now = json.loads((tmp_path / "parity.json").read_text(encoding="utf-8"))
    kept = json.loads((TRAINING / "tests" / "resources" / "parity.json").read_text(encoding="utf-8"))
    assert now["model_sha256"] == kept["model_sha256"] and len(now["cases"]) == len(kept["cases"])
    for mine, other in zip(now["cases"], kept["cases"]):
        assert mine["text"] == other["text"] and mine["ids"] == other["ids"]
        assert mine["intent"] == pytest.approx(other["intent"], abs=1e-4)
        for row, expected in zip(mine["slots"], other["slots"], strict=True):
            assert row == pytest.approx(expected, abs=1e-4)


@pytest.mark.skipif(not LIGHT.exists(), reason="no shipped bundle beside Training/")
def test_shipped_light_bundle_answers_for_the_standard_one():
    light, standard = load_bundle(LIGHT), load_bundle(SHIPPED)
    assert sum(f["bytes"] for f in light.manifest["files"].values()) <= 4_000_000
    assert light.schema == standard.schema and light.manifest["language"] == standard.manifest["language"]
    # Whatever ASCII is typed, no letter is unknown.
    assert "[UNK]" not in light.tokenizer.encode("Qwerty 0815?!").tokens


@pytest.mark.skipif(not SHIPPED.exists(), reason="no shipped bundle beside Training/")
def test_shipped_bundles_reach_what_their_manifests_say():
    for folder in (SHIPPED, LIGHT):
        bundle = load_bundle(folder)
        examples = read_file(TRAINING / "data" / "dev.tsv", bundle.schema).examples
        predictions = predict(bundle.model, bundle.tokenizer, bundle.schema, [e.text for e in examples])
        figures, said = measure(examples, [p.intent for p in predictions], [p.spans for p in predictions]), bundle.manifest["training"]["figures"]
        assert figures.examples == said["dev_examples"]
        assert figures.intent_accuracy == pytest.approx(said["dev_intent_accuracy"], abs=0.003)
        assert figures.slot_f1 == pytest.approx(said["dev_slot_f1"], abs=0.005)
