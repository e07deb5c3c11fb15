"""Training: one command, seeds, figures per epoch, early stopping on dev, resumable.

A run is a folder: ``options.json``, ``schema.json``, ``vocab.txt``, ``last.pt`` (to resume), ``best.pt`` (what is exported) and
``epochs.jsonl`` (figures). Every draw depends on the seed and the epoch alone, so a resumed run ends with the weights
of an uninterrupted one on the same machine.
"""

import copy
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from .augment import Augmentation, Augmenter
from .data import Example, Schema
from .metrics import Figures, measure
from .model import IntentSlotModel, ModelShape
from .predict import batch_of, padded, predict
from .start import Start
from .text import Encoding, Tokenizer, labels_of

IGNORED = -100
"""The target of positions that are padding."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. Two runs with equal options, data and machine give equal weights."""

    epochs: int = 20
    batch: int = 64
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
    augment: float = 0.6
    """How often examples are changed otherwise, as a factor of the chances in ``Augmentation``; 0: never."""
    class_weight: float = 0.0
    """An intent weighs (its share of the data) to the power of minus this, 1 on average: 0 leaves them as they come, 1 makes all equal."""
    average: float = 0.0
    """The decay a step of a moving average of the weights, which then is what is measured and kept; 0: none."""
    teacher_share: float = 0.7
    """With a teacher, the share of its opinion in the loss; the annotation has the rest."""
    teacher_temperature: float = 2.0
    patience: int = 5
    """Epochs without a better score on dev after which training stops."""
    max_length: int = 512
    precision: str = "float32"
    """What the passes over the training data compute in: ``float32``, or ``bfloat16`` (autocast), faster where the processor has it."""
    seed: int = 1


