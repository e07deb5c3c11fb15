"""The Dockerfiles: what hadolint says, and that what they copy is there. `make image` builds them and runs the demo in them."""

import re
import subprocess

import pytest
from conftest import ROOT, TOOLS

DOCKERFILES = sorted((ROOT / "Deploy/docker").glob("*Dockerfile"))


def hadolint(path):
    return subprocess.run([TOOLS / "hadolint", path], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing_to_say(path):
    result = hadolint(path)
    assert (result.returncode, result.stdout) == (0, "")


def test_hadolint_has_something_to_say_of_a_bad_one(tmp_path):
    path = tmp_path / "Dockerfile"
    path.write_text("FROM debian\nRUN apt-get install curl\n")
    assert "DL3006" in hadolint(path).stdout


def test_the_build_context_holds_what_is_copied():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name in ("Dockerfile", "models.Dockerfile"):
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Deploy/docker" / name).read_text(), re.MULTILINE):
            for source in sources.split():
                assert (ROOT / source).exists() and source in allowed, source


def with_dependencies(packages):
    """Debian packages and all that comes with them, by this machine's own (those that are not installed here bring nothing)."""
    found, left = set(), list(packages)
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        fields = subprocess.run(["dpkg-query", "-W", "-f", "${Pre-Depends},${Depends}", name], capture_output=True, text=True).stdout
        left += re.findall(r"(?:^|[,|]) *([a-z0-9][a-z0-9.+-]*)", fields)
    return found


@pytest.mark.parametrize("product", ["intent-server", "dialogue-orchestrator"])
def test_an_image_has_the_libraries_that_its_program_needs(product):
    """What is Swift's is inside the program there; libtorch comes from the stage that builds."""
    stage = re.split(r"^FROM ", (ROOT / "Deploy/docker/Dockerfile").read_text(), flags=re.MULTILINE)
    stage = next(text for text in stage if text.splitlines()[0].endswith(f" AS {product}"))
    installed = re.search(r"--no-install-recommends ([^\\\n]+)", stage).group(1).split()
    has = with_dependencies(installed)
    needed = subprocess.run(["objdump", "-p", ROOT / ".build/release" / product], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"NEEDED +(\S+)", needed):
        # Foundation's HTTP client is Swift's, and needs libcurl where it is inside the program.
        library = "libcurl.so.4" if library == "libFoundationNetworking.so" else library
        owners = subprocess.run(["dpkg", "-S", f"*/{library}"], capture_output=True, text=True).stdout
        packages = {owner.split(":")[0] for owner in owners.splitlines()}
        assert not packages or packages & has, f"{product} needs {library}, of {packages}, and its image installs {installed}"


def test_no_service_runs_as_root():
    for path in DOCKERFILES:
        text = path.read_text()
        stages = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
        final = [stage for stage in stages if "ENTRYPOINT" in stage]
        assert all(re.search(r"^USER 65532:65532$", stage, re.MULTILINE) for stage in final)
        assert not any(re.search(r"\b(g\+\+|python3-pip|swift build)\b", stage) for stage in final)
