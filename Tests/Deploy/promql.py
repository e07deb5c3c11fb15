"""Reads which series an expression of PromQL asks for. promtool judges the syntax; this only finds names, matchers and groupings."""

import re

_STRING = r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\''
_MATCHER = re.compile(rf'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*({_STRING})\s*,?')
_TOKEN = re.compile(rf'{_STRING}|\[[^\]]*\]|[a-zA-Z_:][a-zA-Z0-9_:]*|\d[\w.]*|\{{|\}}|\(|\)|\S')
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = _GROUPING | {"and", "or", "unless", "bool", "offset", "inf", "nan"}


def selectors(expression):
    """The series that are asked for: (name, [(label, operator, value)])."""
    found, position = [], 0
    while match := _TOKEN.search(expression, position):
        token, position = match[0], match.end()
        if not re.match(r"[a-zA-Z_:]", token):
            continue
        rest = expression[position:].lstrip()
        if token.lower() in _GROUPING:
            if rest.startswith("("):
                position = expression.index(")", position) + 1
            continue
        if token.lower() in _WORDS or rest.startswith("(") or re.match(r"(by|without)\b", rest):
            continue
        matchers = []
        if rest.startswith("{"):
            start = expression.index("{", position) + 1
            while found_matcher := _MATCHER.match(expression, start):
                matchers.append((found_matcher[1], found_matcher[2], found_matcher[3][1:-1]))
                start = found_matcher.end()
            position = expression.index("}", start) + 1
        found.append((token, matchers))
    return found


def groupings(expression):
    """The labels that the expression groups or matches by."""
    lists = re.findall(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)", expression)
    return {label.strip() for labels in lists for label in labels.split(",") if label.strip()}
