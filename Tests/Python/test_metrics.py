"""The HTTP side: what is counted is what was sent, and promtool finds nothing to say."""

import collections
import concurrent.futures
import socket
import subprocess
import time

import grpc
import numpy as np
import tritonclient.grpc as triton
from conftest import Client, Process
from metrics import PROMTOOL, Metrics, get, wait_for
from tritonclient.utils import InferenceServerException

UNDERSTAND = "kefu.understanding.v1.Understanding/Understand"
PREFIX = "kefu_understanding_"


def status(call):
    """The name of the status that a call ends with."""
    try:
        call()
        return "OK"
    except grpc.RpcError as error:
        return error.code().name
    except InferenceServerException as error:
        return error.status().removeprefix("StatusCode.")


def rows(texts):
    tensor = triton.InferInput("text", [len(texts)], "BYTES")
    return [tensor.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=np.object_))]


def test_paths(intent_server):
    code, kind, text = get(intent_server, "/metrics")
    assert code == 200 and kind == "text/plain; version=0.0.4; charset=utf-8" and text.endswith("\n")
    assert get(intent_server, "/healthz")[0] == get(intent_server, "/readyz")[0] == 200
    assert get(intent_server, "/version")[2].strip()
    assert get(intent_server, "/nothing")[0] == 404


