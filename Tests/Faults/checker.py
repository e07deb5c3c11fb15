"""Checks a history of turns against what Kefu promises: no acknowledged turn is lost, none is doubled, and each user's turns have one order.

In the spirit of Jepsen's Elle (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations", VLDB 2020): a session is a list
to which turns are appended, and each reply brings the session's number of turns and the seqs of its last turns. From these the one order of each session
is inferred, backwards from the session that is stored in the end, and every acknowledgement must be found in it.

A pure module: events in, a report out. An event is a dict, one JSON object a line in a file:

    {"type": "invoke",  "op": 7, "time": 1.25, "process": "stream-1", "uid": "u", "seq": 3, "text": "…"}
    {"type": "ack",     "op": 7, "time": 1.31, "turn": 3, "recent": [1, 2, 3], "digest": "…", "replayed": false}
    {"type": "fail",    "op": 7, "time": 1.31, "code": "RESOURCE_EXHAUSTED"}      it did not happen
    {"type": "unknown", "op": 7, "time": 1.31, "code": "UNAVAILABLE"}             it may have happened, or may happen yet
    {"type": "read",    "time": 1.40, "began": 1.39, "uid": "u", "turn": 3, "recent": [1, 2, 3]}
    {"type": "final",   "time": 9.0,  "uid": "u", "turn": 3, "recent": [1, 2, 3]}

Times are seconds of one monotonic clock. `seq` is the client's number of a message, and the same message sent again is an op of its own. `turn` counts the
session's turns, `recent` has the seqs of its last turns, oldest first. `digest` stands for all of the reply but its `replayed`. Ops of one `process` that
begins with "stream" went out on one stream, whose answers to one user must come in the order of its messages.
"""

import collections
import dataclasses
import json


@dataclasses.dataclass(frozen=True)
class Anomaly:
    """One breach of a promise."""

    kind: str  # lost, doubled, changed, forked, phantom, order, stale, malformed
    uid: str
    detail: str

    def __str__(self):
        return f"{self.kind}: {self.uid}: {self.detail}"


@dataclasses.dataclass
class Report:
    """What a history shows."""

    users: int = 0
    acknowledged: int = 0  # different messages that were acknowledged
    replayed: int = 0      # acknowledgements that were replays
    lost: int = 0          # acknowledged, and not in the session
    doubled: int = 0       # turns beyond the first of one message
    failed: int = 0        # attempts that did not happen
    unknown: int = 0       # attempts that may have happened
    unacknowledged: int = 0  # messages that were never acknowledged
    anomalies: list = dataclasses.field(default_factory=list)

    def add(self, kind, uid, detail):
        self.anomalies.append(Anomaly(kind, uid, detail))

    def kinds(self):
        return {anomaly.kind for anomaly in self.anomalies}


@dataclasses.dataclass
class Message:
    """All attempts to send one (uid, seq)."""

    seq: int
    invoked: float                                 # the first attempt
    acks: list = dataclasses.field(default_factory=list)

    @property
    def acknowledged(self):
        return min((ack["time"] for ack in self.acks), default=None)


@dataclasses.dataclass
class User:
    """What happened to one user."""

    messages: dict = dataclasses.field(default_factory=dict)  # seq → Message
    reads: list = dataclasses.field(default_factory=list)
    final: dict = None


