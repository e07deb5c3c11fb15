"""How the orchestrator is told of its Redis: TLS, ACL users, secrets that are not on the command line, encrypted sessions."""

import base64
import os
import socket
import subprocess
import time

import pytest
from conftest import BIN, ROOT, Client, Process

CERTIFICATES = ROOT / "Tests" / "RedisTests" / "Certificates"
# As Deploy/README.md says.
RIGHTS = "~chat:* ~handoff:waiting +@read +@write +@scripting +@connection +role +wait +time"
# Nobody is there: turns are answered with an apology, and kept all the same.
NO_INTENT_SERVER = "127.0.0.1:1"


class SecureRedis:
    """A redis-server that wants TLS with a client's certificate, and a user with a password; and a unix socket for the test itself."""

    def __init__(self, directory):
        self.socket = f"{directory}/redis.sock"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", str(directory), "--save", "",
             "--tls-port", str(self.port), "--tls-cert-file", CERTIFICATES / "server.pem", "--tls-key-file", CERTIFICATES / "server.key",
             "--tls-ca-cert-file", CERTIFICATES / "authority.pem", "--tls-auth-clients", "yes",
             "--user", "kefu", "on", ">s3cret", *RIGHTS.split()], stdout=subprocess.DEVNULL)
        for _ in range(400):
            if os.path.exists(self.socket):
                return
            time.sleep(0.05)
        raise AssertionError("redis-server did not start")

    def session(self, uid):
        output = subprocess.run(["redis-cli", "-s", self.socket, "--no-raw", "HGETALL", f"chat:{{{uid}}}"], capture_output=True, check=True)
        return output.stdout.decode()


@pytest.fixture
def secure_redis(tmp_path):
    redis = SecureRedis(tmp_path)
    yield redis
    redis.process.kill()
    redis.process.wait()


def escaped(text):
    """As redis-cli prints bytes."""
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def serve(redis, *more, env=None):
    return Process(
        "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--understanding", NO_INTENT_SERVER,
        "--redis", f"rediss://localhost:{redis.port}", "--redis-username", "kefu", "--redis-ca-file", CERTIFICATES / "authority.pem",
        "--redis-cert-file", CERTIFICATES / "client.pem", "--redis-key-file", CERTIFICATES / "client.key", *more,
        env={**os.environ, **(env or {})})


def test_tls_acl_and_encrypted_sessions(secure_redis, tmp_path):
    password = tmp_path / "password"
    password.write_text("s3cret\n")
    keys = tmp_path / "keys"
    keys.write_text(f"2026-11 {base64.b64encode(os.urandom(32)).decode()}\n")
    sealed = serve(secure_redis, "--redis-password-file", password, "--session-keys-file", keys)
    try:
        client = Client(sealed.address)
        first = client.reply("sealed", "我的电话是13812345678", seq=1)
        again = client.reply("sealed", "我的电话是13812345678", seq=1)
        assert again.replayed and again.reply == first.reply
        stored = secure_redis.session("sealed")
        assert "query:0" in stored
        assert "13812345678" not in stored and escaped("电话") not in stored
    finally:
        assert sealed.stop() == 0
    # The same from the environment, and without keys.
    plain = serve(secure_redis, env={"KEFU_REDIS_PASSWORD": "s3cret"})
    try:
        Client(plain.address).reply("plain", "我的电话是13812345678", seq=1)
        assert "13812345678" in secure_redis.session("plain")
    finally:
        assert plain.stop() == 0


@pytest.mark.parametrize("arguments, said", [
    (["--redis", "redis://:hidden@localhost"], "--redis-password-file"),
    (["--redis", "rediss+sentinel://u:hidden@a,b/service"], "--redis-password-file"),
    (["--redis", "redis+sentinel://a,b"], "/service"),
    (["--redis", "redis+cluster://a/3"], "no database but 0"),
    (["--redis", "redis://h", "--redis-username", "kefu"], "no password"),
    (["--redis", "redis://h", "--redis-password-file", "/no/such/file"], "/no/such/file"),
    (["--redis", "redis://h", "--redis-ca-file", "/no/such/file"], "rediss://"),
    (["--redis", "rediss://h", "--redis-ca-file", "/no/such/file"], "/no/such/file"),
    (["--redis", "redis://h", "--redis-wait-replicas", "some"], "a whole number from 0 to 100"),
    (["--redis", "redis://h", "--session-keys-file", "/dev/null"], "empty"),
])
def test_what_cannot_be_is_said(arguments, said):
    ended = subprocess.run(
        [BIN / "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode > 0, "an error that is said, not a crash"
    assert said in ended.stderr
    assert "hidden" not in ended.stderr and "Fatal" not in ended.stderr
