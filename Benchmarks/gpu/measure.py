"""Serves the full shape with intent-server and measures it from outside: cold start, rows/s, latency under open load, memory. `run` calls it."""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import make_bundle
import torch

BEGAN = time.monotonic()
COLUMNS = ["precision", "workers", "cold start s", "rows/s", "load", "sent/s", "answered/s", "p50 ms", "p99 ms", "not answered", "memory MiB"]


def gpu_memory(index: str) -> int:
    """MiB in use of a GPU, by all processes; 0 where nvidia-smi does not say."""
    command = ["nvidia-smi", f"--id={index}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return int(subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0


def resident_memory(pid: int) -> int:
    """MiB of a process in physical memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") >> 20


class Server:
    """An intent-server over the bundle; its memory is sampled twice a second."""

    def __init__(self, options, precision, workers):
        arguments = [options.root / "bin" / "intent-server", "serve", "--listen", "127.0.0.1:0", "--models", options.work / "models",
                     "--device", options.device, "--precision", precision, "--workers", workers, "--batch-size", options.batch_size,
                     "--queue", 4096, "--timeout-ms", 2000]
        gpu = options.device.partition(":")[2] or "0"
        before = gpu_memory(gpu) if options.device != "cpu" else 0
        began = time.monotonic()
        self.log = open(options.work / "server.log", "w+")
        self.process = subprocess.Popen([str(a) for a in arguments], env=options.environment, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if "grpc=" not in line:
            self.log.seek(0)
            sys.exit(f"intent-server did not start:\n{self.log.read()}")
        self.cold_start = time.monotonic() - began
        self.address = line.split("grpc=")[1].split()[0]
        self.memory = 0
        self.over = threading.Event()

        def sample():
            while not self.over.wait(0.5):
                used = gpu_memory(gpu) - before if options.device != "cpu" else resident_memory(self.process.pid)
                self.memory = max(self.memory, used)

        self.sampler = threading.Thread(target=sample)
        self.sampler.start()

    def stop(self):
        self.over.set()
        self.sampler.join()
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(30) != 0:
            sys.exit(f"intent-server ended with {self.process.returncode}")


def load(options, server, rate, seconds, warm_up=0.0):
    """Runs the open-loop client once: sent/s, answered in time/s, p50 and p99 in ms, and what was not answered."""
    arguments = [options.root / "bin" / "OpenLoop", "--target", f"kefu:{server.address}", "--rate", rate, "--seconds", seconds,
                 "--warmup-seconds", warm_up, "--timeout-ms", 2000, "--lengths", options.lengths]
    output = subprocess.run([str(a) for a in arguments], env=options.environment, capture_output=True, text=True, timeout=120)
    rows = [line for line in output.stdout.splitlines() if line.startswith("| ") and "interactive" in line]
    if output.returncode != 0 or not rows:
        sys.exit(f"OpenLoop failed: {output.stdout}{output.stderr}")
    cells = [cell.strip() for cell in rows[-1].strip("|").split("|")]
    return {"sent": float(cells[2]) / seconds, "share": float(cells[3]) / float(cells[2]), "answered": float(cells[4]), "p50": cells[5], "p99": cells[7], "failures": cells[9]}


def saturated(options, server):
    """Rows a second under more load than can be served: the load is doubled until less than 97 % of it is answered."""
    rate, best = options.first_rate, 0.0
    while True:
        result = load(options, server, rate, options.seconds / 2)
        best = max(best, result["answered"])
        if result["share"] < 0.97 or rate >= 64_000:
            return best
        rate *= 2


def configurations(options):
    """What is measured, in this order: each precision with one worker, and then the first with two."""
    return [(precision, 1) for precision in options.precisions] + [(options.precisions[0], 2)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the unpacked archive")
    parser.add_argument("--work", type=Path, required=True, help="an empty folder")
    parser.add_argument("--libraries", required=True, help="where the programs' shared libraries are, as in LD_LIBRARY_PATH")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--precisions", nargs="+", default=["float16", "bfloat16"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lengths", default="4-64", help="tokens of an utterance, evenly distributed")
    parser.add_argument("--seconds", type=float, default=10, help="seconds a load")
    parser.add_argument("--first-rate", type=float, default=1000, help="where the search for the most rows/s begins")
    parser.add_argument("--limit", type=float, default=400, help="seconds after which no further load is begun")
    parser.add_argument("--small", action="store_true", help="a small shape: to try the script")
    options = parser.parse_args()
    options.environment = {**os.environ, "LD_LIBRARY_PATH": options.libraries}

    make_bundle.write(options.work / "models" / "full" / "1", make_bundle.SMALL if options.small else make_bundle.FULL)
    if options.device == "cpu":
        device = f"CPU, {os.cpu_count()} cores"
    elif torch.cuda.is_available():
        device = torch.cuda.get_device_name(torch.device(options.device))
    else:
        device = options.device
    lines = [f"{device}, PyTorch {torch.__version__}, {'small' if options.small else 'full'} shape, batches of at most {options.batch_size}, "
             f"lengths {options.lengths} evenly distributed, {options.seconds:g} s a load", "",
             "| " + " | ".join(COLUMNS) + " |", "|" + "---:|" * len(COLUMNS)]
    print("\n".join(lines), flush=True)
    for precision, workers in configurations(options):
        if time.monotonic() - BEGAN > options.limit:
            break
        server = Server(options, precision, workers)
        try:
            load(options, server, options.first_rate / 4, 1, warm_up=2)
            best = saturated(options, server)
            for share in (0.5, 0.7, 0.9):
                if time.monotonic() - BEGAN > options.limit:
                    break
                result = load(options, server, share * best, options.seconds, warm_up=1)
                cells = [precision, workers, f"{server.cold_start:.1f}", f"{best:.0f}", f"{share:.0%}", f"{result['sent']:.0f}",
                         f"{result['answered']:.0f}", result["p50"], result["p99"], result["failures"], server.memory]
                lines.append("| " + " | ".join(map(str, cells)) + " |")
                print(lines[-1], flush=True)
        finally:
            server.stop()
    if out := os.environ.get("OUT"):
        (Path(out) / "gpu.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"\n{time.monotonic() - BEGAN:.0f} s in all")


if __name__ == "__main__":
    main()
