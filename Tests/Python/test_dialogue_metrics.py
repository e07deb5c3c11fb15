"""The orchestrator's HTTP side: what is counted is what a client was told, and promtool finds nothing to say."""

import collections
import concurrent.futures
import queue
import subprocess
import uuid

import grpc
import pytest
from conftest import Client, Redis, orchestrator
from metrics import PROMTOOL, Metrics, get, wait_for

PREFIX = "kefu_dialogue_"
REPLY = "kefu.dialogue.v1.Dialogue/Reply"
SOURCES = ["unspecified", "template", "rule", "chitchat", "fallback", "handoff"]


def new_uid():
    return f"user-{uuid.uuid4()}"


@pytest.fixture
def pair(intent_server, redis):
    """Two orchestrators over one Redis, each with counters at 0."""
    # A busy machine may take its time.
    flags = ("--http", "127.0.0.1:0", "--recognition-timeout-ms", "9000")
    servers = [orchestrator(intent_server.address, f"unix://{redis.socket}", *flags) for _ in range(2)]
    yield servers
    for server in servers:
        assert server.stop() == 0


def total(servers, name, **labels):
    return sum(Metrics(server).sum(PREFIX + name, **labels) for server in servers)


def test_paths_and_promtool(pair):
    server = pair[0]
    code, kind, text = get(server, "/metrics")
    assert code == 200 and kind == "text/plain; version=0.0.4; charset=utf-8"
    assert get(server, "/healthz")[0] == get(server, "/readyz")[0] == 200
    assert get(server, "/version")[2].strip() and get(server, "/nothing")[0] == 404
    # Every series of a known label is there from 0 on, so that a first error is a rise.
    metrics = Metrics(server)
    names = collections.Counter(name for name, _, _ in metrics.samples if name.startswith(PREFIX))
    assert names[PREFIX + "turns_total"] == 9 and names[PREFIX + "replies_total"] == 5 and names[PREFIX + "degraded_turns_total"] == 3
    assert names[PREFIX + "step_seconds_count"] == 6 and names[PREFIX + "session_store_errors_total"] == 5
    assert metrics.sum("process_cpu_seconds_total") > 0
    Client(server.address).reply(new_uid(), "我要改地址", 1)
    result = subprocess.run([PROMTOOL, "check", "metrics"], input=Metrics(server).text, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


def test_what_is_counted_is_what_was_told(pair):
    """Turns, replays, messages that are not valid or too old, hand-offs and quarrels over one session, by both transports."""
    clients = [Client(server.address) for server in pair]
    outcomes, sources, degraded = collections.Counter(), collections.Counter(), collections.Counter()

    def note(response):
        outcomes["replayed" if response.replayed else "answered"] += 1
        if not response.replayed:
            sources[SOURCES[response.source]] += 1
            degraded.update(response.degraded_parts)

    def one(n):
        client, uid, found = clients[n % 2], new_uid(), []
        for seq, query in enumerate(["我要改地址", "订单号是202411110001", "转人工"], 1):
            found.append(client.reply(uid, query, seq, timeout=60))
        found.append(clients[(n + 1) % 2].reply(uid, "转人工", 3, timeout=60))
        with pytest.raises(grpc.RpcError) as failure:
            client.reply(uid, "", 4)
        assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        return found

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for found in pool.map(one, range(12)):
            for response in found:
                note(response)
        outcomes["invalid"] += 12
        # Sixteen writers of one session, half of them in each process: some are second, and decide again.
        quarrel = new_uid()
        for response in pool.map(lambda n: clients[n % 2].reply(quarrel, "你好", 1 + n, timeout=60), range(16)):
            note(response)
    for seq in [17, 18]:
        note(clients[0].reply(quarrel, "你好", seq))
    with pytest.raises(grpc.RpcError) as failure:
        clients[0].reply(quarrel, "你好", 1)
    assert failure.value.code() == grpc.StatusCode.ABORTED
    outcomes["stale"] += 1

    # A stream, open while it is looked at.
    request, call = clients[0].stub("kefu.dialogue.v1.Dialogue/Converse", "stream_stream")
    outbox, uid = queue.Queue(), new_uid()
    stream = call(iter(outbox.get, None), timeout=60)
    outbox.put(request(uid=uid, query="你好", seq=1))
    note(next(stream))
    outbox.put(request(uid=uid, query="", seq=2))
    assert next(stream).error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    outcomes["invalid"] += 1
    assert total(pair, "converse_streams") == 1
    outbox.put(None)
    assert list(stream) == []
    wait_for(pair[0], lambda metrics: metrics.sum(PREFIX + "converse_streams") == 0)

    for name in ["answered", "replayed", "invalid", "stale", "refused", "expired", "unavailable", "cancelled", "failed"]:
        assert total(pair, "turns_total", outcome=name) == outcomes[name], (name, outcomes)
    for name in SOURCES[1:]:
        assert total(pair, "replies_total", source=name) == sources[name], (name, sources)
    assert sources["handoff"] == total(pair, "hand_offs_total") > 0
    assert total(pair, "turns_in_flight") == total(pair, "session_store_errors_total") == 0
    # A busy machine may degrade a turn; the client was told of each.
    assert total(pair, "degraded_turns_total") == degraded.total() == total(pair, "degraded_turns_total", part="understanding")
    asked = sum(outcomes.values()) - outcomes["invalid"]
    assert total(pair, "turn_seconds_count") == asked
    assert total(pair, "step_seconds_count", step="recognition") == asked
    assert total(pair, "step_seconds_count", step="load") == asked
    assert total(pair, "step_seconds_count", step="replay") == outcomes["replayed"]
    assert total(pair, "step_seconds_count", step="commit") == outcomes["answered"] + total(pair, "commit_conflicts_total")
    assert total(pair, "commit_conflicts_total") > 0
    # A recognition that is not waited for is cancelled: that of a replay, or of a seq that is too old.
    errors = total(pair, "recognition_errors_total")
    assert total(pair, "recognitions_total") + errors == asked
    assert degraded.total() <= errors <= degraded.total() + outcomes["replayed"] + outcomes["stale"]


def test_parts_that_are_away_are_counted(intent_server):
    """The intent server away; small talk away, until its breaker opens; then Redis away."""
    redis = Redis()
    away = orchestrator("127.0.0.1:1", f"unix://{redis.socket}", "--http", "127.0.0.1:0", "--redis-timeout-ms", "200")
    chatty = orchestrator(
        intent_server.address, f"unix://{redis.socket}", "--http", "127.0.0.1:0", "--chitchat", "127.0.0.1:1", "--chitchat-timeout-ms", "5000")
    try:
        client, uid = Client(away.address), new_uid()
        assert client.reply(uid, "我要改地址", 1).degraded_parts == ["understanding"]
        metrics = Metrics(away)
        assert metrics.sum(PREFIX + "degraded_turns_total", part="understanding") == metrics.sum(PREFIX + "degraded_turns_total") == 1
        assert metrics.sum(PREFIX + "recognition_errors_total", code="UNAVAILABLE") == 1

        assert Metrics(chatty).sum(PREFIX + "circuit_breaker_state", part="chitchat", state="closed") == 1
        degraded = sum("chitchat" in Client(chatty.address).reply(new_uid(), "给我讲个笑话吧", 1).degraded_parts for _ in range(6))
        metrics = Metrics(chatty)
        assert metrics.sum(PREFIX + "degraded_turns_total", part="chitchat") == degraded == 6
        assert metrics.sum(PREFIX + "step_seconds_count", step="chitchat") == 6
        assert metrics.sum(PREFIX + "circuit_breaker_state") == 1
        assert metrics.sum(PREFIX + "circuit_breaker_state", part="chitchat", state="closed") == 0

        redis.kill()
        with pytest.raises(grpc.RpcError) as failure:
            client.reply(uid, "我要改地址", 2)
        assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
        metrics = Metrics(away)
        assert metrics.sum(PREFIX + "turns_total", outcome="unavailable") == 1
        assert metrics.sum(PREFIX + "session_store_errors_total", operation="load") == metrics.sum(PREFIX + "session_store_errors_total") == 1
    finally:
        redis.kill()
        assert away.stop() == chatty.stop() == 0


def test_an_http_address_that_is_taken_ends_the_server(pair):
    from conftest import BIN, ROOT
    result = subprocess.run(
        [BIN / "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--http", pair[0].http], cwd=ROOT, capture_output=True,
        text=True, timeout=60)
    assert result.returncode != 0 and pair[0].http in result.stderr and "listening" not in result.stdout
