"""The demo in a terminal: it plays its script, lets one talk, and Ctrl-C ends everything that it started."""

import os
import pty
import re
import select
import signal
import subprocess
import time

from conftest import ROOT


def read_until(terminal, word, seconds):
    text, end = "", time.monotonic() + seconds
    while word not in text:
        assert time.monotonic() < end, f"no {word!r} in:\n{text}"
        if select.select([terminal], [], [], 1)[0]:
            try:
                text += os.read(terminal, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"the demo ended without {word!r}:\n{text}")
    return text


def test_the_demo_without_tensorflow_says_where_small_talk_comes_from():
    environment = {**os.environ, "KEFU_CHITCHAT_PYTHON": "/nowhere/python"}
    demo = subprocess.run(["bash", "Deploy/demo/run"], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "TensorFlow is not installed: small talk comes from templates." in demo.stdout and "The demo is over." in demo.stdout


def processes_of(session):
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--sid", str(session)], capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if re.search(r"redis-server|intent-server|dialogue-orchestrator", line)]


def test_the_demo_in_a_terminal_ends_on_control_c():
    pid, terminal = pty.fork()
    if pid == 0:
        # As a terminal gives it: what runs the tests may have been started in the background, where shells ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.chdir(ROOT)
        os.execvp("bash", ["bash", "Deploy/demo/run"])
    try:
        played = read_until(terminal, "Your turn", 120)
        assert "kill -9" in played and "address_change" in played
        os.write(terminal, "我要退款\n".encode())
        assert "refund_request" in read_until(terminal, "turn 1", 30)
        assert len(processes_of(pid)) >= 4
        os.write(terminal, b"\x03")
        end = time.monotonic() + 30
        while processes_of(pid):
            assert time.monotonic() < end, processes_of(pid)
            time.sleep(0.1)
    finally:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(pid, 0)
        os.close(terminal)
