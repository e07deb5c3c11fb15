"""Changes to an example that keep its meaning, drawn anew each epoch: other values, typos, fillers, a preface, punctuation, ``#``."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .data import Example, Span
from .text import find_cut_words

DIGITS = "0123456789０１２３４５６７８９"

# Moves of a conversation: a word before or after them can turn one into another, so they get no fillers and no preface.
BARE = frozenset({"affirm", "deny", "greeting", "thanks", "goodbye"})
# Moves that can stand before or after a request without changing what is asked for.
BEFORE, AFTER = "greeting", "thanks"

STARTS = (
    "请问", "请问一下", "麻烦问下", "想问下", "问一下，", "那个", "那个，", "嗯", "嗯，", "呃", "就是", "亲，", "亲亲", "你好，", "你好", "您好，", "客服，", "老板，", "哈喽 ", "唉，", "哎，",
    "麻烦", "我想问一下", "不好意思，", "话说", "hi，", "在吗，", "喂，", "咳咳 ", "对了，", "还有，",
)  # fmt: skip
ENDS = ("啊", "呀", "呢", "哦", "哈", "哇", "啦", "呗", "哎", "嘞", "捏", "，谢谢", "谢谢", "，急", "，在线等", "😭", "😂", "🙏", "😤", "~", "～", "。。。", "...", "，麻烦了")
POINTS = "，。！？、；：,.!?;:~～… "

# Groups of words of which one can stand for another; longer ones first where one holds another.
SYNONYMS = (
    ("怎么还没有", "怎么还没", "咋还没", "为啥还没"),
    ("为什么", "为啥"),
    ("怎么", "咋"),
    ("能不能", "可不可以", "可以不可以", "能否", "能不"),
    ("什么时候", "啥时候", "几时", "什么时间", "多会儿", "何时"),
    ("怎么办", "咋办", "怎么弄", "咋整", "怎么处理"),
    ("多少钱", "几多钱", "啥价", "什么价"),
    ("什么", "啥", "神马"),
    ("你们家", "你家", "你们店", "贵店", "店里"),
    ("没有", "没", "木有", "冇"),
    ("帮我", "给我", "替我", "帮忙", "麻烦"),
    ("知道", "晓得"),
    ("一下", "下", "一哈"),
    ("收到货", "收到", "拿到", "到手"),
    ("现在", "目前", "这会儿", "眼下"),
    ("昨天", "昨儿", "昨日"),
    ("今天", "今儿", "今日"),
    ("明天", "明儿", "明日"),
    ("已经", "都", "早就"),
    ("想要", "想", "要"),
    ("可以吗", "行吗", "行不", "可以不", "好吗", "ok吗"),
    ("不行", "不可以", "不中"),
    ("的话", ""),
    ("但是", "但", "可是", "不过"),
    ("我们", "咱们", "咱", "俺们"),
    ("坏了", "坏掉了", "坏啦"),
    ("快点", "快些", "赶紧", "尽快", "抓紧"),
    ("东西", "货", "宝贝", "商品"),
)  # fmt: skip
# A typo must not take these away: without them a sentence says the opposite.
NEGATIONS = "不没别未无否非"
# Values of these slots fit any sentence; others depend on the words around them.
EXCHANGEABLE = ("order_id", "tracking_no", "phone", "recipient", "address", "product")


@dataclass(frozen=True)
class Augmentation:
    """How often each change is made: chances an example, but for ``digit``, a chance a digit."""

    digit: float = 0.1
    value: float = 0.15
    preface: float = 0.06
    filler: float = 0.15
    synonym: float = 0.2
    punctuation: float = 0.3
    sound: float = 0.1
    slip: float = 0.06

    def scaled(self, strength: float) -> "Augmentation":
        """All chances but that of a digit times ``strength``."""
        return Augmentation(self.digit, *(strength * chance for name, chance in self.__dict__.items() if name != "digit"))


# A text in parts, each with its slot or None.
Parts = list[tuple[str, str | None]]


class Augmenter:
    """Draws changed copies of examples; values, greetings and thanks come from the examples it was made with."""

    def __init__(self, examples: Sequence[Example], chances: Augmentation):
        self.chances = chances
        self.values: dict[str, list[str]] = defaultdict(list)
        for example in examples:
            for span in example.spans:
                if span.slot in EXCHANGEABLE:
                    self.values[span.slot].append(example.text[span.start : span.end])
        plain = [e for e in examples if not e.spans and len(e.text) <= 12]
        self.before = [e.text for e in plain if e.intent == BEFORE]
        self.after = [e.text for e in plain if e.intent == AFTER]

    def draw(self, example: Example, draw: random.Random) -> Example:
        """A copy with each change made or not, by chance."""
        c, parts = self.chances, parts_of(example)
        if draw.random() < c.value:
            parts = [(draw.choice(self.values[slot]) if slot in self.values else text, slot) for text, slot in parts]
        if draw.random() < c.synonym:
            parts = self._outside(parts, lambda text: swap_synonym(text, draw))
        if draw.random() < c.sound:
            parts = self._outside(parts, lambda text: mishear(text, draw))
        if draw.random() < c.slip:
            parts = self._outside(parts, lambda text: slip(text, draw))
        if draw.random() < c.punctuation:
            parts = change_punctuation(parts, draw)
        if example.intent not in BARE:
            if draw.random() < c.filler:
                parts = [(draw.choice(STARTS), None), *parts] if draw.random() < 0.5 else [*parts, (draw.choice(ENDS), None)]
            if draw.random() < c.preface:
                parts = self._with_preface(parts, draw)
        changed = example_of(example, parts)
        whole = changed.text.strip() and not (changed.spans and find_cut_words([changed]))
        return mask_digits(changed if whole else example, c.digit, draw)

    def _with_preface(self, parts: Parts, draw: random.Random) -> Parts:
        between = draw.choice(["，", " ", "。", "", "！"])
        if draw.random() < 0.6:
            return [(draw.choice(self.before) + between, None), *parts] if self.before else parts
        return [*parts, (between + draw.choice(self.after), None)] if self.after else parts

    @staticmethod
    def _outside(parts: Parts, change) -> Parts:
        """Changes one part outside the slots, the longest."""
        free = [i for i, (text, slot) in enumerate(parts) if slot is None and len(text) > 1]
        if not free:
            return parts
        at = max(free, key=lambda i: len(parts[i][0]))
        return [*parts[:at], (change(parts[at][0]), None), *parts[at + 1 :]]


def parts_of(example: Example) -> Parts:
    """The text cut at the edges of its slot values."""
    parts: Parts = []
    at = 0
    for span in example.spans:
        if span.start > at:
            parts.append((example.text[at : span.start], None))
        parts.append((example.text[span.start : span.end], span.slot))
        at = span.end
    if at < len(example.text):
        parts.append((example.text[at:], None))
    return parts


def example_of(original: Example, parts: Parts) -> Example:
    """The example that parts make, with the intent of the original and no white space around it."""
    text, spans = "", []
    for part, slot in parts:
        if slot is not None:
            spans.append(Span(len(text), len(text) + len(part), slot))
        text += part
    lead = len(text) - len(text.lstrip())
    return replace(original, text=text.strip(), spans=tuple(Span(s.start - lead, s.end - lead, s.slot) for s in spans))


def mask_digits(example: Example, chance: float, draw: random.Random) -> Example:
    """Each digit becomes ``#`` with the given chance, so that a model learns the shape of a number rather than its digits."""
    if chance <= 0:
        return example
    text = "".join("#" if c in DIGITS and draw.random() < chance else c for c in example.text)
    return replace(example, text=text)


