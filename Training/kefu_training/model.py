"""The network: a BERT encoder, a bidirectional GRU, an intent from the first position and a slot label per token.

``forward(input_ids, attention_mask)`` takes two int64 tensors [B, S] (padding on the right, mask 0 there) and gives the
intent logits [B, I] and the slot logits [B, S, L]. B and S may be any size from 1; S is bounded by the position table.
The module compiles with ``torch.jit.script``, holds no device and no type of number, and padding never changes a row.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    positions: int
    gru: int
    """Width of the GRU, each direction."""
    intents: int
    slot_labels: int
    layer_norm_eps: float = 1e-12

    def as_dict(self) -> dict:
        """The sizes by name, for checkpoints."""
        return asdict(self)


class Embedding(nn.Module):
    """Word and position embeddings, summed and normalised. The type embedding of segment 0 is part of the positions."""

    def __init__(self, shape: ModelShape, dropout: float):
        super().__init__()
        self.word = nn.Embedding(shape.vocabulary, shape.hidden)
        self.position = nn.Parameter(torch.zeros(shape.positions, shape.hidden))
        self.norm = nn.LayerNorm(shape.hidden, eps=shape.layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.word(input_ids) + self.position[: input_ids.size(1)]
        return self.dropout(self.norm(x))


class EncoderLayer(nn.Module):
    """One layer of BERT: self-attention and a feed-forward part, each with a residual and a norm after it."""

    def __init__(self, shape: ModelShape, dropout: float):
        super().__init__()
        self.heads = shape.heads
        self.attention_dropout = dropout
        self.query_key_value = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.attention_output = nn.Linear(shape.hidden, shape.hidden)
        self.attention_norm = nn.LayerNorm(shape.hidden, eps=shape.layer_norm_eps)
        self.intermediate = nn.Linear(shape.hidden, shape.feed_forward)
        self.output = nn.Linear(shape.feed_forward, shape.hidden)
        self.output_norm = nn.LayerNorm(shape.hidden, eps=shape.layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, attend: Tensor) -> Tensor:
        batch, length, hidden = x.size(0), x.size(1), x.size(2)
        parts = self.query_key_value(x).view(batch, length, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4)
        dropout = self.attention_dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=attend, dropout_p=dropout)
        mixed = mixed.transpose(1, 2).reshape(batch, length, hidden)
        x = self.attention_norm(x + self.dropout(self.attention_output(mixed)))
        return self.output_norm(x + self.dropout(self.output(functional.gelu(self.intermediate(x)))))


class Encoder(nn.Module):
    """BERT without its pooler: token ids [B, S] to vectors [B, S, hidden]."""

    def __init__(self, shape: ModelShape, dropout: float):
        super().__init__()
        self.embedding = Embedding(shape, dropout)
        self.layers = nn.ModuleList([EncoderLayer(shape, dropout) for _ in range(shape.layers)])

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        attend = attention_mask.to(torch.bool)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, attend)
        return x


class GRU(nn.Module):
    """One direction of a GRU over [B, S, input], first token first.

    ``nn.GRU`` keeps a second list of its weights, which a conversion of a loaded TorchScript module (float16 to float32) would
    not reach; here the weights are parameters only.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        bound = hidden_size**-0.5
        self.hidden_size = hidden_size
        self.weight_input = nn.Parameter(torch.empty(3 * hidden_size, input_size).uniform_(-bound, bound))
        self.weight_hidden = nn.Parameter(torch.empty(3 * hidden_size, hidden_size).uniform_(-bound, bound))
        self.bias_input = nn.Parameter(torch.empty(3 * hidden_size).uniform_(-bound, bound))
        self.bias_hidden = nn.Parameter(torch.empty(3 * hidden_size).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        start = torch.zeros(1, x.size(0), self.hidden_size, dtype=x.dtype, device=x.device)
        weights = [self.weight_input, self.weight_hidden, self.bias_input, self.bias_hidden]
        return torch.gru(x, start, weights, True, 1, 0.0, self.training, False, True)[0]


class BidirectionalGRU(nn.Module):
    """Two GRUs, one from each end of a row's tokens: [B, S, input] to [B, S, 2 * hidden].

    The backward one reads each row reversed within its own length, so that it meets the padding last, as the forward one does.
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.forwards = GRU(input_size, hidden_size)
        self.backwards = GRU(input_size, hidden_size)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        position = torch.arange(x.size(1), device=x.device).unsqueeze(0)
        length = attention_mask.sum(1, keepdim=True)
        mirror = torch.where(position < length, length - 1 - position, position).unsqueeze(-1)
        ahead = self.forwards(x)
        back = self.backwards(x.gather(1, mirror.expand(-1, -1, x.size(2))))
        return torch.cat([ahead, back.gather(1, mirror.expand(-1, -1, back.size(2)))], dim=-1)


class IntentSlotModel(nn.Module):
    """The whole network."""

    def __init__(self, shape: ModelShape, dropout: float = 0.1):
        super().__init__()
        self.shape = shape
        self.encoder = Encoder(shape, dropout)
        self.gru = BidirectionalGRU(shape.hidden, shape.gru)
        self.dropout = nn.Dropout(dropout)
        self.intent = nn.Linear(2 * shape.gru, shape.intents)
        self.slots = nn.Linear(2 * shape.gru, shape.slot_labels)
        self.encoder.apply(_initialise)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.encoder(input_ids, attention_mask)
        x = self.dropout(self.gru(x, attention_mask))
        return self.intent(x[:, 0]), self.slots(x)


def _initialise(module: nn.Module) -> None:
    """BERT's own initialisation, for weights that no checkpoint brings."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, Embedding):
        nn.init.normal_(module.position, std=0.02)
