"""From a run to a bundle: calibrate on dev, store, and measure what was stored."""

import json
from datetime import UTC, datetime
from pathlib import Path

import torch

from .bundle import load_bundle, write_bundle, write_manifest
from .calibration import expected_calibration_error, fit_temperature
from .data import Example
from .metrics import Figures, measure
from .predict import predict
from .train import RunFolder


def export(run: RunFolder, folder: Path, dev: list[Example], language: str) -> tuple[dict, Figures]:
    """Writes the best epoch of a run as the bundle ``folder`` (``.../name/version``); gives its manifest and figures on dev.

    Temperature and figures come from the stored bundle, float16 as it is, not from the run.
    """
    model, state = run.read_best()
    options = json.loads(run.options.read_text(encoding="utf-8"))
    schema = run.read_schema()
    training = {
        "data": options["about"]["train"],
        "data_sha256": options["about"]["data_sha256"],
        "examples": options["about"]["examples"],
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": options["about"]["command"],
        "seed": options["options"]["seed"],
        "epochs": state["epoch"],
        "figures": {},
    }
    max_length = options["options"]["max_length"]
    manifest = write_bundle(folder, model, run.vocabulary, schema, language, max_length, options["origin"], training)
    bundle = load_bundle(folder)
    predictions = predict(bundle.model, bundle.tokenizer, schema, [e.text for e in dev])
    figures = measure(dev, [p.intent for p in predictions], [p.spans for p in predictions])
    logits = torch.stack([p.logits for p in predictions])
    targets = torch.tensor([schema.intents.index(e.intent) for e in dev])
    manifest["temperature"] = round(fit_temperature(logits, targets), 4)
    training["figures"] = {
        "dev_examples": figures.examples,
        "dev_intent_accuracy": round(figures.intent_accuracy, 4),
        "dev_intent_macro_f1": round(figures.intent_macro_f1, 4),
        "dev_slot_f1": None if figures.slot_f1 is None else round(figures.slot_f1, 4),
        "dev_sentence_accuracy": round(figures.sentence_accuracy, 4),
        "dev_calibration_error": round(expected_calibration_error(logits, targets, manifest["temperature"]), 4),
        "dev_calibration_error_uncalibrated": round(expected_calibration_error(logits, targets, 1.0), 4),
    }
    write_manifest(folder, manifest)
    return manifest, figures
