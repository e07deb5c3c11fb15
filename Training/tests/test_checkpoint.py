"""Checkpoints in Hugging Face's format, written here with random weights and held to torch's own transformer layers."""

import json

import pytest
import torch
from safetensors.torch import save_file

from kefu_training.checkpoint import CheckpointError
from kefu_training.model import Encoder, ModelShape
from kefu_training.start import Sizes, load_start

HIDDEN, LAYERS, HEADS, WIDE, POSITIONS = 24, 3, 4, 40, 30
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"我要退款改地址"]


def write(folder, *, safe=False, prefix="bert.", old_names=False, **changes):
    """A checkpoint as BERT's tools write it; gives its tensors by plain name."""
    torch.manual_seed(11)
    config = dict(
        model_type="bert", hidden_act="gelu", hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=WIDE, max_position_embeddings=POSITIONS, vocab_size=len(TOKENS), type_vocab_size=2, layer_norm_eps=1e-12,
    )  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | changes))
    (folder / "vocab.txt").write_text("".join(t + "\n" for t in TOKENS))
    shapes = {
        f"embeddings.{n}_embeddings.weight": (r, HIDDEN) for n, r in (("word", len(TOKENS)), ("position", POSITIONS), ("token_type", 2))
    }
    shapes |= {f"embeddings.LayerNorm.{kind}": (HIDDEN,) for kind in ("weight", "bias")}
    for i in range(LAYERS):
        at = f"encoder.layer.{i}"
        parts = [(f"attention.self.{p}", HIDDEN, HIDDEN) for p in ("query", "key", "value")]
        parts += [("attention.output.dense", HIDDEN, HIDDEN), ("intermediate.dense", WIDE, HIDDEN), ("output.dense", HIDDEN, WIDE)]
        for name, rows, columns in parts:
            shapes |= {f"{at}.{name}.weight": (rows, columns), f"{at}.{name}.bias": (rows,)}
        shapes |= {f"{at}.{n}.LayerNorm.{kind}": (HIDDEN,) for n in ("attention.output", "output") for kind in ("weight", "bias")}
    shapes["pooler.dense.weight"] = (HIDDEN, HIDDEN)
    tensors = {name: torch.randn(shape) * 0.3 + ("LayerNorm.weight" in name) for name, shape in shapes.items()}
    stored = {prefix + name: tensor for name, tensor in tensors.items()} | {"cls.predictions.bias": torch.zeros(3)}
    if old_names:
        stored = {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t for n, t in stored.items()
        }
    save_file(stored, folder / "model.safetensors") if safe else torch.save(stored, folder / "pytorch_model.bin")
    return tensors


def reference(tensors, ids, layers):
    """The same encoder from torch's own layers."""
    x = tensors["embeddings.word_embeddings.weight"][ids] + tensors["embeddings.position_embeddings.weight"][: ids.size(1)]
    x = x + tensors["embeddings.token_type_embeddings.weight"][0]
    x = torch.nn.functional.layer_norm(x, (HIDDEN,), tensors["embeddings.LayerNorm.weight"], tensors["embeddings.LayerNorm.bias"], 1e-12)
    for i in range(layers):
        layer = torch.nn.TransformerEncoderLayer(HIDDEN, HEADS, WIDE, 0.0, "gelu", 1e-12, batch_first=True)

        def part(name, i=i):
            return tensors[f"encoder.layer.{i}.{name}"]

        state = {}
        for kind in ("weight", "bias"):
            state[f"self_attn.in_proj_{kind}"] = torch.cat([part(f"attention.self.{p}.{kind}") for p in ("query", "key", "value")])
            names = {"self_attn.out_proj": "attention.output.dense", "linear1": "intermediate.dense", "linear2": "output.dense"}
            names |= {"norm1": "attention.output.LayerNorm", "norm2": "output.LayerNorm"}
            state |= {f"{ours}.{kind}": part(f"{theirs}.{kind}") for ours, theirs in names.items()}
        layer.load_state_dict(state)
        x = layer(x)
    return x


@pytest.mark.parametrize(
    ("options", "layers"), [({}, 3), ({"safe": True}, 2), ({"prefix": ""}, 1), ({"old_names": True}, 3), ({"safe": True, "prefix": ""}, 3)]
)
def test_weights_are_mapped(tmp_path, options, layers):
    tensors = write(tmp_path, **options)
    start = load_start(str(tmp_path), Sizes(layers=0 if layers == LAYERS else layers))
    assert start.tokens == TOKENS and start.sizes == Sizes(layers, HIDDEN, HEADS, WIDE, POSITIONS)
    encoder = Encoder(ModelShape(len(TOKENS), HIDDEN, layers, HEADS, WIDE, POSITIONS, 1, 1, 1, start.layer_norm_eps), 0.0)
    encoder.load_state_dict(start.weights)
    ids = torch.tensor([[2, 5, 6, 7, 8, 3], [2, 9, 10, 11, 1, 3]])
    with torch.no_grad():
        torch.testing.assert_close(encoder(ids, torch.ones_like(ids)), reference(tensors, ids, layers), atol=1e-5, rtol=0)


def test_bad_checkpoints_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="config.json: not readable"):
        load_start(str(tmp_path), Sizes())
    write(tmp_path, model_type="gpt2")
    with pytest.raises(CheckpointError, match="model_type 'gpt2': expected bert"):
        load_start(str(tmp_path), Sizes())
    write(tmp_path, vocab_size=99)
    with pytest.raises(CheckpointError, match="vocab.txt has 12 tokens: expected 99"):
        load_start(str(tmp_path), Sizes())
    write(tmp_path)
    with pytest.raises(CheckpointError, match="4 layers asked for: expected 1 to 3"):
        load_start(str(tmp_path), Sizes(layers=4))
    with pytest.raises(CheckpointError, match="brings its own vocab.txt"):
        load_start(str(tmp_path), Sizes(), tmp_path / "vocab.txt")
    torch.save({"bert.embeddings.word_embeddings.weight": torch.zeros(12, HIDDEN)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="no tensor 'embeddings.position_embeddings.weight'"):
        load_start(str(tmp_path), Sizes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="the weights cannot be read"):
        load_start(str(tmp_path), Sizes())
