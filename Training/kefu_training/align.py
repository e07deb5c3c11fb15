"""Teaches an encoder that reads characters what all layers of multilingual-e5-small say about the same text, before fine-tuning.

e5 was trained on pieces of several characters; its first layers, given one character a token, see something they never saw. Here the
whole e5 reads each text in its own pieces, and the encoder to be trained learns to give the same vectors: for each piece, the mean of
its characters; for the text, the mean of all. No label is used, so any text serves; beside the texts given, each epoch draws words that e5
has a piece for, joined at random, so that words outside the texts are learnt too.
"""

import json
import random
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from .checkpoint import checkpoint_of
from .e5 import E5File
from .model import Encoder, ModelShape
from .predict import batch_of
from .start import Start
from .text import Encoding, Tokenizer
from .train import batches

WORDS_A_ROW = 6
MOST_WORDS = 30_000
"""Words drawn an epoch."""
SHARE_JOINED = 0.3
"""How many of the texts are read joined to another one."""


@dataclass(frozen=True)
class Reading:
    """How e5 reads a text: its piece ids with start and end, and the scalars of the text that each covers (none: markers)."""

    ids: list[int]
    covers: list[tuple[int, int] | None]


class Teacher:
    """All layers of e5."""

    def __init__(self, file: E5File):
        self.file = file
        self._prefix = file.segment("\u2581query:")
        weights = file.encoder_weights(["[PAD]"], file.layers)
        # All pieces: rows are read from the file as they are needed.
        del weights["embedding.word.weight"]
        shape = ModelShape(1, file.hidden, file.layers, file.heads, file.feed_forward, file.positions, 1, 1, 1, file.layer_norm_eps)
        self.encoder = Encoder(shape, 0.0)
        self.encoder.load_state_dict(weights, strict=False)
        self.encoder.eval().requires_grad_(False)

    def read(self, text: str) -> Reading:
        """The pieces of a text, after ``query:`` as e5 was trained."""
        characters: list[tuple[str, int]] = [("\u2581", -1)]
        for at, original in enumerate(text):
            for c in unicodedata.normalize("NFKC", original):
                if not c.isspace():
                    characters.append((c, at))
                elif characters[-1][0] != "\u2581":
                    characters.append(("\u2581", -1))
        pieces = self.file.segment("".join(c for c, _ in characters))
        covers: list[tuple[int, int] | None] = []
        at = 0
        for piece in pieces:
            length = 1 if piece == self.file.unknown_id else len(self.file.pieces[piece])
            inside = [i for _, i in characters[at : at + length] if i >= 0]
            covers.append((inside[0], inside[-1] + 1) if inside else None)
            at += length
        markers: list[None] = [None] * (1 + len(self._prefix))
        return Reading([self.file.start_id, *self._prefix, *pieces, self.file.end_id], [*markers, *covers, None])

    @torch.no_grad()
    def states(self, readings: list[Reading], precision: torch.dtype) -> Tensor:
        """The last layer's vectors [B, P, hidden] for the pieces of some texts."""
        length = max(len(r.ids) for r in readings)
        ids = numpy.array([r.ids + [self.file.pad_id] * (length - len(r.ids)) for r in readings])
        used, index = numpy.unique(ids, return_inverse=True)
        self.encoder.embedding.word.weight = nn.Parameter(self.file.matrix("emb.word", self.file.hidden, used), requires_grad=False)
        mask = torch.tensor([[1] * len(r.ids) + [0] * (length - len(r.ids)) for r in readings])
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            return self.encoder(torch.from_numpy(index.reshape(ids.shape)), mask).float()


def overlaps(readings: list[Reading], encodings: list[Encoding], pieces: int, tokens: int) -> tuple[Tensor, Tensor]:
    """For each piece the tokens that it shares scalars with, as weights that sum to 1 [B, P, S]; and the mean over the text [B, S].

    A start matches a start. A piece without a token (white space, ``query:``) has weights of 0.
    """
    weights = torch.zeros(len(readings), pieces, tokens)
    whole = torch.zeros(len(readings), tokens)
    for row, (reading, encoding) in enumerate(zip(readings, encodings)):
        weights[row, 0, 0] = 1
        whole[row, : len(encoding.ids)] = 1 / len(encoding.ids)
        first = 1
        for piece, span in enumerate(reading.covers):
            if span is None:
                continue
            while first < len(encoding.ids) - 1 and encoding.offsets[first][1] <= span[0]:
                first += 1
            inside = first
            while inside < len(encoding.ids) - 1 and encoding.offsets[inside][0] < span[1]:
                inside += 1
            if inside > first:
                weights[row, piece, first:inside] = 1 / (inside - first)
    return weights, whole


