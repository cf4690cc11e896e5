"""A text as the gates see it: its words, stems, numbers, names and language, read once.

Rule 1: a text is read in one pass over its words; what is looked up is in tables made when the module is loaded.
Rule 2: a word counts as a name when it is written as one (a capital where the sentence doesn't begin, several
        capitals, letters and digits mixed), so that a text in small letters has none.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final, NamedTuple

from scoutcache.meaning.lexicon import FUNCTION, NEGATIONS, NUMBERS, STOPWORDS, UNITS

__all__ = ["Wording", "read", "stem"]

_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[%$€£#]|\+\+", re.UNICODE)
_NUMBER: Final = re.compile(r"\d+(?:[.,]\d+)*")
_SCALED: Final = re.compile(r"(\d+(?:\.\d+)?)(k|m|bn|b| (?:hundred|thousand|million|billion))\b", re.IGNORECASE)
_SCALES: Final = {"k": 10**3, "m": 10**6, "bn": 10**9, "b": 10**9, "hundred": 100, "thousand": 10**3, "million": 10**6,
                  "billion": 10**9}  # fmt: skip
_ENDS: Final = frozenset(".!?:;\n\"“(`")


class Wording(NamedTuple):
    """What the gates know of a text."""

    words: tuple[str, ...]
    """In small letters, in order."""
    content: tuple[str, ...]
    """The stems of the words that say something, in order."""
    stems: frozenset[str]
    """The stems of all words."""
    numbers: frozenset[str]
    """Numbers, each with the unit behind it if there is one."""
    names: frozenset[str]
    """Words that are written as names, in small letters."""
    negated: bool
    language: str | None
    """Known by the commonest words; None for too few of them."""
    script: str
    """The script of most letters: LATIN, CYRILLIC, CJK…"""


@lru_cache(maxsize=4096)
def read(text: str) -> Wording:
    """Read *text*; of a long one its first 20,000 characters."""
    text = unicodedata.normalize("NFKC", text[:20_000])
    words, names, begins = list[str](), set[str](), True
    last_end = 0
    for found in _WORD.finditer(text):
        word, start = found[0], found.start()
        begins = begins or any(mark in _ENDS for mark in text[last_end:start])
        small = word.lower().replace("’", "'")
        if _is_name(word, begins=begins):
            names.add(small.removesuffix("'s"))
        words.append(small)
        last_end, begins = found.end(), False
    numbers = _numbers(text, words)
    stems = [stem(word) for word in words]
    content = [one for one, word in zip(stems, words, strict=True) if word not in FUNCTION and word not in _SIGNS]
    negated = any(word in NEGATIONS or word.endswith("n't") for word in words)
    language, script = _language(words), _script(text)
    return Wording(
        tuple(words), tuple(content), frozenset(stems), numbers, frozenset(names), negated, language, script
    )


_SIGNS: Final = frozenset("%$€£#")


def _is_name(word: str, *, begins: bool) -> bool:
    if not word[0].isalpha():
        return word[-1:].isalpha() and any(one.isupper() for one in word)  # 3D, 4K
    if any(one.isupper() for one in word[1:]) or (not begins and word[0].isupper() and word.rstrip("'s") != "I"):
        return word not in {"I'm", "I've", "I'll", "I'd", "I"}
    return len(word) > 1 and any(one.isdigit() for one in word)


def _numbers(text: str, words: list[str]) -> frozenset[str]:
    found = []
    for one in _NUMBER.finditer(text):
        number, end = one[0].replace(",", ""), one.end()
        scaled = _SCALED.match(text, one.start())
        scale = None if scaled is None else _SCALES.get(scaled[2].strip().lower())
        if scaled is not None and scale is not None:
            number = f"{float(scaled[1]) * scale:.15g}"
        else:
            number = number.rstrip(".").lstrip("0") or "0"
        found.append(number + _unit(text, one.start(), end))
    found += [NUMBERS[word] for word in words if word in NUMBERS]
    return frozenset(found)


_BEHIND: Final = re.compile(r"[\s-]?(%|°?[^\W\d_]+)")


def _unit(text: str, start: int, end: int) -> str:
    before = text[start - 1 : start]
    if before in {"$", "€", "£"}:
        return f" {UNITS[before]}"
    behind = _BEHIND.match(text, end)
    unit = UNITS.get(behind[1].lower()) if behind is not None else None
    return "" if unit is None else f" {unit}"


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The word without its commonest English endings: enough to meet its own inflections, no linguistics.

    >>> [stem(word) for word in ("houses", "house's", "running", "runs", "studies", "played")]
    ['hous', 'hous', 'run', 'run', 'studi', 'play']
    """
    word = word.replace("'", "").removesuffix("s") if "'" in word else word
    if len(word) <= 3 or not word.isascii():
        return word
    for ending, rest in (("ies", "i"), ("ied", "i"), ("sses", "ss"), ("ing", ""), ("edly", ""), ("ed", ""), ("es", ""),
                         ("ly", ""), ("s", "")):  # fmt: skip
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not (ending == "s" and word.endswith("ss")):
            word = word[: -len(ending)] + rest
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    if len(word) > 3 and word[-1] in "ey":
        word = word[:-1] + ("i" if word[-1] == "y" else "")
    return word


def _language(words: list[str]) -> str | None:
    if not words:
        return None
    counts = {language: sum(word in common for word in words) for language, common in STOPWORDS.items()}
    (best, most), (_, second) = sorted(counts.items(), key=lambda one: -one[1])[:2]
    return best if most >= 2 and most >= second + 2 else None


_SCRIPTS: Final = ("LATIN", "CYRILLIC", "GREEK", "ARABIC", "HEBREW", "DEVANAGARI", "THAI", "HANGUL", "HIRAGANA",
                   "KATAKANA", "CJK")  # fmt: skip


def _script(text: str) -> str:
    if text.isascii():
        return "LATIN"
    counts: dict[str, int] = {}
    for letter in text:
        if letter.isalpha():
            script = "LATIN" if letter.isascii() else unicodedata.name(letter, "").partition(" ")[0]
            script = "CJK" if script in {"HIRAGANA", "KATAKANA"} else script
            counts[script] = counts.get(script, 0) + 1
    return max(counts, key=lambda one: counts[one]) if counts else "LATIN"
