"""The agents' desk: who waits is found, claimed by one, answered through any orchestrator, given back; two orchestrators over one Redis."""

import concurrent.futures
import queue
import time
import uuid

import grpc
import pytest
from conftest import Client, Redis, orchestrator

HANDOFF = "kefu.handoff.v1.HandOff"


class Desk:
    """An agent's client."""

    def __init__(self, client, agent="小王"):
        self.client = client
        self.agent = agent

    def waiting(self, limit=200):
        return self.client.call(f"{HANDOFF}/ListWaiting", limit=limit)

    def find(self, uid):
        return next((conversation for conversation in self.waiting().conversations if conversation.uid == uid), None)

    def claim(self, uid, seconds=60):
        return self.client.call(f"{HANDOFF}/Claim", uid=uid, agent=self.agent, lease_seconds=seconds)

    def answer(self, uid, lease, text, number):
        return self.client.call(f"{HANDOFF}/Answer", uid=uid, lease=lease, text=text, number=number)

    def renew(self, uid, lease):
        return self.client.call(f"{HANDOFF}/Renew", uid=uid, lease=lease)

    def give_back(self, uid, lease, end_flows=False):
        return self.client.call(f"{HANDOFF}/GiveBack", uid=uid, lease=lease, end_flows=end_flows)


def new_uid():
    return f"user-{uuid.uuid4()}"


def status_of(call):
    with pytest.raises(grpc.RpcError) as failure:
        call()
    return failure.value.code(), failure.value.details()


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def desks(clients):
    return [Desk(clients[0], "小王"), Desk(clients[1], "小李")]


def ask_for_a_person(client, uid):
    """In the middle of a flow."""
    client.reply(uid, "我要改地址", 1)
    client.reply(uid, "订单号是202411110001，电话13800138000", 2)
    reply = client.reply(uid, "转人工", 3)
    assert reply.session.handed_off and reply.reply
    return reply


def test_who_waits_is_found_with_a_summary(clients, desks):
    uid = new_uid()
    ask_for_a_person(clients[0], uid)
    found = desks[1].find(uid)
    assert (found.reason, found.flow, found.flow_title) == ("rule:person_wanted", "address_change", "修改收货信息") or \
        found.reason == "rule:person_wanted_at_night"
    assert [turn.query for turn in found.turns] == ["我要改地址", "订单号是202411110001，电话13800138000", "转人工"]
    assert all(turn.reply for turn in found.turns) and found.turns[0].intent == "address_change"
    shown = {slot.name: (slot.label, slot.value, slot.normalized) for slot in found.slots}
    assert shown["order_id"][2] == "202411110001"
    # Who has not claimed the session sees a phone number masked; who has, sees it.
    assert shown["phone"][1].startswith("138***") and "13800138000" not in shown["phone"]
    claimed = desks[1].claim(uid)
    assert {slot.name: slot.normalized for slot in claimed.conversation.slots}["phone"] == "13800138000"


def test_one_agent_of_two_gets_a_session(clients, desks):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            uid = new_uid()
            ask_for_a_person(clients[0], uid)

            def claim(n):
                try:
                    return desks[n % 2].claim(uid).lease
                except grpc.RpcError as error:
                    assert error.code() == grpc.StatusCode.ALREADY_EXISTS
                    return None

            leases = list(pool.map(claim, range(8)))
            # One agent has it; asked again, the same lease comes.
            assert len(set(leases) - {None}) == 1 and leases.count(None) == 4
            assert desks[0].find(uid) is None


def test_the_bot_is_silent_while_an_agent_has_it_and_resumes_after(clients, desks):
    uid = new_uid()
    ask_for_a_person(clients[0], uid)
    assert clients[0].reply(uid, "有人吗", 4).reply, "while the customer waits, the bot says so"
    lease = desks[0].claim(uid).lease
    desks[0].answer(uid, lease, "您好，我是小王，请问新地址是？", 1)
    desks[1].answer(uid, lease, "（顺便核对一下电话）", 2)
    reply = clients[1].reply(uid, "浙江省杭州市西湖区文三路100号", 5)
    assert reply.reply == "" and reply.session.handed_off
    assert [(message.agent, message.text) for message in reply.agent_messages] == [
        ("小王", "您好，我是小王，请问新地址是？"), ("小王", "（顺便核对一下电话）")]
    # A message is brought once, and again where the same seq is sent again.
    again = clients[0].reply(uid, "浙江省杭州市西湖区文三路100号", 5)
    assert again.replayed and [message.id for message in again.agent_messages] == [message.id for message in reply.agent_messages]
    assert not clients[0].reply(uid, "好的", 6).agent_messages
    seen = desks[0].renew(uid, lease).conversation
    assert seen.turns[-2].query == "浙江省杭州市西湖区文三路100号" and len(seen.turns[-2].agent_messages) == 2
    desks[0].give_back(uid, lease)
    after = clients[1].reply(uid, "我要改地址", 7)
    assert not after.session.handed_off and after.reply and after.session.flow == "address_change"
    assert desks[0].find(uid) is None
    assert status_of(lambda: desks[0].answer(uid, lease, "还在吗", 3))[0] == grpc.StatusCode.NOT_FOUND


