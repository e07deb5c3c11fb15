"""The fault tests: real services under load, one fault a row, and the history of all customers checked. Prints a table.

    python Tests/Faults/faults.py [--short] [--list] [--histories FOLDER] [PART OF A ROW'S NAME …]

Every row says what is promised. A row fails where an acknowledged turn was lost or doubled (but for rows that promise less, which then show the measured
count), where the checker found anything else, where a customer was never answered, or where an error had a code that nobody can act on.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import typing

import checker
import groups
import network
import parts
from load import History, Load, Messages
from proxy import Proxy

# What a client may be told while something is broken; anything else is a fault of ours.
EXPECTED = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED"}


@dataclasses.dataclass
class Row:
    """One fault. `fault` breaks and heals, and returns when everything should work again."""

    name: str
    promise: str
    fault: typing.Callable
    setup: typing.Callable = None      # an async context manager of (kefu, world), given the shared intent server
    needs: typing.Callable = None      # why the row cannot run here; None: it can
    short: bool = False
    loss_is_promised: bool = True      # False: what is lost is measured
    is_quiet: bool = False             # no attempt may fail
    settings: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Outcome:
    row: Row
    report: checker.Report = None
    recovery: float = None
    errors: int = 0
    problems: list = dataclasses.field(default_factory=list)
    skipped: str = None

    @property
    def is_fine(self):
        return not self.problems


@dataclasses.dataclass
class World:
    """What a fault may reach for beside the parts themselves."""

    proxy: Proxy = None
    problems: list = dataclasses.field(default_factory=list)
    client_addresses: list = None
    extra: dict = dataclasses.field(default_factory=dict)


# MARK: Set-ups


@contextlib.asynccontextmanager
async def plain(intent_server, **settings):
    kefu = await started(parts.Kefu(intent_server, **settings))
    try:
        yield kefu, World()
    finally:
        kefu.stop()


async def started(kefu):
    try:
        return await asyncio.to_thread(kefu.start)
    except BaseException:
        kefu.stop()
        raise


def with_redis_in_a_group(kind):
    return lambda intent_server, **settings: plain(intent_server, redis=kind, **settings)


@contextlib.asynccontextmanager
async def through_a_proxy_to_redis(intent_server, rewrite=None, **settings):
    kefu = parts.Kefu(intent_server, **settings)
    proxy = await Proxy(kefu.redis.socket, rewrite).start()
    kefu.redis_url = f"redis://127.0.0.1:{proxy.port}/0"
    await started(kefu)
    try:
        yield kefu, World(proxy=proxy)
    finally:
        kefu.stop()
        await proxy.stop()


@contextlib.asynccontextmanager
async def through_a_proxy_to_the_intent_server(intent_server, **settings):
    kefu = parts.Kefu(intent_server, **settings)
    proxy = await Proxy(intent_server.address.removeprefix("unix:")).start()
    kefu.intent_server = dataclasses.make_dataclass("Address", ["address"])(f"127.0.0.1:{proxy.port}")
    await started(kefu)
    try:
        yield kefu, World(proxy=proxy)
    finally:
        kefu.stop()
        await proxy.stop()


@contextlib.asynccontextmanager
async def through_proxies_to_the_orchestrators(intent_server, **settings):
    kefu = await started(parts.Kefu(intent_server, **settings))
    proxies = [await Proxy(address.removeprefix("unix:")).start() for address in kefu.addresses]
    try:
        yield kefu, World(client_addresses=[f"127.0.0.1:{proxy.port}" for proxy in proxies], extra={"proxies": proxies})
    finally:
        kefu.stop()
        for proxy in proxies:
            await proxy.stop()


@contextlib.asynccontextmanager
async def redis_in_a_namespace(intent_server, **settings):
    with network.Namespace() as namespace:
        kefu = parts.Kefu(
            intent_server, redis=lambda folder: parts.Redis(folder, port=6379, bind=namespace.inside, prefix=namespace.prefix),
            redis_url=f"redis://{namespace.inside}:6379/0", **settings)
        await started(kefu)
        try:
            yield kefu, World(extra={"namespace": namespace})
        finally:
            kefu.stop()


def redis_on_a_small_disk(*redis_options):
    @contextlib.asynccontextmanager
    async def setup(intent_server, **settings):
        folder = tempfile.mkdtemp(prefix="kefu-disk-")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", folder], check=True)
        try:
            kefu = await started(
                parts.Kefu(intent_server, redis=lambda _: parts.Redis(f"{folder}/redis", *redis_options, log=f"{folder}.log"), **settings))
            try:
                yield kefu, World(extra={"disk": pathlib.Path(folder)})
            finally:
                kefu.stop()
        finally:
            subprocess.run(["umount", folder], check=True)
            os.rmdir(folder)
            pathlib.Path(f"{folder}.log").unlink(missing_ok=True)
    return setup


@contextlib.asynccontextmanager
async def with_small_talk(intent_server, **settings):
    folder = tempfile.mkdtemp(prefix="kefu-chitchat-")
    await asyncio.to_thread(parts.Chitchat.train, folder)
    chitchat = parts.Chitchat(folder, folder)
    try:
        await asyncio.to_thread(chitchat.start)
        kefu = await started(parts.Kefu(intent_server, orchestrator_options=("--chitchat", chitchat.address), **settings))
        try:
            yield kefu, World(extra={"chitchat": chitchat})
        finally:
            kefu.stop()
    finally:
        chitchat.kill()
        shutil.rmtree(folder)


COMPILER = shutil.which("cc") or shutil.which("clang")


@contextlib.asynccontextmanager
async def with_clocks_that_can_be_set(intent_server, **settings):
    """The orchestrators and Redis have a time of day of their own; the monotonic clock stays as it is, as on a machine whose clock is set."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kefu-clock-"))
    library = folder / "clock.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, pathlib.Path(__file__).parent / "clock.c"], check=True)
    clocks = [Clock(folder / name) for name in ("orchestrators", "redis")]

    def faked(clock):
        return {"LD_PRELOAD": str(library), "KEFU_CLOCK_FILE": str(clock.path)}

    def redis(folder):
        redis = parts.Redis(folder)
        redis.env.update(faked(clocks[1]))
        return redis

    try:
        kefu = await started(parts.Kefu(intent_server, redis=redis, env=faked(clocks[0]), **settings))
        try:
            yield kefu, World(extra={"clocks": clocks})
        finally:
            kefu.stop()
    finally:
        shutil.rmtree(folder)


