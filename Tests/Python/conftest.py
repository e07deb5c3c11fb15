"""Starts the release binaries as a user does, and gives the tests a stock gRPC client for them: no code and no .proto file of ours."""

import os
import pathlib
import socket
import subprocess
import tempfile
import time

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("KEFU_BIN", ROOT / ".build" / "release"))


class Process:
    """A server of ours: started, its first line read, ended with SIGTERM."""

    def __init__(self, *arguments, env=None, stderr=None):
        self.process = subprocess.Popen(
            [BIN / arguments[0], *arguments[1:]], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening grpc="), f"{arguments[0]} said {line!r}"
        self.address = line.split("grpc=")[1].split()[0]
        self.http = line.split("http=")[1].split()[0] if "http=" in line else None

    def stop(self, timeout=30):
        self.process.terminate()
        return self.process.wait(timeout)


class Redis:
    """A private redis-server on a unix socket; its data outlives a restart."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory()
        self.socket = f"{self.directory.name}/redis.sock"
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.directory.name, "--save", "", "--appendonly", "yes",
             "--appendfsync", "always"], stdout=subprocess.DEVNULL)
        for _ in range(200):
            if self.command("PING") == b"+PONG\r\n":
                return
            time.sleep(0.05)
        raise AssertionError("redis-server did not start")

    def command(self, *words):
        """The raw reply to one command; None where Redis cannot be reached."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(self.socket)
                encoded = [word.encode() for word in words]
                connection.sendall(b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in encoded))
                return connection.recv(1 << 20)
        except OSError:
            return None

    def kill(self):
        self.process.kill()
        self.process.wait()


class Client:
    """Calls methods by name, with messages as dicts, over what reflection says."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))

    def stub(self, path, kind="unary_unary"):
        service, method = path.split("/")
        descriptor = self.pool.FindServiceByName(service).methods_by_name[method]
        request, response = GetMessageClass(descriptor.input_type), GetMessageClass(descriptor.output_type)
        call = getattr(self.channel, kind)(
            f"/{path}", request_serializer=request.SerializeToString, response_deserializer=response.FromString)
        return request, call

    def call(self, path, timeout=10, **fields):
        request, call = self.stub(path)
        return call(request(**fields), timeout=timeout)

    def reply(self, uid, query, seq=0, **options):
        return self.call("kefu.dialogue.v1.Dialogue/Reply", uid=uid, query=query, seq=seq, **options)

    def raw(self, path, data, timeout=10):
        """Sends bytes as they are; gives bytes."""
        return self.channel.unary_unary(f"/{path}")(data, timeout=timeout)


def orchestrator(understanding, redis_url, *more):
    return Process("dialogue-orchestrator", "serve", "--listen", "127.0.0.1:0", "--understanding", understanding, "--redis", redis_url, *more)


@pytest.fixture(scope="session")
def redis():
    redis = Redis()
    yield redis
    redis.kill()


@pytest.fixture(scope="session")
def intent_server():
    server = Process("intent-server", "serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="session")
def orchestrators(intent_server, redis):
    servers = [orchestrator(intent_server.address, f"unix://{redis.socket}") for _ in range(2)]
    yield servers
    for server in servers:
        assert server.stop() == 0


@pytest.fixture
def clients(orchestrators):
    return [Client(server.address) for server in orchestrators]


@pytest.fixture
def understanding(intent_server):
    return Client(intent_server.address)
