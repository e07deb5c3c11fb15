"""Text to tokens and labels to spans, as intent-server does it in Swift; Tests/TokenizationTests holds both to one file of cases.

Normalisation maps full-width forms to half-width, one scalar to one; BERT's WordPiece (clean text, Chinese characters apart,
lower case, accents stripped) comes from the ``tokenizers`` package. Offsets count scalars of the text as it was sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import BertWordPieceTokenizer, PreTokenizedString
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from .data import NO_LABEL, OUTSIDE, Example, Schema, Span

PAD, UNKNOWN, START, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNKNOWN, START, END, MASK)

NORMALIZATION = {
    "full_width_to_half_width": True,
    "lowercase": True,
    "strip_accents": True,
    "chinese_characters": True,
    "clean_text": True,
}

_NORMALIZER = BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True)
_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


def normalize(text: str) -> str:
    """Full-width forms (U+FF01 to U+FF5E) and the ideographic space become ASCII; as many scalars as before."""
    return text.translate(_HALF_WIDTH)


@dataclass(frozen=True)
class Word:
    """A word as WordPiece sees it: scalars ``start`` to ``end`` (exclusive) of the text, pieces from ``position`` on."""

    start: int
    end: int
    position: int


@dataclass(frozen=True)
class Encoding:
    """The tokens of a text, [CLS] and [SEP] included."""

    ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    words: list[Word]


class Tokenizer:
    """WordPiece over a vocabulary file (one token a line)."""

    def __init__(self, vocabulary: Path, max_length: int = 512):
        tokens = vocabulary.read_text(encoding="utf-8").splitlines()
        missing = [token for token in (PAD, UNKNOWN, START, END) if token not in tokens]
        if missing:
            raise ValueError(f"{vocabulary}: expected the tokens {', '.join(missing)}")
        if max_length < 2:
            raise ValueError(f"a maximum length of {max_length} leaves no room for [CLS] and [SEP]")
        self.size = len(tokens)
        self.pad_id = tokens.index(PAD)
        self._pieces = BertWordPieceTokenizer(
            str(vocabulary), clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True
        )
        self._pieces.enable_truncation(max_length)

    def encode(self, text: str) -> Encoding:
        """The tokens of a text, cut after the maximum length."""
        encoding = self._pieces.encode(normalize(text))
        words: list[Word] = []
        for position, (word, (start, end)) in enumerate(zip(encoding.word_ids, encoding.offsets)):
            if word is None:
                continue
            if word == encoding.word_ids[position - 1]:
                words[-1] = Word(words[-1].start, end, words[-1].position)
            else:
                words.append(Word(start, end, position))
        return Encoding(encoding.ids, encoding.tokens, encoding.offsets, words)


def word_bounds(text: str) -> list[tuple[int, int]]:
    """Where the words of a text start and end, whatever the vocabulary."""
    return [bounds for _, bounds in _split(text)]


def words_of(text: str) -> tuple[str, ...]:
    """The normalised words of a text: two texts with equal words are the same text to any model."""
    return tuple(word for word, _ in _split(text))


def _split(text: str) -> list[tuple[str, tuple[int, int]]]:
    pieces = PreTokenizedString(normalize(text))
    pieces.normalize(_NORMALIZER.normalize)
    BertPreTokenizer().pre_tokenize(pieces)
    return [(word, bounds) for word, bounds, _ in pieces.get_splits(offset_referential="original", offset_type="char")]


def labels_of(example: Example, encoding: Encoding, schema: Schema) -> list[int]:
    """The label index of each token: B, I or O on the first piece of a word, X on other pieces and special tokens.

    A word belongs to the span that covers its first scalar.
    """
    index = {label: i for i, label in enumerate(schema.labels)}
    labels = [index[NO_LABEL]] * len(encoding.ids)
    previous: Span | None = None
    for word in encoding.words:
        span = next((s for s in example.spans if s.start <= word.start < s.end), None)
        if span is None:
            labels[word.position] = index[OUTSIDE]
        else:
            labels[word.position] = index[("I-" if span is previous else "B-") + span.slot]
        previous = span
    return labels


class LabelReader:
    """Finds the likeliest labels of a row's words among those that describe spans: I comes after B or I of its own slot alone, and X never."""

    def __init__(self, schema: Schema):
        index = {label: i for i, label in enumerate(schema.labels)}
        self._labels = schema.labels
        self._no_label = index[NO_LABEL]
        self._begins = np.array([index[f"B-{slot}"] for slot in schema.slots], dtype=np.int64)
        self._insides = np.array([index[f"I-{slot}"] for slot in schema.slots], dtype=np.int64)

    def read(self, logits: np.ndarray) -> list[str]:
        """A label for each word, from its logits [words, labels]; the sum of the logits is the greatest that a permitted row has.

        Of equal ones a span goes on, and else the first label counts.
        """
        if not len(logits):
            return []
        scores = logits.astype(np.float32)
        scores[:, self._no_label] = -np.inf
        # No span is open before the first word.
        scores[0, self._insides] = -np.inf
        total, back = scores[0], []
        for row in scores[1:]:
            before = np.full(len(row), total.argmax())
            opened = np.where(total[self._begins] > total[self._insides], self._begins, self._insides)
            before[self._insides] = opened
            back.append(before)
            total = row + total[before]
        best = [int(total.argmax())]
        for before in reversed(back):
            best.append(int(before[best[-1]]))
        return [self._labels[i] for i in reversed(best)]


def spans_of(labels: Sequence[str], encoding: Encoding) -> list[Span]:
    """The spans that the labels of a text's words describe: B starts one, I goes on with it, from the first word's start to the last one's end."""
    spans: list[Span] = []
    for label, word in zip(labels, encoding.words):
        kind, _, slot = label.partition("-")
        if kind == "B":
            spans.append(Span(word.start, word.end, slot))
        elif kind == "I":
            spans[-1] = Span(spans[-1].start, word.end, slot)
    return spans


def find_cut_words(examples: list[Example]) -> list[str]:
    """Spans that begin or end inside a word, which no labelling of words can express."""
    problems = []
    for example in examples:
        bounds = word_bounds(example.text)
        starts, ends = {start for start, _ in bounds}, {end for _, end in bounds}
        for span in example.spans:
            if span.start in starts and span.end in ends:
                continue
            words = [example.text[a:b] for a, b in bounds if a < span.end and b > span.start]
            value = example.text[span.start : span.end]
            problems.append(
                f"{example.origin}: '{value}' ({span.slot}) cuts a word: expected a span of whole words, here '{' '.join(words)}'"
            )
    return problems
