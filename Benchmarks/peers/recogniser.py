"""What every peer serves: the same bundle, the same texts in, the same answer out; batches padded to their longest row, as the peers form them."""

import os
import sys
from pathlib import Path

# Before torch: two threads that spin for each other on shared cores take many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "Training"))

import torch
from kefu_training.bundle import load_bundle
from kefu_training.predict import batch_of


class Recogniser:
    """A bundle on the CPU, as intent-server runs it: float32, no graph optimisation."""

    def __init__(self, bundle: str, threads: int) -> None:
        torch.set_num_threads(threads)
        torch._C._set_graph_executor_optimize(False)
        torch._C._jit_set_profiling_executor(False)
        self.bundle = load_bundle(Path(bundle))
        self.recognise(["预热"])

    def recognise(self, texts: list[str]) -> list[dict]:
        """Intent, its probability and the labels of each text."""
        encodings = [self.bundle.tokenizer.encode(text) for text in texts]
        with torch.inference_mode():
            intents, slots = self.bundle.model(*batch_of(encodings, self.bundle.tokenizer.pad_id))
            confidence, best = intents.softmax(-1).max(-1)
            labels = slots.argmax(-1).tolist()
        return [
            {"intent": self.bundle.schema.intents[i], "confidence": c, "labels": row[: len(e.ids)]}
            for i, c, row, e in zip(best.tolist(), confidence.tolist(), labels, encodings)
        ]


BUNDLE = os.environ.get("KEFU_BUNDLE", "")
THREADS = int(os.environ.get("KEFU_THREADS", "2"))
BATCH = int(os.environ.get("KEFU_BATCH", "32"))
WAIT_MS = int(os.environ.get("KEFU_WAIT_MS", "5"))
