"""PNG plots of what the commands print."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


def plot_coverage(points: Sequence[tuple[float, float]], path: Path) -> None:
    """Draws accuracy over coverage: (share answered, accuracy on it), both from 0 to 1."""
    figure, axes = pyplot.subplots(figsize=(6, 4), dpi=120)
    axes.plot([100 * c for c, _ in points], [100 * a for _, a in points], color="tab:blue")
    axes.set(xlabel="utterances answered, most confident first (%)", ylabel="intent accuracy on them (%)", xlim=(0, 100))
    _write(figure, axes, path)


def plot_frontier(cascade: Sequence[tuple[float, float, float]], light: tuple, standard: tuple, chosen: float, path: Path) -> None:
    """Draws accuracy over CPU time: the cascade as (threshold, milliseconds, accuracy), the models alone as (milliseconds, accuracy)."""
    figure, axes = pyplot.subplots(figsize=(7, 4.5), dpi=120)
    axes.plot([m for _, m, _ in cascade], [100 * a for *_, a in cascade], marker=".", color="tab:blue", label="cascade, by threshold")
    for threshold, milliseconds, accuracy in cascade:
        if threshold == chosen:
            axes.plot([milliseconds], [100 * accuracy], "o", color="tab:red", label=f"cascade at the default threshold {threshold:g}")
    for (milliseconds, accuracy), name, mark in ((light, "light", "^"), (standard, "standard", "s")):
        axes.plot([milliseconds], [100 * accuracy], mark, color="black", markersize=8, label=name)
    axes.set(xlabel="CPU time of an utterance (ms, one thread)", ylabel="intent accuracy (%)")
    axes.legend(loc="lower right")
    _write(figure, axes, path)


def _write(figure, axes, path: Path) -> None:
    axes.grid(alpha=0.3)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)
