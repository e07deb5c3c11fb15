"""TLS and mTLS: who is let in, who may call what, a turn through both services that know each other by certificates, and certificates that change."""

import os
import shutil
import ssl
import subprocess
import threading
import time

import grpc
import pytest
from conftest import BIN, ROOT, Client, Process
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from test_traces import Collector

CALLERS = """
# who                    may call what
orchestrator.kefu.test   kefu.understanding.v1.Understanding/* grpc.reflection.v1alpha.ServerReflection/*
lister.kefu.test         kefu.understanding.v1.Understanding/ListModels
*                        grpc.reflection.v1.ServerReflection/*
"""


class Certificates:
    """An authority and what it signs, as openssl makes them."""

    def __init__(self, directory):
        self.directory = directory
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "strange-ca.key", "-out", "strange-ca.pem", "-subj", "/CN=stranger", "-days", "2")
        for name in ("server", "orchestrator", "lister", "nobody"):
            self.sign(name, "ca")
        self.sign("intruder", "strange-ca")

    def run(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)

    def sign(self, name, authority):
        names = "DNS:localhost,IP:127.0.0.1" if name == "server" else f"DNS:{name}.kefu.test"
        (self.directory / f"{name}.ext").write_text(f"subjectAltName={names}")
        self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        self.run("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial", "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext")

    def path(self, file):
        return str(self.directory / file)

    def channel(self, address, name=None):
        read = lambda file: (self.directory / file).read_bytes()  # noqa: E731
        pair = (read(f"{name}.key"), read(f"{name}.pem")) if name else (None, None)
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(read("ca.pem"), *pair))


