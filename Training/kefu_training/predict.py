"""Runs a model, trained or exported, over texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .data import NO_LABEL, Schema, Span
from .text import Encoding, LabelReader, Tokenizer, spans_of

Forward = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(input_ids [B, S], attention_mask [B, S]) to (intent logits [B, I], slot logits [B, S, L])."""


@dataclass(frozen=True)
class Prediction:
    """What a model says about a text."""

    intent: str
    logits: Tensor
    """The intent logits [I], before calibration."""
    spans: list[Span]
    least_label: float
    """The probability of the least sure word's label; 1 without words."""


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of different length as one int64 tensor, filled up on the right."""
    length = max(len(row) for row in rows)
    return torch.tensor([list(row) + [fill] * (length - len(row)) for row in rows], dtype=torch.int64)


def batch_of(encodings: Sequence[Encoding], pad_id: int) -> tuple[Tensor, Tensor]:
    """The model's two inputs for some texts."""
    ids = padded([e.ids for e in encodings], pad_id)
    mask = padded([[1] * len(e.ids) for e in encodings], 0)
    return ids, mask


def predict(
    forward: Forward, tokenizer: Tokenizer, schema: Schema, texts: Sequence[str], device: str = "cpu", batch: int = 64
) -> list[Prediction]:
    """Predicts intent and spans for each text; rows of like length share a batch."""
    encodings = [tokenizer.encode(text) for text in texts]
    reader = LabelReader(schema)
    index = {label: i for i, label in enumerate(schema.labels)}
    order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
    found: dict[int, Prediction] = {}
    with torch.inference_mode():
        for at in range(0, len(order), batch):
            rows = order[at : at + batch]
            ids, mask = batch_of([encodings[i] for i in rows], tokenizer.pad_id)
            intents, slots = forward(ids.to(device), mask.to(device))
            # A word always has a label of its own.
            slots[..., index[NO_LABEL]] = float("-inf")
            logits, slots = intents.float().cpu(), slots.float().cpu()
            probabilities = slots.softmax(-1)
            for row, i in enumerate(rows):
                words = [word.position for word in encodings[i].words]
                labels = reader.read(slots[row, words].numpy())
                intent = schema.intents[int(logits[row].argmax())]
                least = min((float(probabilities[row, word, index[label]]) for word, label in zip(words, labels)), default=1.0)
                found[i] = Prediction(intent, logits[row], spans_of(labels, encodings[i]), least)
    return [found[i] for i in range(len(texts))]
