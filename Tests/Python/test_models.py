"""Model versions, cascades and kept answers of the real intent server, over small real models."""

import collections
import concurrent.futures
import pathlib
import shutil
import signal
import subprocess
import threading
import time

import grpc
import pytest
from bundles import copy_slowly, make_bundle
from conftest import BIN, ROOT, Client, Process

UNDERSTAND = "kefu.understanding.v1.Understanding/Understand"
STREAM = "kefu.understanding.v1.Understanding/UnderstandStream"
LIST = "kefu.understanding.v1.Understanding/ListModels"
LOADING, WARMING, READY, DRAINING, FAILED = range(1, 6)
MODEL, LIGHT, HEAVY, CACHE = range(1, 5)


class Served:
    """An intent server over a folder of models, and a client of it."""

    def __init__(self, models, *more):
        self.log = models.parent / "log.txt"
        with open(self.log, "w") as log:
            self.process = Process("intent-server", "serve", "--listen", "127.0.0.1:0", "--models", str(models), *more, stderr=log)
        self.client = Client(self.process.address)

    def understand(self, text="你好", **fields):
        return self.client.call(UNDERSTAND, text=text, **fields)

    def states(self):
        return {f"{model.name}@{model.version}": model.state for model in self.client.call(LIST).models}

    def default(self):
        return [f"{model.name}@{model.version}" for model in self.client.call(LIST).models if model.is_default]

    def becomes(self, states):
        """Waits until ListModels says so."""
        give_up = time.monotonic() + 60
        while self.states() != states:
            assert time.monotonic() < give_up, f"{self.states()} instead of {states}\n{self.log.read_text()}"
            time.sleep(0.02)

    def lines(self, *words):
        return [line for line in self.log.read_text().splitlines() if all(word in line for word in words)]

    def failure(self, **fields):
        with pytest.raises(grpc.RpcError) as failure:
            self.understand(**fields)
        return failure.value.code()


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    make_bundle(folder, "shop", 1)
    return folder


@pytest.fixture
def serve(models):
    started = []

    def start(*more):
        started.append(Served(models, *more))
        return started[-1]

    yield start
    for served in started:
        assert served.process.stop() == 0
        assert "Fatal error" not in served.log.read_text()


class Load:
    """Callers that ask all the time; what they got by model, and every failure."""

    def __init__(self, client, callers=8, **fields):
        self.answers, self.failures, self.over = collections.Counter(), [], threading.Event()
        self.request, self.understand = client.stub(UNDERSTAND)
        self.fields = fields
        self.threads = [threading.Thread(target=self.ask) for _ in range(callers)]

    def ask(self):
        number = 0
        while not self.over.is_set():
            number += 1
            try:
                answer = self.understand(self.request(text=f"第{number}单怎么还没到", **self.fields), timeout=30)
                self.answers[answer.model] += 1
            except grpc.RpcError as error:
                self.failures.append(str(error))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


def test_versions_change_under_load_without_a_failed_request(models, serve):
    served = serve("--poll-interval-ms", "50")
    with Load(served.client) as load:
        for version in range(2, 8):
            make_bundle(models, "shop", version)
            served.becomes({f"shop@{version}": READY})
            shutil.rmtree(models / "shop" / str(version - 1))
            before = load.answers[f"shop@{version}"]
            while load.answers[f"shop@{version}"] < before + 20 and not load.failures:
                time.sleep(0.01)
    assert load.failures == []
    assert set(load.answers) == {f"shop@{version}" for version in range(1, 8)}
    assert served.lines("model is gone", "shop@6")


def test_the_memory_of_old_versions_is_given_back(models, serve):
    served = serve("--poll-interval-ms", "0")
    source = sorted((ROOT / "Deploy/models/ecommerce").glob("[0-9]*"))[-1]

    def resident():
        return int(pathlib.Path(f"/proc/{served.process.process.pid}/statm").read_text().split()[1]) * 4096

    def switch(version):
        made = models / ".new"
        shutil.copytree(source, made)
        manifest = (made / "manifest.json").read_text()
        (made / "manifest.json").write_text(
            manifest.replace('"name": "ecommerce"', '"name": "big"').replace(f'"version": "{source.name}"', f'"version": "{version}"'))
        (models / "big").mkdir(exist_ok=True)
        made.rename(models / "big" / str(version))
        served.process.process.send_signal(signal.SIGHUP)
        served.becomes({f"big@{version}": READY, "shop@1": READY})
        shutil.rmtree(models / "big" / str(version))

    switch(1)
    size = {model.name: model.memory_bytes for model in served.client.call(LIST).models}["big"]
    one = resident()
    for version in range(2, 5):
        switch(version)
        # Kept, three old versions would be three times the size.
        assert resident() < one + size, f"{resident() >> 20} MiB after version {version}, {one >> 20} MiB with one"


