"""The network: what padding, TorchScript and float16 may not change."""

import zipfile

import pytest
import torch
from conftest import TRAINING

from kefu_training.bundle import save_model
from kefu_training.model import GRU, BidirectionalGRU, IntentSlotModel, ModelShape

SHAPE = ModelShape(vocabulary=50, hidden=32, layers=2, heads=4, feed_forward=64, positions=40, gru=12, intents=5, slot_labels=7)


@pytest.fixture
def model():
    torch.manual_seed(3)
    return IntentSlotModel(SHAPE).eval()


def rows(*lengths):
    torch.manual_seed(5)
    return [torch.randint(5, 50, (1, n)) for n in lengths]


def together(parts):
    length = max(p.size(1) for p in parts)
    ids = torch.cat([torch.nn.functional.pad(p, (0, length - p.size(1))) for p in parts])
    mask = torch.cat([torch.nn.functional.pad(torch.ones_like(p), (0, length - p.size(1))) for p in parts])
    return ids, mask


def test_padding_does_not_change_a_row(model):
    parts = rows(1, 3, 17, 40, 2)
    with torch.inference_mode():
        intents, slots = model(*together(parts))
        for i, part in enumerate(parts):
            intent, slot = model(part, torch.ones_like(part))
            torch.testing.assert_close(intents[i], intent[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(slots[i, : part.size(1)], slot[0], atol=1e-5, rtol=0)
    assert intents.shape == (5, 5) and slots.shape == (5, 40, 7)


def test_every_token_matters_from_both_sides(model):
    (part,) = rows(6)
    with torch.inference_mode():
        _, before = model(part, torch.ones_like(part))
        gru = model.gru(torch.eye(6, 32)[None], torch.ones(1, 6, dtype=torch.long))
        changed = torch.eye(6, 32)[None].clone()
        changed[0, 5] = 3.0
        after = model.gru(changed, torch.ones(1, 6, dtype=torch.long))
    assert before.isfinite().all()
    # The last token reaches the first position through the backward direction only.
    assert torch.equal(gru[0, 0, :12], after[0, 0, :12]) and not torch.allclose(gru[0, 0, 12:], after[0, 0, 12:])


def test_gru_equals_that_of_torch():
    torch.manual_seed(1)
    ours, theirs = BidirectionalGRU(8, 4), torch.nn.GRU(8, 4, batch_first=True, bidirectional=True)
    names = {"weight_input": "weight_ih_l0", "weight_hidden": "weight_hh_l0", "bias_input": "bias_ih_l0", "bias_hidden": "bias_hh_l0"}
    with torch.no_grad():
        for mine, other in names.items():
            getattr(ours.forwards, mine).copy_(getattr(theirs, other))
            getattr(ours.backwards, mine).copy_(getattr(theirs, other + "_reverse"))
        x = torch.randn(3, 9, 8)
        lengths = torch.tensor([9, 1, 4])
        mask = (torch.arange(9)[None] < lengths[:, None]).long()
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
        torch.testing.assert_close(ours(x, mask) * mask[..., None], expected, atol=1e-6, rtol=0)
    assert {n for n, _ in GRU(8, 4).named_parameters()} == set(names)


@pytest.mark.parametrize("lengths", [(1,), (1, 1), (40,), (7, 3, 7, 12)])
def test_exported_model_equals_the_python_one(model, tmp_path, lengths):
    save_model(model, tmp_path / "model.pt")
    loaded = torch.jit.load(tmp_path / "model.pt")
    assert {p.dtype for p in loaded.parameters()} == {torch.float16} and not any(p.requires_grad for p in loaded.parameters())
    loaded = loaded.float()
    reference = IntentSlotModel(SHAPE).eval()
    reference.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    inputs = together(rows(*lengths))
    with torch.inference_mode():
        for _ in range(3):
            for mine, other in zip(loaded(*inputs), reference(*inputs)):
                torch.testing.assert_close(mine, other, atol=1e-5, rtol=0)


def test_exported_file_names_no_machine(model, tmp_path):
    save_model(model, tmp_path / "model.pt")
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    assert any(name.endswith("model.py") for name in records)
    home = str(TRAINING).encode()
    assert not [name for name, content in records.items() if home in content or str(tmp_path).encode() in content]


def test_too_long_a_row_is_an_error(model):
    (part,) = rows(41)
    with pytest.raises(RuntimeError):
        model(part, torch.ones_like(part))
