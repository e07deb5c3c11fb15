"""The main job, by a stock client over reflection: conversations, exactly-once, two orchestrators, bad input, parts away."""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time
import uuid

import grpc
import pytest
from conftest import Client, Process, Redis, orchestrator


def new_uid():
    return f"user-{uuid.uuid4()}"


def slots(response):
    return {slot.name: slot.normalized for slot in response.session.slots}


def status_of(call):
    with pytest.raises(grpc.RpcError) as failure:
        call()
    return failure.value.code(), failure.value.details()


def test_an_address_is_changed(clients):
    uid, client = new_uid(), clients[0]
    first = client.reply(uid, "我要改地址", 1)
    assert first.recognition.intent == "address_change"
    assert first.recognition.confidence > 0.5
    assert (first.session.flow, first.session.awaiting) == ("address_change", "order_id")
    second = client.reply(uid, "订单号是202411110001", 2)
    assert slots(second)["order_id"] == "202411110001"
    assert second.session.awaiting == "address"
    # The customer reconnects, to another orchestrator.
    third = clients[1].reply(uid, "浙江省杭州市西湖区文三路100号", 3)
    assert slots(third)["address"] == "浙江省杭州市西湖区文三路100号"
    assert third.session.awaiting == "confirm"
    assert "文三路100号" in third.reply
    last = clients[1].reply(uid, "对的", 4)
    assert (last.session.flow, last.session.awaiting) == ("", "")
    assert slots(last) == {"order_id": "202411110001", "address": "浙江省杭州市西湖区文三路100号"}
    assert [turn.seq for turn in last.session.history] == [1, 2, 3, 4]


def test_a_seq_is_answered_once(clients):
    uid = new_uid()
    first = clients[0].reply(uid, "我要退款", 1)
    again = clients[1].reply(uid, "我要退款", 1)
    assert again.replayed and not first.replayed
    again.replayed = False
    assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)
    assert clients[0].call("kefu.dialogue.v1.Dialogue/GetSession", uid=uid).turns == 1


def test_a_seq_older_than_the_replies_kept_is_aborted(clients):
    uid = new_uid()
    for seq in range(1, 19):
        clients[0].reply(uid, "你好", seq)
    code, details = status_of(lambda: clients[0].reply(uid, "你好", 1))
    assert code == grpc.StatusCode.ABORTED and "16" in details
    assert clients[0].reply(uid, "你好", 3).replayed


def test_two_orchestrators_and_one_user_lose_no_turn_and_double_none(clients):
    uid = new_uid()
    numbers = range(1, 41)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda seq: clients[seq % 2].reply(uid, f"第{seq}条消息", 100 + seq, timeout=30), numbers))
    assert sorted(reply.seq for reply in replies) == [100 + seq for seq in numbers]
    # Every turn saw a state of its own: no two of them are the same turn of the session.
    assert sorted(reply.session.turns for reply in replies) == list(numbers)
    session = clients[0].call("kefu.dialogue.v1.Dialogue/GetSession", uid=uid)
    assert (session.turns, session.last_seq) == (40, 140)
    assert len(session.history) == 10


def test_the_same_message_sent_to_both_at_once_is_one_turn(clients):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            uid = new_uid()
            calls = [pool.submit(clients[n % 2].reply, uid, "我要投诉", 1) for n in range(6)]
            replies = [call.result() for call in calls]
            assert len({reply.reply for reply in replies}) == 1
            assert [reply.replayed for reply in replies].count(False) == 1
            assert clients[0].call("kefu.dialogue.v1.Dialogue/GetSession", uid=uid).turns == 1


def test_the_server_numbers_messages_without_a_seq(clients):
    uid = new_uid()
    assert [clients[n % 2].reply(uid, "在吗").seq for n in range(4)] == [1, 2, 3, 4]