def test_a_broken_version_is_refused_once_by_file_and_field_and_the_old_one_serves(models, serve):
    served = serve("--poll-interval-ms", "20")
    with Load(served.client, callers=2) as load:
        make_bundle(models, "shop", 2, wrong_labels=True)
        served.becomes({"shop@1": READY, "shop@2": FAILED})
        finish = copy_slowly(make_bundle(models.parent / "elsewhere", "shop", 3), models / "shop" / "3")
        served.becomes({"shop@1": READY, "shop@2": FAILED, "shop@3": FAILED})
        time.sleep(0.5)  # Some 20 polls, which say nothing new.
        assert len(served.lines("model is refused", "shop@2", "intents", "4 values a row; 3 a row are expected")) == 1
        refused = served.lines("model is refused", "shop@3", "shop/3/model.pt", "files.model.pt.bytes")
        assert 1 <= len(refused) <= 3, "once for each state of the copy that was seen"
        assert served.understand().model == "shop@1"
        assert served.failure(model="shop@3") == grpc.StatusCode.UNAVAILABLE
        finish()
        served.becomes({"shop@2": FAILED, "shop@3": READY})
    assert load.failures == []
    assert set(load.answers) == {"shop@1", "shop@3"}


def test_a_signal_reloads_without_polling(models, serve):
    served = serve("--poll-interval-ms", "0")
    make_bundle(models, "shop", 2)
    make_bundle(models, "other", 1)
    time.sleep(0.3)
    assert served.states() == {"shop@1": READY}
    served.process.process.send_signal(signal.SIGHUP)
    served.becomes({"other@1": READY, "shop@2": READY})
    # The default is that of the start.
    assert served.default() == ["shop@2"] and served.understand().model == "shop@2"
    shutil.rmtree(models / "other")
    served.process.process.send_signal(signal.SIGHUP)
    served.becomes({"shop@2": READY})
    assert served.failure(model="other") == grpc.StatusCode.NOT_FOUND


def test_a_server_that_is_told_to_end_while_it_warms_up_ends_at_once(tmp_path):
    command = [BIN / "intent-server", "serve", "--listen", f"unix:{tmp_path}/socket", "--log-level", "debug"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.endswith("Starting service\n") and "sl-service=StandardServer" in line:
            break
    process.terminate()
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and "listening" not in out


def test_versions_by_name_and_a_pinned_default(models, serve):
    for version in (2, 3):
        make_bundle(models, "shop", version)
    served = serve("--default-model", "shop@1", "--versions", "latest:2", "--poll-interval-ms", "50")
    assert served.states() == {f"shop@{version}": READY for version in (1, 2, 3)}
    assert served.default() == ["shop@1"]
    assert served.understand().model == "shop@1"
    assert served.understand(model="shop").model == "shop@3"
    assert served.understand(model="shop@2").model == "shop@2"
    assert served.failure(model="shop@4") == grpc.StatusCode.NOT_FOUND
    make_bundle(models, "shop", 4)
    served.becomes({"shop@1": READY, "shop@3": READY, "shop@4": READY})
    assert served.understand().model == "shop@1" and served.understand(model="shop").model == "shop@4"


def test_a_cascade_says_which_step_answered(models, serve):
    make_bundle(models, "sure", 1, intent="thanks", confidence=0.95)
    make_bundle(models, "unsure", 1, intent="thanks", confidence=0.6)
    served = serve(
        "--default-model", "quick", "--cache-bytes", "1000000", "--poll-interval-ms", "50", "--cascade",
        "name=quick,light=sure,heavy=shop,threshold=0.9;name=careful,light=unsure,heavy=shop,threshold=0.9")
    assert served.states() == {"careful@": READY, "quick@": READY, "shop@1": READY, "sure@1": READY, "unsure@1": READY}
    assert served.default() == ["quick@"]
    answer = served.understand(text="谢谢")
    assert (answer.route, answer.model, answer.intents[0].name) == (LIGHT, "sure@1", "thanks")
    assert answer.intents[0].confidence == pytest.approx(0.95, abs=1e-2)
    answer = served.understand(text="谢谢", model="careful")
    assert (answer.route, answer.model, answer.intents[0].name) == (HEAVY, "shop@1", "greeting")
    answer = served.understand(text="谢谢", model="careful")
    assert (answer.route, answer.model) == (CACHE, "shop@1")
    assert served.understand(text="你好", model="shop").route == MODEL
    shutil.rmtree(models / "sure")
    served.becomes({"careful@": READY, "quick@": READY, "shop@1": READY, "unsure@1": READY})
    assert served.understand(text="再见").route == HEAVY


def test_kept_answers_point_into_each_text_and_go_with_their_version(models, serve):
    make_bundle(models, "shop", 2, slot=True)
    served = serve("--cache-bytes", "1000000", "--poll-interval-ms", "50")
    first = served.understand(text="ab12", top_k=1)
    assert first.route == MODEL and first.timing.batch_size == 1
    second = served.understand(text="  ＡＢ１２ ", top_k=2)
    assert second.route == CACHE and second.timing.batch_size == 0
    assert [len(first.intents), len(second.intents)] == [1, 2] and second.intents[0] == first.intents[0]
    assert [(slot.value, slot.start, slot.end) for slot in first.slots] == [("ab12", 0, 4)]
    assert [(slot.value, slot.start, slot.end) for slot in second.slots] == [("ＡＢ１２", 2, 6)]
    make_bundle(models, "shop", 3)
    served.becomes({"shop@3": READY})
    answer = served.understand(text="ab12")
    assert (answer.route, answer.model) == (MODEL, "shop@3")


def test_equal_texts_at_once_are_computed_once(models, serve):
    served = serve("--cache-bytes", "1000000")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: served.understand(text="谢谢你"), range(200)))
    assert {answer.intents[0].name for answer in answers} == {"greeting"}
    assert {answer.route for answer in answers} <= {MODEL, CACHE}
    assert all(answer.timing.batch_size <= 1 for answer in answers)