class SecureClient(Client):
    """The stock client over TLS."""

    def __init__(self, channel):
        self.channel = channel
        self.pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(certificates, tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    (models / "ecommerce-light").symlink_to(ROOT / "Deploy" / "models" / "ecommerce-light")
    (certificates.directory / "callers").write_text(CALLERS)
    server = Process(
        "intent-server", "serve", "--listen", "127.0.0.1:0", "--models", str(models), "--tls-cert-file", certificates.path("server.pem"),
        "--tls-key-file", certificates.path("server.key"), "--tls-client-ca-file", certificates.path("ca.pem"),
        "--tls-callers-file", certificates.path("callers"))
    yield server
    assert server.stop() == 0


def call(channel, method):
    """The status of an empty request."""
    try:
        channel.unary_unary(f"/kefu.understanding.v1.Understanding/{method}")(b"", timeout=10)
        return grpc.StatusCode.OK
    except grpc.RpcError as error:
        return error.code()


def test_each_client_may_call_what_its_line_says(server, certificates):
    for name, models, understand in [
        ("orchestrator", grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT),
        ("lister", grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED),
        ("nobody", grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.PERMISSION_DENIED),
    ]:
        with certificates.channel(server.address, name) as channel:
            assert (call(channel, "ListModels"), call(channel, "Understand")) == (models, understand), name


def test_a_refusal_names_the_client_and_the_method(server, certificates):
    with certificates.channel(server.address, "lister") as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/kefu.understanding.v1.Understanding/Understand")(b"", timeout=10)
    assert "lister.kefu.test" in raised.value.details() and "Understanding/Understand" in raised.value.details()


def test_streams_are_held_to_it_too(server, certificates):
    with certificates.channel(server.address, "lister") as channel, pytest.raises(grpc.RpcError) as raised:
        list(channel.stream_stream("/kefu.understanding.v1.Understanding/UnderstandStream")(iter([b""]), timeout=10))
    assert raised.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_health_is_for_every_client_with_a_certificate(server, certificates):
    with certificates.channel(server.address, "nobody") as channel:
        response = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("name", [None, "intruder"])
def test_without_a_certificate_of_the_authority_nobody_comes_in(server, certificates, name):
    with certificates.channel(server.address, name) as channel:
        assert call(channel, "ListModels") == grpc.StatusCode.UNAVAILABLE


def test_plain_text_is_not_answered(server):
    with grpc.insecure_channel(server.address) as channel:
        assert call(channel, "ListModels") == grpc.StatusCode.UNAVAILABLE


def first_reply(certificates, understanding, authority):
    """The first reply of an orchestrator with a certificate, which calls the intent server by TLS."""
    served = Process(
        "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--understanding", understanding, "--tls-ca-file", certificates.path(authority),
        "--tls-cert-file", certificates.path("orchestrator.pem"), "--tls-key-file", certificates.path("orchestrator.key"))
    try:
        credentials = grpc.ssl_channel_credentials((certificates.directory / "ca.pem").read_bytes())
        options = [("grpc.ssl_target_name_override", "orchestrator.kefu.test")]
        with grpc.secure_channel(served.address, credentials, options) as channel:
            return SecureClient(channel).reply("tls", "我要改地址", seq=1)
    finally:
        assert served.stop() == 0


def test_a_turn_goes_through_both(server, certificates):
    reply = first_reply(certificates, f"tls:{server.address}", "ca.pem")
    assert not reply.degraded and reply.recognition.intent == "address_change"


def test_a_server_of_another_authority_is_not_believed(server, certificates):
    reply = first_reply(certificates, f"tls:{server.address}", "strange-ca.pem")
    assert reply.degraded and list(reply.degraded_parts) == ["understanding"]


@pytest.mark.parametrize("arguments, words", [
    (["--tls-cert-file", "server.pem"], ["--tls-key-file", "missing"]),
    (["--tls-client-ca-file", "ca.pem"], ["--tls-cert-file"]),
    (["--tls-cert-file", "nowhere.pem", "--tls-key-file", "server.key"], ["nowhere.pem", "cannot be read"]),
    (["--tls-cert-file", "server.key", "--tls-key-file", "server.pem"], ["PEM"]),
    (["--tls-cert-file", "server.pem", "--tls-key-file", "server.key", "--tls-callers-file", "callers"], ["--tls-client-ca-file"]),
    (["--tls-cert-file", "server.pem", "--tls-key-file", "server.key", "--tls-client-ca-file", "ca.pem", "--tls-callers-file", "misspelt"],
     ["misspelt:2", "kefu.understanding.v1.Understandin", "kefu.dialogue.v1.Dialogue"]),
    (["--tls-cert-file", "server.pem", "--tls-key-file", "server.key", "--tls-client-ca-file", "ca.pem", "--tls-callers-file", "wrong"], ["wrong:1", "Reply"]),
])
def test_what_cannot_be_used_is_told(server, certificates, arguments, words):
    (certificates.directory / "misspelt").write_text("a kefu.dialogue.v1.Dialogue/*\nb kefu.understanding.v1.Understandin/*\n")
    (certificates.directory / "wrong").write_text("a Reply\n")
    result = subprocess.run(
        [BIN / "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--domain", ROOT / "Deploy/domains/ecommerce", *arguments],
        cwd=certificates.directory, capture_output=True, text=True, timeout=30)
    assert result.returncode != 0 and all(word in result.stderr for word in words), result.stderr


# MARK: Commands and the collector


def run(program, *arguments, **settings):
    return subprocess.run([BIN / program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, **settings)


def test_ask_speaks_tls_and_shows_a_certificate(server, certificates):
    pair = ["--tls-cert-file", certificates.path("orchestrator.pem"), "--tls-key-file", certificates.path("orchestrator.key")]
    asked = run("intent-server", "ask", "--server", f"tls:{server.address}", "--tls-ca-file", certificates.path("ca.pem"), *pair, "我要改地址")
    assert asked.returncode == 0 and "address_change" in asked.stdout, asked.stderr
    for wrong in (["--tls-ca-file", certificates.path("strange-ca.pem"), *pair], ["--tls-ca-file", certificates.path("ca.pem")]):
        refused = run("intent-server", "ask", "--server", f"tls:{server.address}", *wrong, "我要改地址")
        assert refused.returncode != 0 and "address_change" not in refused.stdout, refused.stdout


def test_a_command_tells_what_it_cannot_use(certificates):
    half = run("intent-server", "ask", "--server", "tls:127.0.0.1:1", "--tls-cert-file", certificates.path("lister.pem"), "x")
    assert half.returncode != 0 and "--tls-key-file" in half.stderr


def test_chat_speaks_tls(certificates, tmp_path):
    (tmp_path / "script").write_text("你好\n")
    served = Process(
        "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--understanding", "127.0.0.1:1", "--tls-cert-file", certificates.path("server.pem"),
        "--tls-key-file", certificates.path("server.key"))
    try:
        chat = ["chat", "--server", f"tls:{served.address}", "--script", str(tmp_path / "script")]
        # Flags and variables are the same here as for servers.
        for flags, variables in ((["--tls-ca-file", certificates.path("ca.pem")], {}), ([], {"KEFU_TLS_CA_FILE": certificates.path("ca.pem")})):
            talked = run("dialogue-orchestrator", *chat, *flags, env={**os.environ, **variables})
            assert talked.returncode == 0 and "客服 > " in talked.stdout, talked.stderr
    finally:
        assert served.stop() == 0


@pytest.mark.parametrize("authority, arrives", [("ca.pem", True), ("strange-ca.pem", False)])
def test_spans_go_to_a_collector_by_tls(certificates, authority, arrives):
    read = lambda file: (certificates.directory / file).read_bytes()  # noqa: E731
    collector = Collector(grpc.ssl_server_credentials([(read("server.key"), read("server.pem"))], read("ca.pem"), True))
    served = Process(
        "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--understanding", "127.0.0.1:1", "--otlp", f"tls:{collector.address}",
        "--trace-ratio", "1", "--tls-ca-file", certificates.path(authority), "--tls-cert-file", certificates.path("orchestrator.pem"),
        "--tls-key-file", certificates.path("orchestrator.key"), env={**os.environ, "KEFU_TRACE_PAUSE_MS": "50"})
    try:
        credentials = grpc.ssl_channel_credentials(read("ca.pem"))
        with grpc.secure_channel(served.address, credentials, [("grpc.ssl_target_name_override", "orchestrator.kefu.test")]) as channel:
            SecureClient(channel).reply("traced", "你好", seq=1)
        if arrives:
            with collector.lock:
                assert collector.lock.wait_for(lambda: collector.spans, 30)
    finally:
        # What waits is sent once more at the end.
        assert served.stop() == 0
        collector.server.stop(None)
    assert bool(collector.spans) == arrives


# MARK: Certificates that change


def until(condition, timeout=60):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


class Files:
    """What a server is told to read, filled with certificates of one or another authority."""

    def __init__(self, certificates, directory):
        self.certificates, self.directory = certificates, directory

    def path(self, name):
        return str(self.directory / name)

    def put(self, **files):
        for name, source in files.items():
            source = self.certificates.directory / source if isinstance(source, str) else source
            new = self.directory / f".{name}"
            shutil.copy(source, new) if not isinstance(source, bytes) else new.write_bytes(source)
            new.rename(self.directory / name)


def shown(address):
    """The certificate that a server shows to a new connection, in PEM."""
    host, port = address.split(":")
    return ssl.get_server_certificate((host, int(port)), timeout=10)


def pem(path):
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(path.read_text()))


@pytest.fixture(scope="module")
def successor(certificates):
    """A certificate for the same server, by another authority."""
    shutil.copy(certificates.directory / "server.ext", certificates.directory / "successor.ext")
    certificates.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "successor.key", "-out", "successor.csr", "-subj", "/CN=successor")
    certificates.run(
        "x509", "-req", "-in", "successor.csr", "-CA", "strange-ca.pem", "-CAkey", "strange-ca.key", "-CAcreateserial", "-out", "successor.pem", "-days", "2",
        "-extfile", "successor.ext")
    return certificates.directory / "successor.pem"


