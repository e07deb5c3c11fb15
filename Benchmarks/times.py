"""How long batches of a bundle take, as `Simulation --times` reads it: lines rows,length,milliseconds, the median of several passes.

    python Benchmarks/times.py --model Deploy/models/ecommerce/4/model.pt [--threads 2] [--device cuda:0] > times.csv

On a busy machine: chrt -f 10 python …; the median of short runs then hardly changes.
"""

import argparse
import os
import statistics
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: E402 (after the variable that it reads once)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu (float32), or cuda:N (float16; not run on a GPU yet)")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--lengths", type=int, nargs="+", default=[8, 16, 24, 32, 48, 64])
    parser.add_argument("--passes", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch._C._set_graph_executor_optimize(False)
    # As intent-server computes; bundles store float16.
    model = torch.jit.load(options.model)
    model = (model.float() if options.device == "cpu" else model.half()).to(options.device).eval()
    with torch.inference_mode():
        for rows in options.rows:
            for length in options.lengths:
                ids = torch.randint(200, 300, (rows, length), device=options.device)
                mask = torch.ones_like(ids)
                times = []
                for _ in range(options.passes + 2):
                    start = time.perf_counter()
                    intents, slots = model(ids, mask)
                    # What waits for a GPU to be done.
                    intents.cpu(), slots.cpu()
                    times.append(time.perf_counter() - start)
                print(f"{rows},{length},{statistics.median(times[2:]) * 1000:.3f}")
    print(f"# {options.model}, {options.device}, {options.threads} threads, torch {torch.__version__}", file=sys.stderr)


if __name__ == "__main__":
    main()