class Clock:
    """How far a time of day is off, in a file that clock.c maps."""

    def __init__(self, path):
        self.path = path
        self.path.write_bytes(struct.pack("q", 0))

    def set(self, minutes):
        with open(self.path, "r+b") as file:
            file.write(struct.pack("q", round(minutes * 60_000)))


# MARK: Faults


async def kill_an_orchestrator(kefu, world, load):
    await killed(kefu.orchestrators[0], 0.5)


async def killed(part, away):
    part.kill()
    await asyncio.sleep(away)
    await asyncio.to_thread(part.start)


async def frozen(part, seconds):
    part.freeze()
    await asyncio.sleep(seconds)
    part.thaw()


async def freeze_an_orchestrator(kefu, world, load):
    await frozen(kefu.orchestrators[0], 2.5)


async def stop_an_orchestrator(kefu, world, load):
    """SIGTERM: it must drain and exit 0 within its grace."""
    part = kefu.orchestrators[0]
    began = time.monotonic()
    status = await asyncio.to_thread(part.terminate)
    took = time.monotonic() - began
    if status != 0:
        world.problems.append(f"it exited with {status}")
    if took > 10:
        world.problems.append(f"it took {took:.1f} s to drain; its grace is 10 s")
    await asyncio.to_thread(part.start)


async def kill_the_intent_server(kefu, world, load):
    await killed(kefu.intent_server, 0.5)


async def freeze_the_intent_server(kefu, world, load):
    await frozen(kefu.intent_server, 2.5)


async def stop_the_intent_server(kefu, world, load):
    status = await asyncio.to_thread(kefu.intent_server.terminate)
    if status != 0:
        world.problems.append(f"it exited with {status}")
    await asyncio.to_thread(kefu.intent_server.start)


async def kill_redis(kefu, world, load):
    await killed(kefu.redis, 0.5)


async def kill_redis_again_and_again(kefu, world, load):
    for _ in range(4):
        await killed(kefu.redis, 0.1)
        await asyncio.sleep(0.4)


async def freeze_redis(kefu, world, load):
    await frozen(kefu.redis, 2.5)


