"""Makes probabilities mean what they say: one temperature for the intent logits, fitted on dev."""

import math

from torch import Tensor
from torch.nn import functional


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature (0.05 to 20) at which ``softmax(logits / temperature)`` gives the least negative log-likelihood."""
    low, high = 0.05, 20.0
    ratio = (5**0.5 - 1) / 2

    def loss(temperature: float) -> float:
        return float(functional.cross_entropy(logits.double() / temperature, targets))

    # Golden-section search: the loss has one minimum in log temperature.
    a, b = math.log(low), math.log(high)
    for _ in range(60):
        left, right = b - ratio * (b - a), a + ratio * (b - a)
        if loss(math.exp(left)) < loss(math.exp(right)):
            b = right
        else:
            a = left
    return math.exp((a + b) / 2)


def expected_calibration_error(logits: Tensor, targets: Tensor, temperature: float, bins: int = 15) -> float:
    """The mean gap between confidence and accuracy over bins of confidence, weighted by how many fall into each."""
    confidence, guess = (logits.double() / temperature).softmax(-1).max(-1)
    right = (guess == targets).double()
    index = (confidence * bins).long().clamp(max=bins - 1)
    gap = 0.0
    for b in range(bins):
        inside = index == b
        if inside.any():
            gap += float((confidence[inside].mean() - right[inside].mean()).abs() * inside.sum())
    return gap / len(targets)
