"""HTTP/2 abused, against both servers: neither crashes, grows without bound, or keeps a good client waiting meanwhile."""

import pathlib
import random
import shutil
import struct
import subprocess
import tempfile
import threading
import time
import zlib

import grpc
import http2
import parts
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from http2 import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, Connection, call_headers, frame, header

METHODS = {"dialogue-orchestrator": "/kefu.dialogue.v1.Dialogue/Reply", "intent-server": "/kefu.understanding.v1.Understanding/Understand"}
REQUESTS = {"dialogue-orchestrator": dict(uid="u", query="你好"), "intent-server": dict(text="你好")}
# What the memory may grow by while it is abused: what connections may have received is bounded by 256 MB, and the allocator keeps some of it.
GROWTH = 400 << 20


class Server(parts.Part):
    """One of the two servers on a port of its own."""

    def __init__(self, program, folder, *options):
        super().__init__(program, [parts.BIN / program, "serve", "--listen", "127.0.0.1:0", *options], f"{folder}/{program}.log")
        self.program, self.path = program, METHODS[program]

    def wait(self):
        line = self.process.stdout.readline().decode()
        assert line.startswith("listening grpc="), f"{line}: {pathlib.Path(self.log).read_text()[-2000:]}"
        self.address = line.split("grpc=")[1].split()[0]

    @property
    def memory(self):
        fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines())
        return int(fields["VmRSS"].split()[0]) << 10

    def client(self):
        channel = grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])
        service, name = self.path.strip("/").split("/")
        method = DescriptorPool(ProtoReflectionDescriptorDatabase(channel)).FindServiceByName(service).methods_by_name[name]
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        call = channel.unary_unary(self.path, request_serializer=request.SerializeToString, response_deserializer=response.FromString)
        return lambda timeout: call(request(**REQUESTS[self.program]), timeout=timeout)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("http2")
    intent = Server("intent-server", folder, "--default-model", "ecommerce-light", "--threads", "1")
    dialogue = None
    try:
        intent.start()
        dialogue = Server("dialogue-orchestrator", folder, "--understanding", intent.address, "--redis", "memory:")
        dialogue.start()
        yield {"intent-server": intent, "dialogue-orchestrator": dialogue}
    finally:
        for server in (dialogue, intent):
            if server is not None and server.is_running:
                assert server.terminate() == 0


