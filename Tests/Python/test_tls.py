"""TLS and mTLS: who is let in, who may call what, and a turn through both services that know each other by certificates."""

import subprocess

import grpc
import pytest
from conftest import BIN, ROOT, Client, Process
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

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
