"""Annotated utterances and the schema they follow.

One example a line: ``intent<TAB>text with [value](slot)``. A line that starts with ``#`` is a comment. In the text a backslash
stands before a bracket that is meant as itself: ``\\[``, ``\\]``; and ``\\\\`` is one backslash.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

OUTSIDE = "O"
NO_LABEL = "X"


class DataError(Exception):
    """What is wrong with a file, one problem a line: ``file:line: what, and what was expected``."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Schema:
    """The intents, the slots and the slot labels (BIO, ``O``, and ``X`` where a position carries no label) of a domain."""

    intents: tuple[str, ...]
    slots: tuple[str, ...]
    labels: tuple[str, ...]

    @staticmethod
    def of(intents: list[str], slots: list[str]) -> "Schema":
        """A schema whose labels follow from its slots."""
        labels = [OUTSIDE] + [f"{prefix}-{slot}" for slot in slots for prefix in "BI"] + [NO_LABEL]
        return Schema(tuple(intents), tuple(slots), tuple(labels))

    @staticmethod
    def read(path: Path) -> "Schema":
        """The schema of a YAML file with ``intents`` and ``slots`` (mappings by name) and ``labels`` (a list)."""
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DataError([f"{path}: not a readable YAML file: {error}"]) from error
        problems = []
        if not isinstance(content, dict):
            raise DataError([f"{path}: expected a mapping with intents, slots and labels"])
        for key in ("intents", "slots"):
            if not isinstance(content.get(key), dict) or not content[key]:
                problems.append(f"{path}: {key}: expected a mapping of names to their description")
        if problems:
            raise DataError(problems)
        schema = Schema.of([str(name) for name in content["intents"]], [str(name) for name in content["slots"]])
        labels = content.get("labels", list(schema.labels))
        if labels != list(schema.labels):
            raise DataError([f"{path}: labels: expected {', '.join(schema.labels)} (O, then B and I of each slot in order, then X)"])
        return schema

    @staticmethod
    def derived(examples: list["Example"]) -> "Schema":
        """The schema that a set of examples uses, in alphabetical order."""
        return Schema.of(sorted({e.intent for e in examples}), sorted({s.slot for e in examples for s in e.spans}))


@dataclass(frozen=True, order=True)
class Span:
    """A slot value in a text: scalars ``start`` to ``end`` (exclusive)."""

    start: int
    end: int
    slot: str


@dataclass(frozen=True)
class Example:
    """An annotated utterance."""

    intent: str
    text: str
    spans: tuple[Span, ...] = ()
    origin: str = ""
    """Where it came from, as ``file:line``."""

    def annotated(self) -> str:
        """The text with its slots written as in a file."""
        parts, at = [], 0
        for span in self.spans:
            parts += [_escape(self.text[at : span.start]), f"[{_escape(self.text[span.start : span.end])}]({span.slot})"]
            at = span.end
        return "".join(parts) + _escape(self.text[at:])


@dataclass
class ReadFile:
    """The examples of a file and the problems found while reading it."""

    path: Path
    examples: list[Example] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def parse_text(annotated: str) -> tuple[str, tuple[Span, ...]]:
    """Splits ``text with [value](slot)`` into the text and its spans; ``ValueError`` says what is wrong."""
    text: list[str] = []
    spans: list[Span] = []
    start = -1
    at = 0
    while at < len(annotated):
        character = annotated[at]
        if character == "\\" and at + 1 < len(annotated) and annotated[at + 1] in "\\[]":
            text.append(annotated[at + 1])
            at += 2
        elif character == "[":
            if start >= 0:
                raise ValueError(f"'[' inside an open span at character {at + 1}: spans do not nest (a literal bracket is written \\[)")
            start = len(text)
            at += 1
        elif character == "]":
            if start < 0:
                raise ValueError(f"']' without '[' at character {at + 1} (a literal bracket is written \\])")
            close = annotated.find(")", at)
            if annotated[at + 1 : at + 2] != "(" or close < 0:
                raise ValueError(f"expected (slot) after ']' at character {at + 1}")
            slot, value = annotated[at + 2 : close], "".join(text[start:])
            if not value:
                raise ValueError(f"empty slot value at character {at + 1}")
            if value != value.strip():
                raise ValueError(f"white space at the edge of the slot value '{value}': leave it outside the brackets")
            spans.append(Span(start, len(text), slot))
            start = -1
            at = close + 1
        else:
            text.append(character)
            at += 1
    if start >= 0:
        raise ValueError("unclosed '[': expected ](slot) before the end of the line")
    return "".join(text), tuple(spans)


