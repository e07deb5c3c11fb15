"""KServe's Open Inference Protocol v2 by PyPI's tritonclient, unchanged."""

import asyncio
import pathlib
import queue
import subprocess
import sys

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from metrics import Metrics
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

# Sums are rounded in another order in a batch of another size: up to 2e-4 of a probability where models compute in bfloat16.
CLOSE = 5e-3
TEXTS = ["我要改地址", "订单号是202411110001，帮我查一下", "😀手机改成１３８００１３８０００", "谢谢"]
OUTPUTS = ["intent", "confidence", "slot_count", "slot_name", "slot_value", "slot_normalized", "slot_start", "slot_end", "slot_confidence",
           "model", "route"]


@pytest.fixture
def client(intent_server):
    with triton.InferenceServerClient(intent_server.address) as client:
        yield client


def text_input(texts, column=False, name="text"):
    array = np.array([text.encode() if isinstance(text, str) else text for text in texts], dtype=np.object_)
    array = array.reshape([-1, 1]) if column else array
    tensor = triton.InferInput(name, list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array)
    return tensor


def refused(call):
    with pytest.raises(InferenceServerException) as failure:
        call()
    return failure.value.status(), failure.value.message()


def test_the_server_is_live_and_ready(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("ecommerce")
    version = client.get_model_metadata("ecommerce").versions[0]
    assert client.is_model_ready("ecommerce", version) and not client.is_model_ready("ecommerce", "999")
    assert not client.is_model_ready("nothing")


def test_metadata(client):
    server = client.get_server_metadata()
    assert server.name == "kefu-intent-server" and server.version and list(server.extensions) == ["schedule_policy"]
    model = client.get_model_metadata("ecommerce", as_json=True)
    assert model["name"] == "ecommerce" and model["platform"] == "pytorch_libtorch"
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}]
    assert [output["name"] for output in model["outputs"]] == OUTPUTS
    for name, version in [("nothing", ""), ("ecommerce", "999")]:
        assert refused(lambda: client.get_model_metadata(name, version))[0] == "StatusCode.NOT_FOUND"


def test_one_row(client):
    result = client.infer("ecommerce", [text_input(["我要改地址"])], request_id="id-7")
    assert result.as_numpy("intent").shape == (1, 3)
    assert result.as_numpy("intent")[0, 0] == b"address_change"
    assert 0.5 < result.as_numpy("confidence")[0, 0] <= 1
    assert result.as_numpy("slot_count").tolist() == [0] and result.as_numpy("slot_name").shape == (1, 0)
    response = result.get_response()
    assert (response.id, response.model_name) == ("id-7", "ecommerce")
    assert result.as_numpy("model")[0].decode() == f"ecommerce@{response.model_version}"


@pytest.mark.parametrize("column", [False, True])
def test_rows_are_what_understand_says_of_each(client, understanding, column):
    result = client.infer("ecommerce", [text_input(TEXTS, column)], parameters={"top_k": 2})
    assert [output.name for output in result.get_response().outputs] == OUTPUTS
    tensors = {name: result.as_numpy(name) for name in OUTPUTS}
    assert tensors["intent"].shape == (4, 2) and tensors["slot_start"].dtype == np.int32 and tensors["confidence"].dtype == np.float32
    assert max(tensors["slot_count"]) == tensors["slot_name"].shape[1] >= 1
    for row, text in enumerate(TEXTS):
        expected = understanding.call("kefu.understanding.v1.Understanding/Understand", text=text, top_k=2)
        # What the batch adds to the last digit may swap two intents that are as unlikely as each other: the first is the answer.
        assert tensors["intent"][row, 0].decode() == expected.intents[0].name
        assert np.allclose(tensors["confidence"][row], [intent.confidence for intent in expected.intents], atol=CLOSE)
        count = tensors["slot_count"][row]
        assert count == len(expected.slots)
        for column_, slot in enumerate(expected.slots):
            start, end = tensors["slot_start"][row, column_], tensors["slot_end"][row, column_]
            assert text[start:end] == tensors["slot_value"][row, column_].decode() == slot.value
            assert tensors["slot_name"][row, column_].decode() == slot.name
            assert tensors["slot_normalized"][row, column_].decode() == slot.normalized
            assert abs(tensors["slot_confidence"][row, column_] - slot.confidence) < CLOSE
        assert all(name == b"" for name in tensors["slot_name"][row, count:])
        assert (tensors["model"][row].decode(), tensors["route"][row]) == (expected.model, b"model")