def test_converse_answers_each_user_in_order(clients):
    request, converse = clients[0].stub("kefu.dialogue.v1.Dialogue/Converse", "stream_stream")
    uids = [new_uid() for _ in range(5)]
    messages = [request(uid=uid, query=f"你好{n}", seq=n + 1) for n in range(8) for uid in uids]
    messages.insert(7, request(uid=uids[0], query="", seq=99))
    answers = list(converse(iter(messages), timeout=60))
    assert len(answers) == len(messages)
    failures = [answer for answer in answers if answer.HasField("error")]
    assert [(failure.uid, failure.seq, failure.error.code) for failure in failures] == [(uids[0], 99, grpc.StatusCode.INVALID_ARGUMENT.value[0])]
    for uid in uids:
        mine = [answer for answer in answers if answer.uid == uid and not answer.HasField("error")]
        assert [answer.seq for answer in mine] == list(range(1, 9))
        assert [answer.session.turns for answer in mine] == list(range(1, 9))


def test_sessions_are_read_and_ended(clients, redis):
    uid = new_uid()
    code, details = status_of(lambda: clients[0].call("kefu.dialogue.v1.Dialogue/GetSession", uid=uid))
    assert code == grpc.StatusCode.NOT_FOUND and uid in details
    clients[0].reply(uid, "你好", 1)
    assert redis.command("TYPE", "chat:{%s}" % uid) == b"+hash\r\n"
    redis.command("PEXPIRE", "chat:{%s}" % uid, "60000")
    session = clients[1].call("kefu.dialogue.v1.Dialogue/GetSession", uid=uid)
    assert 0 < session.ttl_seconds <= 60, "reading must not extend the session"
    assert clients[1].call("kefu.dialogue.v1.Dialogue/EndSession", uid=uid).existed
    assert not clients[1].call("kefu.dialogue.v1.Dialogue/EndSession", uid=uid).existed
    fresh = clients[0].reply(uid, "你好", 1)
    assert fresh.session.turns == 1 and not fresh.replayed
    assert fresh.session.ttl_seconds == 3600


@pytest.mark.parametrize("fields, word", [
    (dict(uid="", query="你好"), "uid"), (dict(uid="u" * 129, query="你好"), "129"), (dict(uid="u", query=""), "empty"),
    (dict(uid="u", query="改" * 513), "513"), (dict(uid="u", query="a\0b"), "U+0000"),
])
def test_bad_messages_are_refused(clients, fields, word):
    code, details = status_of(lambda: clients[0].reply(**fields))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and word in details


@pytest.mark.parametrize("data, word", [
    (b"\x0a\x01u\x12\x02\xff\xfe", "UTF-8"), (b"\x0a\x7fu", "wire format"), (b"\x12\x03abc", "uid"), (b"", "uid"),
])
def test_bytes_that_are_no_message_are_refused(clients, data, word):
    code, details = status_of(lambda: clients[0].raw("kefu.dialogue.v1.Dialogue/Reply", data))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and word in details


def test_512_scalars_and_128_bytes_are_fine(clients):
    reply = clients[0].reply("户" * 42 + "ab", "改" * 512)
    assert reply.reply
    clients[0].call("kefu.dialogue.v1.Dialogue/EndSession", uid="户" * 42 + "ab")


def test_unknown_methods_are_unimplemented(clients):
    assert status_of(lambda: clients[0].raw("kefu.dialogue.v1.Dialogue/Nothing", b""))[0] == grpc.StatusCode.UNIMPLEMENTED
    assert status_of(lambda: clients[0].raw("no.such.Service/Method", b""))[0] == grpc.StatusCode.UNIMPLEMENTED


def test_redis_away_is_unavailable_and_nothing_is_lost(intent_server):
    redis = Redis()
    server = orchestrator(intent_server.address, f"unix://{redis.socket}", "--redis-timeout-ms", "500")
    try:
        client, uid = Client(server.address), new_uid()
        client.reply(uid, "我要改地址", 1)
        redis.kill()
        began = time.monotonic()
        code, details = status_of(lambda: client.reply(uid, "订单号202411110001", 2))
        assert code == grpc.StatusCode.UNAVAILABLE and "session store" in details
        assert time.monotonic() - began < 5, "the time-out of Redis, not that of the turn"
        redis.start()
        reply = client.reply(uid, "订单号202411110001", 2, timeout=20)
        assert reply.session.turns == 2 and slots(reply)["order_id"] == "202411110001"
    finally:
        redis.kill()
        assert server.stop() == 0