def test_new_certificates_are_used_without_a_restart(certificates, successor, tmp_path):
    """An intent server gets a certificate of another authority, and the orchestrator learns of that authority, while customers talk."""
    files = Files(certificates, tmp_path)
    files.put(cert="server.pem", key="server.key", ca="ca.pem")
    models = tmp_path / "models"
    models.mkdir()
    (models / "ecommerce-light").symlink_to(ROOT / "Deploy" / "models" / "ecommerce-light")
    with open(tmp_path / "log", "w") as log:
        understanding = Process(
            "intent-server", "serve", "--listen", "127.0.0.1:0", "--models", str(models), "--tls-cert-file", files.path("cert"), "--tls-key-file",
            files.path("key"), "--tls-poll-ms", "50", stderr=log)
    dialogue = Process(
        "dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--understanding", f"tls:{understanding.address}", "--tls-ca-file", files.path("ca"),
        "--tls-poll-ms", "50", "--recognition-timeout-ms", "10000")
    logged = lambda words: words in (tmp_path / "log").read_text()  # noqa: E731
    degraded, stopped = [], threading.Event()

    def talk():
        client, seq = Client(dialogue.address), 0
        while not stopped.is_set():
            seq += 1
            reply = client.reply("talker", "你好", seq=seq)
            degraded.append((seq, reply.degraded))

    talker = threading.Thread(target=talk)
    try:
        old = pem(certificates.directory / "server.pem")
        assert shown(understanding.address) == old
        read = (certificates.directory / "ca.pem").read_bytes()
        with grpc.secure_channel(understanding.address, grpc.ssl_channel_credentials(read)) as open_before:
            assert call(open_before, "ListModels") == grpc.StatusCode.OK
            talker.start()
            # A certificate that is half there, and one whose key is still that of the old one, change nothing.
            files.put(cert=successor.read_bytes()[:200])
            until(lambda: logged("what was in them before stays in use"))
            assert shown(understanding.address) == old
            files.put(cert=successor.read_bytes())
            until(lambda: (tmp_path / "log").read_text().count("what was in them before stays in use") == 2)
            assert shown(understanding.address) == old and not logged("connections from now on")
            # First whoever calls learns of the new authority, then the server changes.
            files.put(ca=read + (certificates.directory / "strange-ca.pem").read_bytes())
            files.put(key="successor.key")
            until(lambda: logged("connections from now on use what is in them"))
            assert shown(understanding.address) == pem(successor)
            # The connection from before goes on; a new one that knows only the old authority is not made.
            assert call(open_before, "ListModels") == grpc.StatusCode.OK
            with grpc.secure_channel(understanding.address, grpc.ssl_channel_credentials(read), [("grpc.use_local_subchannel_pool", 1)]) as new:
                assert call(new, "ListModels") == grpc.StatusCode.UNAVAILABLE
        # The old authority is forgotten: the orchestrator makes a new connection, and believes the new certificate.
        files.put(ca="strange-ca.pem")
        before = len(degraded)
        until(lambda: len(degraded) > before + 20)
        assert understanding.process.poll() is None and dialogue.process.poll() is None
    finally:
        stopped.set()
        talker.join(60)
        # A file that is gone is no reason to fall over.
        (tmp_path / "cert").unlink()
        until(lambda: logged("cannot be read, or is empty"))
        assert understanding.stop() == 0 and dialogue.stop() == 0
    assert degraded and not [seq for seq, is_degraded in degraded if is_degraded]


