"""Changes to an example that keep its meaning, drawn anew each epoch."""

import random
from dataclasses import replace

from .data import Example

DIGITS = "0123456789０１２３４５６７８９"


def mask_digits(example: Example, chance: float, draw: random.Random) -> Example:
    """Each digit becomes ``#`` with the given chance, so that a model learns the shape of a number rather than its digits."""
    if chance <= 0:
        return example
    text = "".join("#" if c in DIGITS and draw.random() < chance else c for c in example.text)
    return replace(example, text=text)
