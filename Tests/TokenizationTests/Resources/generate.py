"""Writes what the Swift tokenizer is held to, from PyPI `tokenizers` itself, or checks that it still stands.

    python generate.py            writes tokenization.jsonl, preprocessing.jsonl and Sources/Tokenization/CharacterData.swift
    python generate.py --check    compares them with what the installed `tokenizers` gives; exit status 1 where they differ

tokenization.jsonl      BertWordPieceTokenizer over lines of many kinds. One object a line: "t" text, "c" index into CONFIGURATIONS (absent: 0),
                        "i" token ids with [CLS] and [SEP], "o" per token between these the gap to the end of the token before, and its length,
                        in Unicode scalars of the text.
preprocessing.jsonl     the whole behaviour of a model bundle, width mapping included, in a plain form that training code reads as well:
                        "text", "half_width", "tokens", "ids", "offsets" ([start, end] per token, [0, 0] for [CLS] and [SEP]), "max_length".
CharacterData.swift     the character properties that `tokenizers` works with. They are those of several Unicode versions, so they are probed,
                        one scalar after the other, rather than taken from a Unicode database.
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import BertWordPieceTokenizer
from tokenizers.normalizers import NFD, BertNormalizer, Lowercase, StripAccents
from tokenizers.pre_tokenizers import BertPreTokenizer

HERE = Path(__file__).resolve().parent
SWIFT = HERE.parents[2] / "Sources" / "Tokenization" / "CharacterData.swift"
SEED = 20240611

# Indexed by "c" of tokenization.jsonl.
CONFIGURATIONS = [
    dict(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True),
    dict(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False),
    dict(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=True),
    dict(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False),
    dict(clean_text=False, handle_chinese_chars=True, strip_accents=True, lowercase=True),
    dict(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True, encode_special_tokens=True),
]

# Full-width to half-width, one scalar to one scalar, before all else.
WIDTH = {c: c - 0xFEE0 for c in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


def tokenizer(configuration):
    configuration = dict(configuration)
    as_text = configuration.pop("encode_special_tokens", False)
    bert = BertWordPieceTokenizer(str(HERE / "vocab.txt"), **configuration)
    bert._tokenizer.encode_special_tokens = as_text
    return bert


# --- character data ---------------------------------------------------------------------------------------------------------------------------


def scalars():
    return (c for c in range(0x110000) if not 0xD800 <= c < 0xE000)


def ranges(values):
    found = []
    for c in values:
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return found


def wrap(words, width=124):
    lines, line = [], ""
    for word in words:
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return lines + [line]


def character_data():
    plain = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    clean = BertNormalizer(**(plain | dict(clean_text=True))).normalize_str
    chinese = BertNormalizer(**(plain | dict(handle_chinese_chars=True))).normalize_str
    pieces = BertPreTokenizer().pre_tokenize_str
    nfd, strip, lower = NFD().normalize_str, StripAccents().normalize_str, Lowercase().normalize_str
    bert_strip = BertNormalizer(**(plain | dict(strip_accents=True))).normalize_str

    def sets():
        yield "removed", "Dropped by `clean_text`.", [c for c in scalars() if clean(chr(c)) == ""]
        yield "whitespace", "Separates words.", [c for c in scalars() if len(pieces("a" + chr(c) + "a")) == 2]
        yield "punctuation", "A word by itself.", [c for c in scalars() if len(pieces("a" + chr(c) + "a")) == 3]
        yield "ideographs", "A word by itself, by `handle_chinese_chars`.", [c for c in scalars() if chinese(chr(c)) != chr(c)]
        yield "nonspacingMarks", "Dropped by `strip_accents`, after canonical decomposition.", [
            c for c in scalars() if nfd(chr(c)) == chr(c) and bert_strip(chr(c)) == ""
        ]

        yield "nonstarters", "Canonical combining class other than 0: these go before U+0345, which has the last class.", [
            c for c in scalars() if c == 0x345 or nfd(chr(c)) == chr(c) and nfd("\u0345" + chr(c)) == chr(c) + "\u0345"
        ]

    out = [
        "// Made by Tests/TokenizationTests/Resources/generate.py; do not edit.",
        "",
        "/// Character properties as PyPI `tokenizers` has them. All numbers are hexadecimal.",
        "enum CharacterData {",
    ]

    def block(name, comment, words):
        out.append(f"    /// {comment}")
        out.append(f'    static let {name}: StaticString = """')
        out.extend("        " + line for line in wrap(words))
        out.extend(['        """', ""])

    for name, comment, values in sets():
        block(name, f"{comment} `first-last`, or one scalar.", [f"{a:X}" if a == b else f"{a:X}-{b:X}" for a, b in ranges(values)])

    # Hangul syllables decompose by arithmetic.
    decomposed = [(c, nfd(chr(c))) for c in scalars() if not 0xAC00 <= c <= 0xD7A3 and nfd(chr(c)) != chr(c)]
    block(
        "decompositions",
        "Full canonical decompositions but those of Hangul syllables: `scalar=scalar,...`.",
        [f"{c:X}=" + ",".join(f"{ord(d):X}" for d in text) for c, text in decomposed],
    )

    single, several = [], []
    for c in scalars():
        text = lower(chr(c))
        if text != chr(c):
            (single if len(text) == 1 else several).append((c, text))
    runs = []
    for c, text in single:
        delta = ord(text) - c
        if runs:
            run = runs[-1]
            step = c - run[1]
            if delta == run[3] and step in (1, 2) and run[2] in (0, step):
                run[1], run[2] = c, step
                continue
        runs.append([c, c, 0, delta])
    words = []
    for first, last, step, delta in runs:
        to = first + delta
        words.append(f"{first:X}={to:X}" if first == last else f"{first:X}-{last:X}/{step}={to:X}")
    words += [f"{c:X}=" + ",".join(f"{ord(d):X}" for d in text) for c, text in several]
    block("lowercase", "Lower case: `scalar=scalar,...`, or `first-last/step=lower case of the first`, the others at the same distance.", words)
    out[-1] = "}"
    return "\n".join(out) + "\n"


