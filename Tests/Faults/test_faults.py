"""The short form of the fault tests, and the bugs that are planted to see that the checker finds them. `faults.py` runs every row."""

import asyncio

import parts
import pytest
from faults import ROWS, run
from plants import PLANTS


@pytest.fixture(scope="module")
def intent_server(tmp_path_factory):
    server = parts.IntentServer(tmp_path_factory.mktemp("intent"))
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("row", [row for row in ROWS if row.short], ids=lambda row: row.name)
def test_the_promise_is_kept(row, intent_server, tmp_path):
    outcome = asyncio.run(run(row, intent_server, tmp_path))
    assert outcome.skipped is None and outcome.problems == []
    assert outcome.report.acknowledged > 100, "so few turns show nothing"
    assert (outcome.report.lost, outcome.report.doubled) == (0, 0)


@pytest.mark.parametrize("row, load, kinds", PLANTS, ids=lambda value: getattr(value, "name", ""))
def test_a_planted_bug_is_found(row, load, kinds, intent_server, tmp_path):
    outcome = asyncio.run(run(row, intent_server, tmp_path, before=0.5, after=0.5, load=load))
    assert kinds & outcome.report.kinds(), f"found only {outcome.report.kinds()}"
    assert outcome.problems