def parse_line(line: str, schema: Schema | None, origin: str) -> Example:
    """The example on a line (without its line end); ``ValueError`` says what is wrong."""
    fields = line.split("\t")
    if len(fields) < 2:
        raise ValueError("expected intent<TAB>text, found no tab")
    if len(fields) > 2:
        raise ValueError("expected one tab, between intent and text, found " + str(len(fields) - 1))
    intent, annotated = fields
    if schema is not None and intent not in schema.intents:
        raise ValueError(f"unknown intent '{intent}': expected one of {', '.join(schema.intents)}")
    if not intent or intent != intent.strip():
        raise ValueError(f"expected an intent name without white space around it, found '{intent}'")
    if not annotated.strip():
        raise ValueError("empty text")
    text, spans = parse_text(annotated)
    for span in spans:
        if schema is not None and span.slot not in schema.slots:
            raise ValueError(f"unknown slot '{span.slot}': expected one of {', '.join(schema.slots)}")
        if not span.slot or span.slot != span.slot.strip():
            raise ValueError(f"expected a slot name without white space around it, found '{span.slot}'")
    return Example(intent, text, spans, origin)


def read_file(path: Path, schema: Schema | None) -> ReadFile:
    """Reads a file line by line; what is wrong is collected, not raised. ``schema`` None takes any intent and slot."""
    result = ReadFile(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        result.problems.append(f"{path}: cannot be read: {error.strerror}")
        return result
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for number, raw in enumerate(lines, start=1):
        origin = f"{path}:{number}"
        try:
            line = raw.decode("utf-8")
            if line.startswith("\ufeff"):
                raise ValueError("a byte order mark: expected plain UTF-8")
            if line.endswith("\r"):
                raise ValueError("a carriage return: expected lines that end with \\n alone")
            if not line.strip():
                raise ValueError("an empty line: expected intent<TAB>text or a comment (#)")
            if not line.startswith("#"):
                result.examples.append(parse_line(line, schema, origin))
        except UnicodeDecodeError as error:
            result.problems.append(f"{origin}: not UTF-8 at byte {error.start + 1} of the line")
        except ValueError as error:
            result.problems.append(f"{origin}: {error}")
    if not result.examples and not result.problems:
        result.problems.append(f"{path}: no examples")
    return result


def find_loose_texts(examples: list[Example]) -> list[str]:
    """Texts with white space around them."""
    return [f"{e.origin}: white space at the start or the end of the text" for e in examples if e.text != e.text.strip()]


def find_repetitions(files: list[list[Example]], likeness: Callable[[str], object]) -> list[str]:
    """Texts that occur twice, in one file or in two, and texts that are annotated in two ways.

    Two texts are the same where ``likeness`` gives the same for both: what a model sees of them.
    """
    problems = []
    seen: dict[object, Example] = {}
    for examples in files:
        for example in examples:
            key = likeness(example.text)
            first = seen.setdefault(key, example)
            if first is example:
                continue
            if first.intent != example.intent:
                problems.append(
                    f"{example.origin}: label clash: '{example.text}' is {example.intent} here and {first.intent} at {first.origin}"
                )
            elif _values(first, likeness) != _values(example, likeness):
                problems.append(f"{example.origin}: slot clash: '{example.annotated()}' here and '{first.annotated()}' at {first.origin}")
            else:
                problems.append(f"{example.origin}: duplicate: '{example.text}' is also at {first.origin}")
    return problems


def bare(text: str) -> str:
    """A text without what changes nothing much: NFKC, lower case, digits as ``#``, and letters and numbers only."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return "".join("#" if c.isdecimal() else c for c in folded if c.isalnum())


def find_near_duplicates(files: list[list[Example]], held_out: list[Example]) -> list[str]:
    """Texts of ``held_out`` that are bare the same as one of ``files``: measuring on them would measure memory.

    Texts that are values alone (an answer such as a phone number) are left out: numbers of one shape are all alike.
    """
    seen: dict[str, Example] = {}
    for examples in files:
        for example in examples:
            seen.setdefault(bare(example.text), example)
    problems = []
    for example in held_out:
        key = bare(example.text)
        first = seen.get(key)
        if first is not None and key.strip("#"):
            same = f"'{example.text}' is '{first.text}' at {first.origin} but for digits or marks"
            problems.append(f"{example.origin}: near-duplicate: {same}")
    return problems


def _values(example: Example, likeness: Callable[[str], object]) -> list[tuple[str, object]]:
    return [(span.slot, likeness(example.text[span.start : span.end])) for span in example.spans]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