def test_a_new_list_of_callers_is_used_without_a_restart(certificates, tmp_path):
    files = Files(certificates, tmp_path)
    files.put(callers=b"orchestrator.kefu.test kefu.understanding.v1.Understanding/*\n")
    models = tmp_path / "models"
    models.mkdir()
    (models / "ecommerce-light").symlink_to(ROOT / "Deploy" / "models" / "ecommerce-light")
    with open(tmp_path / "log", "w") as log:
        served = Process(
            "intent-server", "serve", "--listen", "127.0.0.1:0", "--models", str(models), "--tls-cert-file", certificates.path("server.pem"), "--tls-key-file",
            certificates.path("server.key"), "--tls-client-ca-file", certificates.path("ca.pem"), "--tls-callers-file", files.path("callers"),
            "--tls-poll-ms", "50", stderr=log)
    try:
        with certificates.channel(served.address, "lister") as channel:
            assert call(channel, "ListModels") == grpc.StatusCode.PERMISSION_DENIED
            files.put(callers=b"lister.kefu.test kefu.understanding.v1.Understandin/*\n")
            until(lambda: "there is no service 'kefu.understanding.v1.Understandin'" in (tmp_path / "log").read_text())
            assert call(channel, "ListModels") == grpc.StatusCode.PERMISSION_DENIED
            files.put(callers=b"lister.kefu.test kefu.understanding.v1.Understanding/ListModels\n")
            until(lambda: call(channel, "ListModels") == grpc.StatusCode.OK)
    finally:
        assert served.stop() == 0
