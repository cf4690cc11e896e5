"""The numbers of a text with their signs and units, and the operators between them.

Rule 1: a comma groups thousands only before exactly three digits, and never behind a leading zero; else one comma is a
        decimal comma, and several part numbers of a list.  Nothing is rounded: 3.1 and 3.10 are two versions.
Rule 2: an operator counts where it stands between operands; a hyphen, a slash and a per cent sign between words don't,
        for there they are punctuation.  An option of a command (-v, +x, --hard) counts as it is written.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Final

from scoutcache.meaning.quantities import CASED, NUMBERS, UNITS

__all__ = ["KIN", "numbers", "operators", "plain"]

KIN: Final = {
    "−": "-", "–": "-", "‐": "-", "‑": "-", "×": "*", "∗": "*", "⋅": "*", "∙": "*", "·": "*", "÷": "/", "∕": "/",
    "⁄": "/", "≤": "<=", "⩽": "<=", "≦": "<=", "≥": ">=", "⩾": ">=", "≧": ">=", "≠": "!=", "≈": "~=",
}  # fmt: skip
"""What other signs of operators mean."""

_KIN: Final = str.maketrans(KIN)
_RAISED: Final = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_MIXED: Final = re.compile("(?<=[0-9])(?=[¼-¾⅐-⅞])")
_NUMBER: Final = re.compile(r"(?:(?<![\w.,])\.)?\d+(?:[.,]\d+)*")
_THOUSANDS: Final = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
_POINTED: Final = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+,\d+")
_PLAIN: Final = re.compile(r"\d{0,15}(?:\.\d{1,15})?")
_SCALED: Final = re.compile(r"(k|m|bn|b| (?:hundred|thousand|million|billion))\b", re.IGNORECASE)
_SCALES: Final = {"k": 10**3, "m": 10**6, "bn": 10**9, "b": 10**9, "hundred": 100, "thousand": 10**3, "million": 10**6,
                  "billion": 10**9}  # fmt: skip
_BEHIND: Final = re.compile(r"[\s-]?(%|°?[^\W\d_]+)")


def plain(text: str) -> str:
    """*text* with one way to write each character; raised digits and fractions stay apart from what precedes them."""
    if text.isascii():
        return text
    found = unicodedata.normalize("NFKC", _MIXED.sub(" ", _RAISED.sub(lambda found: f"^{found[0]}", text)))
    return found if len(found) < 2 * len(text) + 100 else text  # of characters that stand for whole phrases


def numbers(text: str, words: list[str]) -> list[str]:
    """Every number of a `plain` text with the unit behind it if there is one, and those written as *words*."""
    text, found = text.translate(_KIN), list[str]()
    for one in _NUMBER.finditer(text):
        values, end = _values(one[0]), one.end()
        scaled = _SCALED.match(text, end)
        if scaled is not None and _PLAIN.fullmatch(values[-1]):
            values[-1] = f"{float(values[-1]) * _SCALES[scaled[1].strip().lower()]:.15g}"
            end = scaled.end()
        if _is_negative(text, one.start()):
            values[0] = f"-{values[0]}"
        values[-1] += _unit(text, one.start(), end)
        found += values
    found += [NUMBERS[word] for word in words if word in NUMBERS]
    return found + ["2" for pair in pairwise(words) if pair == _SECOND]


_SECOND: Final = ("every", "other")
"""Every other day is every 2 days."""


def _values(digits: str) -> list[str]:
    """What the digits stand for (rule 1): one number, or those of a list."""
    if digits.isdecimal() and digits.isascii():
        return [_shortest(digits)]
    if not digits.isascii():
        digits = "".join(str(unicodedata.decimal(one)) if one.isdecimal() else one for one in digits)
    if _THOUSANDS.fullmatch(digits):
        digits = digits.replace(",", "")
    elif _POINTED.fullmatch(digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif digits.count(",") == 1 and "." not in digits:
        digits = digits.replace(",", ".")
    return [_shortest(one) for one in digits.split(",")]


def _shortest(digits: str) -> str:
    short = digits.lstrip("0")
    return short if short[:1].isdigit() else f"0{short}"


def _is_negative(text: str, start: int) -> bool:
    return text[start - 1 : start] == "-" and (start == 1 or text[start - 2] in " \t\n([{=<>*/^:,+-$€£")


def _unit(text: str, start: int, end: int) -> str:
    before = text[start - 1 : start]
    if before in {"$", "€", "£"}:
        return f" {UNITS[before]}"
    behind = _BEHIND.match(text, end)
    unit = None if behind is None else CASED.get(behind[1]) or UNITS.get(behind[1].lower())
    return "" if unit is None else f" {unit}"


_OPERATOR: Final = re.compile(r"[<>=!~±+\-*/%^]+")


def operators(text: str) -> tuple[str, ...]:
    """The operators of a `plain` text that stand between operands, in order (rule 2)."""
    text = text.translate(_KIN)
    found = list(_OPERATOR.finditer(text))
    if len(found) > _MANY:
        return tuple(one[0] for one in found)
    between = [_cut(one[0]) for one in found if _stands_between(text, one.start(), one.end())]
    return (*between, *_OPTION.findall(text))


_OPTION: Final = re.compile(r"(?<![^\s(\[{`'\"])(?:[+-][A-Za-z]{1,3}|--[a-z][\w-]*)(?![\w-])")

_MANY: Final = 500
"""More signs than that are no prose, and all count."""


def _cut(sign: str) -> str:
    """Without the sign of the number behind it: =- is =."""
    return sign[:-1] if len(sign) > 1 and sign[-1] == "-" and sign != "--" else sign


def _stands_between(text: str, start: int, end: int) -> bool:
    left, right = _left(text, start), _right(text, end)
    (near, before), (far, behind) = left, right
    first = text[start]
    if first in "<>=!~±":
        return behind is not None and (before is not None or (first in "<>" and behind == "number"))
    if first in "+-" and before == "letter" and near == 0 and (behind is None or far > 0):
        return True  # a mark or a type: A+, O-, C++
    if before is None or behind is None:
        return False
    short = before != "word" and behind != "word"
    if first == "%":
        return short and not (behind == "letter" and text[end:].lstrip(" ")[:1] in "aA")
    if first == "-":
        return short and near == far
    return short or (near == far and (first != "/" or near > 0))


_REACH: Final = 3


def _left(text: str, start: int) -> tuple[int, str | None]:
    """How many blanks lie before *start*, and what kind of operand."""
    at = start
    while at > 0 and text[at - 1] == " " and start - at < _REACH:
        at -= 1
    last, before = text[at - 1 : at], text[at - 2 : at - 1] if at > 1 else ""
    return min(start - at, 1), _kind(last, before, ")]}%")


def _right(text: str, end: int) -> tuple[int, str | None]:
    at = end
    while text[at : at + 1] == " " and at - end < _REACH:
        at += 1
    first, behind = text[at : at + 1], text[at + 1 : at + 2]
    if first in {".", "-", "$", "€", "£"} and behind.isdigit():
        return min(at - end, 1), "number"
    return min(at - end, 1), _kind(first, behind, "([{")


def _kind(one: str, next_to: str, brackets: str) -> str | None:
    if one.isdigit():
        return "number"
    if one.isalnum() or one == "_":
        return "word" if next_to.isalnum() or next_to == "_" else "letter"
    return "bracket" if one and one in brackets else None
