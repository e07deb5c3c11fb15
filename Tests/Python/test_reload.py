"""A domain that changes while it is in service: dialogues under way go on with the version they began with."""

import shutil
import signal
import time

from conftest import ROOT, Client, orchestrator
from test_dialogue import new_uid

DOMAIN = ROOT / "Deploy" / "domains" / "ecommerce"


def change(folder, file, old, new):
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


def greeting_with(client, word, deadline=20):
    """Greets until the reply has a word, as a change may take a moment."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if word in client.reply(new_uid(), "你好", 1).reply:
            return True
        time.sleep(0.05)
    return False


def started(folder, intent_server, poll):
    return orchestrator(intent_server.address, "memory:", "--domain", str(folder), "--domain-poll-ms", poll)


def test_a_changed_domain_is_taken_into_service_and_old_dialogues_keep_theirs(tmp_path, intent_server):
    folder = tmp_path / "domain"
    shutil.copytree(DOMAIN, folder)
    server = started(folder, intent_server, "50")
    try:
        client, uid = Client(server.address), new_uid()
        first = client.reply(uid, "我要退款", 1)
        assert (first.session.flow, first.session.awaiting) == ("refund_request", "order_id")
        change(folder, "replies.yaml", "您好，欢迎光临！请问有什么可以帮您？", "新版本，您好！")
        change(folder, "replies.yaml", "在的在的，您请讲～", "新版本，在的！")
        change(folder, "replies.yaml", "您好呀，我是客服小助手，查订单、改地址、退换货都可以找我。", "新版本，您好呀！")
        change(folder, "flows.yaml", "  refund_request:\n    title: 申请退款\n    required: [order_id]\n    optional: [amount]", "  refund_request:\n    title: 申请退款\n    required: [order_id, recipient]\n    optional: [amount]")
        change(folder, "flows.yaml", "为订单 {{order_id}} 申请退款", "为{{recipient}}的订单 {{order_id}} 申请退款")
        change(folder, "flows.yaml", "我将为订单 {{order_id}} 提交退款申请", "我将为{{recipient}}的订单 {{order_id}} 提交退款申请")
        assert greeting_with(client, "新版本")
        # The old version asks for nothing more, the new one for a name.
        assert client.reply(uid, "202411110001", 2).session.awaiting == "confirm"
        assert client.reply(uid, "好的", 3).session.flow == ""
        assert client.reply(uid, "我要退款", 4).session.awaiting == "recipient"
    finally:
        assert server.stop() == 0


def test_a_domain_with_faults_is_not_taken_and_a_signal_loads_at_once(tmp_path, intent_server):
    folder = tmp_path / "domain"
    shutil.copytree(DOMAIN, folder)
    server = started(folder, intent_server, "0")
    try:
        client = Client(server.address)
        broken = (folder / "rules.yaml").read_text()
        change(folder, "rules.yaml", "then: hand_off", "then: handoff")
        change(folder, "replies.yaml", "在的在的，您请讲～", "新版本，在的！")
        server.process.send_signal(signal.SIGHUP)
        assert not greeting_with(client, "新版本", deadline=1)
        (folder / "rules.yaml").write_text(broken)
        server.process.send_signal(signal.SIGHUP)
        assert greeting_with(client, "新版本")
    finally:
        assert server.stop() == 0