def test_flows_that_the_agent_settled_are_dropped(clients, desks):
    uid = new_uid()
    ask_for_a_person(clients[0], uid)
    desks[0].give_back(uid, desks[0].claim(uid).lease, end_flows=True)
    session = clients[0].call("kefu.dialogue.v1.Dialogue/GetSession", uid=uid)
    assert (session.flow, session.handed_off) == ("", False)
    assert clients[1].reply(uid, "你好", 4).reply


def test_an_answer_sent_again_is_said_once(clients, desks):
    uid = new_uid()
    ask_for_a_person(clients[0], uid)
    lease = desks[0].claim(uid).lease
    assert not desks[0].answer(uid, lease, "您好", 1).repeated
    assert desks[1].answer(uid, lease, "您好", 1).repeated
    assert [message.text for message in clients[0].reply(uid, "在的", 4).agent_messages] == ["您好"]


def test_a_lease_that_runs_out_returns_the_session(clients, desks):
    uid = new_uid()
    ask_for_a_person(clients[0], uid)
    lease = desks[0].claim(uid, seconds=1).lease
    assert desks[1].find(uid) is None
    assert clients[0].reply(uid, "你好", 4).reply == ""
    wait_until(lambda: desks[1].find(uid))
    code, details = status_of(lambda: desks[0].answer(uid, lease, "来晚了", 1))
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "claim" in details
    assert clients[0].reply(uid, "还在吗", 5).reply, "the bot says again that a colleague comes"
    other = desks[1].claim(uid)
    assert other.lease != lease
    assert status_of(lambda: desks[0].renew(uid, lease))[0] == grpc.StatusCode.FAILED_PRECONDITION
    desks[1].answer(uid, other.lease, "我来接手", 1)
    assert [message.text for message in clients[1].reply(uid, "好", 6).agent_messages] == ["我来接手"]


def test_answers_begin_the_lease_anew(clients, desks):
    uid = new_uid()
    ask_for_a_person(clients[0], uid)
    claim = desks[0].claim(uid, seconds=30)
    time.sleep(0.01)
    assert desks[0].answer(uid, claim.lease, "您好", 1).until_ms > claim.until_ms


def test_a_stream_brings_answers_at_once(clients, desks):
    uid = new_uid()
    request, converse = clients[1].stub("kefu.dialogue.v1.Dialogue/Converse", "stream_stream")
    outgoing = queue.Queue()
    responses = converse(iter(outgoing.get, None), timeout=60)
    try:
        outgoing.put(request(uid=uid, query="转人工", seq=1))
        assert next(responses).session.handed_off
        lease = desks[0].claim(uid).lease
        desks[0].answer(uid, lease, "您好，我是小王", 1)
        pushed = next(responses)
        assert pushed.seq == 0 and not pushed.HasField("session")
        assert [(message.agent, message.text) for message in pushed.agent_messages] == [("小王", "您好，我是小王")]
        desks[0].answer(uid, lease, "请问有什么可以帮您？", 2)
        assert [message.text for message in next(responses).agent_messages] == ["请问有什么可以帮您？"]
        outgoing.put(request(uid=uid, query="我的快递到哪了", seq=2))
        reply = next(responses)
        # Nothing is lost where a stream breaks: the next reply brings them once more, with the same ids.
        assert reply.seq == 2 and reply.reply == "" and [message.id for message in reply.agent_messages][0] == pushed.agent_messages[0].id
        desks[0].give_back(uid, lease)
        outgoing.put(request(uid=uid, query="你好", seq=3))
        assert next(responses).reply
    finally:
        outgoing.put(None)
        assert list(responses) == []