async def kill_the_master(kefu, world, load):
    """It comes back as a replica, or not: what counts is when customers are answered again."""
    kefu.redis.master.kill()
    # A failover takes a second until it is noticed, and some more for the vote.
    moment = time.monotonic()
    while load.recovery(moment) == float("inf"):
        assert time.monotonic() - moment < 60, "no failover within 60 s"
        await asyncio.sleep(0.1)
    world.extra["failover"] = time.monotonic() - moment
    await asyncio.to_thread(kefu.redis.master.start)
    await asyncio.sleep(2)


async def freeze_the_master(kefu, world, load):
    """It sleeps until another one has taken its place, and wakes as one that believes itself to be the master."""
    master = kefu.redis.master
    moment = time.monotonic()
    master.freeze()
    try:
        while load.recovery(moment) == float("inf") or not await asyncio.to_thread(kefu.redis.is_replaced, master):
            assert time.monotonic() - moment < 60, "no failover within 60 s"
            await asyncio.sleep(0.1)
        world.extra["failover"] = load.recovery(moment)
    finally:
        master.thaw()
    await asyncio.sleep(2)


async def kill_everything(kefu, world, load):
    everything = [kefu.redis, kefu.intent_server, *kefu.orchestrators]
    for part in everything:
        part.kill()
    await asyncio.sleep(0.3)
    for part in everything:
        await asyncio.to_thread(part.start)


async def flush_scripts(kefu, world, load):
    for _ in range(100):
        kefu.redis.command_now("SCRIPT", "FLUSH")
        await asyncio.sleep(0.02)


async def fill_the_memory(kefu, world, load):
    kefu.redis.command_now("CONFIG", "SET", "maxmemory", "1mb")
    await asyncio.sleep(2)
    kefu.redis.command_now("CONFIG", "SET", "maxmemory", "0")


async def fill_the_disk(kefu, world, load):
    filler = world.extra["disk"] / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    await asyncio.sleep(2)
    filler.unlink()
    await asyncio.sleep(0.2)
    if "to the AOF file" not in pathlib.Path(kefu.redis.log).read_text():
        world.problems.append("the disk was never full for Redis: " + pathlib.Path(kefu.redis.log).read_text()[-500:])
    if not kefu.redis.is_running:
        # With appendfsync always Redis ends rather than answer for what it cannot keep.
        kefu.redis.reap()
        await asyncio.to_thread(kefu.redis.start)


async def slow_network(kefu, world, load):
    world.proxy.delay = 0.1
    await asyncio.sleep(3)
    world.proxy.heal()


async def reset_network(kefu, world, load):
    world.proxy.cut()
    await asyncio.sleep(1.5)
    world.proxy.heal()


async def reset_network_again_and_again(kefu, world, load):
    for _ in range(20):
        world.proxy.reset()
        await asyncio.sleep(0.15)


async def silent_network(kefu, world, load):
    world.proxy.is_silent = True
    await asyncio.sleep(2.5)
    world.proxy.heal()


async def reset_customers(kefu, world, load):
    for n in range(12):
        world.extra["proxies"][n % 2].reset()
        await asyncio.sleep(0.25)


async def cut_by_a_firewall(kefu, world, load):
    with world.extra["namespace"].cut():
        await asyncio.sleep(2.5)


async def kill_small_talk(kefu, world, load):
    await killed(world.extra["chitchat"], 0.5)


async def freeze_small_talk(kefu, world, load):
    await frozen(world.extra["chitchat"], 2.5)


async def step_clocks(kefu, world, load):
    orchestrators, redis = world.extra["clocks"]
    for minutes in (30, -120, 0):
        orchestrators.set(minutes)
        await asyncio.sleep(0.8)
    for minutes in (30, -20, 0):
        redis.set(minutes)
        await asyncio.sleep(0.8)


# MARK: Rows


def needs_root():
    return None if os.geteuid() == 0 else "needs root"


def needs_namespaces():
    return needs_root() or network.missing()


def needs_tensorflow():
    return None if parts.CHITCHAT_PYTHON.exists() else "TensorFlow is not installed (Training/chitchat/setup)"


def needs_compiler():
    return None if COMPILER else "there is no C compiler for clock.c"


