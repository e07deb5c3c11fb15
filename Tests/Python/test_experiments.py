"""Experiments with real binaries: who gets which variant, what their models and domains do, what is noted of their turns, and what the report says of it."""

import collections
import concurrent.futures
import hashlib
import hmac
import json
import os
import pathlib
import shutil
import subprocess
import threading
import time

import grpc
import jsonschema
import pytest
import yaml
from conftest import BIN, ROOT, Client, Process, Redis, orchestrator
from google.protobuf.message_factory import GetMessageClass
from metrics import Metrics, get, wait_for
from test_chat_api import send
from test_dialogue import new_uid

SCHEMAS = ROOT / "Deploy" / "domains" / "schema"
EXAMPLE = ROOT / "Deploy" / "experiments" / "light-or-standard.yaml"
DOMAIN = ROOT / "Deploy" / "domains" / "ecommerce"
EVENT = jsonschema.Draft202012Validator(json.loads((SCHEMAS / "turn-event.schema.json").read_text()))
UNDERSTAND = "kefu.understanding.v1.Understanding/Understand"
# A busy machine may take its time.
PATIENT = ("--recognition-timeout-ms", "30000", "--turn-timeout-ms", "60000", "--target-latency-ms", "20000")
HALVES = """
name: halves
salt: salt-of-the-tests
control: standard
variants:
  light: {share: 50, model: ecommerce-light}
  standard: {model: ecommerce}
"""


def bucket(salt, *parts):
    """As Deploy/README.md says it."""
    digest = hashlib.sha256("\0".join([salt, *parts]).encode()).digest()
    return int.from_bytes(digest[:8], "big") * 1_000_000 >> 64


def half(uid):
    return "light" if bucket("salt-of-the-tests", uid) < 500_000 else "standard"


def uid_of(variant):
    return next(uid for uid in iter(new_uid, None) if half(uid) == variant)


