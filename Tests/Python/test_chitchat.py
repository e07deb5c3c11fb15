"""Small talk by TensorFlow behind the dialogue; a server that is away, frozen or slow never delays a reply past its budget, and never fails a turn."""

import os
import pathlib
import signal
import subprocess
import time
import uuid

import grpc
import pytest
from conftest import ROOT, Client, orchestrator

PYTHON = pathlib.Path(os.environ.get("KEFU_CHITCHAT_PYTHON", pathlib.Path.home() / ".cache/kefu/chitchat/bin/python"))
ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"}
# What a reply may take beside small talk, on a busy machine.
SLACK = 0.75
BUDGET = 0.25

needs_tensorflow = pytest.mark.skipif(not PYTHON.exists(), reason="TensorFlow is not installed: Training/chitchat/setup")


class Server:
    """The model's server, by the official stubs."""

    def __init__(self, models, listen="127.0.0.1:0", *more):
        self.process = subprocess.Popen(
            [PYTHON, ROOT / "Training/chitchat/serve.py", "--listen", listen, "--model", f"chitchat={models}", *more],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT)
        line = self.process.stdout.readline()
        assert line.startswith("listening grpc="), line
        self.address = line.split("grpc=")[1].strip()

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chitchat")
    subprocess.run(
        [PYTHON, ROOT / "Training/chitchat/train.py", "--output", folder / "1"], check=True, capture_output=True, env=ENVIRONMENT)
    return folder


@pytest.fixture(scope="module")
def shared(models):
    server = Server(models)
    yield server
    server.kill()


# Where the answer itself is looked at, a busy machine may take its time.
PATIENT = ("--chitchat-timeout-ms", "5000", "--recognition-timeout-ms", "9000")


def serving(intent_server, redis, address, *more):
    return orchestrator(intent_server.address, f"unix://{redis.socket}", "--chitchat", address, *more)


@pytest.fixture(scope="module")
def client(intent_server, redis, shared):
    server = serving(intent_server, redis, shared.address, *PATIENT)
    yield Client(server.address)
    assert server.stop() == 0


def new_uid():
    return f"user-{uuid.uuid4()}"


def source(reply):
    return reply.DESCRIPTOR.fields_by_name["source"].enum_type.values_by_number[reply.source].name


def timed_reply(client, uid, text, seq=0):
    began = time.monotonic()
    reply = client.reply(uid, text, seq)
    return reply, time.monotonic() - began


def until_it_answers(client, uid):
    end = time.monotonic() + 30
    while source(client.reply(uid, "给我讲个笑话吧")) != "REPLY_SOURCE_CHITCHAT":
        assert time.monotonic() < end
        time.sleep(0.1)


def check_template(reply):
    assert reply.recognition.intent == "chitchat" and reply.reply
    assert reply.degraded and list(reply.degraded_parts) == ["chitchat"] and source(reply) != "REPLY_SOURCE_CHITCHAT"


@needs_tensorflow
def test_the_model_answers(client):
    reply = client.reply(new_uid(), "给我讲个笑话吧", 1)
    assert source(reply) == "REPLY_SOURCE_CHITCHAT" and "书" in reply.reply and not reply.degraded


@needs_tensorflow
def test_the_models_server_tells_its_versions(shared):
    """As TensorFlow Serving does: version 1 is AVAILABLE (30), and status OK."""
    with grpc.insecure_channel(shared.address) as channel:
        call = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")
        assert call(b"\x0a\x0a\x0a\x08chitchat", timeout=10).startswith(b"\x0a\x04\x08\x01\x10\x1e")
        with pytest.raises(grpc.RpcError) as failure:
            call(b"\x0a\x07\x0a\x05other", timeout=10)
        assert failure.value.code() == grpc.StatusCode.NOT_FOUND


@needs_tensorflow
def test_the_recent_lines_are_its_context(client):
    uid = new_uid()
    client.reply(uid, "给我讲个笑话吧", 1)
    reply = client.reply(uid, "再讲一个", 2)
    assert reply.recognition.intent == "chitchat" and "铅笔" in reply.reply


@needs_tensorflow
def test_the_open_question_is_asked_again(client):
    uid = new_uid()
    client.reply(uid, "我要改地址", 1)
    reply = client.reply(uid, "今天天气真不错", 2)
    assert source(reply) == "REPLY_SOURCE_CHITCHAT" and "订单号" in reply.reply
    assert (reply.session.flow, reply.session.awaiting) == ("address_change", "order_id")


@needs_tensorflow
def test_packed_strings_are_read(intent_server, redis, models):
    server = Server(models, "127.0.0.1:0", "--packed")
    ours = serving(intent_server, redis, server.address, *PATIENT)
    try:
        assert "书" in Client(ours.address).reply(new_uid(), "给我讲个笑话吧", 1).reply
    finally:
        server.kill()
        assert ours.stop() == 0


@needs_tensorflow
def test_a_killed_server_is_a_template(intent_server, redis, models):
    server = Server(models)
    ours = serving(intent_server, redis, server.address)
    try:
        client, uid = Client(ours.address), new_uid()
        until_it_answers(client, uid)
        server.kill()
        for _ in range(10):
            reply, seconds = timed_reply(client, uid, "给我讲个笑话吧")
            check_template(reply)
            assert seconds < BUDGET + SLACK
        # It comes back, and is found by a probe.
        server = Server(models, server.address)
        until_it_answers(client, uid)
    finally:
        server.kill()
        assert ours.stop() == 0


@needs_tensorflow
def test_a_frozen_server_delays_nothing_past_the_budget(intent_server, redis, models):
    server = Server(models)
    ours = serving(intent_server, redis, server.address)
    try:
        client, uid = Client(ours.address), new_uid()
        until_it_answers(client, uid)
        os.kill(server.process.pid, signal.SIGSTOP)
        times = []
        for _ in range(10):
            reply, seconds = timed_reply(client, uid, "给我讲个笑话吧")
            check_template(reply)
            times.append(seconds)
        assert max(times) < BUDGET + SLACK
        # The circuit breaker: after five the server is not waited for.
        assert min(times[5:]) < BUDGET, times
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
        server.kill()
        assert ours.stop() == 0


@needs_tensorflow
def test_a_slow_server_delays_nothing_past_the_budget(intent_server, redis, models):
    server = Server(models, "127.0.0.1:0", "--delay-ms", "1500")
    ours = serving(intent_server, redis, server.address)
    try:
        client, uid = Client(ours.address), new_uid()
        for _ in range(8):
            reply, seconds = timed_reply(client, uid, "给我讲个笑话吧")
            check_template(reply)
            assert seconds < BUDGET + SLACK
    finally:
        server.kill()
        assert ours.stop() == 0


def test_a_server_that_was_never_there_is_a_template(intent_server, redis):
    """Needs no TensorFlow."""
    ours = serving(intent_server, redis, "127.0.0.1:1")
    try:
        client, uid = Client(ours.address), new_uid()
        for _ in range(8):
            reply, seconds = timed_reply(client, uid, "给我讲个笑话吧")
            check_template(reply)
            assert seconds < BUDGET + SLACK
    finally:
        assert ours.stop() == 0
