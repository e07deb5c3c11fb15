"""The intent server by a stock client over reflection; and the programs' own commands."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import socket
import subprocess

import grpc
import pytest
import torch
from conftest import BIN, ROOT, Client, Process
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

UNDERSTAND = "kefu.understanding.v1.Understanding/Understand"


def status_of(call):
    with pytest.raises(grpc.RpcError) as failure:
        call()
    return failure.value.code(), failure.value.details()


@pytest.mark.parametrize("text, intent", [
    ("我要改地址", "address_change"), ("我要退款", "refund_request"), ("快递到哪了", "logistics_query"), ("转人工", "human_agent"),
    ("我要投诉你们", "complaint"), ("谢谢", "thanks"), ("你好", "greeting"), ("给我讲个笑话", "chitchat"),
])
def test_what_shoppers_mean(understanding, text, intent):
    response = understanding.call(UNDERSTAND, text=text)
    assert response.intents[0].name == intent
    assert 0.5 < response.intents[0].confidence <= 1
    assert len(response.intents) == 3
    assert response.model.startswith("ecommerce@")


def test_slots_point_into_the_text_as_sent(understanding):
    text = "😀我的订单号是２０２４１１１１０００１，帮我查一下"
    response = understanding.call(UNDERSTAND, text=text, top_k=1)
    slot = next(slot for slot in response.slots if slot.name == "order_id")
    assert text[slot.start:slot.end] == slot.value == "２０２４１１１１０００１"
    assert slot.normalized == "202411110001"
    assert len(response.intents) == 1


def test_many_at_once_are_batched(understanding):
    texts = [f"订单{n}怎么还没发货" for n in range(200)]
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        responses = list(pool.map(lambda text: understanding.call(UNDERSTAND, text=text, timeout=60), texts))
    assert all(response.intents for response in responses)
    assert max(response.timing.batch_size for response in responses) > 1


def test_the_stream_answers_each_by_its_id(understanding):
    request, stream = understanding.stub("kefu.understanding.v1.Understanding/UnderstandStream", "stream_stream")
    messages = [request(text=f"第{n}个问题", request_id=str(n)) for n in range(300)] + [request(text="", request_id="bad")]
    answers = {answer.request_id: answer for answer in stream(iter(messages), timeout=60)}
    assert len(answers) == 301
    assert answers["bad"].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert all(answers[str(n)].intents for n in range(300))


def test_models_are_listed(understanding):
    models = understanding.call("kefu.understanding.v1.Understanding/ListModels").models
    assert sorted(model.name for model in models) == ["ecommerce", "ecommerce-light"]
    model = next(model for model in models if model.name == "ecommerce")
    manifest = json.loads((ROOT / "Deploy/models/ecommerce" / model.version / "manifest.json").read_text())
    assert (model.name, model.state, model.is_default, model.device) == ("ecommerce", 3, True, "cpu")
    assert len(model.intents) == 35 and len(model.slot_labels) == 20
    assert model.sha256 == manifest["files"]["model.pt"]["sha256"]
    assert model.memory_bytes > 1_000_000


@pytest.mark.parametrize("fields, code, word", [
    (dict(text=""), grpc.StatusCode.INVALID_ARGUMENT, "empty"),
    (dict(text="改" * 513), grpc.StatusCode.INVALID_ARGUMENT, "513"),
    (dict(text="你好", model="nothing"), grpc.StatusCode.NOT_FOUND, "nothing"),
    (dict(text="你好", model="ecommerce@999"), grpc.StatusCode.NOT_FOUND, "999"),
    (dict(text="你好", model="@"), grpc.StatusCode.INVALID_ARGUMENT, "name"),
])
def test_bad_requests_are_refused(understanding, fields, code, word):
    got, details = status_of(lambda: understanding.call(UNDERSTAND, **fields))
    assert got == code and word in details


def test_a_text_of_512_scalars_is_recognised(understanding):
    assert understanding.call(UNDERSTAND, text="我想问一下" * 102 + "退款", timeout=60).intents


def test_bytes_that_are_not_utf8_are_refused(understanding):
    code, details = status_of(lambda: understanding.raw(UNDERSTAND, b"\x0a\x02\xff\xfe"))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "text" in details


def test_health_is_told_and_watched(intent_server):
    with grpc.insecure_channel(intent_server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ["", "kefu.understanding.v1.Understanding"]:
            assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == health_pb2.HealthCheckResponse.SERVING
        assert status_of(lambda: health.Check(health_pb2.HealthCheckRequest(service="no.such")))[0] == grpc.StatusCode.NOT_FOUND
        watch = health.Watch(health_pb2.HealthCheckRequest(service="no.such"), timeout=10)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


def test_a_server_that_warms_up_says_so_and_does_not_answer_yet():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    process = subprocess.Popen([BIN / "intent-server", "serve", "--listen", address], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        soon = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 50)]
        with grpc.insecure_channel(address, soon) as channel:
            grpc.channel_ready_future(channel).result(30)
            check = health_pb2_grpc.HealthStub(channel).Check
            assert check(health_pb2.HealthCheckRequest(), timeout=10).status == health_pb2.HealthCheckResponse.NOT_SERVING
            understand = channel.unary_unary(f"/{UNDERSTAND}")
            assert status_of(lambda: understand(b"\x0a\x03abc", timeout=10))[0] == grpc.StatusCode.UNAVAILABLE
            assert process.stdout.readline().startswith("listening grpc=")
            assert check(health_pb2.HealthCheckRequest(), timeout=10).status == health_pb2.HealthCheckResponse.SERVING
            assert understand(b"\x0a\x03abc", timeout=10)
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_a_watch_sees_the_server_drain():
    server = Process("intent-server", "serve", "--listen", "127.0.0.1:0")
    with grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        server.process.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError):
            next(watch)
    assert server.process.wait(30) == 0


def test_reflection_answers_by_file_and_by_symbol(intent_server):
    request = reflection_pb2.ServerReflectionRequest
    asked = [
        request(list_services=""), request(file_by_filename="kefu/understanding/v1/understanding.proto"),
        request(file_containing_symbol="kefu.understanding.v1.Understanding.Understand"), request(file_containing_symbol="no.such.Symbol"),
        request(file_by_filename="kefu/store/v1/session.proto"),
    ]
    with grpc.insecure_channel(intent_server.address) as channel:
        answers = list(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter(asked), timeout=10))
    names = [service.name for service in answers[0].list_services_response.service]
    assert names == sorted(names) and {"kefu.understanding.v1.Understanding", "grpc.health.v1.Health"} <= set(names)
    assert answers[1].file_descriptor_response.file_descriptor_proto
    assert answers[2].file_descriptor_response == answers[1].file_descriptor_response
    for unknown in answers[3:]:
        assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert answers[1].original_request == asked[1]


def run(*arguments):
    return subprocess.run([BIN / "intent-server", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_ask_prints_what_is_recognised(intent_server):
    result = run("ask", "--server", intent_server.address, "我要改地址")
    assert result.returncode == 0 and "address_change" in result.stdout


def broken(tmp_path, change):
    """A copy of the shipped bundle with its manifest changed."""
    shipped = sorted((ROOT / "Deploy/models/ecommerce").glob("[0-9]*"))[-1]
    bundle = tmp_path / "ecommerce" / shipped.name
    shutil.copytree(shipped, bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest, bundle)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


@pytest.mark.parametrize("change, words", [
    (lambda manifest, bundle: manifest["intents"].pop(), ["intents", "34", "35"]),
    (lambda manifest, bundle: manifest["files"]["model.pt"].update(sha256="0" * 64), ["model.pt", "sha256"]),
    (lambda manifest, bundle: manifest.pop("max_length"), ["manifest.json", "max_length"]),
    (lambda manifest, bundle: (bundle / "vocab.txt").unlink(), ["vocab.txt"]),
    (lambda manifest, bundle: manifest.update(name="other"), ["name", "other"]),
])
def test_a_broken_bundle_is_refused_by_file_and_field(tmp_path, change, words):
    models = broken(tmp_path, change)
    for arguments in [("verify", "--models", models), ("serve", "--listen", "127.0.0.1:0", "--models", models)]:
        result = run(*map(str, arguments))
        assert result.returncode != 0
        for word in words:
            assert word in result.stdout + result.stderr
        assert "Fatal error" not in result.stderr


def test_the_shipped_bundle_verifies():
    result = run("verify", "--models", "Deploy/models")
    assert result.returncode == 0 and "ecommerce" in result.stdout


def test_torch_waits_passively_without_being_told():
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    server = Process("intent-server", "serve", "--listen", "127.0.0.1:0", env=environment)
    try:
        started = pathlib.Path(f"/proc/{server.process.pid}/environ").read_text().split("\0")
        assert "OMP_WAIT_POLICY=passive" in started
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("arguments, words", [
    (["--device", "cuda:0"], ["cuda:0", "is not available"]),
    (["--device", "gpu"], ["gpu", "expected cpu, cuda or cuda:N"]),
    (["--precision", "float16"], ["float16 is for GPUs", "float32 or bfloat16"]),
    (["--precision", "half"], ["--precision", "half", "float32, bfloat16, float16"]),
    (["--gpu-memory-share", "0.5"], ["GPU memory", "cuda:N is expected"]),
    (["--gpu-memory-share", "2"], ["--gpu-memory-share", "0.0 to 1.0"]),
    (["--padding-share", "1.5"], ["--padding-share", "0.0 to 1.0"]),
    (["--batch-efficiency", "1.5"], ["--batch-efficiency", "0.0 to 1.0"]),
])
def test_a_device_that_is_not_there_is_told_at_once(arguments, words):
    if arguments == ["--device", "cuda:0"] and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = run("serve", "--listen", "127.0.0.1:0", *arguments)
    assert result.returncode != 0
    assert "listening" not in result.stdout
    for word in words:
        assert word in result.stderr, result.stderr
    assert "Fatal error" not in result.stderr
