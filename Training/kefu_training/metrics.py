"""What a model is measured by."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .data import Example, Span


@dataclass(frozen=True)
class Figures:
    """All figures are shares from 0 to 1, but for the counts."""

    examples: int
    intent_accuracy: float
    intent_macro_f1: float
    """The mean F1 of the intents that occur in the annotation."""
    slot_precision: float
    slot_recall: float
    slot_f1: float | None
    """Over all spans; a span counts where slot, start and end are right. None where no span is annotated or predicted."""
    sentence_accuracy: float
    """The share of utterances with the right intent and exactly the right spans."""
    confusions: list[tuple[str, str, int]]
    """(annotated intent, predicted intent, count), most frequent first."""

    @property
    def score(self) -> float:
        """What training maximises on dev: the mean of intent accuracy and slot F1 (the former alone where there are no slots)."""
        return (self.intent_accuracy + self.slot_f1) / 2 if self.slot_f1 is not None else self.intent_accuracy


def measure(examples: Sequence[Example], intents: Sequence[str], spans: Sequence[Sequence[Span]]) -> Figures:
    """Compares predictions with annotations."""
    confusion = Counter((e.intent, intent) for e, intent in zip(examples, intents))
    right = sum(count for (gold, guess), count in confusion.items() if gold == guess)
    gold_count, guess_count = Counter(e.intent for e in examples), Counter(intents)
    f1s = [2 * confusion[i, i] / (gold_count[i] + guess_count[i]) for i in gold_count]
    hits = sum(len(set(e.spans) & set(s)) for e, s in zip(examples, spans))
    annotated, predicted = sum(len(e.spans) for e in examples), sum(len(s) for s in spans)
    whole = sum(e.intent == i and set(e.spans) == set(s) for e, i, s in zip(examples, intents, spans))
    wrong = [(gold, guess, count) for (gold, guess), count in confusion.items() if gold != guess]
    return Figures(
        examples=len(examples),
        intent_accuracy=right / len(examples),
        intent_macro_f1=sum(f1s) / len(f1s),
        slot_precision=hits / predicted if predicted else 0.0,
        slot_recall=hits / annotated if annotated else 0.0,
        slot_f1=2 * hits / (annotated + predicted) if annotated + predicted else None,
        sentence_accuracy=whole / len(examples),
        confusions=sorted(wrong, key=lambda row: (-row[2], row[0], row[1])),
    )


@dataclass(frozen=True)
class OutOfScope:
    """How well an intent that stands for "none of these" is told from the others."""

    recall: float | None
    """The share of its utterances that are found; None where the annotation has none."""
    false_alarms: float | None
    """The share of all other utterances that are taken for it; None where there are no others."""


def out_of_scope(examples: Sequence[Example], intents: Sequence[str], name: str) -> OutOfScope:
    """Recall and false alarms of the intent ``name``."""
    inside = [guess == name for e, guess in zip(examples, intents) if e.intent == name]
    outside = [guess == name for e, guess in zip(examples, intents) if e.intent != name]
    return OutOfScope(sum(inside) / len(inside) if inside else None, sum(outside) / len(outside) if outside else None)


def coverage_curve(right: Sequence[bool], confidence: Sequence[float]) -> list[tuple[float, float, float]]:
    """(share answered, accuracy on it, least confidence in it) when the most confident utterances are answered, one more a point."""
    order = sorted(range(len(right)), key=lambda i: -confidence[i])
    points, hits = [], 0
    for count, i in enumerate(order, start=1):
        hits += right[i]
        points.append((count / len(right), hits / count, confidence[i]))
    return points


def describe_coverage(points: Sequence[tuple[float, float, float]]) -> str:
    """The curve at some shares, as a table of text."""
    lines = ["answered   accuracy   confidence from"]
    for share in (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5):
        covered, accuracy, confidence = points[max(0, round(share * len(points)) - 1)]
        lines.append(f"{covered:7.1%}    {accuracy:7.2%}    {confidence:.3f}")
    return "\n".join(lines)


def describe(figures: Figures, worst: int = 15) -> str:
    """The figures as a table of text."""
    lines = [
        f"utterances         {figures.examples}",
        f"intent accuracy    {figures.intent_accuracy:.2%}",
        f"intent macro-F1    {figures.intent_macro_f1:.2%}",
    ]
    if figures.slot_f1 is not None:
        lines.append(f"slot F1            {figures.slot_f1:.2%} (precision {figures.slot_precision:.2%}, recall {figures.slot_recall:.2%})")
    lines.append(f"sentence accuracy  {figures.sentence_accuracy:.2%}")
    if figures.confusions:
        lines.append("worst confusions (annotated -> predicted):")
        lines += [f"  {count:4d}  {gold} -> {guess}" for gold, guess, count in figures.confusions[:worst]]
    return "\n".join(lines)
