"""Bugs planted into a running Kefu, to see that the checker finds them. Each breaks the promise in a way that real systems have."""

import asyncio
import contextlib
import functools

import grpc

import faults
import parts
from faults import Row
from load import Failure, Load


class ForgetfulLoad(Load):
    """A client library that drops the seq on its way, and sends each message twice, as after a time-out."""

    async def _unary(self, request, attempt):
        orchestrator = self.orchestrators[attempt % len(self.orchestrators)]
        bare = self.messages.request(uid=request.uid, query=request.query)
        op = self._invoke(request, "unary")
        try:
            await orchestrator.reply(bare, timeout=self.timeout)
            response = await orchestrator.reply(bare, timeout=self.timeout)
        except grpc.RpcError as error:
            raise self._failed(op, Failure(error.code(), error.details())) from None
        response.seq = request.seq
        return self._acknowledged(op, request, response)


class HastyLoad(Load):
    """A client that takes a time-out for an answer: it acknowledges what was never answered, once in a while."""

    async def _unary(self, request, attempt):
        response = await super()._unary(request, attempt)
        if request.seq == 5:
            self.history.add("invoke", op=(op := next(self.history.ops)), process="unary", uid=request.uid, seq=10_000, text="")
            self.history.add("ack", op=op, turn=response.session.turns + 1, recent=[10_000], digest="none", replayed=False)
        return response


async def nothing(kefu, world, load):
    await asyncio.sleep(0.5)


async def restore_old_sessions(kefu, world, load):
    """A backup is played back over the living."""
    keys = ["chat:{%s}" % uid for uid in load.uids[:6]]
    old = {key: kefu.redis.bulk("DUMP", key) for key in keys}
    await asyncio.sleep(0.7)
    for key, value in old.items():
        if value is not None:
            kefu.redis.command_now("RESTORE", key, "3600000", value, "REPLACE")


def without_comparing(counter):
    """Rewrites the commit script on its way to Redis: it no longer compares versions, so that writers overwrite each other."""
    guard = b" or (now[3] or '') ~= ARGV[2] or (now[8] or '') ~= ARGV[6] then"
    nothing = b" then".rjust(len(guard))

    def rewrite(data):
        counter.append(data.count(guard))
        return data.replace(guard, nothing)
    return rewrite


rewritten = []


@contextlib.asynccontextmanager
async def with_a_script_that_does_not_compare(intent_server, **settings):
    rewritten.clear()
    async with faults.through_a_proxy_to_redis(intent_server, without_comparing(rewritten), **settings) as (kefu, world):
        yield kefu, world
    assert sum(rewritten) > 0, "the commit script does not have the words that were to be rewritten: fit the plant to it"


@contextlib.asynccontextmanager
async def with_a_redis_that_keeps_nothing(intent_server, **settings):
    async with faults.plain(intent_server, redis=lambda folder: parts.Redis(folder, durable=False), **settings) as found:
        yield found


# (row, load, the kinds of which the checker must find at least one)
PLANTS = [
    (Row("planted: a client that drops the seq", "", nothing), ForgetfulLoad, {"doubled"}),
    (Row("planted: a client that acknowledges what was not answered", "", nothing), HastyLoad, {"lost"}),
    (Row("planted: an old backup of six sessions is restored", "", restore_old_sessions), Load, {"lost"}),
    (Row("planted: Redis keeps nothing, kill -9", "", faults.kill_redis, with_a_redis_that_keeps_nothing), Load, {"lost"}),
    # Writers that overwrite each other may never be done: customers give up soon.
    (Row("planted: a commit script that does not compare", "", nothing, with_a_script_that_does_not_compare), functools.partial(Load, patience=5.0),
     {"lost"}),
]