# --- lines ------------------------------------------------------------------------------------------------------------------------------------

PHRASES = """
我要改地址|帮我查一下订单|快递到哪了|怎么还不发货|我想退货，七天无理由怎么退？|收到的杯子碎了|能不能周末再送|这款手机支持无线充电吗|白色的还有货吗
|优惠券怎么用|双十一满减怎么算|刚买就降价能退差价吗|能用花呗分期吗|帮我开个发票|密码忘了登不上|积分怎么兑换|转人工|我要投诉你们客服态度太差
|浙江省杭州市西湖区文三路100号|收件人王女士|13800138000|SF1234567890|订单号是202411110001|下礼拜三下午三点以后|两百块|256G|XL码|iPhone 15 Pro Max
|退款¥199.00元|Wi-Fi 6E|T恤|USB-C转HDMI|a4纸500张|老板，在吗？？|亲～谢谢啦！|「好的」|《说明书》|http://example.com/a?b=1&c=2|user@example.com
|3.5mm耳机|50%|１２３４５|ＡＢＣ全角|（全角括号）|　全角空格　|㈱|①②③|℃|№5|½杯|ⅷ|㎏|ﬁne|繁體中文訂單|裡面有沒有貨|龘靐齉|𠮷野家|㐂寿|〇〇八
""".replace("\n", "").split("|")

WORDS = """
hello world Order STATUS refund iPhone unbelievable internationalization tokenization naïve café Ünïcödé Straße ĲSSEL ŉ ǅ İstanbul ΣΊΣΥΦΟΣ ПРИВЕТ Ёлка
Việt Nam Nguyễn Đặng Ấn Tượng e\u0301 o\u0302\u0301 n\u0303 A\u030a ａｂｃ ＨＥＬＬＯ don't it's U.S.A. v2.0 C++ #1 @me 100% 1,234.56 -5 ~10 x=y a_b a/b \\n "q" 'q' `q`
안녕하세요 한국어 주문 こんにちは ありがとう カタカナ ｶﾀｶﾅ が ガ か\u3099 สวัสดี ขอบคุณ น้ำ مرحبا العربية بِسْمِ שלום हिन्दी नमस्ते বাংলা தமிழ் ქართული Ⴀ ᏣᎳᎩ Ꭰ ꭰ 𐐀 𐐨 𝐀𝐁 𝕏 Ⓐ ⅷ
""".split()

EMOJI = ["😀", "👍🏻", "👩‍👩‍👧‍👦", "🏳️‍🌈", "❤️", "🇨🇳", "1️⃣", "👨🏿‍🚀", "☺", "🥺🙏", "🤷🏽‍♀️", "✅", "🫠", "©️"]
CONTROLS = [0, 1, 7, 8, 9, 10, 11, 12, 13, 0x1B, 0x7F, 0x80, 0x85, 0x9F, 0xA0, 0xAD, 0x600, 0x61C, 0x180E, 0x200B, 0x200C, 0x200D, 0x200E, 0x2028, 0x2029,
            0x202A, 0x202E, 0x2060, 0x2066, 0xFEFF, 0xFFF9, 0xFFFD, 0xFFFE, 0xFFFF, 0xE000, 0xF8FF, 0xE0001, 0xE0061, 0xF0000, 0x10FFFF, 0x1680, 0x2003]
