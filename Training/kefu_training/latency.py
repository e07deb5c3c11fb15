"""The CPU time of a forward pass, as intent-server runs it: one thread, no graph optimisation."""

import time

import torch

from .predict import Forward


def milliseconds_a_row(forward: Forward, rows: int, length: int, seconds: float) -> float:
    """Milliseconds of CPU time a row, for batches of ``rows`` full rows of ``length`` tokens."""
    torch.set_num_threads(1)
    torch._C._set_graph_executor_optimize(False)
    # Which tokens is all the same to the arithmetic.
    ids = torch.arange(rows * length).remainder(5).view(rows, length)
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        for _ in range(3):
            forward(ids, mask)
        passes, start = 0, time.process_time()
        while time.process_time() - start < seconds:
            forward(ids, mask)
            passes += 1
        return (time.process_time() - start) * 1e3 / passes / rows