def test_a_stream_tells_errors_item_by_item_and_takes_every_priority(models, serve):
    served = serve()
    request, stream = served.client.stub(STREAM, "stream_stream")
    items = [request(text=f"第{n}单", request_id=f"good-{n}", priority=n % 4) for n in range(100)]
    items[10:10] = [
        request(text="", request_id="empty"), request(text="改" * 513, request_id="long"), request(text="你好", priority=9, request_id="class"),
        request(text="你好", model="none", request_id="model"), request(text="你好", model="shop@9", request_id="version"),
    ]
    answers = {answer.request_id: answer for answer in stream(iter(items), timeout=60)}
    assert len(answers) == 105
    assert all(answers[f"good-{n}"].intents and not answers[f"good-{n}"].HasField("error") for n in range(100))
    codes = {name: answer.error.code for name, answer in answers.items() if answer.HasField("error")}
    invalid, unknown = grpc.StatusCode.INVALID_ARGUMENT.value[0], grpc.StatusCode.NOT_FOUND.value[0]
    assert codes == {"empty": invalid, "long": invalid, "class": invalid, "model": unknown, "version": unknown}


def test_a_stream_whose_answers_are_not_read_is_not_read_either(models, serve):
    # A slot a word: answers of 2 kB. Some 3,400 of them fill the client's window, which is kept from growing.
    make_bundle(models, "shop", 2, slot=True)
    served = serve("--cache-bytes", "1000000")
    served.client.channel = grpc.insecure_channel(served.process.address, [("grpc.http2.bdp_probe", 0)])
    request, stream = served.client.stub(STREAM, "stream_stream")
    count, sent = 8000, [0]

    def requests():
        for number in range(count):
            sent[0] = number
            yield request(text="怎么还没到货" * 85, request_id=str(number))

    call = stream(requests(), timeout=120)
    before, still = -1, 0
    while still < 15:
        time.sleep(0.1)
        still, before = (still + 1, before) if sent[0] == before else (0, sent[0])
    assert sent[0] < count - 1000, "the server read on though nobody took its answers"
    # Others are served meanwhile, and the stream goes on when it is read.
    assert served.understand().intents
    assert len({answer.request_id for answer in call}) == count


@pytest.mark.parametrize("flags, words", [
    (["--workers", "64", "--threads", "256"], ["64 workers of 256 threads", "core"]),
    (["--versions", "newest"], ["newest", "latest:N"]), (["--default-model", "none"], ["none", "shop"]),
    (["--default-model", "shop@9"], ["shop@9", "shop@1"]), (["--cascade", "name=x"], ["name=x", "light"]),
    (["--cascade", "name=x,light=a,heavy=shop,threshold=0.5"], ["light model", "a", "shop"]),
    (["--cache-bytes=-1"], ["cache-bytes", "-1"]), (["--poll-interval-ms", "soon"], ["poll-interval-ms", "soon"]),
])
def test_what_cannot_be_served_is_said_at_the_start(models, flags, words):
    command = [BIN / "intent-server", "serve", "--listen", "127.0.0.1:0", "--models", str(models), *flags]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode != 0 and "Fatal error" not in result.stderr
    for word in words:
        assert word in result.stderr


def test_verify_checks_every_version(models):
    make_bundle(models, "shop", 2, wrong_labels=True)
    make_bundle(models, "shop", 3)
    result = subprocess.run([BIN / "intent-server", "verify", "--models", str(models)], capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert "shop@1: 3 intents" in result.stdout and "shop@3: 3 intents" in result.stdout
    assert "shop@2" in result.stderr and "intents" in result.stderr