def swap_synonym(text: str, draw: random.Random) -> str:
    """One word becomes another of its group."""
    found = [(word, group) for group in SYNONYMS for word in group if word and len(word) > 1 and word in text]
    # Not a part of a longer word, such as 什么 of 为什么.
    found = [(word, group) for word, group in found if not any(word in other and word != other for other, _ in found)]
    if not found:
        return text
    word, group = draw.choice(found)
    return text.replace(word, draw.choice([w for w in group if w != word]), 1)


def mishear(text: str, draw: random.Random) -> str:
    """One Chinese character becomes one that sounds alike, as voice and pinyin input do it.

    The first level of GB 2312 lists its characters by pinyin, so near neighbours mostly share their syllable.
    """
    places = [i for i, c in enumerate(text) if c in _INDEX and c not in NEGATIONS]
    if not places:
        return text
    at = draw.choice(places)
    other = _SOUNDS[max(0, min(len(_SOUNDS) - 1, _INDEX[text[at]] + draw.choice((-3, -2, -1, 1, 2, 3))))]
    return text[:at] + other + text[at + 1 :]


def slip(text: str, draw: random.Random) -> str:
    """A character is left out, doubled, or changes places with the next."""
    at = draw.randrange(len(text) - 1)
    if text[at] in NEGATIONS or text[at + 1] in NEGATIONS:
        return text
    kind = draw.randrange(3)
    if kind == 0 and len(text) > 4:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[: at + 1] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def change_punctuation(parts: Parts, draw: random.Random) -> Parts:
    """Punctuation outside the slots is dropped, becomes a space, or is set at the end."""
    kind = draw.randrange(4)
    if kind == 3:
        return [*parts, (draw.choice(("。", "！", "？", "!", "?", "！！", "??", "~", "…")), None)]
    table = str.maketrans({c: ("" if kind == 0 else " ") for c in POINTS})
    if kind == 2:
        last, slot = parts[-1]
        return parts if slot is not None else [*parts[:-1], (last.rstrip(POINTS), None)]
    return [(text if slot is not None else text.translate(table), slot) for text, slot in parts]


_LEVEL_ONE = ((row, column) for row in range(0xB0, 0xD8) for column in range(0xA1, 0xFF) if (row, column) < (0xD7, 0xFA))
_SOUNDS = [bytes(place).decode("gb2312") for place in _LEVEL_ONE]
_INDEX = {c: i for i, c in enumerate(_SOUNDS)}

