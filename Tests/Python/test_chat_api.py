"""POST /api/chat: the same turns as by gRPC, exactly once by either way; clear problems; as its OpenAPI description says, by schemathesis."""

import concurrent.futures
import http.client
import json
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request
import uuid

import pytest
import yaml
from conftest import BIN, ROOT, Client, Redis, orchestrator
from google.protobuf.json_format import MessageToDict
from metrics import Metrics, get

TOKEN = "a-token-of-the-tests-0123456789"


def new_uid():
    return f"user-{uuid.uuid4()}"


def send(server, body=None, method="POST", path="/api/chat", headers=None):
    """Status, head and decoded body of a request; a body that is no bytes goes as JSON."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://{server.http}{path}", data, method=method, headers=headers or {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.headers, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, error.headers, json.loads(error.read() or b"null")


@pytest.fixture(scope="module")
def server(intent_server, redis):
    server = orchestrator(intent_server.address, f"unix://{redis.socket}", "--http", "127.0.0.1:0", "--recognition-timeout-ms", "9000")
    yield server
    assert server.stop() == 0


def test_a_conversation_by_both_ways(server):
    """What HTTP answers is what gRPC answers to the same (uid, seq), field by field."""
    client, uid = Client(server.address), new_uid()
    status, head, first = send(server, {"uid": uid, "query": "我要改地址", "seq": 1})
    assert (status, head["Content-Type"]) == (200, "application/json")
    assert first["recognition"]["intent"] == "address_change" and first["recognition"]["confidence"] > 0.5
    assert (first["session"]["flow"], first["session"]["awaiting"]) == ("address_change", "order_id")
    again = client.reply(uid, "我要改地址", 1)
    assert again.replayed and not first["replayed"]
    assert again.reply == first["reply"]

    by_grpc = client.reply(uid, "订单号是202411110001", 2)
    status, _, document = send(server, {"uid": uid, "query": "订单号是202411110001", "seq": 2})
    assert status == 200 and document["replayed"]
    expected = MessageToDict(by_grpc, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    assert {"order_id": "202411110001"} == {slot["name"]: slot["normalized"] for slot in document["session"]["slots"]}

    def plain(value):
        """JSON of protobuf writes numbers of 64 bits as strings, and floats with other digits."""
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items() if key not in {"replayed", "error"}}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return str(round(value, 5)) if isinstance(value, float) else str(value)

    assert plain(document) == plain(expected)


def test_many_at_once_lose_no_turn(server):
    uid = new_uid()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda seq: send(server, {"uid": uid, "query": f"第{seq}条消息", "seq": seq}), range(1, 25)))
    assert {status for status, _, _ in replies} == {200}
    assert sorted(reply["session"]["turns"] for _, _, reply in replies) == list(range(1, 25))


def test_without_a_seq_the_server_numbers(server):
    uid = new_uid()
    assert [send(server, {"uid": uid, "query": "你好", **extra})[2]["seq"] for extra in ({}, {"seq": 0}, {"seq": None})] == [1, 2, 3]


GOOD = {"uid": "u", "query": "你好"}


@pytest.mark.parametrize("body, words", [
    (b"", ["JSON object"]),
    (b"{", ["JSON object"]),
    (b"[]", ["JSON object"]),
    (b'"text"', ["JSON object"]),
    (b"\xff\xfe", ["JSON object"]),
    ({"query": "你好"}, ["uid is missing", "1 to 128 bytes"]),
    ({"uid": "u"}, ["query is missing", "1 to 512"]),
    ({"uid": 1, "query": "你好"}, ["uid is not", "1 to 128 bytes"]),
    ({"uid": "u", "query": None}, ["query is not", "1 to 512"]),
    ({"uid": "", "query": "你好"}, ["uid is empty"]),
    ({"uid": "客" * 43, "query": "你好"}, ["uid has 129 bytes", "1 to 128"]),
    ({"uid": "u", "query": ""}, ["text is empty"]),
    ({"uid": "u", "query": "好" * 513}, ["513 Unicode scalars", "1 to 512"]),
    ({"uid": "u", "query": "a\0b"}, ["query has the character U+0000"]),
    ({"uid": "a\0b", "query": "你好"}, ["uid has the character U+0000"]),
    ({**GOOD, "seq": -1}, ["seq is not", "18446744073709551615"]),
    ({**GOOD, "seq": "1"}, ["seq is not"]),
    ({**GOOD, "seq": 1.5}, ["seq is not"]),
    ({**GOOD, "seq": 1 << 64}, ["seq is not"]),
    (b'{"uid": "u", "query": "\\ud800"}', []),
])
def test_a_message_that_is_not_valid_is_told_what_is_wrong(server, body, words):
    before = Metrics(server).sum("kefu_dialogue_turns_total", outcome="invalid")
    status, head, problem = send(server, body)
    assert (status, head["Content-Type"]) == (400, "application/problem+json"), problem
    assert (problem["status"], problem["code"], problem["title"]) == (400, "INVALID_ARGUMENT", "Bad Request")
    for word in words:
        assert word in problem["detail"], problem
    assert Metrics(server).sum("kefu_dialogue_turns_total", outcome="invalid") == before + 1


@pytest.mark.parametrize("body", [
    {"uid": "客" * 42 + "ab", "query": "好" * 512, "seq": 1}, {"uid": new_uid(), "query": "你好", "seq": (1 << 64) - 1},
    {"uid": new_uid(), "query": "你好", "seq": 1.0, "other": [1]}])
def test_bounds_are_inclusive_and_other_fields_left_alone(server, body):
    status, _, reply = send(server, body)
    assert status == 200 and (reply["uid"], reply["seq"]) == (body["uid"], body["seq"])


def test_the_transport_is_told_what_is_wrong(server):
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"]:
        status, _, problem = send(server, GOOD, headers={"Content-Type": kind})
        assert status == 415 and kind in problem["detail"] and "application/json" in problem["detail"]
    assert send(server, GOOD, headers={"Content-Type": "Application/JSON; charset=utf-8"})[0] == 200
    status, _, problem = send(server, {**GOOD, "padding": "x" * 20_000})
    assert status == 413 and "16384" in problem["detail"]
    status, head, problem = send(server, method="GET")
    assert (status, head["Allow"]) == (405, "POST") and "POST" in problem["detail"]
    # A body that is announced as too long is not waited for.
    connection = http.client.HTTPConnection(server.http, timeout=10)
    connection.putrequest("POST", "/api/chat")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    for _ in range(5):
        connection.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
    assert connection.getresponse().status == 413
    connection.close()


def test_a_seq_that_is_too_old_is_a_conflict(server):
    uid = new_uid()
    for seq in range(1, 19):
        assert send(server, {"uid": uid, "query": "你好", "seq": seq})[0] == 200
    status, _, problem = send(server, {"uid": uid, "query": "你好", "seq": 1})
    assert status == 409 and problem["code"] == "ABORTED" and "16" in problem["detail"]


def test_no_number_follows_the_highest(server):
    uid = new_uid()
    assert send(server, {"uid": uid, "query": "你好", "seq": (1 << 64) - 1})[0] == 200
    status, _, problem = send(server, {"uid": uid, "query": "你好"})
    assert status == 400 and "18446744073709551615" in problem["detail"]
    assert send(server, {"uid": uid, "query": "你好", "seq": (1 << 64) - 1})[2]["replayed"]


def test_without_redis_nothing_changes(intent_server):
    redis = Redis()
    server = orchestrator(intent_server.address, f"unix://{redis.socket}", "--http", "127.0.0.1:0", "--redis-timeout-ms", "300")
    try:
        body = {"uid": new_uid(), "query": "你好", "seq": 1}
        redis.kill()
        status, head, problem = send(server, body)
        assert (status, problem["code"]) == (503, "UNAVAILABLE") and int(head["Retry-After"]) >= 1
        redis.start()
        for _ in range(100):
            status, _, reply = send(server, body)
            if status == 200:
                break
        assert status == 200 and reply["session"]["turns"] == 1
    finally:
        redis.kill()
        assert server.stop() == 0


def test_a_token_is_asked_for(intent_server, redis, tmp_path):
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    server = orchestrator(intent_server.address, f"unix://{redis.socket}", "--http", "127.0.0.1:0", "--http-token-file", str(secret))
    try:
        json_type = {"Content-Type": "application/json"}
        for given in [{}, {"Authorization": "Bearer x"}, {"Authorization": TOKEN}, {"Authorization": f"Bearer {TOKEN}x"}]:
            status, head, problem = send(server, GOOD, headers={**json_type, **given})
            assert (status, head["WWW-Authenticate"], problem["code"]) == (401, "Bearer", "UNAUTHENTICATED")
        assert send(server, GOOD, headers={**json_type, "Authorization": f"Bearer {TOKEN}"})[0] == 200
        assert get(server, "/metrics")[0] == 401
        assert {get(server, path)[0] for path in ["/healthz", "/readyz", "/version", "/openapi.yaml"]} == {200}
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("text, words", [(None, "cannot be read"), ("short", "16 or more")])
def test_a_token_that_cannot_be_used_is_told_of(tmp_path, text, words):
    secret = tmp_path / "token"
    if text:
        secret.write_text(text)
    result = subprocess.run(
        [BIN / "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--http-token-file", secret],
        cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode != 0 and str(secret) in result.stderr and words in result.stderr


def test_the_description_is_served(server):
    code, kind, text = get(server, "/openapi.yaml")
    assert (code, kind) == (200, "application/yaml")
    assert text == (ROOT / "Deploy/openapi.yaml").read_text() and yaml.safe_load(text)["openapi"] == "3.1.0"


def test_schemathesis_finds_nothing(server, tmp_path):
    """Requests that fit the description and requests that do not, made by property: no 5xx, and every answer is as described.

    That what fits is accepted is not checked: JSON Schema counts the characters of a uid, and the server its bytes.
    """
    result = subprocess.run(
        [pathlib.Path(sys.executable).with_name("schemathesis"), "run", f"http://{server.http}/openapi.yaml", "--url", f"http://{server.http}",
         "--checks", "all", "--exclude-checks", "positive_data_acceptance", "--max-examples", "60", "--seed", "1",
         "--request-timeout", "20", "--no-color"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-2000:]
    assert Metrics(server).sum("kefu_dialogue_turns_total", outcome="failed") == 0
