"""A TCP proxy that makes a network slow, cuts it, or rewrites what goes through it."""

import asyncio
import socket
import struct


class Proxy:
    """Forwards connections from a free port of the loopback to `target`, a (host, port) or the path of a unix socket."""

    def __init__(self, target, rewrite=None):
        self.target = target
        self.rewrite = rewrite      # bytes to the target → bytes
        self.delay = 0.0            # seconds that each chunk takes, either way
        self.is_silent = False      # connections stay, and nothing comes through
        self.is_cut = False         # connections are reset, and new ones are refused
        self.connections = set()
        self.port = None

    async def start(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def stop(self):
        self.server.close()
        self.reset()

    def cut(self):
        """Resets every connection, and each that comes, until `heal`."""
        self.is_cut = True
        self.reset()

    def heal(self):
        self.is_cut, self.is_silent, self.delay = False, False, 0.0

    def reset(self):
        """Resets every connection (RST), as a firewall or a peer that lost its memory does."""
        for writer in list(self.connections):
            connection = writer.get_extra_info("socket")
            if connection is not None and connection.family != socket.AF_UNIX:
                try:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                except OSError:
                    pass
            writer.transport.abort()

    async def _serve(self, reader, writer):
        self.connections.add(writer)
        try:
            if self.is_cut:
                self.reset()
                return
            if isinstance(self.target, str):
                upstream_reader, upstream_writer = await asyncio.open_unix_connection(self.target)
            else:
                upstream_reader, upstream_writer = await asyncio.open_connection(*self.target)
            self.connections.add(upstream_writer)
            ways = [
                asyncio.create_task(self._forward(reader, upstream_writer, self.rewrite)),
                asyncio.create_task(self._forward(upstream_reader, writer, None)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            upstream_writer.close()
            self.connections.discard(upstream_writer)
        except OSError:
            pass
        except asyncio.CancelledError:
            # The loop ends: there is nothing left to forward.
            pass
        finally:
            self.connections.discard(writer)
            writer.close()

    async def _forward(self, reader, writer, rewrite):
        """Each chunk arrives `delay` later; a slow network holds up no later chunk, so they are sent by the clock."""
        queue = asyncio.Queue()
        sending = asyncio.create_task(self._send(queue, writer))
        loop = asyncio.get_running_loop()
        try:
            while data := await reader.read(1 << 16):
                queue.put_nowait((loop.time() + self.delay, rewrite(data) if rewrite else data))
            queue.put_nowait((loop.time() + self.delay, None))
            await sending
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            sending.cancel()

    async def _send(self, queue, writer):
        loop = asyncio.get_running_loop()
        while True:
            at, data = await queue.get()
            if at > loop.time():
                await asyncio.sleep(at - loop.time())
            while self.is_silent:
                await asyncio.sleep(0.01)
            if data is None:
                return
            try:
                writer.write(data)
                await writer.drain()
            except OSError:
                return
