"""The model bundle that intent-server loads: a folder ``name/version`` with model.pt, vocab.txt and manifest.json.

model.pt is TorchScript with its parameters stored as float16, half the size; whoever loads it converts them to float32.
"""

import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from .data import Schema
from .model import IntentSlotModel
from .text import NORMALIZATION, Tokenizer

FORMAT = 1


class BundleError(Exception):
    """A bundle that does not hold what its manifest says; the message names file and field."""


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle."""

    manifest: dict
    schema: Schema
    tokenizer: Tokenizer
    model: torch.jit.ScriptModule


def sha256(path: Path) -> str:
    """The digest of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save_model(model: IntentSlotModel, path: Path) -> None:
    """Writes a model as TorchScript in float16, without the debug records (they hold the paths of the machine that exported it)."""
    scripted = torch.jit.script(_half_copy(model))
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer)
    buffer.seek(0)
    reader = torch._C.PyTorchFileReader(buffer)
    writer = torch._C.PyTorchFileWriter(str(path))
    for name in reader.get_all_records():
        if name.endswith(".debug_pkl") or name in (
            "version",
            "byteorder",
            ".format_version",
            ".storage_alignment",
            ".data/serialization_id",
        ):
            continue
        record = reader.get_record(name)
        writer.write_record(name, record, len(record))
    writer.write_end_of_file()


def write_bundle(
    folder: Path,
    model: IntentSlotModel,
    vocabulary: Path,
    schema: Schema,
    language: str,
    max_length: int,
    origin: str,
    training: dict,
    temperature: float = 1.0,
) -> dict:
    """Writes a bundle to ``.../name/version``; gives its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(model, folder / "model.pt")
    shutil.copyfile(vocabulary, folder / "vocab.txt")
    shape = model.shape
    manifest = {
        "format": FORMAT,
        "name": folder.parent.name,
        "version": folder.name,
        "language": language,
        "intents": list(schema.intents),
        "slot_labels": list(schema.labels),
        "max_length": min(max_length, shape.positions),
        "normalization": NORMALIZATION,
        "temperature": temperature,
        "files": {name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in ("model.pt", "vocab.txt")},
        "model": {
            "encoder_layers": shape.layers,
            "hidden": shape.hidden,
            "gru": shape.gru,
            "vocabulary": shape.vocabulary,
            "storage": "float16",
            "initialised_from": origin,
        },
        "training": training,
    }
    write_manifest(folder, manifest)
    return manifest


def write_manifest(folder: Path, manifest: dict) -> None:
    """Writes manifest.json."""
    (folder / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def load_bundle(folder: Path, device: str = "cpu") -> Bundle:
    """Loads a bundle and checks it against its manifest, as intent-server does."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            raise BundleError(f"{path}: format {manifest['format']}: expected {FORMAT}")
        for name, expected in manifest["files"].items():
            if sha256(folder / name) != expected["sha256"]:
                raise BundleError(f"{folder / name}: its sha256 is not the one in manifest.json (files.{name}.sha256)")
        labels = manifest["slot_labels"]
        schema = Schema.of(manifest["intents"], [label[2:] for label in labels if label.startswith("B-")])
        if labels != list(schema.labels):
            raise BundleError(f"{path}: slot_labels: expected O, then B and I of each slot in order, then X")
        tokenizer = Tokenizer(folder / "vocab.txt", manifest["max_length"])
        if tokenizer.size != manifest["model"]["vocabulary"]:
            raise BundleError(f"{folder / 'vocab.txt'}: {tokenizer.size} tokens: expected {manifest['model']['vocabulary']}")
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from error
    except KeyError as error:
        raise BundleError(f"{path}: the field {error.args[0]} is missing") from error
    except ValueError as error:
        raise BundleError(f"{path}: {error}") from error
    model = torch.jit.load(folder / "model.pt", map_location=device).float().eval()
    with torch.inference_mode():
        intents, slots = model(*(torch.ones(1, 1, dtype=torch.int64, device=device) for _ in range(2)))
    for name, expected, found in (("intents", len(schema.intents), intents), ("slot_labels", len(schema.labels), slots)):
        if found.size(-1) != expected:
            raise BundleError(f"{folder / 'model.pt'}: gives {found.size(-1)} {name}, manifest.json lists {expected}")
    return Bundle(manifest, schema, tokenizer, model)


def _half_copy(model: IntentSlotModel) -> IntentSlotModel:
    copy = IntentSlotModel(model.shape)
    copy.load_state_dict(model.state_dict())
    return copy.half().eval().requires_grad_(False)
