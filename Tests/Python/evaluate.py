"""Measures a model through the running intent-server on an annotated file: what `make evaluate` prints.

    python Tests/Python/evaluate.py [--models FOLDER] [--model NAME] [--schema auto] [FILE]
"""

import argparse
import pathlib
import sys

from conftest import ROOT, Client, Process

sys.path.insert(0, str(ROOT / "Training"))

from kefu_training.data import Schema, Span, read_file  # noqa: E402
from kefu_training.metrics import describe, measure, out_of_scope  # noqa: E402


AT_ONCE = 32
"""How many texts wait at the server: more than a busy machine answers in time are refused."""
TIMES = 20
"""How often a text that was refused for want of time is sent."""


def understood(client, texts, model=""):
    """The answers to texts by streams of at most AT_ONCE, in the order of the texts."""
    request, call = client.stub("kefu.understanding.v1.Understanding/UnderstandStream", "stream_stream")
    answers, waiting = {}, list(range(len(texts)))
    for _ in range(TIMES):
        for first in range(0, len(waiting), AT_ONCE):
            numbers = waiting[first:first + AT_ONCE]
            requests = (request(text=texts[number], model=model, priority=3, request_id=str(number)) for number in numbers)
            answers |= {int(answer.request_id): answer for answer in call(requests, timeout=600)}
        waiting = [number for number in waiting if "too much to do" in answers[number].error.message]
    for number, answer in answers.items():
        assert not answer.error.code, f"{texts[number]}: {answer.error.message}"
    return [answers[number] for number in range(len(texts))]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", action="append", help="a model's name; repeatable (default: ecommerce, ecommerce-light)")
    arguments.add_argument("file", nargs="?", type=pathlib.Path, default=ROOT / "Training" / "data" / "dev.tsv")
    arguments.add_argument("--models", type=pathlib.Path, default=ROOT / "Deploy" / "models", help="the folder of the bundles")
    arguments.add_argument("--schema", default=str(ROOT / "Training" / "schema.yaml"), help="a YAML file, or auto: no check of the annotation")
    options = arguments.parse_args()
    schema = None if options.schema == "auto" else Schema.read(pathlib.Path(options.schema))
    examples = read_file(options.file, schema).examples
    server = Process("intent-server", "serve", "--listen", "127.0.0.1:0", "--models", options.models)
    try:
        for model in options.model or ["ecommerce", "ecommerce-light"]:
            answers = understood(Client(server.address), [example.text for example in examples], model)
            intents = [answer.intents[0].name for answer in answers]
            spans = [[Span(slot.start, slot.end, slot.name) for slot in answer.slots] for answer in answers]
            print(f"\n{answers[0].model} through intent-server, {options.file.name}")
            print(describe(measure(examples, intents, spans)))
            apart = out_of_scope(examples, intents, "chitchat")
            if apart.recall is not None:
                print(f"out of scope       {apart.recall:.2%} of 'chitchat' found, {apart.false_alarms:.2%} of the others taken for it")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
