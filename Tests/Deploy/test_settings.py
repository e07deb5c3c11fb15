"""The page of settings is what the programs say."""

import subprocess
import sys

from conftest import ROOT


def check(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "Deploy" / "settings.py", "--check", *arguments], capture_output=True, text=True)


def test_the_page_is_made_from_the_programs():
    assert check().returncode == 0, "run make settings"


def test_another_program_is_noticed(tmp_path):
    for name in ("dialogue-orchestrator", "intent-server"):
        program = tmp_path / name
        program.write_text('#!/bin/sh\necho \'{"command": {"arguments": [{"names": [{"kind": "long", "name": "new"}], "abstract": "A. (default: 1)"}]}}\'\n')
        program.chmod(0o755)
    result = check("--bin", str(tmp_path))
    assert result.returncode == 1 and "make settings" in result.stderr
