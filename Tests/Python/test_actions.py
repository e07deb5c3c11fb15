"""The shop's backend behind the dialogue: what is said is done, once, and a backend that is away, frozen or slow never fails a turn."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import uuid

import grpc
import pytest
from conftest import ROOT, Client, Redis, orchestrator



class Shop:
    """The example backend, over a database file that outlives it."""

    def __init__(self, database, listen="127.0.0.1:0", *more):
        self.database = str(database)
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "Deploy/example-shop/shop.py", "--listen", listen, "--database", self.database, *more],
            stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening grpc="), line
        self.address = line.split("grpc=")[1].strip()

    def row(self, query, *values):
        with sqlite3.connect(self.database, timeout=10) as database:
            return database.execute(query, values).fetchone()

    def address_of(self, order):
        return self.row("SELECT address FROM orders WHERE number = ?", order)[0]

    def calls(self, uid):
        return self.row("SELECT count(*) FROM calls WHERE key LIKE ?", f"{uid}:%")[0]

    def kill(self):
        self.process.kill()
        self.process.wait()


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def until_available(call, seconds=20):
    """Sends again what was not done because Redis was away, as the contract says."""
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE and time.monotonic() < end
            time.sleep(0.1)


def new_uid():
    return f"user-{uuid.uuid4()}"


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path / "shop.db")
    yield shop
    shop.kill()


@pytest.fixture
def client(intent_server, redis, shop):
    server = orchestrator(
        intent_server.address, f"unix://{redis.socket}", "--actions", shop.address, "--actions-timeout-ms", "1500",
        "--actions-attempt-ms", "500")
    yield Client(server.address)
    assert server.stop() == 0


def ask_to_change(client, uid, order="202411110001", address="浙江省杭州市西湖区文三路100号"):
    """Up to the confirmation."""
    client.reply(uid, "我要改地址", 1)
    client.reply(uid, f"订单号是{order}", 2)
    assert client.reply(uid, address, 3).session.awaiting == "confirm"


def test_an_address_really_changes(client, shop):
    uid = new_uid()
    ask_to_change(client, uid)
    assert shop.address_of("202411110001") == "上海市浦东新区世纪大道8号"
    last = client.reply(uid, "对的", 4)
    assert shop.address_of("202411110001") == "浙江省杭州市西湖区文三路100号"
    assert "改好了" in last.reply and not last.degraded and last.session.flow == ""


def test_an_order_is_looked_up(client):
    reply = client.reply(new_uid(), "帮我查一下订单202411110002的状态", 1)
    assert reply.recognition.intent == "order_status" and "运输中" in reply.reply


def test_an_order_that_is_not_there_is_asked_for_again(client):
    uid = new_uid()
    reply = client.reply(uid, "帮我查一下订单202499990002的状态", 1)
    assert "没有找到" in reply.reply and reply.session.awaiting == "order_id"
    assert "待发货" in client.reply(uid, "202411110005", 2).reply


def test_a_refund_is_given_once(client, shop):
    for expected, uid in (("299.00 元", new_uid()), ("已经退过款", new_uid())):
        client.reply(uid, "我要退款，订单号202411110001", 1)
        assert expected in client.reply(uid, "对的", 2).reply
    assert shop.row("SELECT refunded FROM orders WHERE number = '202411110001'")[0] == 29900


def test_a_shipped_order_keeps_its_address(client, shop):
    uid = new_uid()
    ask_to_change(client, uid, order="202411110002")
    assert "已经发出" in client.reply(uid, "对的", 4).reply
    assert shop.address_of("202411110002") == "广州市天河区体育西路57号"


def test_an_order_is_cancelled_unless_it_is_on_its_way(client, shop):
    for order, expected, status in (("202411110005", "已经取消", "已取消"), ("202411110002", "已经发出", "运输中，预计明天送达")):
        uid = new_uid()
        assert client.reply(uid, f"我要取消订单{order}", 1).session.awaiting == "confirm"
        assert expected in client.reply(uid, "对的", 2).reply
        assert shop.row("SELECT status FROM orders WHERE number = ?", order)[0] == status


def test_a_turn_sent_again_acts_once(client, shop):
    uid = new_uid()
    client.reply(uid, "我要退款，订单号202411110003", 1)
    first = client.reply(uid, "对的", 2)
    again = client.reply(uid, "对的", 2)
    assert again.replayed and again.reply == first.reply and "89.00 元" in first.reply
    assert shop.calls(uid) == 1


def test_a_turn_whose_commit_failed_acts_once(intent_server, shop, tmp_path):
    """The action is done, Redis dies before the commit, and the customer sends the message again."""
    redis = Redis()
    slow = Shop(shop.database, "127.0.0.1:0", "--delay-ms", "600")
    server = orchestrator(intent_server.address, f"unix://{redis.socket}", "--actions", slow.address, "--redis-timeout-ms", "300")
    try:
        client, uid = Client(server.address), new_uid()
        client.reply(uid, "我要退款，订单号202411110003", 1)
        request, call = client.stub("kefu.dialogue.v1.Dialogue/Reply")
        under_way = call.future(request(uid=uid, query="对的", seq=2), timeout=20)
        wait_until(lambda: shop.calls(uid) == 1)
        redis.kill()
        with pytest.raises(Exception, match="UNAVAILABLE"):
            under_way.result()
        redis.start()
        reply = until_available(lambda: client.reply(uid, "对的", 2, timeout=20))
        assert "89.00 元" in reply.reply and not reply.replayed
        assert shop.calls(uid) == 1
    finally:
        redis.kill()
        slow.kill()
        assert server.stop() == 0


def test_a_turn_costs_two_round_trips_to_redis_whatever_is_connected(intent_server, shop):
    redis = Redis()
    server = orchestrator(
        intent_server.address, f"unix://{redis.socket}", "--actions", shop.address, "--chitchat", "127.0.0.1:1")
    try:
        client, uid = Client(server.address), new_uid()
        client.reply(uid, "你好", 1)
        redis.command("CONFIG", "RESETSTAT")
        for seq, text in enumerate(["我要改地址", "订单号是202411110001", "浙江省杭州市西湖区文三路100号", "今天天气真不错", "对的", "你好"], 2):
            client.reply(uid, text, seq)
        calls = dict(re.findall(r"cmdstat_(\S+):calls=(\d+)", redis.command("INFO", "commandstats").decode()))
        # One HMGET to load; one script to commit, within which there is an HMGET, an HSET and a PEXPIRE.
        assert {name: calls.get(name) for name in ("hmget", "evalsha", "hset", "pexpire")} == {
            "hmget": "12", "evalsha": "6", "hset": "6", "pexpire": "6"}
        assert not calls.keys() & {"hget", "zadd", "eval"}
    finally:
        assert server.stop() == 0
        redis.kill()


def timed_reply(client, *arguments, **options):
    began = time.monotonic()
    reply = client.reply(*arguments, **options)
    return reply, time.monotonic() - began


def check_stand_in(reply):
    assert reply.degraded and list(reply.degraded_parts) == ["action"]
    assert reply.session.handed_off and "修改收货信息" in reply.reply


def test_a_killed_backend_fails_no_turn(client, shop):
    uid = new_uid()
    ask_to_change(client, uid)
    shop.kill()
    reply, seconds = timed_reply(client, uid, "对的", 4)
    check_stand_in(reply)
    assert seconds < 3


def test_a_frozen_backend_delays_no_turn_past_its_budget(client, shop):
    uids = [new_uid() for _ in range(4)]
    for uid in uids:
        ask_to_change(client, uid)
    os.kill(shop.process.pid, signal.SIGSTOP)
    try:
        times = []
        for uid in uids:
            reply, seconds = timed_reply(client, uid, "对的", 4)
            check_stand_in(reply)
            times.append(seconds)
        assert max(times) < 3
        # The circuit breaker: the last ones do not wait for the backend at all.
        assert times[-1] < 0.8, times
    finally:
        os.kill(shop.process.pid, signal.SIGCONT)


def test_a_slow_backend_delays_no_turn_past_its_budget_and_acts_once(intent_server, redis, shop):
    """Every answer comes too late for its attempt, but the call was done, and done once."""
    slow = Shop(shop.database, "127.0.0.1:0", "--delay-ms", "700")
    server = orchestrator(
        intent_server.address, f"unix://{redis.socket}", "--actions", slow.address, "--actions-timeout-ms", "1500", "--actions-attempt-ms",
        "500")
    try:
        client, uid = Client(server.address), new_uid()
        ask_to_change(client, uid, address="浙江省杭州市滨江区江南大道200号")
        reply, seconds = timed_reply(client, uid, "对的", 4)
        check_stand_in(reply)
        assert seconds < 3
        assert shop.address_of("202411110001") == "浙江省杭州市滨江区江南大道200号"
        assert shop.calls(uid) == 1
    finally:
        slow.kill()
        assert server.stop() == 0


def test_a_backend_that_comes_back_is_used_again(client, shop):
    uid = new_uid()
    shop.kill()
    assert client.reply(uid, "帮我查一下订单202411110002的状态", 1).degraded
    back = Shop(shop.database, shop.address)
    try:
        wait_until(lambda: "运输中" in client.reply(new_uid(), "帮我查一下订单202411110002的状态", 1).reply)
    finally:
        back.kill()
