"""Training: one command, seeds, figures per epoch, early stopping on dev, resumable.

A run is a folder: ``options.json``, ``schema.json``, ``vocab.txt``, ``last.pt`` (to resume), ``best.pt`` (what is exported) and
``epochs.jsonl`` (figures). Every draw depends on the seed and the epoch alone, so a resumed run ends with the weights
of an uninterrupted one on the same machine.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from .augment import mask_digits
from .data import Example, Schema
from .metrics import Figures, measure
from .model import IntentSlotModel, ModelShape
from .predict import batch_of, padded, predict
from .start import Start
from .text import Tokenizer, labels_of

IGNORED = -100
"""The target of positions that are padding."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. Two runs with equal options, data and machine give equal weights."""

    epochs: int = 20
    batch: int = 32
    gru: int = 192
    encoder_rate: float = 3e-4
    head_rate: float = 2e-3
    embedding_rate: float = 3e-4
    """Of the word embedding. 0 keeps its rows as they came, so that words the training data lacks stay near those it has."""
    warm_up: float = 0.1
    """The share of all steps over which the rates rise from 0; after it they fall to 0 in a line."""
    weight_decay: float = 0.01
    dropout: float = 0.1
    smoothing: float = 0.1
    """The share of the probability that label smoothing spreads over all labels."""
    digit_chance: float = 0.1
    """The chance for a digit to become ``#``."""
    patience: int = 5
    """Epochs without a better score on dev after which training stops."""
    max_length: int = 512
    precision: str = "float32"
    """What the passes over the training data compute in: ``float32``, or ``bfloat16`` (autocast), faster where the processor has it."""
    seed: int = 1


class RunError(Exception):
    """A run folder that cannot be used as asked."""


@dataclass(frozen=True)
class RunFolder:
    """The files of a run."""

    path: Path

    @property
    def options(self) -> Path:
        """The options, the origin of the weights and the command."""
        return self.path / "options.json"

    @property
    def schema(self) -> Path:
        """Intents and slots."""
        return self.path / "schema.json"

    @property
    def vocabulary(self) -> Path:
        """The tokens."""
        return self.path / "vocab.txt"

    @property
    def last(self) -> Path:
        """The state after the last epoch."""
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "best.pt"

    @property
    def epochs(self) -> Path:
        """Figures, one line an epoch."""
        return self.path / "epochs.jsonl"

    def read_schema(self) -> Schema:
        """The schema that the run was trained for."""
        content = json.loads(self.schema.read_text(encoding="utf-8"))
        return Schema.of(content["intents"], content["slots"])

    def read_best(self) -> tuple[IntentSlotModel, dict]:
        """The model of the best epoch, on the CPU, and what is known about it."""
        if not self.best.is_file():
            raise RunError(f"{self.path}: not a finished run (no best.pt); train first")
        state = torch.load(self.best, map_location="cpu", weights_only=True)
        model = IntentSlotModel(ModelShape(**state["shape"]))
        model.load_state_dict(state["model"])
        return model.eval(), state


