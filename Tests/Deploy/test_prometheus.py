"""Rules, alerts and dashboard: promtool takes them, each alert is tried, and what they ask for is what running servers export."""

import json
import re
import subprocess

import pytest
import yaml
from conftest import ROOT, objects, servers
from metrics import PROMTOOL, Metrics
from promql import groupings, selectors

FOLDER = ROOT / "Deploy/prometheus"
DASHBOARD = ROOT / "Deploy/grafana/kefu.json"
# What Prometheus itself adds to each series, and to `up`.
OF_TARGETS = {"instance", "job", "pod"}


def promtool(*arguments, cwd=FOLDER):
    return subprocess.run([PROMTOOL, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)


def rules(name):
    return [rule for group in yaml.safe_load((FOLDER / name).read_text())["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules("alerts.yaml")]
RECORDED = {rule["record"]: rule["expr"] for rule in rules("recording.yaml")}


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def dashboard_expressions():
    return [target["expr"].replace("$__rate_interval", "5m") for panel in panels() for target in panel["targets"]]


def scaled_queries():
    return [t["metadata"]["query"] for o in objects("cpu") if o["kind"] == "ScaledObject" for t in o["spec"]["triggers"]]


def test_promtool_takes_the_rules():
    result = promtool("check", "rules", "recording.yaml", "alerts.yaml")
    assert result.returncode == 0 and "SUCCESS" in result.stdout, result.stderr


def test_each_alert_fires_where_it_should():
    result = promtool("test", "rules", "tests/alerts.yaml")
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_alert_is_tried():
    tests = yaml.safe_load((FOLDER / "tests/alerts.yaml").read_text())["tests"]
    tried = {t["alertname"] for test in tests for t in test.get("alert_rule_test", []) if t["exp_alerts"]}
    assert tried == {alert["alert"] for alert in ALERTS}


def test_each_alert_has_a_runbook():
    readme = (ROOT / "Deploy/README.md").read_text()
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", readme, re.MULTILINE)}
    for alert in ALERTS:
        file, anchor = alert["annotations"]["runbook"].split("#")
        assert file == "Deploy/README.md" and anchor in anchors, alert["alert"]
        assert alert["annotations"]["summary"] and alert["labels"]["severity"] in ("warning", "critical")


def test_promtool_takes_the_configuration(tmp_path):
    """Debian's promtool is built without the discovery of Kubernetes, so that one part is replaced."""
    configuration = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    for job in configuration["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs")[0]["role"] == "endpoints"
        job["static_configs"] = [{"targets": ["localhost:1"]}]
    configuration["rule_files"] = [str(FOLDER / name) for name in configuration["rule_files"]]
    path = tmp_path / "prometheus.yaml"
    path.write_text(yaml.safe_dump(configuration))
    result = promtool("check", "config", path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_promtool_takes_every_expression_of_dashboard_and_scaling(tmp_path):
    expressions = dashboard_expressions() + scaled_queries()
    assert len(expressions) > 30

    def check(expressions):
        path = tmp_path / "rules.yaml"
        path.write_text(yaml.safe_dump({
            "groups": [{"name": "g", "rules": [{"record": f"r{n}", "expr": e} for n, e in enumerate(expressions)]}]}))
        return promtool("check", "rules", path)

    result = check(expressions)
    assert result.returncode == 0, result.stdout + result.stderr
    assert check(["sum(rate(x[5m])"]).returncode != 0


def test_the_dashboard_is_whole():
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["uid"] == "kefu" and dashboard["title"] == "Kefu"
    taken = set()
    for panel in dashboard["panels"]:
        box = panel["gridPos"]
        cells = {(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])}
        assert not cells & taken and box["x"] + box["w"] <= 24, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["title"] and panel["description"] and panel["fieldConfig"] is not None
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"]), "a data source of one machine"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_what_is_read_of_an_expression():
    assert selectors('sum by (le, a) (rate(x_bucket{a=~"b|c",d!="e}"}[5m])) / ignoring (a) group_left sum(y:z:w) > 0.5') == [
        ("x_bucket", [("a", "=~", "b|c"), ("d", "!=", "e}")]), ("y:z:w", [])]
    assert groupings("sum by (le, a) (x) / on (b) y") == {"le", "a", "b"}


@pytest.fixture(scope="module")
def exported(configured):
    """By name: the label sets of each metric that either server exports, a few turns after its start."""
    client = servers.Client(configured["dialogue-orchestrator"].address)
    for seq, text in enumerate(["你好", "我要改地址", "谢谢"], 1):
        assert client.reply("deploy", text, seq).reply
    found = {}
    for server in configured.values():
        for name, labels, _ in Metrics(server).samples:
            found.setdefault(name, []).append(labels)
    return found


@pytest.mark.parametrize("where, expressions", [
    ("recording rules", list(RECORDED.values())),
    ("alerts", [alert["expr"] for alert in ALERTS]),
    ("dashboard", dashboard_expressions()),
    ("scaling", scaled_queries()),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_asked_for_is_exported(where, expressions, exported):
    """Every metric, every label that is matched or grouped by, and every value of a label, as the servers are now."""
    asked = 0
    for expression in expressions:
        labels_here = set()
        for name, matchers in selectors(expression):
            asked += 1
            if name in RECORDED:
                labels_here |= groupings(RECORDED[name])
                continue
            if name == "up":
                labels_here |= OF_TARGETS
                continue
            if name == "ALERTS":
                continue
            assert name in exported, f"{where}: no server exports {name}: {expression}"
            series = exported[name]
            labels_here |= set().union(*series) | OF_TARGETS
            for label, operator, value in matchers:
                assert label in set().union(*series) | OF_TARGETS, f"{where}: {name} has no label {label}"
                if label in OF_TARGETS:
                    continue
                for one in value.split("|") if "~" in operator else [value]:
                    assert any(own.get(label) == one for own in series), f"{where}: {name} is never {label}={one}"
        assert groupings(expression) <= labels_here, f"{where}: {expression} groups by {groupings(expression) - labels_here}"
    assert asked >= len(expressions)


def test_a_name_that_is_not_exported_would_be_found(exported):
    with pytest.raises(AssertionError, match="kefu_nothing_total"):
        test_what_is_asked_for_is_exported("x", ["sum(rate(kefu_nothing_total[5m]))"], exported)
    with pytest.raises(AssertionError, match="outcome=lost"):
        test_what_is_asked_for_is_exported("x", ['kefu_dialogue_turns_total{outcome="lost"}'], exported)
    with pytest.raises(AssertionError, match="colour"):
        test_what_is_asked_for_is_exported("x", ["sum by (colour) (kefu_dialogue_turns_in_flight)"], exported)


def test_what_is_scaled_by_is_recorded():
    assert len(scaled_queries()) == 3 and set(scaled_queries()) <= set(RECORDED)


def test_each_recording_rule_is_used():
    everything = [alert["expr"] for alert in ALERTS] + dashboard_expressions() + scaled_queries()
    used = {name for expression in everything for name, _ in selectors(expression)}
    assert set(RECORDED) - used <= {"kefu:understanding_requests:rate5m"}
