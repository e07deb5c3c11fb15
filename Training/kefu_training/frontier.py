"""Accuracy against CPU time: a light model, a standard one, and the cascade that asks the standard one where the light one is unsure."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .bundle import Bundle
from .data import Example
from .metrics import measure
from .predict import Prediction, batch_of, predict

THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99)


@dataclass(frozen=True)
class Point:
    """A way to answer all utterances."""

    name: str
    threshold: float | None
    """The calibrated confidence from which the light model's answer is taken; None for a model alone."""
    escalated: float
    """The share of utterances that the standard model answers."""
    milliseconds: float
    """CPU time an utterance."""
    intent_accuracy: float
    slot_f1: float
    sentence_accuracy: float


def frontier(light: Bundle, standard: Bundle, examples: Sequence[Example], batch: int, seconds: float, labels: float) -> list[Point]:
    """The models alone, light first, then the cascade at each of ``THRESHOLDS``.

    The light model's answer is taken where its calibrated confidence in the intent reaches the threshold, and the probability of each
    word's label reaches ``labels``.
    """
    texts = [e.text for e in examples]
    answers = [predict(b.model, b.tokenizer, b.schema, texts) for b in (light, standard)]
    costs = [milliseconds_an_utterance(b, texts, batch, seconds) for b in (light, standard)]
    confidence = [float((p.logits / light.manifest["temperature"]).softmax(-1).max()) for p in answers[0]]
    points = [
        _point("light", None, 0.0, costs[0], examples, answers[0]),
        _point("standard", None, 1.0, costs[1], examples, answers[1]),
    ]
    for threshold in THRESHOLDS:
        taken = [c >= threshold and a.least_label >= labels for a, c in zip(answers[0], confidence)]
        chosen = [a if light_is_sure else b for a, b, light_is_sure in zip(*answers, taken)]
        share = 1 - sum(taken) / len(taken)
        points.append(_point("cascade", threshold, share, costs[0] + share * costs[1], examples, chosen))
    return points


def default_threshold(points: Sequence[Point], loss: float, cost: float) -> float | None:
    """The lowest threshold that loses at most ``loss`` accuracy to the standard model, and takes the share ``cost`` of its time."""
    standard = next(p for p in points if p.name == "standard")
    fit = [
        p.threshold
        for p in points
        if p.threshold is not None
        and p.intent_accuracy >= standard.intent_accuracy - loss
        and p.milliseconds <= cost * standard.milliseconds
    ]
    return min(fit) if fit else None


def table(points: Sequence[Point]) -> str:
    """The points as a Markdown table."""
    standard = next(p for p in points if p.name == "standard")
    head = ["Model", "Threshold", "Asks the standard one", "CPU ms", "of standard", "Intents", "Slot F1", "Sentences"]
    rows = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for p in points:
        threshold = "" if p.threshold is None else f"{p.threshold:g}"
        share = "" if p.threshold is None else f"{p.escalated:.1%}"
        rows.append(
            f"| {p.name} | {threshold} | {share} | {p.milliseconds:.2f} | {p.milliseconds / standard.milliseconds:.0%} "
            f"| {p.intent_accuracy:.1%} | {p.slot_f1:.1%} | {p.sentence_accuracy:.1%} |"
        )
    return "\n".join(rows)


def milliseconds_an_utterance(bundle: Bundle, texts: Sequence[str], batch: int, seconds: float) -> float:
    """CPU time of the forward passes over the texts, in batches of like length, on one thread, by utterance."""
    torch.set_num_threads(1)
    torch._C._set_graph_executor_optimize(False)
    encodings = sorted((bundle.tokenizer.encode(t) for t in texts), key=lambda e: len(e.ids))
    batches = [batch_of(encodings[at : at + batch], bundle.tokenizer.pad_id) for at in range(0, len(encodings), batch)]
    with torch.inference_mode():
        for ids, mask in batches[:3]:
            bundle.model(ids, mask)
        rounds, start = 0, time.process_time()
        while not rounds or time.process_time() - start < seconds:
            for ids, mask in batches:
                bundle.model(ids, mask)
            rounds += 1
        return (time.process_time() - start) * 1e3 / rounds / len(texts)


def _point(
    name: str, threshold: float | None, share: float, cost: float, examples: Sequence[Example], answers: Sequence[Prediction]
) -> Point:
    figures = measure(examples, [a.intent for a in answers], [a.spans for a in answers])
    return Point(name, threshold, share, cost, figures.intent_accuracy, figures.slot_f1 or 0.0, figures.sentence_accuracy)