def test_promtool_finds_nothing_to_say(intent_server, understanding):
    understanding.call(UNDERSTAND, text="你好")
    result = subprocess.run([PROMTOOL, "check", "metrics"], input=Metrics(intent_server).text, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
    # It does have something to say of a bad one.
    assert subprocess.run([PROMTOOL, "check", "metrics"], input="requests_total 1\n", capture_output=True, text=True).returncode != 0


def test_the_models_and_the_process_are_told_of(intent_server, understanding):
    metrics = Metrics(intent_server)
    models = understanding.call("kefu.understanding.v1.Understanding/ListModels").models
    model = next(model for model in models if model.name == "ecommerce")
    own = dict(model="ecommerce", version=model.version)
    assert metrics.sum(PREFIX + "model_memory_bytes", **own) == model.memory_bytes
    assert model.precision in ("float32", "bfloat16")
    assert metrics.sum(PREFIX + "model_info", device="cpu", precision=model.precision, **own) == 1
    assert metrics.sum(PREFIX + "model_state", state="ready", **own) == 1
    assert metrics.sum(PREFIX + "model_state") == len(models)
    assert len([name for name, _, _ in metrics.samples if name == PREFIX + "queue_depth"]) == 3 * len(models)
    assert metrics.sum("process_resident_memory_bytes") > model.memory_bytes
    assert abs(metrics.sum("process_start_time_seconds") - time.time()) < 3600
    assert metrics.sum("process_open_fds") > 3 and metrics.sum("process_cpu_seconds_total") > 0


def test_what_is_counted_is_what_was_sent():
    """An overloaded server with room for 2 of a class: every request is in one counter, and every row in the histograms."""
    server = Process(
        "intent-server", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--queue", "2", "--batch-size", "4")
    try:
        client = Client(server.address)
        with triton.InferenceServerClient(server.address) as other:
            def one(n):
                if n % 10 == 7:
                    return "expiring", status(lambda: other.infer("ecommerce", rows([f"第{n}个订单"]), timeout=1, priority=2))
                if n % 10 == 8:
                    return "invalid", status(lambda: client.call(UNDERSTAND, text=""))
                if n % 10 == 9:
                    return "lost", status(lambda: other.infer("nothing", rows(["你好"])))
                found = status(lambda: client.call(UNDERSTAND, text=f"第{n}个订单怎么还没发货" * (1 + n % 4), priority=1 + n % 3, timeout=60))
                if found == "RESOURCE_EXHAUSTED":
                    time.sleep(0.05)  # as a client that is told to come back later
                return n % 3, found

            with concurrent.futures.ThreadPoolExecutor(24) as pool:
                outcomes = collections.Counter(pool.map(one, range(600)))
            assert status(lambda: other.infer("ecommerce", rows(["你好", "谢谢", "再见"]), priority=3)) == "OK"
        outcomes[2, "OK"] += 3

        def total(*statuses, kinds=(0, 1, 2, "expiring")):
            return sum(count for (kind, found), count in outcomes.items() if kind in kinds and found in statuses)

        # The last batch is counted after its callers have their answers.
        metrics = wait_for(server, lambda m: m.sum(PREFIX + "compute_seconds_count") == m.sum(PREFIX + "batch_rows_count"))
        names = ["interactive", "standard", "background"]
        for index, name in enumerate(names):
            kinds = (index, "expiring") if index == 1 else (index,)
            own = dict(model="ecommerce", priority=name)
            assert metrics.sum(PREFIX + "requests_total", **own) == total("OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", kinds=kinds)
            assert metrics.sum(PREFIX + "answered_total", **own) == total("OK", kinds=kinds)
            assert metrics.sum(PREFIX + "refused_total", reason="overload", **own) == total("RESOURCE_EXHAUSTED", kinds=kinds)
            assert metrics.sum(PREFIX + "expired_total", **own) == total("DEADLINE_EXCEEDED", kinds=kinds)
        assert total("OK") > 3 and total("RESOURCE_EXHAUSTED") > 0, outcomes
        assert metrics.sum(PREFIX + "requests_total") == 600 - 120 + 3
        for name in ["cancelled_total", "failed_total", "queue_depth", "busy_workers"]:
            assert metrics.sum(PREFIX + name) == 0, name
        assert metrics.sum(PREFIX + "rejected_total", code="INVALID_ARGUMENT") == 60 == outcomes["invalid", "INVALID_ARGUMENT"]
        assert metrics.sum(PREFIX + "rejected_total", code="NOT_FOUND") == 60 == outcomes["lost", "NOT_FOUND"]

        # Each row that was computed is in one batch, and was answered: none was computed in vain.
        assert metrics.sum(PREFIX + "batch_rows_sum") == metrics.sum(PREFIX + "answered_total")
        assert metrics.sum(PREFIX + "queue_seconds_count") == metrics.sum(PREFIX + "batch_rows_sum")
        assert metrics.sum(PREFIX + "batch_rows_bucket", le="4") == metrics.sum(PREFIX + "batch_rows_count")
        assert metrics.sum(PREFIX + "batch_padding_ratio_count") == metrics.sum(PREFIX + "batch_rows_count")
        assert metrics.sum(PREFIX + "queue_arrivals_total") == metrics.sum(PREFIX + "requests_total")
        assert metrics.sum(PREFIX + "queue_dropped_total") == total("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
        assert metrics.sum(PREFIX + "compute_seconds_sum") > 0
    finally:
        assert server.stop() == 0


def test_callers_that_leave_are_counted():
    """Cancelled calls: some are answered first, some never come; whatever comes is in one counter."""
    server = Process("intent-server", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
    try:
        client = Client(server.address)
        request, call = client.stub(UNDERSTAND)
        futures = [call.future(request(text=f"第{n}个订单怎么还没发货" * 4), timeout=60) for n in range(300)]
        futures[0].result()
        for future in futures[1::2]:
            future.cancel()
        stayed = collections.Counter(status(future.result) for future in futures[::2])

        def settled(metrics):
            ended = sum(metrics.sum(PREFIX + name + "_total") for name in ["answered", "refused", "expired", "cancelled", "failed"])
            return metrics.sum(PREFIX + "requests_total") == ended and metrics.sum(PREFIX + "busy_workers") == 0

        metrics = wait_for(server, settled, timeout=60)
        assert metrics.sum(PREFIX + "cancelled_total") > 0 == metrics.sum(PREFIX + "failed_total")
        assert 0 < stayed["OK"] <= metrics.sum(PREFIX + "answered_total")
        assert 150 <= metrics.sum(PREFIX + "requests_total") <= 300
        assert metrics.sum(PREFIX + "queue_depth") == 0
    finally:
        assert server.stop() == 0


def test_a_half_sent_request_does_not_hold_up_the_shutdown():
    server = Process("intent-server", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--grace-ms", "500")
    host, port = server.http.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as half, socket.create_connection((host, int(port))) as idle:
        half.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in idle.recv(4096)
        assert server.stop(timeout=20) == 0


def test_an_http_address_that_is_taken_ends_the_server(intent_server):
    from conftest import BIN, ROOT
    result = subprocess.run(
        [BIN / "intent-server", "serve", "--listen", "127.0.0.1:0", "--http", intent_server.http], cwd=ROOT, capture_output=True, text=True,
        timeout=60)
    assert result.returncode != 0 and intent_server.http in result.stderr and "listening" not in result.stdout