def test_as_many_rows_as_a_batch_and_no_more(client):
    texts = [f"第{n}个订单怎么还没发货" for n in range(33)]
    assert client.infer("ecommerce", [text_input(texts[:32])]).as_numpy("intent").shape == (32, 3)
    status, message = refused(lambda: client.infer("ecommerce", [text_input(texts)]))
    assert status == "StatusCode.INVALID_ARGUMENT" and "33" in message and "1 to 32" in message


def test_string_arrays_of_numpy(client):
    array = np.array(["return", "refund"], dtype="S6")
    tensor = triton.InferInput("text", [2], "BYTES")
    tensor.set_data_from_numpy(array)
    assert client.infer("ecommerce", [tensor]).as_numpy("intent").shape == (2, 3)


def test_only_the_outputs_asked_for_in_their_order(client):
    names = ["confidence", "intent"]
    outputs = [triton.InferRequestedOutput(name) for name in names]
    result = client.infer("ecommerce", [text_input(TEXTS)], outputs=outputs)
    assert [output.name for output in result.get_response().outputs] == names
    assert result.as_numpy("slot_name") is None
    status, message = refused(lambda: client.infer("ecommerce", [text_input(TEXTS)], outputs=[triton.InferRequestedOutput("logits")]))
    assert status == "StatusCode.INVALID_ARGUMENT" and all(name in message for name in ["logits"] + OUTPUTS)


def test_typed_contents_are_taken_too(intent_server):
    request = service_pb2.ModelInferRequest(model_name="ecommerce")
    tensor = request.inputs.add(name="text", datatype="BYTES", shape=[2])
    tensor.contents.bytes_contents.extend(text.encode() for text in TEXTS[:2])
    with grpc.insecure_channel(intent_server.address) as channel:
        response = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
    assert triton.InferResult(response).as_numpy("intent")[0, 0] == b"address_change"


@pytest.mark.parametrize("version", ["", "shipped"])
def test_a_version_is_selected(client, version):
    version = client.get_model_metadata("ecommerce").versions[0] if version else ""
    response = client.infer("ecommerce", [text_input(["你好"])], model_version=version).get_response()
    assert response.model_version == client.get_model_metadata("ecommerce").versions[0]


def test_priorities_become_classes(client, intent_server):
    def counts():
        metrics = Metrics(intent_server)
        return [metrics.sum("kefu_understanding_requests_total", priority=name) for name in ["interactive", "standard", "background"]]

    def arrivals():
        metrics = Metrics(intent_server)
        return [metrics.sum("kefu_understanding_queue_arrivals_total", priority=name) for name in ["interactive", "standard", "background"]]

    for priority, expected in [(0, [1, 0, 0]), (1, [1, 0, 0]), (2, [0, 1, 0]), (3, [0, 0, 1])]:
        before = counts(), arrivals()
        client.infer("ecommerce", [text_input(["你好"])], priority=priority)
        assert np.subtract(counts(), before[0]).tolist() == expected
        assert np.subtract(arrivals(), before[1]).tolist() == expected
    status, message = refused(lambda: client.infer("ecommerce", [text_input(["你好"])], priority=4))
    assert status == "StatusCode.INVALID_ARGUMENT" and "BACKGROUND" in message


def test_timeouts(client):
    assert client.infer("ecommerce", [text_input(TEXTS)], timeout=5_000_000, client_timeout=10).as_numpy("intent") is not None
    # A microsecond: it cannot be met, or has passed when it is looked at.
    status, _ = refused(lambda: client.infer("ecommerce", [text_input(TEXTS)], timeout=1))
    assert status in ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.RESOURCE_EXHAUSTED")
    status, _ = refused(lambda: client.infer("ecommerce", [text_input(TEXTS)], client_timeout=1e-6))
    assert status in ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.RESOURCE_EXHAUSTED")


