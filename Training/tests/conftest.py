"""Shared by all tests: small schemas, vocabularies and data."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")

TRAINING = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TRAINING))

import pytest  # noqa: E402
import torch  # noqa: E402

from kefu_training.start import Sizes, load_start  # noqa: E402
from kefu_training.train import TrainingOptions  # noqa: E402

TINY = Sizes(layers=2, hidden=32, heads=4, feed_forward=64, positions=64)
OPTIONS = TrainingOptions(
    epochs=4, batch=4, gru=16, encoder_rate=2e-3, embedding_rate=2e-3, head_rate=5e-3, dropout=0.1, patience=10, max_length=64, seed=7
)

SCHEMA = """intents: {refund: {}, greet: {}, move: {}}
slots: {product: {}, phone: {}}
labels: [O, B-product, I-product, B-phone, I-phone, X]
"""

LINES = """# three intents
refund\t我要退[手机](product)
refund\t退[羽绒服](product)的钱
refund\t退款，[耳机](product)坏了
refund\t把[衣服](product)退了
greet\t你好
greet\t在吗
greet\t您好呀
greet\thello
move\t电话改成[13800138000](phone)
move\t改电话[13911112222](phone)
move\t手机号换[18600001111](phone)
move\t改成[13512345678](phone)吧
"""


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Small models are fastest on one thread, and equal on any machine."""
    torch.set_num_threads(1)


@pytest.fixture
def files(tmp_path):
    """A folder with schema.yaml, train.tsv and dev.tsv."""
    (tmp_path / "schema.yaml").write_text(SCHEMA, encoding="utf-8")
    (tmp_path / "train.tsv").write_text(LINES, encoding="utf-8")
    (tmp_path / "dev.tsv").write_text("refund\t退[裤子](product)\ngreet\t好呀\nmove\t改[13700001234](phone)\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def vocabulary(tmp_path):
    """A vocabulary for the lines above, as a file."""
    characters = sorted({c for c in LINES if "\u4e00" <= c <= "\u9fff"} | set("裤子"))
    digits = list("0123456789") + [f"##{d}" for d in "0123456789"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "#", ",", "hello", "hel", "##lo", *digits, *characters]
    path = tmp_path / "vocab.txt"
    path.write_text("".join(t + "\n" for t in tokens), encoding="utf-8")
    return path


@pytest.fixture
def tiny_start(vocabulary):
    """A random encoder of two narrow layers."""
    return load_start("random", TINY, vocabulary)
