"""Measures a model through the running intent-server on an annotated file: what `make evaluate` prints.

    python Tests/Python/evaluate.py [--model NAME] [--precision bfloat16] [FILE]
"""

import argparse
import pathlib
import sys

from conftest import ROOT, Client, Process

sys.path.insert(0, str(ROOT / "Training"))

from kefu_training.data import Schema, Span, read_file  # noqa: E402
from kefu_training.metrics import describe, measure, out_of_scope  # noqa: E402


def understood(client, texts, model=""):
    """The answers to texts by one stream, in the order of the texts."""
    request, call = client.stub("kefu.understanding.v1.Understanding/UnderstandStream", "stream_stream")
    answers = {}
    requests = (request(text=text, model=model, priority=3, request_id=str(number)) for number, text in enumerate(texts))
    for answer in call(requests, timeout=600):
        assert not answer.error.code, f"{texts[int(answer.request_id)]}: {answer.error.message}"
        answers[int(answer.request_id)] = answer
    return [answers[number] for number in range(len(texts))]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", action="append", help="a model's name; repeatable (default: ecommerce, ecommerce-light)")
    arguments.add_argument("--precision", default="auto", help="what the models compute in, as intent-server takes it (default: auto)")
    arguments.add_argument("file", nargs="?", type=pathlib.Path, default=ROOT / "Training" / "data" / "dev.tsv")
    options = arguments.parse_args()
    examples = read_file(options.file, Schema.read(ROOT / "Training" / "schema.yaml")).examples
    server = Process("intent-server", "serve", "--listen", "127.0.0.1:0", "--precision", options.precision)
    try:
        for model in options.model or ["ecommerce", "ecommerce-light"]:
            answers = understood(Client(server.address), [example.text for example in examples], model)
            intents = [answer.intents[0].name for answer in answers]
            spans = [[Span(slot.start, slot.end, slot.name) for slot in answer.slots] for answer in answers]
            print(f"\n{answers[0].model} through intent-server, {options.file.name}, precision {options.precision}")
            print(describe(measure(examples, intents, spans)))
            apart = out_of_scope(examples, intents, "chitchat")
            print(f"out of scope       {apart.recall:.2%} of 'chitchat' found, {apart.false_alarms:.2%} of the others taken for it")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