def load(path):
    """The events of a file of JSON lines."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def check(events):
    """The report on a history."""
    report = Report()
    ops, users = _sort(events, report)
    report.users = len(users)
    for uid, user in users.items():
        _check_user(uid, user, report)
    _check_streams(ops, report)
    return report


def _sort(events, report):
    """The ops by their number, and the users by their uid."""
    ops, users = {}, collections.defaultdict(User)
    for event in sorted(events, key=lambda event: event["time"]):
        kind = event["type"]
        if kind == "invoke":
            ops[event["op"]] = {"invoke": event, "answer": None}
            users[event["uid"]].messages.setdefault(event["seq"], Message(event["seq"], event["time"]))
        elif kind in ("ack", "fail", "unknown"):
            op = ops.get(event["op"])
            if op is None or op["answer"] is not None:
                report.add("malformed", "", f"op {event['op']} was answered without being asked, or twice")
                continue
            op["answer"] = event
            if kind == "ack":
                users[op["invoke"]["uid"]].messages[op["invoke"]["seq"]].acks.append(event)
                report.replayed += event["replayed"]
            elif kind == "fail":
                report.failed += 1
            else:
                report.unknown += 1
        elif kind == "read":
            users[event["uid"]].reads.append(event)
        elif kind == "final":
            users[event["uid"]].final = event
        else:
            report.add("malformed", event.get("uid", ""), f"an event of type {kind}")
    return ops, users


def _check_user(uid, user, report):
    acknowledged = [message for message in user.messages.values() if message.acks]
    report.acknowledged += len(acknowledged)
    report.unacknowledged += len(user.messages) - len(acknowledged)
    for message in acknowledged:
        _check_replies(uid, message, report)
    if user.final is None or user.final["turn"] == 0:
        report.lost += len(acknowledged)
        for message in acknowledged:
            report.add("lost", uid, f"seq {message.seq} was acknowledged, and the session is not there in the end")
        return
    order = _order(uid, user, report)
    _check_lost(uid, user, acknowledged, order, report)
    _check_doubled(uid, user, order, report)
    _check_real_time(uid, acknowledged, report)
    _check_reads(uid, user, report)


def _check_replies(uid, message, report):
    """All acknowledgements of a message are the same reply, whose session ends with this message."""
    first = message.acks[0]
    for ack in message.acks:
        if (ack["digest"], ack["turn"]) != (first["digest"], first["turn"]):
            report.add(
                "changed", uid, f"seq {message.seq} was answered as turn {first['turn']} ({first['digest']}), and again as turn {ack['turn']} ({ack['digest']})")
        if not ack["recent"] or ack["recent"][-1] != message.seq:
            report.add("changed", uid, f"the reply to seq {message.seq} shows a session that ends with {ack['recent'][-1:]}")
    fresh = sum(not ack["replayed"] for ack in message.acks)
    if fresh > 1:
        report.add("doubled", uid, f"seq {message.seq} was answered {fresh} times as if it were new")


def _order(uid, user, report):
    """The seq at each turn of the stored session, as far as it was seen: backwards from the end, by what the replies show of the turns before them."""
    by_turn = collections.defaultdict(list)
    for message in user.messages.values():
        for ack in message.acks:
            by_turn[ack["turn"]].append((message.seq, ack["recent"]))
    order = {}
    _extend(order, user.final["turn"], user.final["recent"], uid, report)
    for turn in range(user.final["turn"], 0, -1):
        seen = by_turn.get(turn, [])
        if turn not in order and len({seq for seq, _ in seen}) > 1:
            report.add("forked", uid, f"turn {turn} was acknowledged as seq {' and seq '.join(str(seq) for seq in sorted({seq for seq, _ in seen}))}")
        for seq, recent in seen:
            if order.get(turn, seq) == seq:
                _extend(order, turn, recent, uid, report)
    return order


def _extend(order, turn, recent, uid, report):
    for back, seq in enumerate(reversed(recent)):
        place = turn - back
        if place < 1:
            report.add("malformed", uid, f"turn {turn} has {len(recent)} turns behind it")
            return
        if order.setdefault(place, seq) != seq:
            report.add("forked", uid, f"turn {place} is seq {order[place]} in a later session, and seq {seq} in the session of turn {turn}")


def _check_lost(uid, user, acknowledged, order, report):
    for message in acknowledged:
        turn = message.acks[0]["turn"]
        if turn > user.final["turn"]:
            why = f"the session has {user.final['turn']} turns"
        elif order.get(turn) != message.seq:
            why = f"that turn is seq {order.get(turn)}"
        else:
            continue
        report.lost += 1
        report.add("lost", uid, f"seq {message.seq} was acknowledged as turn {turn}, and {why}")


def _check_doubled(uid, user, order, report):
    turns = collections.defaultdict(list)
    for turn, seq in order.items():
        turns[seq].append(turn)
    doubled = 0
    for seq, places in turns.items():
        if seq not in user.messages:
            report.add("phantom", uid, f"turn {places[0]} is seq {seq}, which nobody sent")
        if len(places) > 1:
            doubled += len(places) - 1
            report.add("doubled", uid, f"seq {seq} is turns {sorted(places)}")
    beyond = user.final["turn"] - len(user.messages)
    if beyond > 0:
        report.add("doubled", uid, f"{len(user.messages)} messages were sent, and the session has {user.final['turn']} turns")
    report.doubled += max(doubled, beyond, 0)


def _check_real_time(uid, acknowledged, report):
    """A message that was sent after another one's acknowledgement comes after it."""
    done = sorted(acknowledged, key=lambda message: message.acknowledged)
    latest, position = None, 0
    for message in sorted(acknowledged, key=lambda message: message.invoked):
        while position < len(done) and done[position].acknowledged < message.invoked:
            if latest is None or done[position].acks[0]["turn"] > latest.acks[0]["turn"]:
                latest = done[position]
            position += 1
        if latest is not None and message.acks[0]["turn"] <= latest.acks[0]["turn"]:
            report.add(
                "order", uid,
                f"seq {message.seq} was sent after seq {latest.seq} was acknowledged as turn {latest.acks[0]['turn']}, and became turn {message.acks[0]['turn']}")


def _check_reads(uid, user, report):
    """What is read is never older than what was acknowledged or read before, and no newer than what was sent."""
    known = [(ack["time"], ack["turn"]) for message in user.messages.values() for ack in message.acks]
    known += [(read["time"], read["turn"]) for read in user.reads]
    known.sort()
    sent = sorted(message.invoked for message in user.messages.values())
    final = user.final
    for read in [*user.reads, {**final, "began": final.get("began", final["time"])}]:
        least = max((turn for time, turn in known if time < read["began"]), default=0)
        if read["turn"] < least:
            report.add("stale", uid, f"a session of {read['turn']} turns was read after one of {least} turns was seen")
        most = sum(time <= read["time"] for time in sent)
        if read["turn"] > most:
            report.add("doubled", uid, f"a session of {read['turn']} turns was read when {most} messages had been sent")


def _check_streams(ops, report):
    """The answers to one user on one stream come in the order of the messages."""
    last = {}
    for number, op in sorted(ops.items(), key=lambda item: (item[1]["answer"] or {"time": float("inf")})["time"]):
        invoke, answer = op["invoke"], op["answer"]
        if not invoke["process"].startswith("stream") or answer is None or not answer.get("in_stream", answer["type"] == "ack"):
            continue
        lane = (invoke["process"], invoke["uid"])
        if last.get(lane, -1) > number:
            report.add("order", invoke["uid"], f"on {invoke['process']} op {last[lane]} was answered before op {number}, which was sent first")
        last[lane] = max(last.get(lane, -1), number)
