"""Alignment: e5's pieces meet our tokens, and an encoder learns what e5 says."""

import pytest
import torch

from kefu_training.align import Teacher, align, chinese_words, overlaps, read_words, write_encoder
from kefu_training.e5 import E5File, packaged_file
from kefu_training.start import Sizes, load_start
from kefu_training.text import Tokenizer

TEXTS = ["我的iPhone 15退款…怎么还没到账", "改地址", "快递到哪了", "发票开错了", "优惠券怎么用"]


@pytest.fixture(scope="module")
def file():
    return E5File(packaged_file())


def test_pieces_know_what_they_cover(file):
    teacher = Teacher(file)
    text = "我的iPhone 15 退…"
    reading = teacher.read(text)
    assert reading.ids[0] == file.start_id and reading.ids[-1] == file.end_id and len(reading.ids) == len(reading.covers)
    covered = [text[span[0] : span[1]] for span in reading.covers if span]
    assert "".join(covered) == text.replace(" ", "") and "我的" in covered and "iPhone" in covered
    states = teacher.states([reading, teacher.read("退")], torch.float32)
    alone = teacher.states([teacher.read("退")], torch.float32)
    torch.testing.assert_close(states[1, : alone.size(1)], alone[0], atol=1e-4, rtol=1e-4)


def test_overlaps_average_the_characters_of_a_piece(file, tmp_path):
    start = load_start("e5", Sizes(layers=1))
    path = tmp_path / "vocab.txt"
    path.write_text("".join(t + "\n" for t in start.tokens), encoding="utf-8")
    reading, encoding = Teacher(file).read("怎么退"), Tokenizer(path).encode("怎么退")
    weights, whole = overlaps([reading], [encoding], len(reading.ids), len(encoding.ids))
    piece = reading.covers.index((0, 2))
    assert weights[0, piece].tolist() == [0, 0.5, 0.5, 0, 0] and weights[0, 0].tolist() == [1, 0, 0, 0, 0]
    assert whole[0].tolist() == pytest.approx([0.2] * 5)
    assert weights[0, reading.covers.index(None, 1)].sum() == 0


def test_an_aligned_encoder_comes_back_from_its_folder(file, tmp_path, capsys):
    start = load_start("e5", Sizes(layers=1))
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("".join(t + "\n" for t in start.tokens), encoding="utf-8")
    words = chinese_words(file)
    assert len(words) > 5_000 and "怎么" in words
    encoder = align(start, TEXTS * 4, ["退款", "手机"], file, vocabulary, 6, 8, 1e-3, "float32", 1)
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 6 and losses[-1] < 0.8 * losses[0]
    write_encoder(tmp_path / "aligned", encoder, start)
    again = load_start(str(tmp_path / "aligned"), Sizes())
    assert again.origin == start.origin + ", aligned" and again.tokens == start.tokens and again.sizes == start.sizes
    state = encoder.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in again.weights.items())



def test_word_lists(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("退款 100 v\n王小明 100 nr\n罕见 3 a\n手机\n的 999 u\nabc 99 eng\n", encoding="utf-8")
    assert read_words(path) == ["退款", "手机"]
