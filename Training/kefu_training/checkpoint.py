"""Reads BERT checkpoints in Hugging Face's format, from a folder or from the hub: bert-base-chinese, chinese-bert-wwm-ext, …"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

FILES = ("config.json", "vocab.txt", "model.safetensors", "pytorch_model.bin")


class CheckpointError(Exception):
    """A checkpoint that cannot be read; the message names the file and what was expected."""


@dataclass(frozen=True)
class CheckpointConfig:
    """The sizes in a checkpoint's config.json."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    positions: int
    vocabulary: int
    layer_norm_eps: float
    origin: str | None = None
    """Where the weights come from, as ``align`` writes it."""

    @staticmethod
    def read(path: Path) -> "CheckpointConfig":
        """The sizes in a config.json."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: not readable as JSON: {error}") from error
        if content.get("model_type", "bert") != "bert":
            raise CheckpointError(f"{path}: model_type '{content['model_type']}': expected bert")
        if content.get("hidden_act", "gelu") != "gelu":
            raise CheckpointError(f"{path}: hidden_act '{content['hidden_act']}': expected gelu")
        try:
            return CheckpointConfig(
                hidden=int(content["hidden_size"]),
                layers=int(content["num_hidden_layers"]),
                heads=int(content["num_attention_heads"]),
                feed_forward=int(content["intermediate_size"]),
                positions=int(content["max_position_embeddings"]),
                vocabulary=int(content["vocab_size"]),
                layer_norm_eps=float(content.get("layer_norm_eps", 1e-12)),
                origin=content.get("kefu_origin"),
            )
        except KeyError as error:
            raise CheckpointError(f"{path}: {error.args[0]} is missing") from error


def download(name: str) -> Path:
    """The folder of a hub checkpoint (``owner/name``), fetched once and then kept in the hub's cache."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=list(FILES)))


def vocabulary(folder: Path) -> list[str]:
    """The tokens of a checkpoint's vocab.txt."""
    path = folder / "vocab.txt"
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; expected a WordPiece vocabulary, one token a line")
    return path.read_text(encoding="utf-8").splitlines()


def encoder_weights(folder: Path, config: CheckpointConfig, layers: int) -> dict[str, Tensor]:
    """The weights of the first layers for ``model.Encoder``."""
    if not 1 <= layers <= config.layers:
        raise CheckpointError(f"{folder}: {layers} layers asked for: expected 1 to {config.layers}")
    source = _Source(folder)
    take = source.take
    weights = {
        "embedding.word.weight": take("embeddings.word_embeddings.weight"),
        "embedding.position": take("embeddings.position_embeddings.weight") + take("embeddings.token_type_embeddings.weight")[0],
        "embedding.norm.weight": take("embeddings.LayerNorm.weight"),
        "embedding.norm.bias": take("embeddings.LayerNorm.bias"),
    }
    for layer in range(layers):
        ours, theirs = f"layers.{layer}", f"encoder.layer.{layer}"
        for kind in ("weight", "bias"):
            weights[f"{ours}.query_key_value.{kind}"] = torch.cat(
                [take(f"{theirs}.attention.self.{part}.{kind}") for part in ("query", "key", "value")]
            )
            weights[f"{ours}.attention_output.{kind}"] = take(f"{theirs}.attention.output.dense.{kind}")
            weights[f"{ours}.attention_norm.{kind}"] = take(f"{theirs}.attention.output.LayerNorm.{kind}")
            weights[f"{ours}.intermediate.{kind}"] = take(f"{theirs}.intermediate.dense.{kind}")
            weights[f"{ours}.output.{kind}"] = take(f"{theirs}.output.dense.{kind}")
            weights[f"{ours}.output_norm.{kind}"] = take(f"{theirs}.output.LayerNorm.{kind}")
    return weights


def checkpoint_of(weights: dict[str, Tensor], sizes, vocabulary: int, layer_norm_eps: float) -> tuple[dict, dict[str, Tensor]]:
    """The content of config.json and the tensors of a checkpoint that ``encoder_weights`` reads back as ``weights``."""
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.feed_forward,
        "max_position_embeddings": sizes.positions,
        "vocab_size": vocabulary,
        "layer_norm_eps": layer_norm_eps,
    }
    tensors = {
        "embeddings.word_embeddings.weight": weights["embedding.word.weight"],
        "embeddings.position_embeddings.weight": weights["embedding.position"],
        # Our positions hold the type embedding already.
        "embeddings.token_type_embeddings.weight": torch.zeros(2, sizes.hidden),
        "embeddings.LayerNorm.weight": weights["embedding.norm.weight"],
        "embeddings.LayerNorm.bias": weights["embedding.norm.bias"],
    }
    for layer in range(sizes.layers):
        ours, theirs = f"layers.{layer}", f"encoder.layer.{layer}"
        for kind in ("weight", "bias"):
            parts = weights[f"{ours}.query_key_value.{kind}"].chunk(3)
            for part, tensor in zip(("query", "key", "value"), parts):
                tensors[f"{theirs}.attention.self.{part}.{kind}"] = tensor
            tensors[f"{theirs}.attention.output.dense.{kind}"] = weights[f"{ours}.attention_output.{kind}"]
            tensors[f"{theirs}.attention.output.LayerNorm.{kind}"] = weights[f"{ours}.attention_norm.{kind}"]
            tensors[f"{theirs}.intermediate.dense.{kind}"] = weights[f"{ours}.intermediate.{kind}"]
            tensors[f"{theirs}.output.dense.{kind}"] = weights[f"{ours}.output.{kind}"]
            tensors[f"{theirs}.output.LayerNorm.{kind}"] = weights[f"{ours}.output_norm.{kind}"]
    return config, {name: tensor.detach().float().contiguous().clone() for name, tensor in tensors.items()}


class _Source:
    """The tensors of a checkpoint by their name in BERT, whatever prefix and age they have."""

    def __init__(self, folder: Path):
        safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
        try:
            if safe.is_file():
                from safetensors.torch import load_file

                self.path, tensors = safe, load_file(safe)
            elif pickled.is_file():
                self.path, tensors = pickled, torch.load(pickled, map_location="cpu", weights_only=True)
            else:
                raise CheckpointError(f"{folder}: expected model.safetensors or pytorch_model.bin")
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(f"{folder}: the weights cannot be read: {error}") from error
        self.tensors = {self._plain(name): tensor for name, tensor in tensors.items()}

    @staticmethod
    def _plain(name: str) -> str:
        name = name.removeprefix("bert.")
        return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")

    def take(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise CheckpointError(f"{self.path}: no tensor '{name}' (nor 'bert.{name}')")
        return self.tensors[name].float()
