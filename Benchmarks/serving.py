"""intent-server beside the bare model, and beside itself: what batching, mixed lengths and overload cost. Run it on an idle machine.

    make build && swift build -c release --package-path Benchmarks --product OpenLoop
    ~/.cache/kefu/venv/bin/python Benchmarks/serving.py

Prints four comparisons, each within this run:
1. one length: answers/s of a saturated server beside a bare loop over CTorch on the same file, threads, precision and batch size;
2. the same server at 70 % of that: p99 beside the time of a full batch;
3. lengths of 4 to 64 mixed: answers/s beside the padding-free ideal (each length alone in the bare loop);
4. twice the capacity, a fifth of it INTERACTIVE: its p99 beside its p99 alone, and the share of the capacity that is answered in time.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
import urllib.request

from bare import BareModel


def bare(model: BareModel, rows: int, length: int, seconds: float) -> float:
    """Rows/s of a loop over one batch shape."""
    times = model.seconds(rows, length, seconds)
    return rows * len(times) / sum(times)


class Server:
    """A running intent-server."""

    def __init__(self, binary: str, models: str, model: str, threads: int, padding: float, efficiency: float, precision: str) -> None:
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--models", models, "--default-model", model, "--threads", str(threads), "--padding-share", str(padding), "--batch-efficiency", str(efficiency), "--precision", precision],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
        line = self.process.stdout.readline()
        self.grpc, self.http = re.search(r"grpc=(\S+) http=(\S+)", line).groups()
        self.model = model

    def value(self, name: str) -> float:
        """The sum of a metric over its series of the model."""
        text = urllib.request.urlopen(f"http://{self.http}/metrics", timeout=5).read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"kefu_understanding_{name}{{") and f'model="{self.model}"' in line)

    def batch_size(self, run) -> float:
        """Rows a batch while `run` runs."""
        rows, batches = self.value("batch_rows_sum"), self.value("batch_rows_count")
        run()
        return (self.value("batch_rows_sum") - rows) / max(self.value("batch_rows_count") - batches, 1)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Client:
    """The open-loop client."""

    def __init__(self, binary: str, server: Server) -> None:
        self.command = [binary, "--target", f"kefu:{server.grpc}", "--pid", str(server.process.pid)]

    def run(self, rate: float, seconds: float, lengths: str, classes: str = "interactive=1", timeout_ms: int = 2000) -> dict[str, dict[str, float]]:
        """Figures by class: sent, answers/s (in_time), p50, p99; and `cpu`, the server's CPU µs a request by thread."""
        command = self.command + ["--rate", str(rate), "--seconds", str(seconds), "--lengths", lengths, "--classes", classes, "--timeout-ms", str(timeout_ms), "--warmup-seconds", "1"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(output.split("|---|---:|\n")[-1] if "|---|---:|" in output else output, end="")
        found: dict[str, dict[str, float]] = {}
        for line in output.splitlines():
            cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
            if len(cells) == 12 and cells[1] in ("interactive", "standard", "background"):
                number = lambda text: float(text) if text != "–" else float("nan")  # noqa: E731
                found[cells[1]] = {"sent": float(cells[2]), "in_time": float(cells[4]), "tokens": float(cells[5]), "p50": number(cells[6]), "p99": number(cells[8])}
            if "by thread:" in line:
                found["cpu"] = {name: float(value) for name, value in re.findall(r"(\S[^,:]*?) (\d+)(?:,|$)", line.split("by thread:")[1])}
        return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--bin", default=".build/release/intent-server")
    arguments.add_argument("--client", default="Benchmarks/.build/release/OpenLoop")
    arguments.add_argument("--models", default="Deploy/models")
    arguments.add_argument("--model", default="ecommerce")
    arguments.add_argument("--threads", type=int, default=max(1, os.cpu_count() // 2), help="of the model; the other cores are for the rest of the server and the client")
    arguments.add_argument("--padding-share", type=float, default=0.15)
    arguments.add_argument("--batch-efficiency", type=float, default=0.7)
    arguments.add_argument("--precision", default="auto", help="as intent-server takes it")
    arguments.add_argument("--seconds", type=float, default=8)
    options = arguments.parse_args()

    versions = [int(p.name) for p in (pathlib.Path(options.models) / options.model).iterdir() if p.name.isdigit()]
    path = pathlib.Path(options.models) / options.model / str(max(versions)) / "model.pt"
    model = BareModel(str(path), options.threads, options.precision)

    server = Server(options.bin, options.models, options.model, options.threads, options.padding_share, options.batch_efficiency, options.precision)
    client = Client(options.client, server)
    seconds = options.seconds
    try:
        print(f"{path}, {options.threads} threads, {model.precision}, padding up to {options.padding_share:.0%}, batches up to {options.batch_efficiency:.0%} of the best throughput, {time.strftime('%Y-%m-%d')}")
        length = 16
        guess = bare(model, 32, length, 2)

        print(f"\n1. One length ({length} tokens), saturated")
        results: dict = {}
        size = server.batch_size(lambda: results.update(client.run(1.6 * guess, seconds, f"{length}-{length}", "standard=1")))
        rows = max(1, round(size))
        alone = statistics.mean(bare(model, rows, length, 2) for _ in range(2))
        capacity = results["standard"]["in_time"]
        print(f"   server {capacity:.0f}/s in batches of {size:.1f}; bare loop of {rows} rows {alone:.0f}/s; ratio {capacity / alone:.2f}")
        outside = sum(v for k, v in results.get("cpu", {}).items() if not k.startswith(options.model))
        print(f"   server CPU outside the model's thread: {outside:.0f} µs an answered request")

        print("\n2. The same at 70 %")
        calm = client.run(0.7 * capacity, seconds, f"{length}-{length}")["interactive"]
        full = 1000 * 32 / bare(model, 32, length, 2)
        print(f"   p99 {calm['p99']:.1f} ms; a full batch of 32 rows takes {full:.1f} ms; ratio {calm['p99'] / full:.2f}")

        print("\n3. Lengths of 4 to 64 mixed, saturated")
        size = server.batch_size(lambda: results.update(client.run(1.2 * capacity, seconds, "4-64", "standard=1", 1000)))
        rows = max(1, round(size))
        ideal = 1 / statistics.mean(1 / bare(model, rows, tokens, 0.5) for tokens in range(4, 65, 4))
        mixed, full = results["standard"]["in_time"], results["standard"]["tokens"]
        print(f"   server {mixed:.0f}/s, {full:.0f} tokens/s, in batches of {size:.1f}; padding-free ideal {ideal:.0f}/s, {34 * ideal:.0f} tokens/s; ratio of tokens {full / (34 * ideal):.2f}")

        print("\n4. Twice the capacity, a fifth of it INTERACTIVE, 1 s to answer")
        single = client.run(0.4 * mixed, seconds, "4-64", "interactive=1", 1000)["interactive"]
        wasted = server.value("batch_rows_sum") - server.value("answered_total")
        both = client.run(2 * mixed, seconds, "4-64", "interactive=0.2,standard=0.8", 1000)
        wasted = server.value("batch_rows_sum") - server.value("answered_total") - wasted
        # In tokens: long requests are refused before short ones, so that requests/s of two mixes do not compare.
        goodput = both["interactive"]["tokens"] + both["standard"]["tokens"]
        print(f"   p99 of INTERACTIVE alone {single['p99']:.1f} ms, in the overload {both['interactive']['p99']:.1f} ms: ratio {both['interactive']['p99'] / single['p99']:.2f}")
        print(f"   answered in time {goodput:.0f} tokens/s of {full:.0f}: {goodput / full:.2f}; rows computed and not answered: {wasted:.0f}")
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