def test_intent_server_away_is_an_apology():
    server = orchestrator("127.0.0.1:1", "memory:")
    try:
        client = Client(server.address)
        reply = client.reply(new_uid(), "我要改地址", 1)
        assert reply.degraded and list(reply.degraded_parts) == ["understanding"] and reply.reply
    finally:
        assert server.stop() == 0


def test_one_of_two_intent_servers_may_go(intent_server):
    other = Process("intent-server", "serve", "--listen", "127.0.0.1:0")
    server = orchestrator(f"ipv4:{intent_server.address},{other.address}", "memory:")
    try:
        client, uid = Client(server.address), new_uid()
        for _ in range(20):
            assert not client.reply(uid, "你好").degraded
        other.process.kill()
        for _ in range(40):
            assert not client.reply(uid, "你好").degraded
    finally:
        other.process.kill()
        assert server.stop() == 0


def test_a_server_that_stops_finishes_turns_and_what_it_refused_can_be_sent_again(intent_server, redis, clients):
    server = orchestrator(intent_server.address, f"unix://{redis.socket}")
    client, uid = Client(server.address), new_uid()
    client.reply(uid, "你好", 1)
    request, call = client.stub("kefu.dialogue.v1.Dialogue/Reply")
    under_way = {f"{uid}-{n}": call.future(request(uid=f"{uid}-{n}", query="你好", seq=1), timeout=20) for n in range(200)}
    under_way[f"{uid}-0"].result()
    server.process.terminate()
    answered = {}
    for user, future in under_way.items():
        try:
            answered[user] = future.result().reply
        except grpc.RpcError as error:
            # gRPC's core ends a call that arrives after the shutdown began with CANCELLED.
            assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert answered
    assert server.process.wait(30) == 0
    for user in under_way:
        again = clients[0].reply(user, "你好", 1)
        assert again.session.turns == 1
        assert again.reply == answered.get(user, again.reply) and (again.replayed or user not in answered)


def test_grpcurl_works_without_proto_files(orchestrators):
    grpcurl = pathlib.Path(sys.executable).parent / "grpcurl"

    def run(*arguments):
        return subprocess.run([grpcurl, "-plaintext", *arguments], capture_output=True, text=True, timeout=60, check=True).stdout

    address, uid = orchestrators[0].address, new_uid()
    assert "kefu.dialogue.v1.Dialogue" in run(address, "list").split()
    assert "rpc Reply" in run(address, "describe", "kefu.dialogue.v1.Dialogue")
    answer = json.loads(run("-d", json.dumps({"uid": uid, "query": "我要改地址", "seq": 1}), address, "kefu.dialogue.v1.Dialogue/Reply"))
    assert answer["recognition"]["intent"] == "address_change"
    assert "SERVING" in run("-d", '{"service":"kefu.dialogue.v1.Dialogue"}', address, "grpc.health.v1.Health/Check")


@pytest.mark.parametrize("arguments, words", [
    (["--redis", "http://x"], ["redis://"]), (["--redis", "redis+sentinel://127.0.0.1:1"], ["service"]), (["--turn-timeout-ms", "soon"], ["turn-timeout-ms", "soon"]),
    (["--domain", "/nowhere"], ["/nowhere"]), (["--listen", "256.0.0.1:x"], ["256.0.0.1:x"]), (["--settings", "/nowhere.yaml"], ["/nowhere.yaml"]),
])
def test_bad_settings_are_told(arguments, words):
    from conftest import BIN, ROOT
    result = subprocess.run(
        [BIN / "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert result.returncode != 0
    for word in words:
        assert word in result.stderr
    assert "Fatal error" not in result.stderr