class GoodClient(threading.Thread):
    """Calls all the while, over one connection and over new ones."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.over, self.calls, self.failures, self.slowest = server, threading.Event(), 0, [], 0.0

    def run(self):
        call = self.server.client()
        while True:
            began = time.monotonic()
            try:
                call(20)
                self.calls += 1
            except grpc.RpcError as error:
                self.failures.append(f"{error.code().name}: {error.details()}")
            self.slowest = max(self.slowest, time.monotonic() - began)
            if self.over.wait(0.02):
                return

    def finish(self):
        self.over.set()
        self.join(60)


def open_calls(connection, path, streams, more=b""):
    block = call_headers(path, more)
    return connection.send(b"".join(frame(HEADERS, END_HEADERS, stream, block) for stream in streams))


def garbage(address, path):
    chance = random.Random(1)
    for _ in range(100):
        with Connection(address, hello=False) as connection:
            connection.send(chance.randbytes(chance.randrange(1, 4000)))
    for words in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), http2.PREFACE[:10]):
        with Connection(address, hello=False) as connection:
            connection.send(words)
            connection.drain(0.2)


def random_frames(address, path):
    chance = random.Random(2)
    for _ in range(60):
        with Connection(address) as connection:
            for _ in range(50):
                payload = chance.randbytes(chance.randrange(0, 200))
                if not connection.send(frame(chance.randrange(0, 12), chance.randrange(256), chance.choice([0, 1, 3, 2**31 - 1]), payload)):
                    break


def truncated_frames(address, path):
    whole = frame(HEADERS, END_HEADERS, 1, call_headers(path)) + frame(DATA, END_STREAM, 1, b"\0" + struct.pack(">I", 3) + b"abc")
    for cut in range(1, len(whole), 3):
        with Connection(address) as connection:
            connection.send(whole[:cut])


def connections_left_hanging(address, path):
    """Half a frame each, and then nothing, for as long as it lasts."""
    hanging = [Connection(address) for _ in range(300)]
    for connection in hanging:
        connection.send(frame(HEADERS, END_HEADERS, 1, call_headers(path)) + frame(DATA, 0, 1, b"\0\0\0", length=8000))
    time.sleep(1)
    for connection in hanging:
        connection.close()


def rapid_reset(address, path):
    """CVE-2023-44487: calls that are cancelled as soon as they are made."""
    block, reset = call_headers(path), struct.pack(">I", 8)
    for _ in range(4):
        with Connection(address) as connection:
            for first in range(1, 20_001, 200):
                burst = b"".join(
                    frame(HEADERS, END_HEADERS, stream, block) + frame(RST_STREAM, 0, stream, reset) for stream in range(first, first + 200, 2))
                if not connection.send(burst):
                    break
            connection.drain()


def calls_without_end(address, path):
    """Calls whose message never comes."""
    with Connection(address) as connection:
        open_calls(connection, path, range(1, 10_001, 2))
        connection.drain(0.5)


def continuation_flood(address, path):
    """CVE-2024-27316: a header block that does not end."""
    with Connection(address) as connection:
        connection.send(frame(HEADERS, 0, 1, call_headers(path)))
        piece = header("x-" + "a" * 100, "b" * 8000)
        for _ in range(4000):
            if not connection.send(frame(CONTINUATION, 0, 1, piece)):
                break


def header_bomb(address, path):
    """A large entry of the dynamic table, named again and again: one byte on the wire, 3,000 in memory."""
    with Connection(address) as connection:
        connection.send(frame(HEADERS, END_HEADERS, 1, call_headers(path, header("x-bomb", "b" * 3000, index=True))))
        for stream in range(3, 2003, 2):
            if not connection.send(frame(HEADERS, END_HEADERS, stream, call_headers(path) + b"\xbe" * 8000)):
                break
        connection.drain(0.2)


def many_headers(address, path):
    with Connection(address) as connection:
        for stream in range(1, 401, 2):
            if not open_calls(connection, path, [stream], b"".join(header(f"x-{n}", "v") for n in range(1500))):
                break
        connection.drain(0.2)


def giant_messages(address, path):
    """A message that says it has 4 GB, one that has 200 MB, and 10 MB of nothing but frames without content."""
    with Connection(address) as connection:
        open_calls(connection, path, [1, 3])
        connection.send(frame(DATA, 0, 1, b"\0\xff\xff\xff\xff"))
        connection.send(frame(DATA, 0, 3, b"\0" + struct.pack(">I", 200 << 20)))
        for _ in range(200 << 6):
            if not connection.send(frame(DATA, 0, 3, bytes(16384))):
                break
    with Connection(address) as connection:
        open_calls(connection, path, [1])
        connection.send(frame(DATA, 0, 1) * (10 << 17))
        connection.drain(0.2)


def compression_bomb(address, path):
    """200 MB of zeros in 200 KB."""
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    message = b"\x01" + struct.pack(">I", len(packed)) + packed
    for _ in range(5):
        with Connection(address) as connection:
            open_calls(connection, path, [1], header("grpc-encoding", "gzip"))
            for start in range(0, len(message), 16000):
                connection.send(frame(DATA, END_STREAM * (start + 16000 >= len(message)), 1, message[start:start + 16000]))
            connection.drain(1)


def settings_and_pings(address, path):
    """Frames that must be answered, from one who does not read the answers."""
    flood = (frame(SETTINGS) + frame(PING, payload=bytes(8)) + frame(PRIORITY, 0, 1, bytes(5))) * 1000
    for _ in range(3):
        with Connection(address) as connection:
            connection.socket.settimeout(1)
            for _ in range(100):
                if not connection.send(flood):
                    break


def windows(address, path):
    """Windows that overflow, and ones that never open while answers wait."""
    for increment in (0, 2**31 - 1):
        with Connection(address) as connection:
            open_calls(connection, path, [1])
            connection.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", increment)) * 10 + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", increment)) * 10)
            connection.drain(0.1)
    closed = [Connection(address, hello=False) for _ in range(50)]
    for connection in closed:
        connection.send(http2.PREFACE + frame(SETTINGS, payload=struct.pack(">HI", 4, 0)))
        open_calls(connection, path, range(1, 201, 2))
        connection.send(b"".join(frame(DATA, END_STREAM, stream, b"\0\0\0\0\0") for stream in range(1, 201, 2)))
    time.sleep(0.5)
    for connection in closed:
        connection.close()


def h2load_flood(address, path):
    """Requests as fast as h2load can, of a path that is not there and of one that is, with an empty message."""
    with tempfile.NamedTemporaryFile() as body:
        body.write(bytes(5))
        body.flush()
        flood_with(body.name, address, path)


def flood_with(body, address, path):
    for where, n in ((f"http://{address}/nothing", 20_000), (f"http://{address}{path}", 20_000)):
        done = subprocess.run(
            ["h2load", "-n", str(n), "-c", "40", "-m", "50", "-H", "content-type: application/grpc", "-H", "te: trailers", "-d", body, where],
            capture_output=True, text=True, timeout=120)
        assert "requests:" in done.stdout, done.stdout + done.stderr


ATTACKS = [
    garbage, random_frames, truncated_frames, connections_left_hanging, rapid_reset, calls_without_end, continuation_flood, header_bomb, many_headers,
    giant_messages, compression_bomb, settings_and_pings, windows,
    pytest.param(h2load_flood, marks=pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed (nghttp2-client)")),
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("program", METHODS)
def test_abuse_neither_ends_nor_blocks_a_server(servers, program, attack):
    server = servers[program]
    before = server.memory
    good = GoodClient(server)
    good.start()
    attack(server.address, server.path)
    good.finish()
    assert server.is_running, pathlib.Path(server.log).read_text()[-3000:]
    assert good.failures == [] and good.calls > 0
    assert good.slowest < 15
    grown = server.memory - before
    assert grown < GROWTH, f"the memory grew by {grown >> 20} MB"
    server.client()(20)
