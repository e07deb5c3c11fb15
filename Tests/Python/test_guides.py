"""The guide to an own domain, followed to the letter: its files are written and its commands run as they stand. (That to an own model trains one; it is followed
by hand.)"""

import re
import shutil
import subprocess

from conftest import BIN, ROOT


def test_the_guide_to_an_own_domain(tmp_path):
    text = (ROOT / "Deploy" / "domains" / "README.md").read_text()
    (tmp_path / ".build").mkdir()
    (tmp_path / ".build" / "release").symlink_to(BIN)
    shutil.copytree(ROOT / "Deploy" / "domains", tmp_path / "Deploy" / "domains")
    said = []
    for kind, name, block in re.findall(r"^```(sh|yaml) ?(\S*)\n(.*?)^```", text, re.M | re.S):
        if kind == "yaml":
            (tmp_path / name).write_text(block)
        else:
            run = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=120)
            assert run.returncode == 0, f"{block}\n{run.stdout}{run.stderr}"
            said.append(run.stdout)
    assert "well-formed" in "".join(said) and "3 passed, 0 failed" in "".join(said)
