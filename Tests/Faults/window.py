"""How much a failover of Redis costs, by setting: acknowledged turns lost, turns doubled, and the time until every customer is answered again.

    python Tests/Faults/window.py [--repeat 10] [--group Sentinel] [--setting WORDS] [--fault WORDS]

For each kind of group and each setting one deployment, whose master is broken again and again under load; each time the history of all customers is checked.
Sentinel: a master with two replicas, three sentinels, `down-after-milliseconds 1000`. Cluster: three masters with two replicas each, `cluster-node-timeout 1000`.
It needs root: everything runs in a network namespace of its own, in which a master can be cut off from the others of its group.
"""

import argparse
import asyncio
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback

import checker
import groups
import parts
from faults import EXPECTED
from load import History, Load, Messages

EVERYSEC = ("--appendfsync", "everysec")
ALWAYS = ("--appendfsync", "always")
# Options of each redis-server, and of each orchestrator.
SETTINGS = {
    "AOF everysec (the default)": (EVERYSEC, ()),
    "the same, min-replicas-to-write 1, min-replicas-max-lag 10": ((*EVERYSEC, "--min-replicas-to-write", "1", "--min-replicas-max-lag", "10"), ()),
    "AOF everysec, --redis-wait-replicas 1": (EVERYSEC, ("--redis-wait-replicas", "1")),
    "AOF always, --redis-wait-replicas 1": (ALWAYS, ("--redis-wait-replicas", "1")),
}
GROUPS = {"Sentinel": groups.Sentinels, "Cluster": groups.Cluster}


# MARK: Faults: break the master, and give the moment at which it was broken and what mends it


def kill(group, master):
    moment = time.monotonic()
    master.kill()
    return moment, master.start


def freeze(group, master):
    moment = time.monotonic()
    master.freeze()
    return moment, master.thaw


def cut_off(group, master):
    """The others of its group no longer reach it, nor it them; the orchestrators do."""
    rules = set()
    for other in group.members:
        if other is master:
            continue
        for client, server in ((other, master), (master, other)):
            # Nodes of a cluster listen 10,000 above their port, too.
            for number in (groups.port(server), groups.port(server) + 10_000):
                if number <= 65_535:
                    rules |= {f"-A INPUT -p tcp -s {client.source} --dport {number} -j DROP", f"-A INPUT -p tcp -d {client.source} --sport {number} -j DROP"}
    text = "*filter\n" + "\n".join(sorted(rules)) + "\nCOMMIT\n"
    moment = time.monotonic()
    subprocess.run(["iptables-restore"], input=text.encode(), check=True)
    return moment, lambda: subprocess.run(["iptables", "-F"], check=True)


FAULTS = {"kill -9, started again": kill, "SIGSTOP, SIGCONT after the failover": freeze, "cut off from its group, not from the orchestrators": cut_off}


# MARK: Running


class Outcome:
    def __init__(self):
        self.lost, self.doubled, self.acknowledged, self.recovery, self.problems = [], [], 0, [], []


async def once(kefu, fault, messages, path, seed):
    """One fault under load."""
    load = Load(kefu.addresses, History(path), messages=messages, timeout=1.5, seed=seed)
    load.start()
    await asyncio.sleep(1.5)
    master = kefu.redis.current_master()
    moment, mend = await asyncio.to_thread(fault, kefu.redis, master)
    try:
        # Every customer is answered, and the group has another master.
        while load.recovery(moment) == float("inf") or not await asyncio.to_thread(kefu.redis.is_replaced, master):
            assert time.monotonic() - moment < 60, "no failover within 60 s"
            await asyncio.sleep(0.05)
        recovery = load.recovery(moment)
    finally:
        await asyncio.to_thread(mend)
    # The old master must be told that it is none, under load.
    await asyncio.sleep(1.5)
    await asyncio.to_thread(kefu.redis.settle)
    await load.finish()
    return checker.check(checker.load(path)), recovery, load


async def cell(group, setting, fault, repeat, intent_server, seeds):
    """A fault again and again in one deployment."""
    redis_options, orchestrator_options = SETTINGS[setting]
    outcome = Outcome()
    kefu = parts.Kefu(
        intent_server, redis=lambda folder: GROUPS[group](folder, *redis_options, replicas=2),
        orchestrator_options=orchestrator_options)
    try:
        await asyncio.to_thread(kefu.start)
        messages = await asyncio.to_thread(Messages, kefu.addresses[0])
        for _ in range(repeat):
            report, recovery, load = await once(kefu, FAULTS[fault], messages, kefu.folder / "history.jsonl", next(seeds))
            outcome.lost.append(report.lost)
            outcome.doubled.append(report.doubled)
            outcome.acknowledged += report.acknowledged
            outcome.recovery.append(recovery)
            outcome.problems += load.given_up[:3]
            if strange := {code: count for code, count in load.codes.items() if code not in EXPECTED}:
                outcome.problems.append(f"answers with codes that nobody can act on: {strange}")
    except Exception:
        # The cells that follow are worth seeing.
        outcome.problems.append(traceback.format_exc())
    finally:
        kefu.stop()
    return outcome


def row(group, setting, fault, outcome):
    if not outcome.recovery:
        return f"| {group} | {setting} | {fault} | 0 | | | | | |"
    lost = sorted(outcome.lost)
    return (f"| {group} | {setting} | {fault} | {len(lost)} | {outcome.acknowledged} | {sum(lost)} ({lost[-1]}) | {sum(outcome.doubled)} | "
            f"{statistics.median(outcome.recovery):.1f} | {max(outcome.recovery):.1f} |")


async def run(options):
    failed = False
    print("| group | setting | the master | times | acknowledged | lost (most at once) | doubled | recovery s, median | slowest |", flush=True)
    print("|---|---|---|---:|---:|---:|---:|---:|---:|", flush=True)
    seeds = iter(range(1, 1_000_000))
    with tempfile.TemporaryDirectory(prefix="kefu-intent-") as folder:
        intent_server = parts.IntentServer(folder)
        await asyncio.to_thread(intent_server.start)
        try:
            for group in GROUPS:
                for setting in SETTINGS:
                    for fault in FAULTS:
                        if any(wanted and wanted not in name for wanted, name in ((options.group, group), (options.setting, setting), (options.fault, fault))):
                            continue
                        outcome = await cell(group, setting, fault, options.repeat, intent_server, seeds)
                        print(row(group, setting, fault, outcome), flush=True)
                        for problem in outcome.problems:
                            print(f"    FAILED: {problem}", file=sys.stderr, flush=True)
                        failed |= bool(outcome.problems)
        finally:
            intent_server.kill()
    return failed


def enter_a_namespace():
    """A network of this process's own."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) != 0:
        sys.exit(f"no network namespace can be made: {os.strerror(ctypes.get_errno())}; this needs root")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def main():
    parser = argparse.ArgumentParser(description="The window of loss of failovers: see the top of this file.")
    parser.add_argument("--repeat", type=int, default=10, help="how often each fault comes (default: 10)")
    for name in ("group", "setting", "fault"):
        parser.add_argument(f"--{name}", help=f"a part of the name of the only {name} to run")
    options = parser.parse_args()
    enter_a_namespace()
    sys.exit(1 if asyncio.run(run(options)) else 0)


if __name__ == "__main__":
    main()
