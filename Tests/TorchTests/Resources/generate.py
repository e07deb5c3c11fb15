"""Writes the small model files of this folder and expected.json, the outputs that Python's torch gives for them.

Run with the interpreter that has torch: python generate.py. The weights come from a fixed seed; the files are committed.
"""

import json
import math
import pathlib
from typing import Optional

import torch
from torch import Tensor, nn

HERE = pathlib.Path(__file__).parent
VOCABULARY, WIDTH, HEADS, INTENTS, SLOTS = 50, 16, 2, 5, 4


class Identity(nn.Module):
    """Gives its inputs back as floats: [B, S] and [B, S, 2]."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        return input_ids.float(), torch.stack([input_ids, attention_mask], dim=2).float()


class Layer(nn.Module):
    """One layer of a BERT encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.scale = HEADS, 1 / math.sqrt(WIDTH // HEADS)
        self.query, self.key, self.value, self.output = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def heads(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.count, -1).transpose(1, 2)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        scores = self.heads(self.query(x)) @ self.heads(self.key(x)).transpose(2, 3) * self.scale
        mixed = torch.softmax(scores + bias.to(scores.dtype), dim=-1) @ self.heads(self.value(x))
        mixed = mixed.transpose(1, 2).flatten(2)
        x = self.first(x + self.output(mixed))
        return self.second(x + self.down(nn.functional.gelu(self.up(x))))


class BertGRU(nn.Module):
    """A BERT encoder, a bidirectional GRU, intent from the first position, slots from each. `shared` is one tensor under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(64, WIDTH)
        self.layer = Layer()
        self.gru = nn.GRU(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)
        self.intent, self.slots = nn.Linear(WIDTH, INTENTS), nn.Linear(WIDTH, SLOTS)
        self.shared = nn.Linear(WIDTH, WIDTH)
        self.tied = nn.Linear(WIDTH, WIDTH)
        self.tied.weight = self.shared.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        bias = (1 - attention_mask)[:, None, None, :].float() * -10000.0
        x = self.layer(self.words(input_ids) + self.positions(places), bias)
        x, _ = self.gru(self.tied(self.shared(x)))
        return self.intent(x[:, 0]), self.slots(x)


class Wide(nn.Module):
    """What CTorch rewrites on a CPU: a linear layer of 64 outputs, and a GRU from zeros with its weights as parameters, so large that its gates reach their ends."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.up = nn.Embedding(VOCABULARY, 32), nn.Linear(32, 64)
        self.size = 24
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(72, 64)), nn.Parameter(torch.randn(72, 24)), nn.Parameter(torch.randn(72)), nn.Parameter(torch.randn(72))])
        self.intent, self.slots = nn.Linear(24, INTENTS), nn.Linear(24, SLOTS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.up(self.words(input_ids)) * attention_mask.unsqueeze(-1)
        start = torch.zeros(1, x.size(0), self.size, dtype=x.dtype, device=x.device)
        weights = [self.weights[0], self.weights[1], self.weights[2], self.weights[3]]
        x = torch.gru(x, start, weights, True, 1, 0.0, False, False, True)[0]
        return self.intent(x[:, 0]), self.slots(x)


class Tiles(nn.Module):
    """What CTorch multiplies by tiles of bfloat16: two layers of an encoder, whose parts end in a whole tile, in half a one and in a quarter, and a GRU a side."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.up, self.down = nn.Embedding(VOCABULARY, 96), nn.Linear(96, 160), nn.Linear(160, 96)
        self.middle, self.first, self.second = nn.Linear(96, 96), nn.LayerNorm(96), nn.LayerNorm(96)
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(144, 96) / 10), nn.Parameter(torch.randn(144, 48) / 7), nn.Parameter(torch.randn(144)), nn.Parameter(torch.randn(144))])
        self.intent, self.slots = nn.Linear(48, INTENTS), nn.Linear(48, SLOTS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.words(input_ids) * attention_mask.unsqueeze(-1)
        x = self.first(x + self.middle(x))
        x = self.second(x + self.down(nn.functional.gelu(self.up(x))))
        start = torch.zeros(1, x.size(0), 48, dtype=x.dtype, device=x.device)
        weights = [self.weights[0], self.weights[1], self.weights[2], self.weights[3]]
        x = torch.gru(x, start, weights, True, 1, 0.0, False, False, True)[0]
        return self.intent(x[:, 0]), self.slots(x)


class EncoderLayer(nn.Module):
    """A layer as Training/kefu_training/model.py writes it."""

    def __init__(self, hidden: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.parts, self.mixing = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.up, self.down = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.first, self.second = nn.LayerNorm(hidden), nn.LayerNorm(hidden)

    def forward(self, x: Tensor, attend: Optional[Tensor]) -> Tensor:
        batch, length, hidden = x.size(0), x.size(1), x.size(2)
        parts = self.parts(x).view(batch, length, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], attn_mask=attend)
        x = self.first(x + self.mixing(mixed.transpose(1, 2).reshape(batch, length, hidden)))
        return self.second(x + self.down(nn.functional.gelu(self.up(x))))


class GRU(nn.Module):
    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(*shape) / 7) for shape in [(3 * size, inputs), (3 * size, size), (3 * size,), (3 * size,)]])

    def forward(self, x: Tensor) -> Tensor:
        start = torch.zeros(1, x.size(0), self.size, dtype=x.dtype, device=x.device)
        weights = [self.weights[0], self.weights[1], self.weights[2], self.weights[3]]
        return torch.gru(x, start, weights, True, 1, 0.0, False, False, True)[0]


class TwoWays(nn.Module):
    """Two GRUs, the second over positions in another order, whose states are gathered by the same order."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.ahead, self.back = GRU(inputs, size), GRU(inputs, size)

    def forward(self, x: Tensor, order: Tensor) -> Tensor:
        ahead = self.ahead(x)
        back = self.back(x.gather(1, order.expand(-1, -1, x.size(2))))
        return torch.cat([ahead, back.gather(1, order.expand(-1, -1, back.size(2)))], dim=-1)


class Encoder(nn.Module):
    """What CTorch computes by an operator a layer: an encoder's, with heads of 48 and 32 dimensions and of 8, which are no whole vectors, and GRUs both ways, of
    which the second order does not undo itself. A layer without a mask is left to operators of its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions, self.norm = nn.Embedding(VOCABULARY, 96), nn.Parameter(torch.randn(64, 96)), nn.LayerNorm(96)
        self.layers = nn.ModuleList([EncoderLayer(96, 160, 2), EncoderLayer(96, 64, 3), EncoderLayer(96, 96, 12)])
        self.unmasked = EncoderLayer(96, 64, 3)
        self.mirrored, self.turned = TwoWays(96, 24), TwoWays(48, 16)
        self.intent, self.slots = nn.Linear(32, INTENTS), nn.Linear(32, SLOTS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(self.words(input_ids) + self.positions[: input_ids.size(1)])
        attend = attention_mask.to(torch.bool)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, attend)
        x = self.unmasked(x, None)
        position = torch.arange(x.size(1), device=x.device).unsqueeze(0)
        length = attention_mask.sum(1, keepdim=True)
        mirror = torch.where(position < length, length - 1 - position, position).unsqueeze(-1)
        turn = ((position + length) % x.size(1)).unsqueeze(-1)
        x = self.turned(self.mirrored(x, mirror), turn)
        return self.intent(x[:, 0]), self.slots(x)


@torch.jit.interface
class Part(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pass


class LinearPart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class SwapsParts(nn.Module):
    """Cannot be frozen: it replaces one of its parts."""

    part: Part

    def __init__(self) -> None:
        super().__init__()
        self.part, self.other = LinearPart(), LinearPart()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        self.part = self.other
        x = self.part.forward(input_ids.unsqueeze(-1).to(self.other.linear.weight.dtype))
        return x[:, 0], x


class OneOutput(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return input_ids.float()


class OneInput(nn.Module):
    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        return input_ids.float(), input_ids.float()


class WrongRank(nn.Module):
    """Its second output has 2 dimensions instead of 3."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        return input_ids.float(), attention_mask.float()


class IntegerOutput(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        return input_ids, attention_mask[:, :, None]


class Raises(nn.Module):
    """Raises for rows that begin with 13."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        if int(input_ids[0, 0]) == 13:
            raise ValueError("thirteen is not welcome")
        return input_ids.float(), attention_mask[:, :, None].float()


class Hungry(nn.Module):
    """Asks for 2^48 bytes, more than an address space has, where more than one row begins with 13."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        rows = input_ids.float()
        if int((input_ids[:, 0] == 13).sum()) > 1:
            rows = rows + torch.empty(1 << 46)[0]
        return rows, attention_mask[:, :, None].float()


class WritesInputs(nn.Module):
    """Adds 1 to its inputs where they are."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        input_ids.add_(1)
        attention_mask[:, 0] = 7
        return input_ids.float(), attention_mask[:, :, None].float()


def batch(rows: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (rows, length), generator=generator)
    lengths = torch.randint(1, length + 1, (rows, 1), generator=generator)
    mask = (torch.arange(length)[None, :] < lengths).long()
    return ids * mask, mask


def main() -> None:
    torch.manual_seed(20)
    model = BertGRU().eval()
    model.half().float()  # the values that float16 can hold
    example = batch(2, 5, 0)
    scripted, traced = torch.jit.script(model), torch.jit.trace(model, example)
    for name, module in {"bert-gru-scripted": scripted, "bert-gru-traced": traced}.items():
        module.save(str(HERE / f"{name}.pt"))
        module.half().save(str(HERE / f"{name}-float16.pt"))
        module.float()
    for name, module in {
        "identity": Identity(), "one-output": OneOutput(), "one-input": OneInput(), "wrong-rank": WrongRank(),
        "integer-output": IntegerOutput(), "raises": Raises(), "writes-inputs": WritesInputs(), "hungry": Hungry(),
    }.items():
        torch.jit.script(module).save(str(HERE / f"{name}.pt"))
    whole = (HERE / "identity.pt").read_bytes()
    (HERE / "truncated.pt").write_bytes(whole[: len(whole) // 2])
    (HERE / "empty.pt").write_bytes(b"")
    (HERE / "text.pt").write_text("This is no model.\n")

    torch.manual_seed(21)
    wide = torch.jit.script(Wide().eval())
    wide.save(str(HERE / "wide.pt"))
    torch.manual_seed(22)
    tiles = torch.jit.script(Tiles().eval())
    tiles.save(str(HERE / "tiles.pt"))
    torch.manual_seed(23)
    torch.jit.script(SwapsParts().eval()).save(str(HERE / "swaps-parts.pt"))
    torch.manual_seed(24)
    encoder = torch.jit.script(Encoder().eval())
    encoder.save(str(HERE / "encoder.pt"))
    write_cases(tiles, "expected-tiles.json")
    write_cases(encoder, "expected-encoder.json")
    write_cases(model, "expected.json")
    write_cases(wide, "expected-wide.json")


def write_cases(model: nn.Module, name: str) -> None:
    cases = []
    for rows, length in [(1, 1), (1, 8), (2, 5), (3, 17), (8, 16), (4, 64)]:
        ids, mask = batch(rows, length, 100 * rows + length)
        with torch.inference_mode():
            intent, slots = model(ids, mask)
        cases.append({
            "rows": rows, "length": length, "inputIDs": ids.flatten().tolist(), "attentionMask": mask.flatten().tolist(),
            "intent": [round(x, 7) for x in intent.flatten().tolist()], "slots": [round(x, 7) for x in slots.flatten().tolist()],
        })
    (HERE / name).write_text(json.dumps(cases, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