def align(
    start: Start,
    texts: list[str],
    words: list[str],
    file: E5File,
    vocabulary: Path,
    epochs: int,
    batch: int,
    rate: float,
    precision: str,
    seed: int,
) -> Encoder:
    """Trains the encoder of ``start`` to say what ``file`` says; prints the loss an epoch.

    ``words`` are read beside the texts, at most ``MOST_WORDS`` an epoch.
    """
    torch.manual_seed(seed)
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    tokenizer = Tokenizer(vocabulary, 128)
    teacher = Teacher(file)
    sizes = start.sizes
    shape = ModelShape(
        len(start.tokens), sizes.hidden, sizes.layers, sizes.heads, sizes.feed_forward, sizes.positions, 1, 1, 1, start.layer_norm_eps
    )
    student = Encoder(shape, 0.0)
    if start.weights is not None:
        student.load_state_dict(start.weights)
    bridge = nn.Identity() if sizes.hidden == file.hidden else nn.Linear(sizes.hidden, file.hidden)
    most = min(len(words), MOST_WORDS)
    per_epoch = len(texts) + -(-most // WORDS_A_ROW)
    steps = epochs * -(-per_epoch // batch)
    parameters = [*student.parameters(), *bridge.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1, cycle_momentum=False)
    scale = _scale(teacher, texts, random.Random(seed), kind)
    for epoch in range(epochs):
        draw = random.Random(f"{seed}/align/{epoch}")
        rows = [text + draw.choice(texts) if draw.random() < SHARE_JOINED else text for text in texts]
        shuffled = draw.sample(words, most)
        rows += ["".join(shuffled[i : i + WORDS_A_ROW]) for i in range(0, len(shuffled), WORDS_A_ROW)]
        encodings, readings = [tokenizer.encode(r) for r in rows], [teacher.read(r) for r in rows]
        total = 0.0
        progress = tqdm(total=len(rows), desc=f"epoch {epoch + 1}/{epochs}", unit="row", leave=False, disable=None)
        for chosen in batches([len(e.ids) for e in encodings], batch, draw):
            loss = _loss(student, bridge, teacher, [encodings[i] for i in chosen], [readings[i] for i in chosen], scale, kind, tokenizer)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
            progress.update(len(chosen))
        progress.close()
        print(f"epoch {epoch + 1:3d}  unexplained variance (pieces + text) {total / len(rows):.4f}", flush=True)
    return student


def chinese_words(file: E5File) -> list[str]:
    """The words of two to four Chinese characters that e5 has a piece for."""
    return sorted({word for piece in file.pieces if _is_word(word := piece.removeprefix("\u2581"))})


def read_words(path: Path) -> list[str]:
    """The words of two to four Chinese characters in a list such as jieba's dict.txt: ``word count part-of-speech``, one a line.

    Words counted less than ten times and names of people (``nr``) are left out.
    """
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        row[0]
        for row in rows
        if row and _is_word(row[0]) and (len(row) < 2 or int(row[1]) >= 10) and not (len(row) > 2 and row[2].startswith("nr"))
    ]


def _is_word(text: str) -> bool:
    return 2 <= len(text) <= 4 and all("\u4e00" <= c <= "\u9fff" for c in text)


def write_encoder(folder: Path, encoder: Encoder, start: Start) -> None:
    """Writes an encoder as a checkpoint folder that ``--encoder`` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    config, tensors = checkpoint_of(encoder.state_dict(), start.sizes, len(start.tokens), start.layer_norm_eps)
    config["kefu_origin"] = start.origin.removesuffix(", aligned") + ", aligned"
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    (folder / "vocab.txt").write_text("".join(token + "\n" for token in start.tokens), encoding="utf-8")
    save_file(tensors, folder / "model.safetensors")


def _scale(teacher: Teacher, texts: list[str], draw: random.Random, kind: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and standard deviation of the teacher's piece vectors and of its text vectors, from a sample."""
    pieces, means = [], []
    for text in draw.sample(texts, min(len(texts), 400)):
        states = teacher.states([teacher.read(text)], kind)[0]
        pieces.append(states)
        means.append(states.mean(0))
    every, whole = torch.cat(pieces), torch.stack(means)
    return every.mean(0), every.std(0) + 1e-6, whole.mean(0), whole.std(0) + 1e-6


def _loss(student, bridge, teacher, encodings, readings, scale, kind, tokenizer) -> Tensor:
    """Of both kinds of vectors the mean squared error in units of the teacher's variance: 0 is a copy, 1 explains nothing."""
    target = teacher.states(readings, kind)
    ids, mask = batch_of(encodings, tokenizer.pad_id)
    weights, whole = overlaps(readings, encodings, target.size(1), ids.size(1))
    with torch.autocast("cpu", kind, enabled=kind != torch.float32):
        states = bridge(student(ids, mask))
    states = states.float()
    piece_mean, piece_deviation, text_mean, text_deviation = scale
    covered = weights.sum(-1) > 0
    pieces = ((weights @ states - target) / piece_deviation)[covered]
    lengths = torch.tensor([len(r.ids) for r in readings])
    inside = (torch.arange(target.size(1)) < lengths[:, None]).float()
    target_text = (target * inside[..., None]).sum(1) / lengths[:, None]
    texts = ((whole[:, None] @ states)[:, 0] - target_text) / text_deviation
    return pieces.square().mean() + texts.square().mean()
