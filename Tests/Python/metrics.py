"""Reads what a server serves on /metrics."""

import os
import pathlib
import re
import shutil
import time
import urllib.request

PROMTOOL = shutil.which("promtool") or os.environ.get("KEFU_PROMTOOL", str(pathlib.Path.home() / ".cache/kefu/bin/promtool"))
LINE = re.compile(r'^(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def get(server, path):
    """Status, content type and text of a path of a server's HTTP side."""
    try:
        with urllib.request.urlopen(f"http://{server.http}{path}", timeout=10) as response:
            return response.status, response.headers["Content-Type"], response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Type"], error.read().decode()


class Metrics:
    """The samples of one moment."""

    def __init__(self, server):
        self.text = get(server, "/metrics")[2]
        self.samples = []
        for line in self.text.splitlines():
            if not line.startswith("#"):
                match = LINE.match(line)
                assert match, line
                self.samples.append((match["name"], dict(LABEL.findall(match["labels"] or "")), float(match["value"])))

    def sum(self, name, **labels):
        """The sum of a metric's samples that have these labels."""
        return sum(value for found, own, value in self.samples if found == name and labels.items() <= own.items())


def wait_for(server, condition, timeout=10):
    """The metrics once they fulfil a condition."""
    deadline = time.monotonic() + timeout
    while True:
        metrics = Metrics(server)
        if condition(metrics) or time.monotonic() > deadline:
            assert condition(metrics), metrics.text
            return metrics
        time.sleep(0.05)
