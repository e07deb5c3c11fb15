"""A bundle of any shape with random weights: what a full-size model costs, without training one."""

import argparse
import tempfile
from pathlib import Path

import torch

from .bundle import write_bundle
from .data import Schema
from .model import IntentSlotModel, ModelShape
from .vocabulary import shopping_vocabulary


def write_random_bundle(options: argparse.Namespace) -> dict:
    """Writes the bundle that the options of ``random-bundle`` describe; gives its manifest."""
    schema = Schema.read(options.schema)
    if options.vocabulary:
        tokens = options.vocabulary.read_text(encoding="utf-8").splitlines()
    else:
        tokens = shopping_vocabulary(lambda token: True)[: options.tokens]
        tokens += [f"[unused{i}]" for i in range(1, options.tokens - len(tokens) + 1)]
    torch.manual_seed(options.seed)
    shape = ModelShape(
        vocabulary=len(tokens),
        hidden=options.hidden,
        layers=options.layers,
        heads=options.heads,
        feed_forward=options.feed_forward,
        positions=options.positions,
        gru=options.gru,
        intents=len(schema.intents),
        slot_labels=len(schema.labels),
    )
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.txt"
        vocabulary.write_text("".join(token + "\n" for token in tokens), encoding="utf-8")
        about = {"seed": options.seed, "examples": 0, "figures": {}}
        return write_bundle(options.bundle, IntentSlotModel(shape), vocabulary, schema, options.language, 512, "random", about)
