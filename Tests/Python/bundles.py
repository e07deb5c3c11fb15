"""Small bundles with chosen answers, made in well under a second by what the training code exports with."""

import os
import pathlib
import shutil
import sys
import tempfile

from conftest import ROOT

sys.path.insert(0, str(ROOT / "Training"))

import torch  # noqa: E402
from kefu_training.bundle import write_bundle  # noqa: E402
from kefu_training.data import Schema  # noqa: E402
from kefu_training.model import IntentSlotModel, ModelShape  # noqa: E402

SCHEMA = Schema.of(["greeting", "refund_request", "thanks"], ["order_id"])
VOCABULARY = sorted((ROOT / "Deploy" / "models" / "ecommerce").glob("[0-9]*"))[-1] / "vocab.txt"


def make_bundle(models, name, version, intent="greeting", confidence=0.99, slot=False, wrong_labels=False):
    """Writes models/name/version, at once as a whole: a model that gives every text one intent with one confidence.

    slot: every word is an order_id. wrong_labels: the model has an intent more than its manifest.
    """
    torch.manual_seed(version)
    tokens = len(VOCABULARY.read_text(encoding="utf-8").splitlines())
    intents = len(SCHEMA.intents) + wrong_labels
    model = IntentSlotModel(ModelShape(
        vocabulary=tokens, hidden=16, layers=1, heads=2, feed_forward=32, positions=64, gru=8, intents=intents,
        slot_labels=len(SCHEMA.labels)))
    with torch.no_grad():
        model.intent.weight.zero_()
        model.intent.bias.zero_()
        others = (1 - confidence) / (len(SCHEMA.intents) - 1)
        model.intent.bias[SCHEMA.intents.index(intent)] = torch.tensor(confidence / others).log()
        model.slots.weight.zero_()
        model.slots.bias.zero_()
        model.slots.bias[1 if slot else 0] = 10
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models, prefix=".") as hidden:
        made = pathlib.Path(hidden) / name / str(version)
        training = {"data": "none", "command": "none", "seed": version}
        write_bundle(made, model, VOCABULARY, SCHEMA, "zh-CN", 64, "random", training)
        (models / name).mkdir(exist_ok=True)
        os.rename(made, models / name / str(version))
    return models / name / str(version)


def copy_slowly(bundle, target):
    """Copies a bundle as a slow upload does: half of model.pt. Call the result to finish it."""
    target.mkdir(parents=True)
    for file in ("manifest.json", "vocab.txt"):
        shutil.copy(bundle / file, target / file)
    whole = (bundle / "model.pt").read_bytes()
    (target / "model.pt").write_bytes(whole[:len(whole) // 2])
    return lambda: (target / "model.pt").write_bytes(whole)