def test_a_failed_action_hands_off(intent_server, redis, desks):
    server = orchestrator(intent_server.address, f"unix://{redis.socket}", "--actions", "127.0.0.1:1", "--actions-timeout-ms", "300")
    try:
        client, uid = Client(server.address), new_uid()
        client.reply(uid, "我要退款，订单号202411110001", 1)
        assert client.reply(uid, "对的", 2).session.handed_off
        assert desks[0].find(uid).reason == "action:order.refund"
    finally:
        assert server.stop() == 0


def test_an_offer_that_is_taken_hands_off(redis, desks):
    """The intent server is away: the bot offers a person, and reads a plain yes without it."""
    server = orchestrator("127.0.0.1:1", f"unix://{redis.socket}")
    try:
        client, uid = Client(server.address), new_uid()
        assert not client.reply(uid, "我要改地址", 1).session.handed_off
        assert client.reply(uid, "好的", 2).session.handed_off
        assert desks[0].find(uid).reason == "accepted"
    finally:
        assert server.stop() == 0


def test_sessions_that_ended_are_not_listed(clients, desks):
    uid = new_uid()
    ask_for_a_person(clients[0], uid)
    lease = desks[0].claim(uid).lease
    assert clients[0].call("kefu.dialogue.v1.Dialogue/EndSession", uid=uid).existed
    assert desks[0].find(uid) is None
    assert status_of(lambda: desks[0].answer(uid, lease, "您好", 1))[0] == grpc.StatusCode.NOT_FOUND
    assert status_of(lambda: desks[0].claim(uid))[0] == grpc.StatusCode.NOT_FOUND


def test_what_no_longer_waits_leaves_the_index_but_what_may_be_about_to_wait_stays(clients, desks, redis):
    old, fresh, now = new_uid(), new_uid(), int(time.time() * 1000)
    redis.command("ZADD", "handoff:waiting", str(now - 600_000), old)
    redis.command("ZADD", "handoff:waiting", str(now), fresh)
    desks[0].waiting()
    assert redis.command("ZSCORE", "handoff:waiting", old) == b"$-1\r\n"
    assert redis.command("ZSCORE", "handoff:waiting", fresh) != b"$-1\r\n"
    redis.command("ZREM", "handoff:waiting", fresh)


def test_a_lost_index_entry_is_mended_by_the_next_message(clients, desks, redis):
    uid = new_uid()
    ask_for_a_person(clients[0], uid)
    redis.command("ZREM", "handoff:waiting", uid)
    assert desks[0].find(uid) is None
    clients[1].reply(uid, "有人吗", 4)
    assert desks[0].find(uid)


def test_the_longest_waiting_come_first_and_the_list_has_a_limit(intent_server):
    redis = Redis()
    server = orchestrator(intent_server.address, f"unix://{redis.socket}")
    try:
        desk, uids = Desk(Client(server.address)), [new_uid() for _ in range(7)]
        for uid in uids:
            desk.client.reply(uid, "转人工", 1)
        listed = desk.waiting(limit=5)
        assert [conversation.uid for conversation in listed.conversations] == uids[:5] and listed.more
        for uid in uids[:4]:
            desk.claim(uid)
        listed = desk.waiting(limit=5)
        assert [conversation.uid for conversation in listed.conversations] == uids[4:] and not listed.more
    finally:
        assert server.stop() == 0
        redis.kill()


@pytest.mark.parametrize("method, fields, word", [
    ("Claim", dict(uid="u", agent=""), "agent"), ("Claim", dict(uid="", agent="a"), "uid"),
    ("Claim", dict(uid="u", agent="a", lease_seconds=4000), "4000"), ("Answer", dict(uid="u", lease="x", text="", number=1), "text"),
    ("Answer", dict(uid="u", lease="x", text="好", number=0), "number"), ("Renew", dict(uid="u", lease=""), "lease"),
    ("ListWaiting", dict(limit=201), "201"),
])
def test_bad_requests_are_refused(clients, method, fields, word):
    code, details = status_of(lambda: clients[0].call(f"{HANDOFF}/{method}", **fields))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and word in details


def test_without_redis_there_is_no_desk(intent_server):
    server = orchestrator(intent_server.address, "memory:")
    try:
        client = Client(server.address)
        assert client.reply(new_uid(), "转人工", 1).session.handed_off
        assert status_of(lambda: client.raw(f"{HANDOFF}/ListWaiting", b""))[0] == grpc.StatusCode.UNIMPLEMENTED
    finally:
        assert server.stop() == 0