@pytest.mark.parametrize("texts, options, status, words", [
    (["你好"], dict(model_name="nothing"), "NOT_FOUND", ["nothing", "ecommerce"]),
    (["你好"], dict(model_version="999"), "NOT_FOUND", ["999"]),
    (["你好", ""], {}, "INVALID_ARGUMENT", ["text[1]", "empty"]),
    (["你好", "改" * 513], {}, "INVALID_ARGUMENT", ["text[1]", "513"]),
    ([b"\xff\xfe"], {}, "INVALID_ARGUMENT", ["text[0]", "UTF-8"]),
    ([b"a\0b"], {}, "INVALID_ARGUMENT", ["text[0]", "U+0000"]),
    (["你好"], dict(sequence_id=5), "INVALID_ARGUMENT", ["sequence_", "priority"]),
    (["你好"], dict(parameters={"top_k": -1}), "INVALID_ARGUMENT", ["top_k"]),
    (["你好"], dict(parameters={"topk": 1}), "INVALID_ARGUMENT", ["topk", "top_k"]),
])
def test_what_is_wrong_is_told(client, texts, options, status, words):
    options = {"model_name": "ecommerce", **options}
    got, message = refused(lambda: client.infer(inputs=[text_input(texts)], **options))
    assert got == f"StatusCode.{status}"
    for word in words:
        assert word in message


def test_inputs_of_another_kind_are_refused(client):
    status, message = refused(lambda: client.infer("ecommerce", [text_input(["你好"], name="tokens")]))
    assert status == "StatusCode.INVALID_ARGUMENT" and "tokens" in message and "text" in message
    numbers = triton.InferInput("text", [1], "INT64")
    numbers.set_data_from_numpy(np.array([1]))
    assert "INT64" in refused(lambda: client.infer("ecommerce", [numbers]))[1]
    assert "[2, 2]" in refused(lambda: client.infer("ecommerce", [triton.InferInput("text", [2, 2], "BYTES").set_data_from_numpy(
        np.array([[b"a", b"b"], [b"c", b"d"]], dtype=np.object_))]))[1]


def test_async_infer(client):
    results = queue.Queue()
    for n in range(100):
        client.async_infer("ecommerce", [text_input([f"第{n}个问题", "我要退款"])], lambda result, error: results.put((result, error)),
                           request_id=str(n), priority=n % 4)
    answers = [results.get(timeout=60) for _ in range(100)]
    assert all(error is None for _, error in answers)
    assert sorted(int(result.get_response().id) for result, _ in answers) == list(range(100))
    assert all(result.as_numpy("intent")[1, 0] == b"refund_request" for result, _ in answers)


def test_asyncio(intent_server):
    async def run():
        async with triton_aio.InferenceServerClient(intent_server.address) as client:
            assert await client.is_server_ready()
            results = await asyncio.gather(*(client.infer("ecommerce", [text_input(TEXTS)]) for _ in range(20)))
            return [result.as_numpy("intent")[0, 0] for result in results]

    assert asyncio.run(run()) == [b"address_change"] * 20


def test_methods_that_only_triton_has_are_unimplemented(client):
    assert refused(client.get_model_repository_index)[0] == "StatusCode.UNIMPLEMENTED"


def test_grpcurl_knows_the_service(intent_server):
    grpcurl = pathlib.Path(sys.executable).parent / "grpcurl"

    def run(*arguments):
        return subprocess.run([grpcurl, "-plaintext", *arguments], capture_output=True, text=True, timeout=60, check=True).stdout

    assert "inference.GRPCInferenceService" in run(intent_server.address, "list").split()
    assert "map<string, .inference.InferParameter>" in run(intent_server.address, "describe", "inference.ModelInferRequest")
    assert '"ready": true' in run("-d", '{"name": "ecommerce"}', intent_server.address, "inference.GRPCInferenceService/ModelReady")
