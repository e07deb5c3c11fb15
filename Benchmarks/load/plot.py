"""The figures of Load, as a picture: python plot.py load.json load.png"""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main(source: str, target: str) -> None:
    with open(source, encoding="utf-8") as file:
        rows = json.load(file)
    users = [row["users"] for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name, label in (("p99", "TP99"), ("mean", "mean"), ("p50", "TP50")):
        left.plot(users, [row[name] for row in rows], marker="o", label=label)
    left.axhline(300, color="grey", linestyle=":", label="300 ms")
    left.set(xlabel="users", ylabel="ms", yscale="log", title="Reply time, from when a message was due")
    left.legend()
    right.plot(users, [row["turnsPerSecond"] for row in rows], marker="o", color="tab:green")
    right.set(xlabel="users", ylabel="turns/s", ylim=(0, None), title="Answered")
    errors = right.twinx()
    errors.bar(users, [100 * row["errors"] for row in rows], width=max(users) / 30, color="tab:red", alpha=0.4)
    errors.set(ylabel="errors, %", ylim=(0, max(1.0, *(120 * row["errors"] for row in rows))))
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:3])