MARKS = [0x300, 0x301, 0x302, 0x303, 0x304, 0x308, 0x30A, 0x316, 0x323, 0x327, 0x328, 0x338, 0x344, 0x345, 0x5B0, 0x64B, 0x651, 0x93C, 0x903, 0x9BE, 0xE31,
         0xF71, 0xF73, 0x302A, 0x302E, 0x302F, 0x3099, 0x309A, 0xFE0E, 0xFE0F, 0x20DD, 0x1D165, 0x1D16D, 0x1D16E, 0x1E8D0, 0x898, 0x8CA, 0x16FF0]
BLOCKS = [(0x20, 0x7F), (0xA0, 0x180), (0x180, 0x250), (0x250, 0x3D0), (0x370, 0x530), (0x530, 0x600), (0x600, 0x780), (0x900, 0xE80), (0xF00, 0x1000), (0x10A0, 0x1200),
          (0x13A0, 0x1400), (0x1700, 0x1820), (0x1AB0, 0x1F00), (0x1E00, 0x2000), (0x2000, 0x2070), (0x2070, 0x2190), (0x2190, 0x2800), (0x2E80, 0x3040), (0x3040, 0x3400),
          (0x3400, 0x3440), (0x4E00, 0x9FFF), (0x9FF0, 0xA000), (0xA640, 0xA830), (0xAC00, 0xD7FC), (0xF900, 0xFB00), (0xFB00, 0xFE10), (0xFE10, 0xFF00),
          (0xFF00, 0xFFF0), (0x10000, 0x10100), (0x10400, 0x10500), (0x10A00, 0x11A00), (0x1D100, 0x1D200), (0x1D400, 0x1D800), (0x1F000, 0x1FAFF),
          (0x20000, 0x20100), (0x2A6D0, 0x2A710), (0x2B730, 0x2B930), (0x2F800, 0x2FA20), (0x30000, 0x31350), (0xE0000, 0xE0200), (0, 0x110000)]


def random_scalar(rng, low, high):
    while True:
        c = rng.randrange(low, high)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def common_characters(vocabulary):
    return [token for token in vocabulary if len(token) == 1 and 0x4E00 <= ord(token) <= 0x9FFF]


