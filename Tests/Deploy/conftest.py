"""The manifests as Kustomize builds them, and the release binaries as Tests/Python starts them."""

import functools
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = pathlib.Path(sys.executable).parent
KUBERNETES = ROOT / "Deploy/kubernetes"
OVERLAYS = ["dev", "cpu", "gpu-mps"]
COMPONENTS = ["models-volume", "model-image"]
PROGRAMS = ["intent-server", "dialogue-orchestrator"]

_spec = importlib.util.spec_from_file_location("kefu_servers", ROOT / "Tests/Python/conftest.py")
servers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(servers)
sys.path.insert(0, str(ROOT / "Tests/Python"))


def kustomize(folder):
    """What `kubectl kustomize` makes of a folder, as text. kubectl holds the real Kustomize (5.8)."""
    result = subprocess.run([TOOLS / "kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "deprecated" not in result.stderr, result.stderr
    return result.stdout


@functools.cache
def built(name):
    """The text of an overlay; or of the base with a component, where the name is one."""
    if name in OVERLAYS:
        return kustomize(KUBERNETES / "overlays" / name)
    with tempfile.TemporaryDirectory() as folder:
        relative = os.path.relpath(KUBERNETES, os.path.realpath(folder))
        text = yaml.safe_dump({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": "kefu",
            "resources": [f"{relative}/base"], "components": [f"{relative}/components/{name}"]})
        (pathlib.Path(folder) / "kustomization.yaml").write_text(text)
        return kustomize(folder)


@functools.cache
def objects(name):
    return [document for document in yaml.load_all(built(name), Loader=yaml.CSafeLoader) if document]


def one(name, kind, metadata_name):
    found = [o for o in objects(name) if o["kind"] == kind and o["metadata"]["name"] == metadata_name]
    assert len(found) == 1, f"{len(found)} × {kind} {metadata_name} in {name}"
    return found[0]


def workloads(name):
    return [o for o in objects(name) if o["kind"] in ("Deployment", "StatefulSet")]


def containers(name):
    """Each workload with each of its containers."""
    for workload in workloads(name):
        for container in workload["spec"]["template"]["spec"]["containers"]:
            yield workload, container


def settings_of(name, workload):
    """The settings.yaml that a pod of a Deployment reads."""
    volumes = workload["spec"]["template"]["spec"]["volumes"]
    config = next(v["configMap"]["name"] for v in volumes if v["name"] == "settings")
    return yaml.safe_load(one(name, "ConfigMap", config)["data"]["settings.yaml"])


@pytest.fixture(scope="session")
def redis():
    redis = servers.Redis()
    yield redis
    redis.kill()


@pytest.fixture(scope="session")
def configured(redis, tmp_path_factory):
    """Both programs with the settings that the manifests give them; only what names a place is another."""
    started = {}
    for program in PROGRAMS:
        settings = settings_of("cpu", one("cpu", "Deployment", program))
        here = {"models": "Deploy/models", "domain": "Deploy/domains/ecommerce"}
        settings |= {key: here[key] for key in here if key in settings}
        if program == "dialogue-orchestrator":
            # Nobody listens at the two last: their circuit breakers are there all the same.
            settings |= {"understanding": started["intent-server"].address, "actions": "127.0.0.1:9", "chitchat": "127.0.0.1:9"}
        path = tmp_path_factory.mktemp(program) / "settings.yaml"
        path.write_text(yaml.safe_dump(settings))
        environment = dict(os.environ, KEFU_REDIS=f"unix://{redis.socket}") if program == "dialogue-orchestrator" else None
        started[program] = servers.Process(
            program, "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--settings", path, env=environment)
    yield started
    for program in reversed(PROGRAMS):
        assert started[program].stop() == 0
