"""Reading, checking and writing annotated files."""

import pytest
from conftest import LINES, SCHEMA, TRAINING

from kefu_training.augment import mask_digits
from kefu_training.cli import main
from kefu_training.data import DataError, Example, Schema, Span, find_loose_texts, find_repetitions, parse_text, read_file
from kefu_training.text import find_cut_words, words_of


def schema_of(files):
    return Schema.read(files / "schema.yaml")


def read(files, content):
    path = files / "some.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_file(path, schema_of(files))


def test_default_schema_has_the_shape_of_the_model():
    schema = Schema.read(TRAINING / "schema.yaml")
    assert len(schema.intents) == 35 and schema.intents[0] == "order_status" and schema.intents[-1] == "chitchat"
    assert len(schema.labels) == 20 and schema.labels[0] == "O" and schema.labels[-1] == "X"


def test_schema_labels_must_follow_from_slots(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text(SCHEMA.replace("I-phone, X", "X"), encoding="utf-8")
    with pytest.raises(DataError, match="labels: expected O, B-product, I-product, B-phone, I-phone, X"):
        Schema.read(path)


def test_lines_are_read(files):
    result = read(files, LINES)
    assert result.problems == [] and len(result.examples) == 12
    assert result.examples[0] == Example("refund", "我要退手机", (Span(3, 5, "product"),), f"{files / 'some.tsv'}:2")


def test_annotation_round_trip():
    annotated = r"退\[这\]个[手\\机](product)和[13800138000](phone)(急)"
    text, spans = parse_text(annotated)
    assert text == r"退[这]个手\机和13800138000(急)"
    assert [text[s.start : s.end] for s in spans] == [r"手\机", "13800138000"]
    assert Example("refund", text, spans).annotated() == annotated


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("refund 退款", "expected intent<TAB>text, found no tab"),
        ("refund\t退\t款", "expected one tab"),
        ("other\t退款", "unknown intent 'other': expected one of refund, greet, move"),
        ("refund\t", "empty text"),
        ("refund\t退[手机](thing)", "unknown slot 'thing': expected one of product, phone"),
        ("refund\t退[手[机](product)](product)", "spans do not nest"),
        ("refund\t退[手机", "unclosed '['"),
        ("refund\t退[手机]", "expected (slot) after ']'"),
        ("refund\t退[手机](product", "expected (slot) after ']'"),
        ("refund\t退手机](product)", "']' without '['"),
        ("refund\t退[](product)", "empty slot value"),
        ("refund\t退[手机 ](product)", "white space at the edge"),
        ("refund\t退款\r", "a carriage return"),
        ("", "an empty line"),
        ("   ", "an empty line"),
        ("\ufeffrefund\t退款", "a byte order mark"),
    ],
)
def test_bad_lines_are_named(files, line, message):
    result = read(files, f"greet\t你好\n{line}\ngreet\t在吗\n")
    assert len(result.problems) == 1 and len(result.examples) == 2
    assert result.problems[0].startswith(f"{files / 'some.tsv'}:2: ") and message in result.problems[0]


def test_bytes_that_are_not_utf8_are_named(files):
    result = read(files, "greet\t你好\n".encode() + b"greet\t\xff\n")
    assert result.problems == [f"{files / 'some.tsv'}:2: not UTF-8 at byte 7 of the line"]


def test_missing_and_empty_files(files):
    assert "No such file" in read_file(files / "none.tsv", None).problems[0]
    assert "no examples" in read(files, "# nothing\n").problems[0]


def test_repetitions_and_clashes():
    first = Example("refund", "退 OK 吗", (), "a:1")
    again = Example("refund", "退ok吗", (), "a:2")
    clash = Example("greet", "退ＯＫ吗", (), "b:1")
    spans = Example("refund", "退ok吗", (Span(1, 3, "product"),), "b:2")
    problems = find_repetitions([[first, again], [clash, spans]], words_of)
    assert [p.split(":")[2].strip() for p in problems] == ["duplicate", "label clash", "slot clash"]
    assert problems[1] == "b:1: label clash: '退ＯＫ吗' is greet here and refund at a:1"
    assert find_repetitions([[first, Example("refund", "退o k吗", (), "a:3")]], words_of) == []


def test_spans_that_cut_words():
    text, spans = parse_text("买[iPhone15](product)256G")
    problems = find_cut_words([Example("refund", text, spans, "a:1")])
    assert problems == ["a:1: 'iPhone15' (product) cuts a word: expected a span of whole words, here 'iPhone15256G'"]
    text, spans = parse_text("买[iPhone 15](product) [256G](product)黑色，[Ａ４纸](product)")
    assert find_cut_words([Example("refund", text, spans, "a:1")]) == []


def test_texts_with_white_space_around_them():
    examples = [Example("refund", "退 款", (), "a:1"), Example("refund", " 退款", (), "a:2"), Example("refund", "退款\u3000", (), "a:3")]
    expected = "white space at the start or the end of the text"
    assert find_loose_texts(examples) == [f"a:2: {expected}", f"a:3: {expected}"]


def test_derived_schema():
    text, spans = parse_text("退[手机](thing)")
    schema = Schema.derived([Example("b", text, spans), Example("a", "x")])
    assert schema == Schema(("a", "b"), ("thing",), ("O", "B-thing", "I-thing", "X"))


def test_digits_are_masked_by_chance():
    import random

    example = Example("move", "电话13800138000和１２３" * 50, ())
    same = mask_digits(example, 0.0, random.Random(1))
    masked = mask_digits(example, 0.1, random.Random(1))
    assert same == example and len(masked.text) == len(example.text)
    digits = 14 * 50
    assert 0.06 * digits < masked.text.count("#") < 0.14 * digits
    assert all(a == b or (b == "#" and a.isdigit()) for a, b in zip(example.text, masked.text))


def test_the_data_of_the_default_domain_is_clean(capsys):
    written = [TRAINING / "data" / "train.tsv", *sorted((TRAINING / "data").glob("train_[0-9].tsv"))]
    files = [*written, TRAINING / "data" / "train_generated.tsv", "--held-out", TRAINING / "data" / "dev.tsv"]
    assert main(["check-data", "--schema", str(TRAINING / "schema.yaml"), *map(str, files)]) == 0
    output = capsys.readouterr().out
    assert len(written) >= 5 and output.count(" 35 of 35 intents") == len(written) + 1
    schema = Schema.read(TRAINING / "schema.yaml")
    texts = {words_of(e.text) for path in written for e in read_file(path, schema).examples}
    assert len(texts) >= 8_000
