"""What must not be seen is not: secrets on command lines and in errors, and customers' words in metrics, errors, reflection and logs."""

import base64
import os
import pathlib
import subprocess
import urllib.request

import grpc
import pytest
from conftest import BIN, ROOT, Client, Process, Redis
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

TOKEN = "geheim-0123456789-geheim"
KEY = base64.b64encode(b"geheim" * 5 + b"xx").decode()


def refused(arguments=(), variables=None):
    """What a program says that does not start."""
    ended = subprocess.run(
        [BIN / "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", *arguments], cwd=ROOT, env={**os.environ, **(variables or {})}, capture_output=True,
        text=True, timeout=60)
    assert ended.returncode > 0, "an error that is said, not a crash"
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("flag", ["--http-token", "--redis-password", "--redis-sentinel-password", "--session-keys"])
@pytest.mark.parametrize("form", ["{} {}", "{}={}"])
def test_no_flag_takes_a_secret(flag, form):
    said = refused(form.format(flag, "geheim").split())
    assert f"Unknown option '{flag}'" in said and "geheim" not in said


@pytest.mark.parametrize("variables", [
    {"KEFU_REDIS": "redis://user:geheim@localhost:99999"},
    {"KEFU_REDIS": "redis://user:geheim@"},
    {"KEFU_REDIS": "redis+sentinel://user:geheim@a,b"},
    {"KEFU_HTTP_TOKEN": "geheim", "KEFU_HTTP": "127.0.0.1:0"},
    {"KEFU_SESSION_KEYS": "a geheim", "KEFU_REDIS": "redis://127.0.0.1:1"},
    {"KEFU_SESSION_KEYS": f"a {KEY}\na {KEY}", "KEFU_REDIS": "redis://127.0.0.1:1"},
])
def test_an_error_does_not_repeat_a_secret(variables):
    said = refused(variables=variables)
    assert "geheim" not in said and KEY not in said and "Fatal" not in said


def test_what_customers_say_and_secrets_stay_where_they_belong(intent_server, tmp_path):
    """A conversation about an address, whose number and street are looked for everywhere else."""
    words = ["文三路", "13812345678", "customer-who-is-private", TOKEN, KEY]
    redis = Redis()
    with open(tmp_path / "log", "w") as log:
        server = Process(
            "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--understanding", intent_server.address, "--redis",
            f"unix://{redis.socket}", "--redis-timeout-ms", "300", "--log-level", "debug",
            env={**os.environ, "KEFU_HTTP_TOKEN": TOKEN, "KEFU_SESSION_KEYS": f"one {KEY}"}, stderr=log)
    try:
        client = Client(server.address)
        uid = "customer-who-is-private"
        client.reply(uid, "我要改地址", seq=1)
        reply = client.reply(uid, "浙江省杭州市西湖区文三路100号，电话13812345678", seq=2)
        assert reply.session.turns == 2
        request = urllib.request.Request(f"http://{server.http}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as response:
            metrics = response.read().decode()
        assert "kefu_dialogue_turns" in metrics
        database = ProtoReflectionDescriptorDatabase(client.channel)
        pool = DescriptorPool(database)
        services = database.get_services()
        files = {pool.FindServiceByName(service).file for service in services}
        reflected = " ".join(services) + "".join(file.serialized_pb.decode("utf-8", "replace") for file in files)
        assert "kefu.dialogue.v1" in reflected and "kefu.store" not in reflected
        redis.kill()
        errors = []
        for text in ("文三路100号，电话13812345678", "文三路" * 400):
            with pytest.raises(grpc.RpcError) as raised:
                client.reply(uid, text, seq=3)
            errors.append(f"{raised.value.details()} {raised.value.trailing_metadata()}")
        command = pathlib.Path(f"/proc/{server.process.pid}/cmdline").read_text()
    finally:
        assert server.stop() == 0
        redis.kill()
        redis.directory.cleanup()
    # A log has the user's id, so that a turn can be found in it.
    for place, text, exempt in [
        ("metrics", metrics, ()), ("reflection", reflected, ()), ("errors", " ".join(errors), ()), ("the command line", command, ()),
        ("the log", (tmp_path / "log").read_text(), (uid,)),
    ]:
        assert not [word for word in words if word not in exempt and word in text], place