def write(folder, text, name="experiment.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def run(*arguments, env=None, **options):
    return subprocess.run([BIN / "dialogue-orchestrator", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, env=env, **options)


def started(intent_server, redis, *flags):
    return orchestrator(intent_server.address, f"unix://{redis.socket}" if redis else "memory:", "--http", "127.0.0.1:0", *PATIENT, *flags)


def events_of(*paths, count, timeout=60):
    """The events of files, once there are so many; each fits the schema."""
    end = time.monotonic() + timeout
    while True:
        lines = [line for path in paths if pathlib.Path(path).exists() for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines(True)]
        if len(lines) >= count and all(line.endswith("\n") for line in lines) or time.monotonic() > end:
            break
        time.sleep(0.05)
    found = [json.loads(line) for line in lines]
    assert len(found) == count, found
    for event in found:
        assert [error.message for error in EVENT.iter_errors(event)] == [], event
    return found


# MARK: Who gets what

def test_anybody_can_compute_who_gets_what(tmp_path):
    """10,000 users in the program and in Python: the same buckets, and shares within what chance allows."""
    path = write(tmp_path, "{name: t, salt: 盐 1, control: c, variants: {a: {share: 12.5}, b: {share: 0.5}, c: {}, d: {share: 30}}}")
    uids = [f"客户-{n}" for n in range(5_000)] + [f"user-{n}" for n in range(5_000)]
    result = run("assign", "--experiment", path, input="\n".join(uids) + "\n")
    assert result.returncode == 0, result.stderr
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    ranges = [("a", 125_000), ("b", 130_000), ("d", 430_000), ("c", 1_000_000)]
    assert rows == [[uid, str(b := bucket("盐 1", uid)), next(name for name, end in ranges if b < end)] for uid in uids]
    counts = collections.Counter(variant for _, _, variant in rows)
    for name, share in [("a", 0.125), ("b", 0.005), ("d", 0.3), ("c", 0.57)]:
        spread = (10_000 * share * (1 - share)) ** 0.5
        assert abs(counts[name] - 10_000 * share) < 4.5 * spread, counts
    assert run("assign", "--experiment", path, "user-7").stdout == "\t".join(rows[5_007]) + "\n"


def test_a_share_that_grows_moves_only_those_whom_it_gains(tmp_path):
    def assigned(shares):
        text = "{name: t, salt: s, control: c, variants: {a: {share: %s}, b: {share: %s}, c: {}}}" % shares
        lines = run("assign", "--experiment", write(tmp_path, text), input="".join(f"u{n}\n" for n in range(4000))).stdout.splitlines()
        return {uid: variant for uid, _, variant in (line.split("\t") for line in lines)}
    before, after = assigned((10, 10)), assigned((10, 25))
    moved = {uid for uid in before if before[uid] != after[uid]}
    assert {(before[uid], after[uid]) for uid in moved} == {("c", "b")}
    assert moved == {uid for uid in before if 200_000 <= bucket("s", uid) < 350_000}


def test_variants_have_their_models_over_restarts_and_replicas(tmp_path, intent_server):
    redis = Redis()
    path = write(tmp_path, HALVES)
    uids = [uid_of(variant) for variant in ("light", "standard") for _ in range(6)]
    first = started(intent_server, redis, "--experiment", path)
    second = started(intent_server, redis, "--experiment", path)
    try:
        clients = [Client(first.address), Client(second.address)]

        def check(reply, uid):
            assert not reply.degraded_parts
            assert reply.recognition.variant == half(uid), uid
            assert reply.recognition.model.split("@")[0] == {"light": "ecommerce-light", "standard": "ecommerce"}[half(uid)]
        for number, uid in enumerate(uids):
            check(clients[number % 2].reply(uid, "我要改地址", 1, timeout=60), uid)
            check(clients[(number + 1) % 2].reply(uid, "订单号是202411110001", 2, timeout=60), uid)
        for variant in ("light", "standard"):
            assert sum(Metrics(s).sum("kefu_dialogue_variant_turns_total", variant=variant, outcome="answered") for s in (first, second)) == 12
            assert sum(Metrics(s).sum("kefu_dialogue_variant_turn_seconds_count", variant=variant, experiment="halves") for s in (first, second)) == 12
        status, _, document = send(second, {"uid": uids[0], "query": "你好", "seq": 3})
        assert status == 200 and document["recognition"]["variant"] == "light"
        assert first.stop() == 0
        first = started(intent_server, redis, "--experiment", path)
        client = Client(first.address)
        for uid in uids:
            check(client.reply(uid, "算了", 4, timeout=60), uid)
        # The reply that is given again is the very reply.
        again = client.reply(uids[0], "我要改地址", 1)
        assert again.replayed and again.recognition.variant == "light"
    finally:
        codes = [first.stop(), second.stop()]
        redis.kill()
    assert codes == [0, 0]


def test_without_an_experiment_there_is_no_variant(clients):
    assert clients[0].reply(new_uid(), "你好", 1).recognition.variant == ""


def test_a_model_that_is_not_there_costs_no_customer_the_answer(tmp_path, intent_server):
    path = write(tmp_path, "{name: t, salt: s, control: a, variants: {a: {model: ecommerce@99}}}")
    server = started(intent_server, None, "--experiment", path)
    try:
        reply = Client(server.address).reply(new_uid(), "我要改地址", 1, timeout=60)
        assert (reply.recognition.intent, reply.degraded, reply.recognition.variant) == ("address_change", False, "a")
        assert Metrics(server).sum("kefu_dialogue_variant_model_missing_total", experiment="t", variant="a") == 1
    finally:
        assert server.stop() == 0


def test_a_cascade_is_a_model(tmp_path):
    """Thresholds are chosen by cascades of the intent server, each under a name of its own."""
    models = Process(
        "intent-server", "serve", "--listen", "127.0.0.1:0", "--cascade",
        "name=trusting,light=ecommerce-light,heavy=ecommerce,threshold=0;name=doubting,light=ecommerce-light,heavy=ecommerce,threshold=1,labels=1")
    path = write(tmp_path, """
name: t
salt: salt-of-the-tests
control: standard
variants: {light: {share: 50, model: trusting}, standard: {model: doubting}}
""")
    server = started(models, None, "--experiment", path, "--events", str(tmp_path / "events"))
    try:
        client = Client(server.address)
        models_of = {variant: client.reply(uid_of(variant), "我要改地址", 1, timeout=60).recognition.model for variant in ("light", "standard")}
        assert models_of["light"].startswith("ecommerce-light@") and models_of["standard"].startswith("ecommerce@")
        routes = {event["variant"]: event["route"] for event in events_of(tmp_path / "events", count=2)}
        assert routes == {"light": "light", "standard": "heavy"}
    finally:
        assert server.stop() == models.stop() == 0


def test_a_dialogue_that_is_moved_keeps_its_domain_until_its_flow_ends(tmp_path, intent_server):
    redis = Redis()
    other = tmp_path / "other"
    shutil.copytree(DOMAIN, other)
    text = (other / "flows.yaml").read_text()
    wish = "  refund_request:\n    title: 申请退款\n    required: [order_id]"
    assert wish in text
    (other / "flows.yaml").write_text(text.replace(wish, wish.replace("[order_id]", "[order_id, recipient]"))
                                      .replace("为订单 {{order_id}} 申请退款", "为{{recipient}}的订单 {{order_id}} 申请退款")
                                      .replace("我将为订单 {{order_id}} 提交退款申请", "我将为{{recipient}}的订单 {{order_id}} 提交退款申请"))
    both = "{name: t, salt: s, control: own, variants: {changed: {share: %d, domain: other}, own: {}}}"
    before = started(intent_server, redis, "--experiment", write(tmp_path, both % 0, "before.yaml"))
    after = started(intent_server, redis, "--experiment", write(tmp_path, both % 100, "after.yaml"), "--events", str(tmp_path / "events"))
    try:
        uid, uid2 = new_uid(), new_uid()
        assert Client(before.address).reply(uid, "我要退款", 1, timeout=60).session.awaiting == "order_id"
        client = Client(after.address)
        # The old domain asks for nothing more, the other one for a name.
        assert client.reply(uid, "202411110001", 2, timeout=60).session.awaiting == "confirm"
        assert client.reply(uid, "好的", 3, timeout=60).session.flow == ""
        assert client.reply(uid, "我要退款", 4, timeout=60).session.awaiting == "recipient"
        assert client.reply(uid2, "我要退款", 1, timeout=60).session.awaiting == "order_id"
        # And back again.
        assert Client(before.address).reply(uid, "张三", 5, timeout=60).session.awaiting == "confirm"
        versions = [event["domain_version"] for event in events_of(tmp_path / "events", count=4)]
        assert versions[0] == versions[1] != versions[2] == versions[3]
    finally:
        codes = [before.stop(), after.stop()]
        redis.kill()
    assert codes == [0, 0]


def test_small_talk_is_part_of_a_variant(tmp_path, intent_server):
    """Small talk that cannot be reached degrades the turns of those who would have it, and not of the others."""
    path = write(tmp_path, HALVES.replace("light: {share: 50, model: ecommerce-light}", "light: {share: 50, chitchat: false}"))
    server = started(intent_server, None, "--experiment", path, "--chitchat", "127.0.0.1:1")
    try:
        client = Client(server.address)
        assert client.reply(uid_of("light"), "给我讲个笑话吧", 1, timeout=60).degraded_parts == []
        assert client.reply(uid_of("standard"), "给我讲个笑话吧", 1, timeout=60).degraded_parts == ["chitchat"]
    finally:
        assert server.stop() == 0


# MARK: Events and the report

def test_each_turn_is_noted_once_and_the_report_reads_it(tmp_path, intent_server):
    redis = Redis()
    path, files = write(tmp_path, HALVES), [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    servers = [started(intent_server, redis, "--experiment", path, "--events", file, "--events-redis", "kefu:events") for file in files]
    try:
        clients = [Client(server.address) for server in servers]
        answered = {}

        def converse(uid):
            for seq, query in enumerate(["我要退款", "订单号是202411110001", "好的", "哈哦呵呵嘎", "转人工"], 1):
                reply = clients[seq % 2].reply(uid, query, seq, timeout=60)
                answered[uid, seq] = reply
            return clients[0].reply(uid, "转人工", 5, timeout=60)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            replays = list(pool.map(converse, [uid_of("light") for _ in range(4)] + [uid_of("standard") for _ in range(4)]))
        assert len(answered) == 40 and all(reply.replayed for reply in replays)
        found = events_of(*files, count=48)
        own = {(event["user"], event["seq"]): event for event in found if not event["replayed"]}
        assert len(own) == 40 and collections.Counter(event["replayed"] for event in found)[True] == 8
        for (uid, seq), reply in answered.items():
            event = own[hmac.new(b"salt-of-the-tests", uid.encode(), "sha256").hexdigest()[:32], seq]
            assert (event["intent"], event["model"], event["variant"]) == (reply.recognition.intent, reply.recognition.model, half(uid))
            assert event["confidence"] == pytest.approx(reply.recognition.confidence, abs=1e-6)
            assert (event["flow"], event["awaiting"], event["handed_off"]) == (reply.session.flow, reply.session.awaiting, reply.session.handed_off)
            assert event["source"] == ["", "template", "rule", "chitchat", "fallback", "handoff"][reply.source]
            assert event["degraded_parts"] == list(reply.degraded_parts)
            assert event["repair"] == (event["source"] == "fallback" and not reply.degraded)
            assert event["experiment"] == "halves" and 0 < event["duration_us"] < 60_000_000 and abs(event["at_ms"] / 1000 - time.time()) < 600
            assert (event["hand_off"] != "") == (reply.session.handed_off and reply.source == 5)
        # A busy machine may degrade a turn; the conversations without one went as they were meant to.
        whole = {user for user, _ in own} - {event["user"] for event in own.values() if event["degraded_parts"]}
        for user in whole:
            assert own[user, 1]["flows_begun"] == ["refund_request"] and own[user, 5]["hand_off"].startswith("rule:")
            assert [own[user, seq]["flows_completed"] for seq in (1, 2, 3)] == [[], [], ["refund_request"]]
        assert whole
        text = "".join(pathlib.Path(file).read_text() for file in files)
        assert "user-" not in text and "退款" not in text and "202411110001" not in text
        for server in servers:
            wait_for(server, lambda m: m.sum("kefu_dialogue_events_total", sink="redis", outcome="written")
                     == m.sum("kefu_dialogue_events_total", sink="file", outcome="written"), timeout=60)
        assert sum(Metrics(s).sum("kefu_dialogue_events_total", sink="redis", outcome="written") for s in servers) == 48
        assert redis.command("XLEN", "kefu:events") == b":48\r\n"
        entry = redis.command("XRANGE", "kefu:events", "-", "+", "COUNT", "1").split(b"\r\n")
        assert b"event" in entry and json.loads(next(part for part in entry if part.startswith(b"{")))["id"] in {event["id"] for event in found}
    finally:
        codes = [server.stop() for server in servers]
        redis.kill()
    assert codes == [0, 0]

    labels = write(tmp_path, "id,intent\n" + "".join(f"{event['id']},refund_request\n" for event in own.values() if event["seq"] == 1), "labels.csv")
    arguments = ("report", "--experiment", path, "--labels", labels, "--resamples", "200", "--events", *files)
    result = run(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    for variant in report["variants"]:
        assert (variant["users"], variant["sessions"], variant["turns"]) == (4, 4, 20)
        handed = {event["session"] for event in own.values() if event["variant"] == variant["name"] and event["hand_off"]}
        assert variant["metrics"]["hand_off"]["value"] == len(handed) / 4 and variant["metrics"]["accuracy"]["n"] == 4
        times = sorted(event["duration_us"] / 1000 for event in own.values() if event["variant"] == variant["name"])
        assert variant["metrics"]["mean_ms"]["value"] == pytest.approx(sum(times) / 20)
        assert variant["metrics"]["tp99_ms"]["value"] == pytest.approx(times[-1])
    plot = tmp_path / "report.png"
    result = run("report", "--plot", str(plot), *arguments[1:])
    assert result.returncode == 0 and "(control)" in result.stdout and "intent accuracy" in result.stdout, result
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_what_customers_wrote_is_noted_only_where_asked_for_and_masked(tmp_path, intent_server):
    events = tmp_path / "events"
    secret = write(tmp_path, "0123456789abcdef\n", "salt")
    server = started(intent_server, None, "--events", str(events), "--events-text", "--events-salt-file", secret)
    try:
        uid = new_uid()
        Client(server.address).reply(uid, "我的电话是13800138000", 1, timeout=60)
        (event,) = events_of(events, count=1)
        assert "13800138000" not in events.read_text() and event["text"] == "我的电话是138***00"
        assert (event["experiment"], event["variant"]) == ("", "")
        assert event["user"] == hmac.new(b"0123456789abcdef", uid.encode(), "sha256").hexdigest()[:32]
    finally:
        assert server.stop() == 0


def test_files_are_bounded_and_the_shutdown_writes_what_waits(tmp_path, intent_server):
    events = tmp_path / "events"
    path = write(tmp_path, HALVES)
    server = started(intent_server, None, "--experiment", path, "--events", str(events), "--events-bytes", "4096", "--events-files", "3")
    client, uid = Client(server.address), new_uid()
    for seq in range(1, 31):
        client.reply(uid, "你好", seq, timeout=60)
    assert server.stop() == 0
    files = [events, tmp_path / "events.1", tmp_path / "events.2"]
    assert all(0 < file.stat().st_size <= 4096 for file in files) and not (tmp_path / "events.3").exists()
    seqs = [json.loads(line)["seq"] for file in reversed(files) for line in file.read_text().splitlines()]
    assert seqs == list(range(31 - len(seqs), 31))
    assert oct(events.stat().st_mode & 0o777) == "0o600"


# MARK: Shadows

class Gate:
    """An intent server in front of the real one, which keeps what nobody waits for until it is let go."""

    def __init__(self, understanding):
        self.client = understanding
        self.open = threading.Event()
        self.priorities, self.models = [], []
        descriptor = understanding.pool.FindServiceByName(UNDERSTAND.split("/")[0]).methods_by_name["Understand"]
        request, response = GetMessageClass(descriptor.input_type), GetMessageClass(descriptor.output_type)
        self.background = descriptor.input_type.fields_by_name["priority"].enum_type.values_by_name["PRIORITY_BACKGROUND"].number
        self.forward = understanding.channel.unary_unary(f"/{UNDERSTAND}", request.SerializeToString, response.FromString)
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
        handler = grpc.unary_unary_rpc_method_handler(self.understand, request.FromString, response.SerializeToString)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(UNDERSTAND.split("/")[0], {"Understand": handler}),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def understand(self, request, context):
        if request.priority == self.background:
            self.models.append(request.model)
            self.open.wait(60)
        self.priorities.append(request.priority)
        try:
            return self.forward(request, timeout=60)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())


@pytest.fixture
def gate(understanding):
    gate = Gate(understanding)
    yield gate
    gate.open.set()
    gate.server.stop(None)


SHADOW = "{name: t, salt: s, control: a, variants: {a: {model: ecommerce, shadow: {model: %s, share: %s}}}}"


def test_a_shadow_waits_for_nobody_and_nobody_for_it(tmp_path, gate):
    """Shadows stand still: turns are answered all the same, two wait, and the others are dropped."""
    events = tmp_path / "events"
    server = started(gate, None, "--experiment", write(tmp_path, SHADOW % ("ecommerce-light", 100)), "--events", str(events), "--shadow-in-flight", "2")
    try:
        client = Client(server.address)
        for number in range(6):
            assert not client.reply(new_uid(), "我要改地址", 1, timeout=60).degraded
        wait_for(server, lambda m: m.sum("kefu_dialogue_shadow_recognitions_total", outcome="dropped") == 4, timeout=60)
        dropped = events_of(events, count=4)
        assert {event["shadow"]["error"] for event in dropped} == {"DROPPED"}
        gate.open.set()
        found = [event for event in events_of(events, count=6) if "error" not in event["shadow"]]
        assert len(found) == 2 and gate.models == ["ecommerce-light"] * 2
        for event in found:
            assert event["shadow"]["model"].startswith("ecommerce-light@") and event["model"].startswith("ecommerce@")
            assert event["shadow"]["intent"] and event["shadow"]["duration_us"] > 0
        assert Metrics(server).sum("kefu_dialogue_shadow_recognitions_total", outcome="answered") == 2
        # Customers were not asked for with the shadows' priority, nor counted with them.
        assert collections.Counter(p == gate.background for p in gate.priorities) == {False: 6, True: 2}
        assert Metrics(server).sum("kefu_dialogue_recognitions_total") == 6
    finally:
        assert server.stop() == 0


def test_a_shadow_that_fails_fails_no_turn_and_its_share_can_be_recomputed(tmp_path, intent_server):
    events = tmp_path / "events"
    server = started(intent_server, None, "--experiment", write(tmp_path, SHADOW % ("nowhere", 40)), "--events", str(events))
    try:
        client, uid = Client(server.address), new_uid()
        for seq in range(1, 31):
            assert not client.reply(uid, "你好", seq, timeout=60).degraded
        shadows = {event["seq"]: event.get("shadow") for event in events_of(events, count=30)}
        chosen = {seq for seq in range(1, 31) if bucket("s", uid, str(seq)) < 400_000}
        assert {seq for seq, shadow in shadows.items() if shadow} == chosen
        assert all(shadows[seq] == {"model": "nowhere", "error": "NOT_FOUND"} for seq in chosen)
        assert Metrics(server).sum("kefu_dialogue_shadow_recognitions_total", outcome="failed") == len(chosen)
    finally:
        assert server.stop() == 0


def test_a_shadow_that_stands_still_does_not_hold_up_the_shutdown(tmp_path, gate):
    events = tmp_path / "events"
    server = started(gate, None, "--experiment", write(tmp_path, SHADOW % ("ecommerce-light", 100)), "--events", str(events))
    Client(server.address).reply(new_uid(), "你好", 1, timeout=60)
    assert server.stop() == 0
    (event,) = events_of(events, count=1)
    assert event["shadow"]["error"] in ("CANCELLED", "DEADLINE_EXCEEDED")


# MARK: What is wrong is said

def test_the_example_is_well_formed_and_fits_the_schema():
    schema = json.loads((SCHEMAS / "experiment.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator.check_schema(EVENT.schema)
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load(EXAMPLE.read_text()))) == []
    assert (EXAMPLE.parent / EXAMPLE.read_text().splitlines()[0].split("=")[1]).resolve() == SCHEMAS / "experiment.schema.json"
    result = run("verify", "--experiment", str(EXAMPLE))
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("old, new, place", [
    ("control: standard", "controll: standard", "4:1"), ("share: 50", "share: fifty", "6:18"), ("share: 50", "share: 101", "6:18"),
    ("model: ecommerce-light", "modell: ecommerce-light", "6:22"), ("model: ecommerce-light", "chitchat: 1", "6:32"),
    ("salt: salt-of-the-tests", "salt: ''", "3:7"), ("model: ecommerce-light", "model: '@1'", "6:29"),
])
def test_a_bad_file_ends_the_start_with_its_place(tmp_path, old, new, place):
    assert old in HALVES
    path = write(tmp_path, HALVES.replace(old, new, 1))
    schema = json.loads((SCHEMAS / "experiment.schema.json").read_text())
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load(pathlib.Path(path).read_text()))) != []
    for arguments in (("serve", "--listen", "127.0.0.1:0"), ("verify",)):
        result = run(*arguments, "--experiment", path)
        assert result.returncode != 0 and "listening" not in result.stdout
        assert f"{path}:{place}: " in result.stderr, result.stderr


@pytest.mark.parametrize("text, flags, words", [
    (HALVES.replace("{model: ecommerce}", "{share: 40}"), [], ["6:3", "add up to 90"]),
    (HALVES.replace("{model: ecommerce}", "{domain: nowhere}"), [], ["nowhere/domain.yaml:1:1"]),
    (HALVES.replace("{model: ecommerce}", "{chitchat: true}"), [], ["'standard'", "--chitchat"]),
    (HALVES.replace("{model: ecommerce}", "{shadow: {model: ecommerce}}"), [], ["shadow", "--events"]),
    (HALVES, ["--events", "/nowhere/events"], ["/nowhere/events", "cannot be opened"]),
    (HALVES, ["--events-redis", "events"], ["--redis", "memory:"]),
    (HALVES, ["--events", "EVENTS", "--events-salt-file", "SHORT"], ["5 bytes", "16"]),
    (None, ["--events", "EVENTS"], ["--events-salt-file"]),
])
def test_settings_that_do_not_go_together_end_the_start(tmp_path, text, flags, words):
    flags = [flag.replace("EVENTS", str(tmp_path / "events")).replace("SHORT", str(tmp_path / "short")) for flag in flags]
    (tmp_path / "short").write_text("short")
    experiment = ["--experiment", write(tmp_path, text)] if text else []
    result = run("serve", "--listen", "127.0.0.1:0", *experiment, *flags)
    assert result.returncode != 0 and "listening" not in result.stdout
    assert all(word in result.stderr for word in words), result.stderr


def test_two_processes_do_not_share_a_file(tmp_path, intent_server):
    path, events = write(tmp_path, HALVES), str(tmp_path / "events")
    server = started(intent_server, None, "--experiment", path, "--events", events)
    try:
        result = run("serve", "--listen", "127.0.0.1:0", "--experiment", path, "--events", events)
        assert result.returncode != 0 and "another process has it" in result.stderr
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("flags, words", [
    (["--python", "/nowhere/python3"], ["'/nowhere/python3' cannot be run", "scipy"]),
    (["--labels", "/nowhere/labels"], ["/nowhere/labels cannot be read"]),
])
def test_a_report_says_what_it_needs(tmp_path, flags, words):
    path = write(tmp_path, HALVES)
    event = {"id": "s:1", "user": "u", "session": "s", "seq": 1, "at_ms": 1, "experiment": "halves", "variant": "light", "intent": "x", "source": "rule",
             "replayed": False, "hand_off": "", "repair": False, "flows_begun": [], "flows_completed": [], "duration_us": 1}
    events = write(tmp_path, json.dumps(event) + "\n", "events")
    result = run("report", "--experiment", path, "--events", events, *flags)
    assert result.returncode != 0 and all(word in result.stderr for word in words), result.stderr


def test_a_python_without_the_libraries_is_told_of(tmp_path):
    """A Python that finds none of its installed packages, as one without them does."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{os.environ.get("KEFU_PYTHON", "python3")}" -S "$@"\n')
    bare.chmod(0o755)
    result = run("report", "--experiment", write(tmp_path, HALVES), "--events", "/dev/null", "--python", str(bare))
    assert result.returncode == 2 and "pip install -r Deploy/experiments/requirements.txt" in result.stderr and "Traceback" not in result.stderr
