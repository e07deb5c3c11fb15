"""Customers who write to orchestrators by stock gRPC clients, and write down what they sent and what was acknowledged.

Four ways of writing: one message at a time (`Reply`); several at once (`Reply`, to both orchestrators); several at once on one `Converse` stream; and every
message on two streams to two orchestrators at the same time. Whatever fails is sent again with the same seq, after the pushback that the server asked
for or a random pause, to either orchestrator, until it is acknowledged.
"""

import asyncio
import hashlib
import itertools
import json
import random
import time

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

TEXTS = ["你好", "我要退款", "订单号是202411110001", "我要改地址", "浙江省杭州市西湖区文三路100号", "不对", "对的", "我的快递到哪里了", "你们几点上班", "谢谢", "算了", "我要开发票"]
SERVICE = "kefu.dialogue.v1.Dialogue"
# A session keeps its last 16 replies. A customer never has more than this between the oldest message without an answer and the newest.
SPAN = 8
# What says that nothing was done; after anything else the message may have been taken.
REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
CHANNEL = [
    ("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500), ("grpc.enable_retries", 0)]


class Messages:
    """The messages of the service, as its reflection tells them."""

    def __init__(self, address):
        with grpc.insecure_channel(address) as channel:
            pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            methods = pool.FindServiceByName(SERVICE).methods_by_name
            self.request = GetMessageClass(methods["Reply"].input_type)
            self.reply = GetMessageClass(methods["Reply"].output_type)
            self.get = GetMessageClass(methods["GetSession"].input_type)
            self.session = GetMessageClass(methods["GetSession"].output_type)


class History:
    """Events as they happen, to a file of JSON lines."""

    def __init__(self, path):
        self.path, self.file, self.ops = path, open(path, "w", encoding="utf-8"), itertools.count(1)

    def add(self, type, **event):
        moment = time.monotonic()
        self.file.write(json.dumps({"type": type, "time": moment, **event}, ensure_ascii=False) + "\n")
        return moment

    def close(self):
        self.file.close()


class Failure(Exception):
    """An attempt that brought no reply."""

    def __init__(self, code, details="", pushback=None):
        super().__init__(f"{code.name}: {details}")
        self.code, self.details, self.pushback = code, details, pushback


def failure(error):
    """What a failed call of grpc says."""
    trailing = dict(error.trailing_metadata() or ())
    pushback = trailing.get("grpc-retry-pushback-ms")
    if error.details() == "Internal error from Core":
        # So grpc.aio itself calls a connection that broke while it wrote.
        return Failure(grpc.StatusCode.UNAVAILABLE, error.details())
    return Failure(error.code(), error.details(), float(pushback) / 1000 if pushback else None)


class Orchestrator:
    """One client of one orchestrator: unary calls on a channel, and streams."""

    def __init__(self, address, messages):
        self.messages, self.channel = messages, grpc.aio.insecure_channel(address, options=CHANNEL)
        self.reply = self._method("Reply", "unary_unary", messages.request, messages.reply)
        self.converse = self._method("Converse", "stream_stream", messages.request, messages.reply)
        self.get_session = self._method("GetSession", "unary_unary", messages.get, messages.session)

    def _method(self, name, kind, request, response):
        return getattr(self.channel, kind)(
            f"/{SERVICE}/{name}", request_serializer=request.SerializeToString, response_deserializer=response.FromString)


class Stream:
    """A `Converse` stream that is opened anew when it breaks. What had no answer then fails, and its sender sends it again."""

    numbers = itertools.count(1)

    def __init__(self, orchestrator):
        self.orchestrator, self.call, self.waiting = orchestrator, None, {}
        self.opening = asyncio.Lock()

    async def send(self, request, sent, timeout):
        """The answer to one request. `sent` is told the name of the stream just before the request goes out."""
        async with self.opening:
            if self.call is None:
                self._open()
            call, name = self.call, self.name
            answer = asyncio.get_running_loop().create_future()
            self.waiting.setdefault((request.uid, request.seq), []).append(answer)
            sent(name)
            try:
                await asyncio.wait_for(call.write(request), timeout)
            except asyncio.TimeoutError:
                self._broken(call, Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "the stream takes no request"))
            except (grpc.RpcError, asyncio.InvalidStateError):
                # The reader tells how it ended.
                pass
        try:
            return await asyncio.wait_for(answer, timeout)
        except asyncio.TimeoutError:
            # Whoever waits in vain hangs up, and tries another way.
            self._broken(call, Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer on the stream"))
            raise Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer on the stream") from None

    def _open(self):
        self.name = f"stream-{next(self.numbers)}"
        self.call = self.orchestrator.converse()
        self.reader = asyncio.create_task(self._read(self.call))

    async def _read(self, call):
        try:
            async for response in call:
                waiting = self.waiting.get((response.uid, response.seq), [])
                while waiting:
                    answer = waiting.pop(0)
                    if not answer.done():
                        if response.HasField("error"):
                            answer.set_exception(Failure(_codes[response.error.code], response.error.message))
                        else:
                            answer.set_result(response)
                        break
            self._broken(call, Failure(grpc.StatusCode.UNAVAILABLE, "the server ended the stream"))
        except grpc.RpcError as error:
            self._broken(call, failure(error))
        except asyncio.CancelledError:
            self._broken(call, Failure(grpc.StatusCode.CANCELLED, "the stream was given up"))

    def _broken(self, call, failure):
        if self.call is not call:
            return
        self.call = None
        waiting, self.waiting = self.waiting, {}
        for answers in waiting.values():
            for answer in answers:
                if not answer.done():
                    answer.set_exception(failure)
                    answer.exception()
        call.cancel()

    def close(self):
        if self.call is not None:
            self._broken(self.call, Failure(grpc.StatusCode.CANCELLED, "the load is over"))


_codes = {code.value[0]: code for code in grpc.StatusCode}


class Load:
    """Customers, from `start` to `finish`."""

    def __init__(self, addresses, history, messages=None, customers=24, pause=0.02, timeout=3.0, seed=1, patience=60.0):
        self.history, self.pause, self.timeout, self.patience = history, pause, timeout, patience
        self.chance = random.Random(seed)
        self.messages = messages or Messages(addresses[0])
        self.orchestrators = [Orchestrator(address, self.messages) for address in addresses]
        self.uids = [f"customer-{seed}-{number}" for number in range(customers)]
        self.streams = [[Stream(orchestrator) for _ in range(2)] for orchestrator in self.orchestrators]
        self.sent = dict.fromkeys(self.uids, 0)
        self.is_writing = True
        self.codes = {}                 # of attempts that failed, by name
        self.acknowledged = {uid: [] for uid in self.uids}  # times
        self.under_way = {}
        self.given_up = []
        self.tasks = []
        self.degraded = 0

    def start(self):
        for number, uid in enumerate(self.uids):
            window = [1, 4, 4, 3][number % 4]
            way = [self._unary, self._unary, self._on_a_stream, self._on_two_streams][number % 4]
            self.tasks.append(asyncio.create_task(self._customer(uid, window, way)))
        self.tasks.append(asyncio.create_task(self._reader()))

    async def _customer(self, uid, window, way):
        free, under_way = asyncio.Semaphore(window), {}
        while self.is_writing:
            await free.acquire()
            if not self.is_writing:
                break
            seq = self.sent[uid] + 1
            while under_way and min(under_way) <= seq - SPAN:
                await asyncio.wait(under_way.values(), return_when=asyncio.FIRST_COMPLETED)
                under_way = {number: task for number, task in under_way.items() if not task.done()}
            self.sent[uid] = seq
            task = asyncio.create_task(self._message(uid, seq, way))
            task.add_done_callback(lambda _: free.release())
            under_way[seq] = task
            under_way = {number: task for number, task in under_way.items() if not task.done()}
            await asyncio.sleep(self.chance.uniform(0, 2 * self.pause))
        if under_way:
            await asyncio.wait(under_way.values())

    async def _message(self, uid, seq, way):
        """Sends one message until it is acknowledged."""
        request = self.messages.request(uid=uid, query=self.chance.choice(TEXTS), seq=seq)
        began, attempt = time.monotonic(), self.chance.randrange(len(self.orchestrators))
        while True:
            try:
                return await way(request, attempt)
            except Failure as error:
                if time.monotonic() - began > self.patience or error.code in (grpc.StatusCode.ABORTED, grpc.StatusCode.INVALID_ARGUMENT):
                    self.given_up.append(f"{uid} seq {seq}: {error}")
                    return None
                attempt += 1
                await asyncio.sleep(error.pushback or self.chance.uniform(0.02, 0.15))

    async def _unary(self, request, attempt):
        orchestrator = self.orchestrators[attempt % len(self.orchestrators)]
        op = self._invoke(request, "unary")
        try:
            response = await orchestrator.reply(request, timeout=self.timeout)
        except grpc.RpcError as error:
            raise self._failed(op, failure(error)) from None
        return self._acknowledged(op, request, response)

    async def _on_a_stream(self, request, attempt, stream=None):
        streams = self.streams[attempt % len(self.orchestrators)]
        # A customer keeps to one stream for as long as it works.
        stream = stream or streams[hash(request.uid) % len(streams)]
        ops = []
        try:
            response = await stream.send(request, lambda name: ops.append(self._invoke(request, name)), self.timeout)
        except Failure as error:
            raise (self._failed(ops[0], error) if ops else error) from None
        return self._acknowledged(ops[0], request, response)

    async def _on_two_streams(self, request, attempt):
        results = await asyncio.gather(
            *(self._on_a_stream(request, attempt + n) for n in range(min(2, len(self.orchestrators)))), return_exceptions=True)
        for result in results:
            if not isinstance(result, BaseException):
                return result
        raise results[0]

    def _invoke(self, request, process):
        op = next(self.history.ops)
        self.history.add("invoke", op=op, process=process, uid=request.uid, seq=request.seq, text=request.query)
        return op

    def _acknowledged(self, op, request, response):
        replayed, response.replayed = response.replayed, False
        digest = hashlib.sha256(response.SerializeToString(deterministic=True)).hexdigest()[:16]
        self.degraded += response.degraded and not replayed
        moment = self.history.add(
            "ack", op=op, turn=response.session.turns, recent=[turn.seq for turn in response.session.history], digest=digest, replayed=replayed)
        self.acknowledged[request.uid].append(moment)
        return response

    def _failed(self, op, error):
        self.codes[error.code.name] = self.codes.get(error.code.name, 0) + 1
        self.history.add("fail" if error.code in REFUSALS else "unknown", op=op, code=error.code.name, details=error.details)
        return error

    async def _reader(self):
        """Reads sessions all the while: what is read must never go back."""
        while self.is_writing:
            await self._read(self.chance.choice(self.uids), "read")
            await asyncio.sleep(self.pause)

    async def _read(self, uid, type):
        began = time.monotonic()
        orchestrator = self.chance.choice(self.orchestrators)
        try:
            session = await orchestrator.get_session(self.messages.get(uid=uid), timeout=self.timeout)
            found = (session.turns, [turn.seq for turn in session.history])
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                return False
            found = (0, [])
        self.history.add(type, uid=uid, began=began, turn=found[0], recent=found[1])
        return True

    async def finish(self):
        """Writes nothing new, waits for the answers to what was sent, asks for some replies once more, and reads every session."""
        self.is_writing = False
        await asyncio.gather(*self.tasks)
        for uid in self.uids:
            for seq in range(max(1, self.sent[uid] - 2), self.sent[uid] + 1):
                await self._message(uid, seq, self._unary)
            began = time.monotonic()
            while not await self._read(uid, "final"):
                assert time.monotonic() - began < self.patience, f"the session of {uid} cannot be read"
                await asyncio.sleep(0.1)
        for streams in self.streams:
            for stream in streams:
                stream.close()
        for orchestrator in self.orchestrators:
            await orchestrator.channel.close()
        self.history.close()

    def recovery(self, healed):
        """Seconds from `healed` until every customer had an answer."""
        return max((min((moment for moment in moments if moment >= healed), default=float("inf")) for moments in self.acknowledged.values())) - healed
