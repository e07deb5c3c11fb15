"""The published JSON Schemas: they accept the shipped domain, and refuse what `verify` refuses of a file's form."""

import json
import pathlib
import shutil
import subprocess

import jsonschema
import pytest
import yaml
from conftest import BIN, ROOT

SCHEMAS = ROOT / "Deploy" / "domains" / "schema"
DOMAIN = ROOT / "Deploy" / "domains" / "ecommerce"
FILES = sorted(DOMAIN.glob("*.yaml")) + sorted((DOMAIN / "conversations").glob("*.yaml"))


def validator(path):
    name = "conversations" if path.parent.name == "conversations" else path.stem
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


def verify(folder):
    return subprocess.run([BIN / "dialogue-orchestrator", "verify", "--domain", folder], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_shipped_files_fit_their_schema_and_name_it(path):
    jsonschema.Draft202012Validator.check_schema(validator(path).schema)
    assert [error.message for error in validator(path).iter_errors(yaml.safe_load(path.read_text()))] == []
    first = path.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.split("=")[1]).resolve().parent == SCHEMAS


def test_the_shipped_domain_is_well_formed():
    result = verify(DOMAIN)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("file, old, new", [
    ("domain.yaml", "language: zh-CN", "langage: zh-CN"), ("domain.yaml", "time_to_live: 1h ", "time_to_live: soon "),
    ("domain.yaml", "understood: 0.5", "understood: 1.5"), ("domain.yaml", "failed_action: true", "failed_action: 1"),
    ("domain.yaml", "suspended_flows: 3", "suspended_flows: many"), ("intents.yaml", "    means: 取消未完成的订单\n", ""),
    ("slots.yaml", "    type: code", "    type: number"), ("slots.yaml", "normalizer: attribute", "normalizer: other"),
    ("slots.yaml", "    label: 订单号\n", ""), ("flows.yaml", "title: 查询订单状态", "titel: 查询订单状态"),
    ("flows.yaml", "          ask: order_id", "          asks: order_id"), ("rules.yaml", "    then: hand_off", "    then: handoff"),
    ("rules.yaml", "    then: not_understood\n", "    then: answer\n"), ("rules.yaml", "    then: not_understood\n", "    then: not_understood\n    reply: [嗯]\n"),
    ("slots.yaml", "    several: true", "    several: sometimes"), ("rules.yaml", "hours: '22:00-08:00'", "hours: night"), ("rules.yaml", "times: 2", "times: 0"), ("replies.yaml", "  back_to:\n", "  backto:\n"),
    ("replies.yaml", "  thanks:\n    - 不客气，能帮到您我很开心～\n", "  thanks: {}\n  x:\n    - 不客气，能帮到您我很开心～\n"),
    ("conversations/flows.yaml", "heard: order_status,", "hears: order_status,"), ("conversations/sessions.yaml", "resend: true", "resent: true"),
])
def test_what_the_schema_refuses_verify_refuses_too(tmp_path, file, old, new):
    folder = tmp_path / "domain"
    shutil.copytree(DOMAIN, folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    assert list(validator(DOMAIN / file).iter_errors(yaml.safe_load((folder / file).read_text()))) != []
    result = verify(folder)
    assert result.returncode == 1
    line = result.stderr.splitlines()[0]
    path, row, column, _ = line.split(":", 3)
    assert path == str(folder / file) and int(row) > 0 and int(column) > 0