NOTHING = "no acknowledged turn lost or doubled"
ROWS = [
    Row("orchestrator: kill -9", f"{NOTHING}; the other one goes on", kill_an_orchestrator, short=True),
    Row("orchestrator: SIGSTOP 2.5 s, SIGCONT", f"{NOTHING}; what it held is decided anew", freeze_an_orchestrator),
    Row("orchestrator: SIGTERM", f"{NOTHING}; exit 0 within the grace", stop_an_orchestrator, short=True),
    Row("intent-server: kill -9", f"{NOTHING}; replies are degraded", kill_the_intent_server),
    Row("intent-server: SIGSTOP 2.5 s, SIGCONT", f"{NOTHING}; replies are degraded", freeze_the_intent_server),
    Row("intent-server: SIGTERM", f"{NOTHING}; exit 0", stop_the_intent_server),
    Row("Redis (AOF always): kill -9", f"{NOTHING}; UNAVAILABLE meanwhile", kill_redis, short=True),
    Row("Redis (AOF always): kill -9, 4 times", f"{NOTHING}; UNAVAILABLE meanwhile", kill_redis_again_and_again),
    Row("Redis: SIGSTOP 2.5 s, SIGCONT", f"{NOTHING}; UNAVAILABLE meanwhile", freeze_redis),
    Row("all parts: kill -9", NOTHING, kill_everything),
    Row("Redis master under Sentinel: kill -9", "measured: replication is asynchronous; none doubled by Kefu", kill_the_master,
        with_redis_in_a_group(groups.Sentinels), loss_is_promised=False),
    Row("Redis Cluster master: kill -9", "measured: replication is asynchronous; none doubled by Kefu", kill_the_master,
        with_redis_in_a_group(groups.Cluster), loss_is_promised=False),
    Row("Redis master under Sentinel: SIGSTOP until replaced, SIGCONT", "measured; the one that slept is not believed", freeze_the_master,
        with_redis_in_a_group(groups.Sentinels), loss_is_promised=False),
    Row("Redis Cluster master: SIGSTOP until replaced, SIGCONT", "measured; the one that slept is not believed", freeze_the_master,
        with_redis_in_a_group(groups.Cluster), loss_is_promised=False),
    Row("Redis: SCRIPT FLUSH, 100 times", f"{NOTHING}; no error", flush_scripts, is_quiet=True),
    Row("Redis: maxmemory reached", f"{NOTHING}; UNAVAILABLE meanwhile", fill_the_memory),
    Row("Redis: disk full (AOF always)", f"{NOTHING}; Redis ends itself, UNAVAILABLE", fill_the_disk, redis_on_a_small_disk(), needs_root),
    Row("Redis: disk full (AOF everysec)", f"{NOTHING}; UNAVAILABLE meanwhile", fill_the_disk,
        redis_on_a_small_disk("--appendfsync", "everysec"), needs_root),
    Row("network to Redis: 100 ms each way", f"{NOTHING}; no error", slow_network, through_a_proxy_to_redis, is_quiet=True),
    Row("network to Redis: reset, 1.5 s away", f"{NOTHING}; UNAVAILABLE meanwhile", reset_network, through_a_proxy_to_redis),
    Row("network to Redis: reset 20 times", f"{NOTHING}; commits are sent again", reset_network_again_and_again, through_a_proxy_to_redis,
        short=True),
    Row("network to Redis: silent for 2.5 s", f"{NOTHING}; UNAVAILABLE meanwhile", silent_network, through_a_proxy_to_redis),
    Row("network to Redis: DROP by iptables, 2.5 s", f"{NOTHING}; UNAVAILABLE meanwhile", cut_by_a_firewall, redis_in_a_namespace,
        needs_namespaces),
    Row("network to intent-server: 100 ms each way", f"{NOTHING}; no error", slow_network, through_a_proxy_to_the_intent_server, is_quiet=True),
    Row("network to intent-server: silent for 2.5 s", f"{NOTHING}; replies are degraded", silent_network, through_a_proxy_to_the_intent_server),
    Row("network to customers: reset 12 times", f"{NOTHING}; they reconnect", reset_customers, through_proxies_to_the_orchestrators),
    Row("chitchat: kill -9", f"{NOTHING}; templates answer", kill_small_talk, with_small_talk, needs_tensorflow),
    Row("chitchat: SIGSTOP 2.5 s, SIGCONT", f"{NOTHING}; templates answer", freeze_small_talk, with_small_talk, needs_tensorflow),
    Row("clocks: orchestrators +30 min, -2.5 h; Redis +30, -50", f"{NOTHING}; steps below the time to live", step_clocks, with_clocks_that_can_be_set,
        needs_compiler),
]


# MARK: Running


