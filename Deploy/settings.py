"""Deploy/SETTINGS.md from the programs themselves: python Deploy/settings.py (after `make build`); --check says whether it is up to date."""

import argparse
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "Deploy" / "SETTINGS.md"
PROGRAMS = ("dialogue-orchestrator", "intent-server")
HEAD = """# Settings

Made by `make settings` from the programs' own help; `make test` holds it to them. Each flag of `serve` is also an environment variable and a line of the YAML file that `--settings` names
(the flag without its dashes). A flag stands above a variable, a variable above the file.
"""


def rows(program: pathlib.Path) -> list[tuple[str, str, str, str]]:
    """Flag, variable, default and meaning of each setting of `serve`, in the order of the help."""
    dump = json.loads(subprocess.run([program, "serve", "--experimental-dump-help"], capture_output=True, text=True, check=True).stdout)
    found = []
    for argument in dump["command"]["arguments"]:
        name = next((n["name"] for n in argument.get("names", []) if n["kind"] == "long"), None)
        if name is None or name in ("help", "version"):
            continue
        text = argument.get("abstract", "")
        default = re.search(r" ?\(default: (.*)\)$", text)
        variable = "" if name == "settings" else "KEFU_" + name.upper().replace("-", "_")
        found.append((f"--{name}", variable, default.group(1) if default else "", text[: default.start()] if default else text))
    return found


def page(binaries: pathlib.Path) -> str:
    """The whole page."""
    parts = [HEAD]
    for program in PROGRAMS:
        parts.append(f"\n## {program} serve\n\n| flag | variable | default | |\n|---|---|---|---|\n")
        for flag, variable, default, text in rows(binaries / program):
            cells = (f"`{flag}`", f"`{variable}`" if variable else "", default.replace("|", "\\|"), text.replace("|", "\\|"))
            parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--bin", type=pathlib.Path, default=ROOT / ".build" / "release")
    arguments.add_argument("--check", action="store_true", help="change nothing; exit with 1 where the page is not what the programs say")
    options = arguments.parse_args()
    made = page(options.bin)
    if not options.check:
        PAGE.write_text(made, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != made:
        print("Deploy/SETTINGS.md is not what the programs say: run make settings", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