def fitting_epochs(examples: int, batch: int) -> int:
    """How many epochs a data set of this size needs: 7, and more where they would be fewer than 1,000 steps."""
    return max(7, -(-1000 // -(-examples // batch)))


def fitting_average(examples: int, batch: int, epochs: int) -> float:
    """The decay of a moving average that spans 1/14 of all steps; 0 where that is less than four, the steps between two of its updates."""
    span = epochs * -(-examples // batch) / 14
    return 0.0 if span < 4 else 1 - 1 / span


class RunError(Exception):
    """A run folder that cannot be used as asked."""


@dataclass(frozen=True)
class Opinion:
    """What a teacher says about a batch."""

    intents: Tensor
    """Its intent logits [B, I]."""
    slots: Tensor
    """Its slot logits [B, S, L], each at the student's token of the same word."""
    words: Tensor
    """Which tokens [B, S] have one."""

    def loss(self, intents: Tensor, slots: Tensor, temperature: float) -> Tensor:
        """The sum over intents and slots of the student's cross-entropy with the teacher's softened probabilities."""

        def soft(student: Tensor, teacher: Tensor) -> Tensor:
            return functional.cross_entropy(student / temperature, (teacher / temperature).softmax(-1)) * temperature**2

        return soft(intents, self.intents) + soft(slots[self.words], self.slots[self.words])


class Teacher:
    """A trained model with its own vocabulary, for the same schema."""

    def __init__(self, folder: "RunFolder", schema: Schema, precision: str, device: str):
        if folder.read_schema() != schema:
            raise RunError(f"{folder.path}: the teacher was trained for other intents or slots")
        self._model = folder.read_best()[0].to(device).requires_grad_(False)
        self._tokenizer = Tokenizer(folder.vocabulary)
        self._precision, self._device, self._labels = precision, device, len(schema.labels)

    @torch.no_grad()
    def opinion(self, texts: list[str], encodings: list[Encoding]) -> Opinion:
        """What it says about texts that the student reads as ``encodings``."""
        own = [self._tokenizer.encode(text) for text in texts]
        ids, mask = batch_of(own, self._tokenizer.pad_id)
        with torch.autocast(torch.device(self._device).type, torch.bfloat16, enabled=self._precision == "bfloat16"):
            intents, found = self._model(ids.to(self._device), mask.to(self._device))
        pairs = [
            (row, theirs.position, ours.position)
            for row, (mine, encoding) in enumerate(zip(own, encodings))
            for theirs, ours in zip(mine.words, encoding.words)
        ]
        rows, theirs, ours = torch.tensor(pairs, device=self._device).view(-1, 3).unbind(1)
        length = max(len(e.ids) for e in encodings)
        slots = torch.zeros(len(texts), length, self._labels, device=self._device)
        words = torch.zeros(len(texts), length, dtype=torch.bool, device=self._device)
        slots[rows, ours] = found.float()[rows, theirs]
        words[rows, ours] = True
        return Opinion(intents.float(), slots, words)


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
    teacher: Teacher | None = None,
) -> Figures:
    """Trains and leaves the best epoch in ``folder``; gives its figures on dev.

    ``about`` is kept beside the options (command, data). ``stop_after`` ends the run after that many epochs of the schedule,
    as an interruption would.
    """
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory that it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False
    _seed(options.seed, 0)
    _prepare(folder, start, schema, options, about, resume)
    tokenizer = Tokenizer(folder.vocabulary, min(options.max_length, start.sizes.positions))
    model = _build(start, schema, options).to(device)
    steps = options.epochs * -(-len(train_examples) // options.batch)
    optimizer, schedule = _optimizer(model, options, steps)
    average = _Average(model, options.average)
    augmenter = Augmenter(train_examples, Augmentation(digit=options.digit_chance).scaled(options.augment))
    first, best, stale = 0, -1.0, 0
    if resume:
        state = torch.load(folder.last, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        average.load(state["average"])
        first, best, stale = state["epoch"], state["best"], state["stale"]
    for epoch in range(first, min(options.epochs, stop_after if stop_after is not None else options.epochs)):
        if stale >= options.patience:
            break
        loss = _epoch(model, tokenizer, schema, train_examples, options, epoch, optimizer, schedule, device, augmenter, average, teacher)
        kept = average.model
        figures = evaluate_model(kept, tokenizer, schema, dev_examples, device)
        better = figures.score > best
        best, stale = (figures.score, 0) if better else (best, stale + 1)
        _report(folder, epoch + 1, loss, figures, better)
        if better:
            _save(folder.best, {"model": kept.state_dict(), "shape": model.shape.as_dict(), "epoch": epoch + 1})
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        state["average"] = average.state()
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


class _Average:
    """A model whose weights follow another's as a moving average; without a decay it is the other itself."""

    def __init__(self, model: IntentSlotModel, decay: float):
        self._source, self._decay, self._steps = model, decay, 0
        self.model = copy.deepcopy(model).requires_grad_(False) if decay > 0 else model

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after a step; early on the average is short, so that the start is soon forgotten."""
        self._steps += 1
        # Every fourth step is as good, for a quarter of the work.
        if self._decay <= 0 or self._steps % 4:
            return
        decay = min(self._decay**4, self._steps / (self._steps + 40))
        torch._foreach_lerp_(list(self.model.parameters()), list(self._source.parameters()), 1 - decay)

    def state(self) -> dict | None:
        """What ``load`` needs."""
        return {"model": self.model.state_dict(), "steps": self._steps} if self._decay > 0 else None

    def load(self, state: dict | None) -> None:
        """Goes on from a state."""
        if state is not None:
            self.model.load_state_dict(state["model"])
            self._steps = state["steps"]


def intent_weights(examples: list[Example], schema: Schema, power: float) -> Tensor | None:
    """A weight for each intent by its share of the examples, 1 on average over the examples; None where all are 1."""
    if power == 0:
        return None
    counts = Counter(e.intent for e in examples)
    weights = torch.tensor([max(1, counts[intent]) ** -power for intent in schema.intents])
    mean = sum(float(w) * counts[intent] for w, intent in zip(weights, schema.intents)) / len(examples)
    return weights / mean


def loss_of(
    intents: Tensor, slots: Tensor, intent_targets: Tensor, slot_targets: Tensor, smoothing: float, weights: Tensor | None = None
) -> Tensor:
    """The sum of both cross-entropies; each is a mean, over utterances (weighted by intent) and over tokens."""
    intent_loss = functional.cross_entropy(intents, intent_targets, weight=weights, label_smoothing=smoothing)
    slot_loss = functional.cross_entropy(slots.flatten(0, 1), slot_targets.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)
    return intent_loss + slot_loss


def _epoch(model, tokenizer, schema, examples, options, epoch, optimizer, schedule, device, augmenter, average, teacher) -> float:
    draw = random.Random(f"{options.seed}/{epoch}")
    _seed(options.seed, epoch + 1)
    model.train()
    intent_index = {intent: i for i, intent in enumerate(schema.intents)}
    drawn = [augmenter.draw(example, draw) for example in examples]
    encodings = [tokenizer.encode(example.text) for example in drawn]
    labels = [labels_of(example, encoding, schema) for example, encoding in zip(drawn, encodings)]
    weights = intent_weights(examples, schema, options.class_weight)
    weights = None if weights is None else weights.to(device)
    total = 0.0
    progress = tqdm(total=len(examples), desc=f"epoch {epoch + 1}/{options.epochs}", unit="row", leave=False, disable=None)
    for rows in batches([len(e.ids) for e in encodings], options.batch, draw):
        ids, mask = batch_of([encodings[i] for i in rows], tokenizer.pad_id)
        slot_targets = padded([labels[i] for i in rows], IGNORED).to(device)
        intent_targets = torch.tensor([intent_index[drawn[i].intent] for i in rows], device=device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            intents, slots = model(ids.to(device), mask.to(device))
        loss = loss_of(intents.float(), slots.float(), intent_targets, slot_targets, options.smoothing, weights)
        if teacher is not None:
            opinion = teacher.opinion([drawn[i].text for i in rows], [encodings[i] for i in rows])
            told = opinion.loss(intents.float(), slots.float(), options.teacher_temperature)
            loss = (1 - options.teacher_share) * loss + options.teacher_share * told
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update()
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
        unknown = model.encoder.load_state_dict(start.weights, strict=False).unexpected_keys
        if unknown:
            raise RunError(f"{start.origin}: unknown tensors {', '.join(unknown)}")
    if start.others is not None:
        own = model.state_dict()
        wrong = [name for name, tensor in start.others.items() if name not in own or own[name].shape != tensor.shape]
        if wrong:
            raise RunError(f"{start.origin}: {', '.join(wrong)}: not of this schema and --gru")
        model.load_state_dict(start.others, strict=False)
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
    optimizer = torch.optim.AdamW(groups, fused=True)
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
    if any(before["about"].get(name) != about.get(name) for name in ("data_sha256", "dev_sha256")):
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
