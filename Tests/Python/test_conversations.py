"""Conversations of the shipped domain against the running services, with the model's own recognitions: those that are marked `live: true`."""

import concurrent.futures
import os
import uuid

import pytest
import yaml
from conftest import ROOT, Client, orchestrator

FOLDER = ROOT / "Deploy" / "domains" / "ecommerce" / "conversations"
SOURCES = {"template": 1, "rule": 2, "chitchat": 3, "fallback": 4, "handoff": 5}


def conversations():
    for path in sorted(FOLDER.glob("*.yaml")):
        for conversation in yaml.safe_load(path.read_text())["conversations"]:
            # To see which others the model of the day passes: KEFU_LIVE=all.
            if conversation.get("live") or os.environ.get("KEFU_LIVE") == "all" and can_be_live(conversation):
                yield pytest.param(conversation, id=f"{path.stem}: {conversation['name']}")


def can_be_live(conversation):
    """Whether nothing but the recogniser is recorded: no time that passes, no backend, no part that is away."""
    turns = conversation["turns"]
    return "at" not in conversation and not conversation.get("backend") and not any("advance" in turn or turn.get("heard") == "nothing" for turn in turns)


def as_list(value):
    return value if isinstance(value, list) else [value]


def differences(response, expected):
    """What is not as a step says, as the public contract shows it."""
    session = response.session
    found = {
        "intent": response.recognition.intent, "flow": session.flow or "none", "awaiting": session.awaiting or "none",
        "source": next(name for name, number in SOURCES.items() if number == response.source), "suspended": list(session.suspended_flows),
        "handed_off": session.handed_off, "degraded": response.degraded, "replayed": response.replayed, "turns": session.turns}
    wrong = []
    for key, value in found.items():
        wanted = expected.get(key, value)
        # The offer of a person is a question that takes a yes or no.
        if key == "awaiting" and wanted == "handoff":
            wanted = "confirm"
        if wanted != value:
            wrong.append(f"{key}: {wanted!r} was expected, and it is {value!r}")
    slots = {slot.name: (slot.value, slot.normalized) for slot in session.slots}
    for name, value in expected.get("slots", {}).items():
        if value not in slots.get(name, ("none",)):
            wrong.append(f"slot {name}: {value!r} was expected, and it is {slots.get(name)!r}")
    wrong += [f"the reply must say {text!r}" for text in as_list(expected.get("says", [])) if text not in response.reply]
    wrong += [f"the reply must not say {text!r}" for text in as_list(expected.get("not_says", [])) if text in response.reply]
    return wrong


class Customers:
    """Plays one conversation: each customer with a number of their own, over a connection that may be lost."""

    def __init__(self, servers):
        self.servers = servers
        self.connections = 0
        self.run = uuid.uuid4()
        self.sent = {}
        self.connect()

    def connect(self):
        self.client = Client(self.servers[self.connections % len(self.servers)].address)
        self.connections += 1

    def say(self, turn):
        user = turn.get("as", "")
        seq = self.sent.get(user, (0, ""))[0] + 1
        self.sent[user] = (seq, turn["user"])
        return self.send(user, turn)

    def send(self, user, turn):
        seq, text = self.sent[user]
        response = self.client.call("kefu.dialogue.v1.Dialogue/Reply", timeout=60, uid=f"{self.run}-{user}", query=text, seq=seq)
        wrong = differences(response, turn)
        heard = f"{response.recognition.intent} {response.recognition.confidence:.2f} {[(s.name, s.value) for s in response.recognition.slots]}"
        return [f"{text} → {response.reply} [{heard}]: {problem}" for problem in wrong]

    def play(self, turn):
        if "reconnect" in turn:
            return self.connect() or []
        if "resend" in turn:
            return self.send(turn.get("as", ""), {"replayed": True, **turn})
        if "at_once" in turn:
            with concurrent.futures.ThreadPoolExecutor() as pool:
                return sum(pool.map(self.say, turn["at_once"]), [])
        return self.say(turn)


@pytest.fixture(scope="module")
def orchestrators(intent_server, redis):
    """What is said counts here, not how soon: on a busy machine recognition takes its time."""
    patience = ("--recognition-timeout-ms", "50000", "--turn-timeout-ms", "55000")
    servers = [orchestrator(intent_server.address, f"unix://{redis.socket}", *patience) for _ in range(2)]
    yield servers
    for server in servers:
        assert server.stop() == 0


@pytest.mark.parametrize("conversation", list(conversations()))
def test_a_conversation_goes_as_it_is_written(orchestrators, conversation):
    customers = Customers(orchestrators)
    for turn in conversation["turns"]:
        assert customers.play(turn) == []