async def run(row, intent_server, histories, before=1.0, after=1.0, load=Load):
    """One row: load, the fault, load, the check."""
    outcome = Outcome(row)
    if row.needs and (reason := row.needs()):
        outcome.skipped = reason
        return outcome
    path = pathlib.Path(histories) / ("".join(c if c.isalnum() else "-" for c in row.name) + ".jsonl")
    async with (row.setup or plain)(intent_server, **row.settings) as (kefu, world):
        # The messages are asked of the orchestrator itself: a proxy to it runs in this very thread.
        messages = await asyncio.to_thread(Messages, kefu.addresses[0])
        load = load(world.client_addresses or kefu.addresses, History(path), messages=messages, timeout=10 if row.is_quiet else 1.5)
        load.start()
        await asyncio.sleep(before)
        await row.fault(kefu, world, load)
        healed = time.monotonic()
        await asyncio.sleep(after)
        await load.finish()
        outcome.recovery = world.extra.get("failover", load.recovery(healed))
        for part in kefu.orchestrators:
            if not part.is_running:
                world.problems.append(f"{part.name} ended by itself")
    outcome.report = checker.check(checker.load(path))
    outcome.errors = outcome.report.failed + outcome.report.unknown
    outcome.problems = world.problems + load.given_up[:5]
    if strange := {code: count for code, count in load.codes.items() if code not in EXPECTED}:
        outcome.problems.append(f"answers with codes that nobody can act on: {strange}")
    if row.is_quiet and outcome.errors:
        outcome.problems.append(f"attempts failed: {load.codes}")
    harmless = set() if row.loss_is_promised else {"lost", "stale", "order", "forked", "changed", "doubled"}
    outcome.problems += [str(anomaly) for anomaly in outcome.report.anomalies if anomaly.kind not in harmless][:10]
    return outcome


WIDTHS = (59, 70, 6, 5, 7, 7, 8)


def line(*cells):
    return " | ".join(str(cell).ljust(width) if place < 2 else str(cell).rjust(width) for place, (cell, width) in enumerate(zip(cells, WIDTHS)))


def show(outcome):
    if outcome.skipped:
        print(line(outcome.row.name, f"skipped: {outcome.skipped}", "-", "-", "-", "-", "-"), flush=True)
        return
    report = outcome.report or checker.Report()
    print(line(outcome.row.name, outcome.row.promise, report.acknowledged, report.lost, report.doubled, outcome.errors, "-" if outcome.recovery is None else f"{outcome.recovery:.2f}"), flush=True)
    for problem in outcome.problems:
        print(f"    FAILED: {problem}", flush=True)


async def run_all(rows, histories, show=show):
    """The rows one after another, over one intent server."""
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="kefu-intent-") as folder:
        intent_server = parts.IntentServer(folder)
        try:
            await asyncio.to_thread(intent_server.start)
            for row in rows:
                if not intent_server.is_running:
                    await asyncio.to_thread(intent_server.start)
                try:
                    outcome = await run(row, intent_server, histories)
                except Exception:
                    # The rows that follow are worth seeing.
                    outcome = Outcome(row, problems=[traceback.format_exc()])
                show(outcome)
                outcomes.append(outcome)
        finally:
            intent_server.kill()
    return outcomes


def main():
    parser = argparse.ArgumentParser(description="Fault tests: see the top of this file.")
    parser.add_argument("rows", nargs="*", help="parts of the names of the rows to run")
    parser.add_argument("--short", action="store_true", help="only the rows of make test")
    parser.add_argument("--list", action="store_true", help="print the rows and what they promise")
    parser.add_argument("--histories", help="keep the histories here")
    options = parser.parse_args()
    rows = [row for row in ROWS if (not options.short or row.short) and (not options.rows or any(part in row.name for part in options.rows))]
    if options.list:
        for row in rows:
            print(f"{row.name}: {row.promise}")
        return
    print(line("fault", "promise", "acked", "lost", "doubled", "errors", "recov. s"))
    print("-|-".join("-" * width for width in WIDTHS))
    with tempfile.TemporaryDirectory(prefix="kefu-histories-") as temporary:
        histories = options.histories or temporary
        pathlib.Path(histories).mkdir(parents=True, exist_ok=True)
        outcomes = asyncio.run(run_all(rows, histories))
    skipped = sum(outcome.skipped is not None for outcome in outcomes)
    failed = [outcome.row.name for outcome in outcomes if not outcome.is_fine]
    print(f"{len(outcomes) - skipped - len(failed)} rows fine, {len(failed)} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
