"""Frames of HTTP/2 (RFC 9113) by hand, good and bad, for clients that no library would let misbehave so."""

import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 0x1, 0x4


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """A frame; `length` may lie about the payload."""
    return struct.pack(">I", len(payload) if length is None else length)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def integer(value, bits, first=0):
    """An integer of HPACK (RFC 7541, 5.1)."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    encoded, value = bytearray([first | limit]), value - limit
    while value >= 128:
        encoded.append(value % 128 + 128)
        value //= 128
    return bytes(encoded) + bytes([value])


def header(name, value, index=False):
    """A header field as a literal with a new name, kept in the dynamic table where `index` says so."""
    name, value = name.encode(), value.encode() if isinstance(value, str) else value
    return integer(0, 6, 0x40) * index + integer(0, 4) * (not index) + integer(len(name), 7) + name + integer(len(value), 7) + value


def call_headers(path, more=b""):
    """The headers of a gRPC call."""
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"), ("content-type", "application/grpc"), ("te", "trailers")]
    return b"".join(header(name, value) for name, value in fields) + more


class Connection:
    """A connection that has said hello."""

    def __init__(self, address, hello=True):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        if hello:
            self.send(PREFACE + frame(SETTINGS))

    def send(self, data):
        """Sends; False where the server no longer listens, which is its good right."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def drain(self, seconds=0.0):
        """Reads what is there, and stops at the end."""
        try:
            self.socket.settimeout(max(seconds, 0.001))
            while self.socket.recv(1 << 16):
                pass
        except OSError:
            pass
        finally:
            self.socket.settimeout(10)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
