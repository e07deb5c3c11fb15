"""Traces: W3C context in and out, spans of both services at a collector made from OpenTelemetry's own stubs; and logs in JSON with the trace's ids."""

import concurrent.futures
import json
import os
import secrets
import threading
import time
import urllib.request
import uuid

import grpc
import pytest
from conftest import Client, Process
from metrics import Metrics, wait_for
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

REPLY = "kefu.dialogue.v1.Dialogue/Reply"
UNDERSTAND = "kefu.understanding.v1.Understanding/Understand"
QUICK = ("--trace-ratio", "1")
ENVIRONMENT = {**os.environ, "KEFU_TRACE_PAUSE_MS": "50"}


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that it gets, by trace and name; may be told to refuse or to hang."""

    def __init__(self, credentials=None):
        self.lock = threading.Condition()
        self.spans, self.failures, self.rejected = [], 0, 0
        self.gate = threading.Event()
        self.gate.set()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        port = self.server.add_secure_port("127.0.0.1:0", credentials) if credentials else self.server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        self.server.start()

    def Export(self, request, context):
        self.gate.wait(60)
        with self.lock:
            if self.failures > 0:
                self.failures -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
            for group in request.resource_spans:
                resource = values(group.resource.attributes)
                for scope in group.scope_spans:
                    self.spans += [(resource["service.name"], span) for span in scope.spans]
            self.lock.notify_all()
            response = trace_service_pb2.ExportTraceServiceResponse()
            if self.rejected:
                response.partial_success.rejected_spans = self.rejected
                response.partial_success.error_message = "too many"
            return response

    def of(self, trace, count, timeout=30):
        """The spans of a trace, once there are so many: {(service, name): span}."""
        def found():
            return [(service, span) for service, span in self.spans if span.trace_id.hex() == trace]
        with self.lock:
            assert self.lock.wait_for(lambda: len(found()) >= count, timeout), [(s, x.name) for s, x in found()]
            assert len(found()) == count, [(s, x.name) for s, x in found()]
            return {(service, span.name): span for service, span in found()}


def values(attributes):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


@pytest.fixture(scope="module")
def collector():
    collector = Collector()
    yield collector
    collector.server.stop(None)


@pytest.fixture(scope="module")
def traced(collector, redis):
    """An intent server and an orchestrator that send every span, and the first lines of the orchestrator's log."""
    understanding = Process(
        "intent-server", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--otlp", collector.address, *QUICK, env=ENVIRONMENT)
    dialogue = Process(
        "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--understanding", understanding.address,
        "--redis", f"unix://{redis.socket}", "--recognition-timeout-ms", "9000", "--otlp", collector.address, *QUICK, env=ENVIRONMENT)
    yield understanding, dialogue
    assert dialogue.stop() == 0 and understanding.stop() == 0


def context(sampled=True):
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, f"00-{trace}-{span}-0{int(sampled)}"


def reply(client, uid, query, seq, metadata=()):
    request, call = client.stub(REPLY)
    return call(request(uid=uid, query=query, seq=seq), timeout=60, metadata=metadata)


def test_a_turn_is_one_trace_through_both_services(traced, collector):
    client, uid = Client(traced[1].address), f"user-{uuid.uuid4()}"
    trace, parent, header = context()
    before = time.time_ns()
    assert reply(client, uid, "我要改地址", 1, [("traceparent", header), ("tracestate", "shop=1")]).session.flow == "address_change"
    spans = collector.of(trace, 7)
    own, other = "dialogue-orchestrator", "intent-server"
    assert set(spans) == {
        (own, "turn"), (own, "recognition"), (own, "load"), (own, "commit"), (other, "understand"), (other, "queue"), (other, "compute")}
    turn, recognition, understand = spans[own, "turn"], spans[own, "recognition"], spans[other, "understand"]
    assert turn.parent_span_id.hex() == parent and turn.trace_state == understand.trace_state == "shop=1"
    for name in ["recognition", "load", "commit"]:
        assert spans[own, name].parent_span_id == turn.span_id
    # The context went out with the call: the intent server's span is a part of the recognition.
    assert understand.parent_span_id == recognition.span_id
    assert spans[other, "queue"].parent_span_id == spans[other, "compute"].parent_span_id == understand.span_id
    kinds = trace_service_pb2.opentelemetry_dot_proto_dot_trace_dot_v1_dot_trace__pb2.Span
    assert (turn.kind, recognition.kind, understand.kind) == (kinds.SPAN_KIND_SERVER, kinds.SPAN_KIND_CLIENT, kinds.SPAN_KIND_SERVER)
    for span in spans.values():
        assert before - 10**9 < span.start_time_unix_nano <= span.end_time_unix_nano < time.time_ns() + 10**9
        assert len(span.span_id) == 8 and span.status.code == 0
    length = {key: span.end_time_unix_nano - span.start_time_unix_nano for key, span in spans.items()}
    assert length[own, "turn"] >= length[own, "recognition"] >= length[other, "compute"] > 0
    found = values(recognition.attributes)
    assert found["kefu.intent"] == "address_change" and found["kefu.batch_size"] >= 1 and found["kefu.route"] == "model"
    assert abs(found["kefu.compute_us"] * 1000 - length[other, "compute"]) <= 1000
    assert values(turn.attributes)["kefu.seq"] == 1
    # Neither the customer nor what was said is in any of them.
    assert not any(uid in str(span) or "地址" in str(span) for span in spans.values())

    trace, _, header = context()
    reply(client, uid, "我要改地址", 1, [("traceparent", header)])
    with collector.lock:
        assert collector.lock.wait_for(lambda: any(x.name == "turn" and x.trace_id.hex() == trace for _, x in collector.spans), 30)
        found = {span.name: span for _, span in collector.spans if span.trace_id.hex() == trace}
    assert values(found["turn"].attributes)["kefu.replayed"] is True and "replay" in found and "commit" not in found


def test_http_and_streams_take_the_context_too(traced, collector):
    trace, parent, header = context()
    request = urllib.request.Request(
        f"http://{traced[1].http}/api/chat", json.dumps({"uid": f"user-{uuid.uuid4()}", "query": "你好"}).encode(),
        headers={"Content-Type": "application/json", "traceparent": header})
    assert urllib.request.urlopen(request, timeout=60).status == 200
    assert collector.of(trace, 7)["dialogue-orchestrator", "turn"].parent_span_id.hex() == parent


def test_decisions_of_callers_and_what_is_no_context(traced, collector):
    client = Client(traced[0].address)
    request, call = client.stub(UNDERSTAND)
    unsampled, _, header = context(sampled=False)
    call(request(text="你好"), timeout=60, metadata=[("traceparent", header)])
    bad = [
        "", "00", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "00-" + "1" * 32 + "-" + "0" * 16 + "-01", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "A" * 32 + "-" + "1" * 16 + "-01", "00-" + "1" * 32 + "-" + "1" * 16 + "-01-more", "x" * 55]
    for header in bad:
        call(request(text="你好"), timeout=60, metadata=[("traceparent", header)])
    # A later version may say more.
    trace, _, header = context()
    call(request(text="你好"), timeout=60, metadata=[("traceparent", "01" + header[2:] + "-more")])
    assert collector.of(trace, 3)
    traces = {span.trace_id.hex() for _, span in collector.spans}
    assert unsampled not in traces and "1" * 32 not in traces


def test_a_failed_part_is_a_failed_span(collector, redis, traced):
    server = Process(
        "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--understanding", "127.0.0.1:1", "--redis", f"unix://{redis.socket}",
        "--otlp", collector.address, "--trace-ratio", "0", env=ENVIRONMENT)
    try:
        trace, _, header = context()
        client = Client(server.address)
        reply(client, f"user-{uuid.uuid4()}", "你好", 1)  # A trace of its own: not sampled.
        reply(client, f"user-{uuid.uuid4()}", "你好", 1, [("traceparent", header)])
        spans = collector.of(trace, 4)
        recognition = spans["dialogue-orchestrator", "recognition"]
        assert recognition.status.code == 2 and "UNAVAILABLE" in recognition.status.message
        assert values(spans["dialogue-orchestrator", "turn"].attributes)["kefu.degraded_parts"] == "understanding"
    finally:
        assert server.stop() == 0


def test_a_collector_that_is_away_or_hangs_slows_no_turn(redis, traced):
    """Spans are counted as lost or dropped; turns go on as fast as ever, and the shutdown does not wait for long."""
    hanging = Collector()
    hanging.gate.clear()
    server = Process(
        "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--understanding", traced[0].address,
        "--redis", f"unix://{redis.socket}", "--otlp", hanging.address, *QUICK, env=ENVIRONMENT)
    try:
        client = Client(server.address)
        for n in range(20):
            assert reply(client, f"user-{uuid.uuid4()}", "你好", 1).reply
        assert Metrics(server).sum("kefu_dialogue_turns_total", outcome="answered") == 20
        # Later the collector works, refuses, and takes less than it is sent.
        hanging.failures, hanging.rejected = 1, 1
        hanging.gate.set()
        wait_for(server, lambda m: m.sum("kefu_trace_spans_exported_total") > 0 and m.sum("kefu_trace_spans_lost_total", reason="rejected") > 0, 60)
    finally:
        hanging.server.stop(None)
        assert server.stop(timeout=30) == 0


def test_logs_in_json_name_the_trace_and_hide_what_is_sensitive(redis, traced, tmp_path):
    """At the level debug each turn is a line: with the ids of its trace, without what the customer wrote, and little of a sensitive value."""
    with open(tmp_path / "log", "w+") as log:
        server = Process(
            "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--understanding", traced[0].address, "--redis",
            f"unix://{redis.socket}", "--recognition-timeout-ms", "9000", "--log-format", "json", "--log-level", "debug", stderr=log)
        try:
            client, uid = Client(server.address), f"user-{uuid.uuid4()}"
            trace, _, header = context(sampled=False)
            address, phone = "浙江省杭州市西湖区文三路100号", "13800138000"
            queries = ["我要改地址", "订单号是202411110001", address, f"我的手机号是{phone}"]
            for seq, query in enumerate(queries, 1):
                reply(client, uid, query, seq, [("traceparent", header)])
            with pytest.raises(grpc.RpcError):
                reply(client, uid, "", 9, [("traceparent", header)])
        finally:
            assert server.stop() == 0
        log.seek(0)
        lines = [json.loads(line) for line in log]
    turns = [line for line in lines if line["message"] == "turn" and line["uid"] == uid]
    assert [line["seq"] for line in turns] == ["1", "2", "3", "4"]
    assert {line["trace_id"] for line in turns} == {trace} and all(len(line["span_id"]) == 16 for line in turns)
    assert all(line["level"] == "debug" and line["logger"] == "dialogue-orchestrator" and line["time"].endswith("Z") for line in turns)
    assert turns[1]["slots"]["order_id"] == "202411110001"
    assert "***" in turns[2]["slots"]["address"] and "***" in turns[3]["slots"]["phone"]
    everything = json.dumps(lines, ensure_ascii=False)
    assert address not in everything and phone not in everything and "文三路" not in everything and queries[0] not in everything
    failed = [line for line in lines if line["message"] == "turn failed"]
    assert [(line["code"], line["trace_id"]) for line in failed] == [("INVALID_ARGUMENT", trace)]
