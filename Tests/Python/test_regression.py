"""The shipped models on what was once mistaken, through the running server."""

import pathlib
import sys

import pytest
from conftest import ROOT, Client
from evaluate import understood

sys.path.insert(0, str(ROOT / "Training"))

from kefu_training.data import Schema, read_file  # noqa: E402

FILE = pathlib.Path(__file__).with_name("regression.tsv")
EXAMPLES = read_file(FILE, Schema.read(ROOT / "Training" / "schema.yaml")).examples


@pytest.fixture(scope="module")
def answers(intent_server):
    return understood(Client(intent_server.address), [example.text for example in EXAMPLES], "ecommerce")


@pytest.mark.parametrize("number", range(len(EXAMPLES)), ids=[example.text for example in EXAMPLES])
def test_what_was_once_mistaken(answers, number):
    example, answer = EXAMPLES[number], answers[number]
    assert answer.intents[0].name == example.intent
    found = {(slot.name, slot.start, slot.end) for slot in answer.slots}
    assert {(span.slot, span.start, span.end) for span in example.spans} <= found
