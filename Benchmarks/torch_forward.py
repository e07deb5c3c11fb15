"""Forward passes per second of Swift's Torch beside Python's, on one file and the same inputs, in alternating rounds.

    swift build -c release --package-path Benchmarks --product TorchForward
    python Benchmarks/torch_forward.py [--model model.pt] [--threads 1 2] [--rows 1 8 32] [--lengths 8 16 32 64]

Without --model it makes a BERT-GRU of 6 layers x 384 with random weights. Needs the torch of the same version as libtorch.
Both sides give their outputs as memory of their own language: [Float] in Swift, numpy in Python. Either side has a process of its own,
and the one that does not measure waits. OMP_WAIT_POLICY is passive for both unless it is set.
"""

import argparse
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from torch import Tensor, nn
from torch.nn import functional


class Layer(nn.Module):
    """One layer of a BERT encoder."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (f(x).view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)
        x = self.first(x + self.output(mixed))
        return self.second(x + self.down(functional.gelu(self.up(x))))


class BertGRU(nn.Module):
    """BERT encoder, bidirectional GRU, intent from the first position, slots from each."""

    def __init__(self, vocabulary: int = 1000, width: int = 384, layers: int = 6, heads: int = 12, intents: int = 35, slots: int = 20) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(512, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.intent, self.slots = nn.Linear(2 * width, intents), nn.Linear(2 * width, slots)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.norm(self.words(input_ids) + self.positions(places))
        bias = (1 - attention_mask)[:, None, None, :].to(x.dtype) * -10000.0
        for layer in self.layers:
            x = layer(x, bias)
        x, _ = self.gru(x)
        return self.intent(x[:, 0]), self.slots(x)


def batch(rows: int, length: int) -> tuple[Tensor, Tensor]:
    """The same ids as in TorchForward.swift."""
    ids = torch.tensor([1 + i * 7919 % 999 for i in range(rows * length)]).view(rows, length)
    return ids, torch.ones(rows, length, dtype=torch.int64)


def measure(module: torch.jit.ScriptModule, rows: int, length: int, seconds: float) -> tuple[float, float]:
    """Passes per second, and the sum of all outputs of the last pass."""
    ids, mask = batch(rows, length)
    passes, start = 0, time.perf_counter()
    while True:
        with torch.inference_mode():
            outputs = [output.numpy() for output in module(ids, mask)]
        passes += 1
        now = time.perf_counter()
        if now - start >= seconds:
            return passes / (now - start), float(sum(output.sum(dtype="float64") for output in outputs))


def python_side() -> None:
    """`--python MODEL THREADS`: answers lines as TorchForward.swift does."""
    torch.set_num_threads(int(sys.argv[3]))
    module = torch.jit.load(sys.argv[2]).float().eval()
    for line in sys.stdin:
        rows, length, seconds = line.split()
        print(*measure(module, int(rows), int(length), float(seconds)), flush=True)


class Side:
    """A process that measures."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, rows: int, length: int, seconds: float) -> tuple[float, float]:
        """Passes per second, and the sum of the outputs."""
        self.process.stdin.write(f"{rows} {length} {seconds}\n")
        self.process.stdin.flush()
        fields = [float(field) for field in self.process.stdout.readline().split()]
        return (fields[0] / fields[1], fields[2]) if len(fields) == 3 else (fields[0], fields[1])

    def cpu(self) -> float:
        """Seconds of CPU time so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    if sys.argv[1:2] == ["--python"]:
        return python_side()
    # Both sides alike: spinning OpenMP threads would measure who else is on the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    here = pathlib.Path(__file__).parent
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model")
    options.add_argument("--swift", default=str(here / ".build/release/TorchForward"))
    options.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32])
    options.add_argument("--lengths", type=int, nargs="+", default=[8, 16, 32, 64])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=0.3, help="of each round, each side")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = asked.model
        if model is None:
            torch.manual_seed(1)
            model = f"{folder}/model.pt"
            torch.jit.trace(BertGRU().eval(), batch(2, 8)).save(model)
        compare(model, asked)


def compare(model: str, asked: argparse.Namespace) -> None:
    print(f"libtorch {torch.__version__}; passes/s, median of {asked.rounds} rounds of {asked.seconds} s a side; CPU in ms a pass")
    print(f"{'threads':>7} {'rows':>5} {'length':>6} {'Swift':>9} {'Python':>9} {'ratio':>6} {'CPU Swift':>10} {'CPU Python':>10}")
    ratios = []
    for threads in asked.threads:
        sides = [Side([asked.swift, model, str(threads)]), Side([sys.executable, __file__, "--python", model, str(threads)])]
        for rows in asked.rows:
            for length in asked.lengths:
                sums = [side.ask(rows, length, 0.2)[1] for side in sides]  # warm
                if not math.isclose(*sums, rel_tol=1e-4, abs_tol=1e-2):
                    sys.exit(f"the outputs differ: their sums are {sums[0]} in Swift and {sums[1]} in Python")
                rates, cpu, passes = [[], []], [0.0, 0.0], [0.0, 0.0]
                for number in range(asked.rounds):
                    for i in (0, 1) if number % 2 == 0 else (1, 0):
                        before = sides[i].cpu()
                        rate = sides[i].ask(rows, length, asked.seconds)[0]
                        cpu[i] += sides[i].cpu() - before
                        passes[i] += rate * asked.seconds
                        rates[i].append(rate)
                swift, python = (statistics.median(r) for r in rates)
                ratios.append(swift / python)
                ms = [1000 * c / p for c, p in zip(cpu, passes)]
                print(f"{threads:7} {rows:5} {length:6} {swift:9.1f} {python:9.1f} {swift / python:6.3f} {ms[0]:10.2f} {ms[1]:10.2f}", flush=True)
        for side in sides:
            side.close()
    print(f"ratio Swift/Python: geometric mean {statistics.geometric_mean(ratios):.3f}, least {min(ratios):.3f}, most {max(ratios):.3f}")


if __name__ == "__main__":
    main()