def line(rng, common):
    """One made-up line: a mix of one to four parts of random kinds."""
    parts = []
    for _ in range(rng.choice([1, 1, 2, 2, 3, 4])):
        kind = rng.randrange(13)
        if kind <= 2:
            parts.append(rng.choice(PHRASES))
        elif kind == 3:
            parts.append("".join(rng.choice(common) for _ in range(rng.randint(1, 12))))
        elif kind == 4:
            parts.append(" ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 4))))
        elif kind == 5:
            parts.append(rng.choice(EMOJI) + rng.choice(["", "", chr(0xFE0F), chr(0x200D), rng.choice(EMOJI)]))
        elif kind == 6:
            parts.append("".join(rng.choice("0123456789０１２３４５６７８９.,-") for _ in range(rng.randint(1, 12))))
        elif kind == 7:
            low, high = rng.choice(BLOCKS)
            parts.append("".join(random_scalar(rng, low, high) for _ in range(rng.randint(1, 8))))
        elif kind == 8:
            base = rng.choice("aeioucnASOkか中ạ한אकﬁ\U0001d157\U0001d15e" + chr(0x1E69) + chr(0x344) + chr(0x1D160))
            parts.append(base + "".join(chr(rng.choice(MARKS)) for _ in range(rng.randint(1, 4))) + rng.choice(["", "b", "中"]))
        elif kind == 9:
            word = list(rng.choice(PHRASES + WORDS))
            word.insert(rng.randint(0, len(word)), chr(rng.choice(CONTROLS)))
            parts.append("".join(word))
        elif kind == 10:
            parts.append("".join(rng.choice("abcdefghijklmnopqrstuvwxyzABCDEFÀÉÎÕÜ'’-_") for _ in range(rng.randint(1, 16))))
        elif kind == 11:
            parts.append("".join(rng.choice("，。！？、；：“”‘’（）《》【】—…·~!?.,;:'\"()[]{}<>@#$%^&*-+=|\\/`￥〜「」") for _ in range(rng.randint(1, 5))))
        else:
            parts.append(" ".join(NFD().normalize_str(rng.choice(WORDS)) for _ in range(rng.randint(1, 3))))
    return rng.choice(["", "", "", " ", "，"]).join(parts)[:80]


def fixed_lines():
    yield from ["", " ", "　", "\ufeff", "\ufeff我要退款", "\0", "a\0b", "\ufffd", "\t\r\n", "中", "a", "##a", "#", "[CLS]", "[cls]", "a[SEP]b", "[MASK][PAD][UNK]", "[[CLS]]",
                "［CLS］", "[MA SK]", "[unused1]", "e\u0301[SEP]\u0301e", "\u0301", "\u0301a", "中\u0308文", "\u0344\u0316", "\U0001d15e\u0327", "\U0001d15e\u0327a\u302e\u0301",
                "\u302e\u3099\u302f\u302ea", "İ", "ẞ", "ﬀ", "ŉ", "ǰ", "K", "Å", "Ω", "豈更車賈滑串句龜", "\U0002f800\U0002fa1d", "각각\u11a8", "\u1100\u1161\u11a8", "\u0340\u0341\u0343\u0374\u037e\u0387\u1fef"]
    for length in (99, 100, 101, 150):
        yield "a" * length
        yield "中" + "b1" * (length // 2) + "文"
        yield "é" * length
        yield "e\u0301" * length
        yield "한" * (length // 3) + "국"
    yield from PHRASES
    yield from WORDS
    yield from EMOJI
    yield from (chr(c) for c in CONTROLS + MARKS)
    yield from ("a" + chr(c) + "b中" + chr(c) for c in CONTROLS + MARKS + [0xFF9E, 0xFF9F])


def tokenization():
    rng = random.Random(SEED)
    tokenizers = [tokenizer(configuration) for configuration in CONFIGURATIONS]
    common = common_characters(tokenizers[0].get_vocab())
    common.sort()
    fixed = list(fixed_lines())
    lines = [(0, text) for text in fixed] + [(0, line(rng, common)) for _ in range(5400)]
    for c in range(1, len(CONFIGURATIONS)):
        lines += [(c, text) for text in fixed[:60]] + [(c, line(rng, common)) for _ in range(240)]
    out = []
    for c, text in lines:
        encoding = tokenizers[c].encode(text)
        end, offsets = 0, []
        for a, b in encoding.offsets[1:-1]:
            offsets += [a - end, b - a]
            end = b
        case = {"t": text, "i": encoding.ids, "o": offsets}
        if c:
            case["c"] = c
        out.append(json.dumps(case, ensure_ascii=False, separators=(",", ":")))
    return "\n".join(out) + "\n"


# --- preprocessing ----------------------------------------------------------------------------------------------------------------------------


def preprocess(bert, text, max_length):
    """Text as sent -> token ids and offsets into it: what serving and training both do."""
    half = text.translate(WIDTH)
    assert len(half) == len(text)
    bert.enable_truncation(max_length)
    encoding = bert.encode(half)
    return dict(text=text, half_width=half, tokens=encoding.tokens, ids=encoding.ids, offsets=encoding.offsets, max_length=max_length)


def preprocessing():
    rng = random.Random(SEED + 1)
    bert = tokenizer(CONFIGURATIONS[0])
    common = common_characters(bert.get_vocab())
    common.sort()
    fixed = ["我要改地址", "电话１３８００１３８０００", "ＳＦ１２３４５６７８９０", "收件人：王女士（浙江省　杭州市）", "　　两件　", "￥１９９．００", "～亲～", "ＡＢＣａｂｃ！？", "［CLS］订单", "Ｅ\u0301",
             "｟ab｠", "ｶﾞ", "￠￡￢￣￤￥￦", "👍🏻好的", "e\u0301té 退款", "", "　", "\ufeff订单", "a" * 101 + "。"]
    cases = [preprocess(bert, text, 512) for text in fixed]
    for text in PHRASES:
        cases.append(preprocess(bert, text, 512))
    for _ in range(120):
        text = line(rng, common)
        wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" and rng.random() < 0.5 else "　" if c == " " and rng.random() < 0.5 else c for c in text)
        cases.append(preprocess(bert, wide, rng.choice([512, 512, 2, 3, 8])))
    return "\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases) + "\n"


def main():
    same = True
    for path, make in ((HERE / "tokenization.jsonl", tokenization), (HERE / "preprocessing.jsonl", preprocessing), (SWIFT, character_data)):
        text = make()
        if "--check" in sys.argv:
            equal = path.exists() and path.read_bytes() == text.encode()
            same = same and equal
            print(f"{path.name}: {'as it should be' if equal else 'DIFFERS'}")
        else:
            path.write_bytes(text.encode())
            print(f"{path.name}: {len(text.encode())} bytes, {text.count(chr(10))} lines")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
