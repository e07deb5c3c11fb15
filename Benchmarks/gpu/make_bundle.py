"""Writes a model bundle of the full shape with random weights: what it costs, without training one. Needs torch alone.

The network is that of Training/kefu_training/model.py, which stands beside this file in the archive. The vocabulary has the size of bert-base-chinese's
(21,128): every character of the block of CJK unified ideographs, so that each character of a text is one token, as there.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch

for folder in (Path(__file__).parent, Path(__file__).parents[2] / "Training" / "kefu_training"):
    if (folder / "model.py").exists():
        sys.path.insert(0, str(folder))
        break

from model import IntentSlotModel, ModelShape  # noqa: E402

INTENTS = [f"intent_{number}" for number in range(1, 36)]
SLOTS = [f"slot_{number}" for number in range(1, 10)]
LABELS = ["O", *(f"{prefix}-{slot}" for slot in SLOTS for prefix in "BI"), "X"]
FULL = {"hidden": 768, "layers": 12, "heads": 12, "feed_forward": 3072, "gru": 384}
SMALL = {"hidden": 64, "layers": 2, "heads": 4, "feed_forward": 128, "gru": 32}


def vocabulary(size: int = 21_128) -> list[str]:
    """The pieces of vocab.txt."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(chr(code) for code in range(0x21, 0x7F) if not chr(code).isupper())]
    pieces += [chr(code) for code in range(0x4E00, 0xA000)]
    return pieces + [f"[unused{number}]" for number in range(1, size - len(pieces) + 1)]


def write(folder: Path, sizes: dict) -> None:
    """Writes folder, which is NAME/VERSION: model.pt in float16, vocab.txt, manifest.json."""
    folder.mkdir(parents=True)
    pieces = vocabulary()
    torch.manual_seed(1)
    shape = ModelShape(vocabulary=len(pieces), positions=512, intents=len(INTENTS), slot_labels=len(LABELS), **sizes)
    model = IntentSlotModel(shape).half().eval().requires_grad_(False)
    torch.jit.script(model).save(str(folder / "model.pt"))
    (folder / "vocab.txt").write_text("".join(piece + "\n" for piece in pieces), encoding="utf-8")
    manifest = {
        "format": 1,
        "name": folder.parent.name,
        "version": folder.name,
        "language": "zh-CN",
        "intents": INTENTS,
        "slot_labels": LABELS,
        "max_length": 512,
        "normalization": {
            "full_width_to_half_width": True,
            "lowercase": True,
            "strip_accents": True,
            "chinese_characters": True,
            "clean_text": True,
        },
        "temperature": 1.0,
        "files": {
            name: {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(), "bytes": (folder / name).stat().st_size}
            for name in ("model.pt", "vocab.txt")
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
