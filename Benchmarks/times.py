"""How long batches of a bundle take, as `Simulation --times` reads it: lines rows,length,milliseconds, the median of several passes.

    python Benchmarks/times.py --model Deploy/models/ecommerce/4/model.pt [--threads 2] [--precision float32] [--device cuda:0] > times.csv

With `--beside MODEL` a second model is timed in turn with the first: lines rows,length,milliseconds,milliseconds of the second,ratio.

Needs `make build`. On a busy machine: chrt -f 10 python … --least; the median of short runs then hardly changes, and the least of them hardly at all.
"""

import argparse
import statistics
import sys

from bare import BareModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--beside", help="a second model, timed in turn with the first")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda:N (not run on a GPU yet)")
    parser.add_argument("--precision", default="auto", help="as intent-server takes it")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--lengths", type=int, nargs="+", default=[8, 16, 24, 32, 48, 64])
    parser.add_argument("--passes", type=int, default=9, help="rounds over all shapes, of three passes each")
    parser.add_argument("--least", action="store_true", help="the shortest pass instead of the median: what the machine can do when nobody else uses it")
    options = parser.parse_args()
    paths = [options.model] + ([options.beside] if options.beside else [])
    models = [BareModel(path, options.threads, options.precision, options.device) for path in paths]
    shapes = [(rows, length) for rows in options.rows for length in options.lengths]
    times: list[dict[tuple[int, int], list[float]]] = [{shape: [] for shape in shapes} for _ in models]
    # Round by round, so that a slow minute of the machine is not one shape's, or one model's, alone.
    for _ in range(options.passes):
        for shape in shapes:
            for model, found in zip(models, times):
                found[shape] += model.seconds(*shape, 0, 3)
    for rows, length in shapes:
        took = [(min if options.least else statistics.median)(found[rows, length]) * 1000 for found in times]
        ratio = f",{took[0] / took[1]:.2f}" if options.beside else ""
        print(f"{rows},{length}," + ",".join(f"{value:.3f}" for value in took) + ratio)
    print(f"# {' beside '.join(paths)}, {options.device}, {models[0].precision}, {options.threads} threads", file=sys.stderr)


if __name__ == "__main__":
    main()