def train(
    folder: RunFolder,
    start: Start,
    schema: Schema,
    train_examples: list[Example],
    dev_examples: list[Example],
    options: TrainingOptions,
    about: dict,
    device: str = "cpu",
    resume: bool = False,
    stop_after: int | None = None,
) -> Figures:
    """Trains and leaves the best epoch in ``folder``; gives its figures on dev.

    ``about`` is kept beside the options (command, data). ``stop_after`` ends the run after that many epochs of the schedule,
    as an interruption would.
    """
    torch.use_deterministic_algorithms(True)
    _seed(options.seed, 0)
    _prepare(folder, start, schema, options, about, resume)
    tokenizer = Tokenizer(folder.vocabulary, min(options.max_length, start.sizes.positions))
    model = _build(start, schema, options).to(device)
    steps = options.epochs * -(-len(train_examples) // options.batch)
    optimizer, schedule = _optimizer(model, options, steps)
    first, best, stale = 0, -1.0, 0
    if resume:
        state = torch.load(folder.last, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first, best, stale = state["epoch"], state["best"], state["stale"]
    for epoch in range(first, min(options.epochs, stop_after if stop_after is not None else options.epochs)):
        if stale >= options.patience:
            break
        loss = _epoch(model, tokenizer, schema, train_examples, options, epoch, optimizer, schedule, device)
        figures = evaluate_model(model, tokenizer, schema, dev_examples, device)
        better = figures.score > best
        best, stale = (figures.score, 0) if better else (best, stale + 1)
        _report(folder, epoch + 1, loss, figures, better)
        if better:
            _save(folder.best, {"model": model.state_dict(), "shape": model.shape.as_dict(), "epoch": epoch + 1})
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        _save(folder.last, state | {"epoch": epoch + 1, "best": best, "stale": stale})
    model, _ = folder.read_best()
    return evaluate_model(model.to(device), tokenizer, schema, dev_examples, device)


def evaluate_model(model: IntentSlotModel, tokenizer: Tokenizer, schema: Schema, examples: list[Example], device: str) -> Figures:
    """The figures of a model on some examples."""
    model.eval()
    predictions = predict(model, tokenizer, schema, [e.text for e in examples], device)
    return measure(examples, [p.intent for p in predictions], [p.spans for p in predictions])


def batches(lengths: list[int], size: int, draw: random.Random) -> Iterator[list[int]]:
    """Indices in batches of like length, in random order.

    All rows are shuffled, sorted within stretches of 32 batches, and the batches shuffled.
    """
    order = list(range(len(lengths)))
    draw.shuffle(order)
    found = []
    for at in range(0, len(order), 32 * size):
        stretch = sorted(order[at : at + 32 * size], key=lambda i: lengths[i])
        found += [stretch[i : i + size] for i in range(0, len(stretch), size)]
    draw.shuffle(found)
    return iter(found)


def loss_of(intents: Tensor, slots: Tensor, intent_targets: Tensor, slot_targets: Tensor, smoothing: float) -> Tensor:
    """The sum of both cross-entropies; each is a mean, over utterances and over tokens."""
    intent_loss = functional.cross_entropy(intents, intent_targets, label_smoothing=smoothing)
    slot_loss = functional.cross_entropy(slots.flatten(0, 1), slot_targets.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)
    return intent_loss + slot_loss


def _epoch(model, tokenizer, schema, examples, options, epoch, optimizer, schedule, device) -> float:
    draw = random.Random(f"{options.seed}/{epoch}")
    _seed(options.seed, epoch + 1)
    model.train()
    intent_index = {intent: i for i, intent in enumerate(schema.intents)}
    drawn = [mask_digits(example, options.digit_chance, draw) for example in examples]
    encodings = [tokenizer.encode(example.text) for example in drawn]
    labels = [labels_of(example, encoding, schema) for example, encoding in zip(drawn, encodings)]
    total = 0.0
    progress = tqdm(total=len(examples), desc=f"epoch {epoch + 1}/{options.epochs}", unit="row", leave=False, disable=None)
    for rows in batches([len(e.ids) for e in encodings], options.batch, draw):
        ids, mask = batch_of([encodings[i] for i in rows], tokenizer.pad_id)
        slot_targets = padded([labels[i] for i in rows], IGNORED).to(device)
        intent_targets = torch.tensor([intent_index[drawn[i].intent] for i in rows], device=device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            intents, slots = model(ids.to(device), mask.to(device))
        loss = loss_of(intents.float(), slots.float(), intent_targets, slot_targets, options.smoothing)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += float(loss.detach()) * len(rows)
        progress.update(len(rows))
    progress.close()
    return total / len(examples)


def _build(start: Start, schema: Schema, options: TrainingOptions) -> IntentSlotModel:
    sizes = start.sizes
    shape = ModelShape(
        vocabulary=len(start.tokens),
        hidden=sizes.hidden,
        layers=sizes.layers,
        heads=sizes.heads,
        feed_forward=sizes.feed_forward,
        positions=sizes.positions,
        gru=options.gru,
        intents=len(schema.intents),
        slot_labels=len(schema.labels),
        layer_norm_eps=start.layer_norm_eps,
    )
    model = IntentSlotModel(shape, options.dropout)
    if start.weights is not None:
        model.encoder.load_state_dict(start.weights)
    return model


def _optimizer(model: IntentSlotModel, options: TrainingOptions, steps: int):
    embedding = model.encoder.embedding.word
    embedding.requires_grad_(options.embedding_rate > 0)
    groups = [{"params": list(embedding.parameters()), "lr": options.embedding_rate, "weight_decay": 0.0}]
    for inside, rate in ((True, options.encoder_rate), (False, options.head_rate)):
        named = [p for n, p in model.named_parameters() if n.startswith("encoder.") == inside and p is not embedding.weight]
        # Biases and norms are vectors; they are not decayed.
        groups.append({"params": [p for p in named if p.dim() > 1], "lr": rate, "weight_decay": options.weight_decay})
        groups.append({"params": [p for p in named if p.dim() == 1], "lr": rate, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups)
    rise = max(1, round(steps * options.warm_up))

    def factor(step: int) -> float:
        return (step + 1) / rise if step < rise else max(0.0, (steps - step) / max(1, steps - rise))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _prepare(folder: RunFolder, start: Start, schema: Schema, options: TrainingOptions, about: dict, resume: bool) -> None:
    content = {"options": asdict(options), "origin": start.origin, "about": about}
    schema_text = json.dumps({"intents": schema.intents, "slots": schema.slots}, ensure_ascii=False, indent=1)
    if not resume:
        if folder.last.exists():
            raise RunError(f"{folder.path}: holds a run already; pass --resume to go on with it, or another --run")
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.options.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
        folder.schema.write_text(schema_text, encoding="utf-8")
        folder.vocabulary.write_text("".join(token + "\n" for token in start.tokens), encoding="utf-8")
        folder.epochs.write_text("", encoding="utf-8")
        return
    if not folder.last.exists():
        raise RunError(f"{folder.path}: nothing to resume (no last.pt)")
    before = json.loads(folder.options.read_text(encoding="utf-8"))
    changed = [f.name for f in fields(options) if before["options"].get(f.name) != getattr(options, f.name)]
    if changed:
        raise RunError(f"{folder.path}: the run was started with another {', '.join(changed)}; a resumed run keeps its options")
    if before["about"].get("data_sha256") != about.get("data_sha256"):
        raise RunError(f"{folder.path}: the training or dev data has changed since the run was started")
    if folder.schema.read_text(encoding="utf-8") != schema_text:
        raise RunError(f"{folder.path}: the schema has changed since the run was started")


def _report(folder: RunFolder, epoch: int, loss: float, figures: Figures, better: bool) -> None:
    row = {
        "epoch": epoch,
        "loss": round(loss, 4),
        "dev_intent_accuracy": round(figures.intent_accuracy, 4),
        "dev_intent_macro_f1": round(figures.intent_macro_f1, 4),
        "dev_slot_f1": None if figures.slot_f1 is None else round(figures.slot_f1, 4),
        "dev_sentence_accuracy": round(figures.sentence_accuracy, 4),
    }
    with folder.epochs.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    slots = "-" if figures.slot_f1 is None else f"{figures.slot_f1:.2%}"
    print(
        f"epoch {epoch:3d}  loss {loss:.4f}  dev: intent {figures.intent_accuracy:.2%}  slots {slots}"
        f"  sentence {figures.sentence_accuracy:.2%}{'  best' if better else ''}",
        flush=True,
    )


def _save(path: Path, state: dict) -> None:
    """Writes beside the file and renames, so that an interruption leaves the old one whole."""
    fresh = path.with_suffix(".new")
    torch.save(state, fresh)
    fresh.replace(path)


def _seed(seed: int, epoch: int) -> None:
    torch.manual_seed(seed * 100_003 + epoch)
