"""A text as the gates see it: its words, stems, numbers, names and language, read once.

Rule 1: a text is read in one pass over its words; what is looked up is in tables made when the module is loaded.
Rule 2: a word counts as a name when it is written as one (a capital where the sentence doesn't begin, several
        capitals, letters and digits mixed), so that a text in small letters has none.  WHO and US stay in capitals
        among the names and what is said, for in small letters they are other words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Final, NamedTuple

from scoutcache.meaning.lexicon import FUNCTION, LIMITS, NEGATIONS, POLITE, STOPWORDS
from scoutcache.meaning.numerals import KIN, numbers, operators, plain

__all__ = ["DENSE", "FOREIGN", "PIECE", "Wording", "read", "room_of", "same_words", "stem"]

_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[%$€£#]|\+\+", re.UNICODE)
_DOTTED: Final = re.compile(r"(?<![\w.])(?:[^\W\d_]\.)+[^\W\d_](?:\.|(?!\w))")
"""Initials with their dots: U.S. is US, and p.m. is pm."""
_ENDS: Final = frozenset(".!?:;\n\"“(`")


class Wording(NamedTuple):
    """What the gates know of a text."""

    words: tuple[str, ...]
    """In small letters, in order."""
    content: tuple[str, ...]
    """The stems of the words that say something, in order."""
    stems: frozenset[str]
    """The stems of all words."""
    numbers: tuple[str, ...]
    """Numbers, each with the unit behind it if there is one, sorted."""
    operators: tuple[str, ...]
    """Operators between operands, in order."""
    signs: str
    """Emoji, symbols and characters of scripts in which a word is no run of letters, in order."""
    names: frozenset[str]
    """Words that are written as names, in small letters (rule 2)."""
    initials: str
    """The first letters of all words."""
    negated: bool
    limits: frozenset[str]
    """How it is limited: only, almost, partly, first, second."""
    language: str | None
    """Known by the commonest words; None for too few of them."""
    script: str
    """The script of most letters: LATIN, CYRILLIC, CJK…"""
    is_long: bool
    """It is embedded in pieces, whose mean hides a sentence."""


@lru_cache(maxsize=4096)
def read(text: str) -> Wording:
    """Read *text*; of a long one its first 20,000 characters."""
    text = text[:20_000]
    is_long = room_of(text) > PIECE
    text = _undotted(plain(text))
    shouts = text.isupper() and len(text.split()) > 2
    words, names, shorthands, begins = list[str](), set[str](), dict[int, str](), True
    last_end = 0
    for found in _WORD.finditer(text):
        word, start = found[0], found.start()
        begins = begins or any(mark in _ENDS for mark in text[last_end:start])
        small = word.lower().replace("’", "'")
        if _is_name(word, begins=begins):
            is_shorthand = word.isupper() and small in FUNCTION and small not in NEGATIONS
            if not (is_shorthand and shouts):
                names.add(word if is_shorthand else small.removesuffix("'s"))
                if is_shorthand:
                    shorthands[len(words)] = word
        words.append(small)
        last_end, begins = found.end(), False
    stems = [stem(word) for word in words]
    content = [
        shorthands.get(at, stems[at]) for at, word in enumerate(words)
        if at in shorthands or (word not in FUNCTION and word not in _SIGNS)
    ]  # fmt: skip
    negated = any(word in NEGATIONS or word.endswith("n't") for word in words)
    limits = frozenset(LIMITS[word] for word in words if word in LIMITS)
    language, script = _language(words), _script(text)
    return Wording(
        tuple(words), tuple(content), frozenset(stems), tuple(sorted(numbers(text, words))), operators(text),
        _signs(text), frozenset(names), "".join(word[0] for word in words), negated, limits, language, script, is_long,
    )  # fmt: skip


def _undotted(text: str) -> str:
    return _DOTTED.sub(lambda found: found[0].replace(".", ""), text)


class Bare(NamedTuple):
    """The words of a text in order, without case, punctuation and blanks, and without what it politely begins or ends
    with, which stands apart."""

    words: tuple[str, ...]
    manners: frozenset[str]


def same_words(one: str, other: str) -> bool:
    """Are they the same question but for case, punctuation, blanks, and politeness that one has and the other hasn't?

    >>> same_words("Please, what's the price of 1,000 shares?", "what's the price of 1000 shares")
    True
    >>> same_words("How do you say thanks?", "How do you say hello?")
    False
    """
    here, there = bare(one), bare(other)
    one_is_politer = here.manners <= there.manners or there.manners <= here.manners
    return here.words == there.words != () and one_is_politer


@lru_cache(maxsize=4096)
def bare(text: str) -> Bare:
    """*text* without what makes it no other question."""
    text = _undotted(plain(text[:20_000])).lower().replace("’", "'")
    text = _THOUSAND.sub("", _GLUED.sub(r"\1 \2", text))
    words = [stripped for word in text.split() if (stripped := _stripped(word))]
    begin, end = 0, len(words)
    while begin < end and words[begin] in POLITE:
        begin += 1
    while begin < end and words[end - 1] in POLITE:
        end -= 1
    return Bare(tuple(words[begin:end]), frozenset([*words[:begin], *words[end:]]))


_GLUED: Final = re.compile(r"(?<!\S)([$€£]?\d[\d.,]*)([^\W\d_]+)(?!\w)")
"""10kg is 10 kg."""
_THOUSAND: Final = re.compile(r"(?<=\d),(?=\d{3}(?:\D|$))")
_ALONE: Final = frozenset("?!,;:…¿¡")


def _stripped(word: str) -> str:
    if word in _ALONE:
        return ""
    found = word.lstrip("¿¡").rstrip(".,;:?…")
    if len(found) > 2 and found[-1] == "!" and not found.rstrip("!")[-1:].isdigit():
        found = found.rstrip(".,;:?!…")  # 5! and n! are other numbers
    return found or word


PIECE: Final = 900
"""Characters of plain English that are embedded at once: some 200 tokens of the 256 that models take."""

FOREIGN: Final = 1.5
"""What a plain letter takes of a piece in a text that isn't ASCII: other languages have a third more tokens to it, and
an emoji makes no long text."""

DENSE: Final = 3.75
"""The same of a character outside ASCII, which may be a token of its own."""


def room_of(text: str) -> float:
    """How much of a piece *text* takes, in characters of plain English.

    >>> [room_of("a" * 900), room_of("ä" + "a" * 100), room_of("東" * 240)]
    [900, 153.75, 900.0]
    """
    if text.isascii():
        return len(text)
    letters = len(text.encode("ascii", "ignore"))
    return letters * FOREIGN + (len(text) - letters) * DENSE


_SIGNS: Final = frozenset("%$€£#")


def _is_name(word: str, *, begins: bool) -> bool:
    if not word[0].isalpha():
        return word[-1:].isalpha() and any(one.isupper() for one in word)  # 3D, 4K
    if any(one.isupper() for one in word[1:]) or (not begins and word[0].isupper() and word.rstrip("'s") != "I"):
        return word not in {"I'm", "I've", "I'll", "I'd", "I"}
    return len(word) > 1 and any(one.isdigit() for one in word)


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The word without its commonest English endings: enough to meet its own inflections, no linguistics.

    >>> [stem(word) for word in ("houses", "house's", "running", "runs", "studies", "played")]
    ['hous', 'hous', 'run', 'run', 'studi', 'plai']
    """
    word = word.replace("'", "").removesuffix("s") if "'" in word else word
    if len(word) <= 3 or not word.isascii():
        return word
    for ending, rest in (("ies", "i"), ("ied", "i"), ("sses", "ss"), ("ing", ""), ("edly", ""), ("ed", ""), ("es", ""),
                         ("ly", ""), ("s", "")):  # fmt: skip
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not (ending == "s" and word.endswith("ss")):
            word = word[: -len(ending)] + rest
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lszi":
        word = word[:-1]
    if len(word) > 3 and word[-1] in "ey":
        word = word[:-1] + ("i" if word[-1] == "y" else "")
    return word


def _language(words: list[str]) -> str | None:
    if not words:
        return None
    seen = Counter(words)
    counts = {language: sum(seen[word] for word in common) for language, common in STOPWORDS.items()}
    (best, most), (_, second) = sorted(counts.items(), key=lambda one: -one[1])[:2]
    return best if most >= 2 and most >= second + 2 else None


def _script(text: str) -> str:
    if text.isascii():
        return "LATIN"
    counts: dict[str, int] = {}
    for letter, count in Counter(text).items():
        if letter.isalpha():
            script = _script_of(letter)
            counts[script] = counts.get(script, 0) + count
    return max(counts, key=lambda one: counts[one]) if counts else "LATIN"


def _script_of(letter: str) -> str:
    if letter.isascii():
        return "LATIN"
    if "\u4e00" <= letter <= "\u9fff":
        return "CJK"
    script = unicodedata.name(letter, "").partition(" ")[0]
    return "CJK" if script in {"HIRAGANA", "KATAKANA"} else script


_SPACED: Final = re.compile(
    "[\u0000-\u052f\u0590-\u077f\u0870-\u08ff\u1ab0-\u1aff\u1c80-\u1c8f\u1d00-\u1fff\u2c60-\u2c7f\u2de0-\u2dff"
    "\ua640-\ua69f\ua720-\ua7ff\uab30-\uab6f\ufb00-\ufdff\ufe00-\ufe2f\ufe70-\ufefc]"
)
"""Latin, Greek, Cyrillic, Hebrew and Arabic: words stand apart there, and the default model knows their letters."""

_SILENT: Final = frozenset("°€£©®™^`´¨¯¸") | KIN.keys() | {"±"}


def _signs(text: str) -> str:
    """What the default model takes for one unknown word whatever it is, or for a word that is a whole sentence."""
    if text.isascii():
        return ""
    told = {one for one in set(text) if not one.isascii() and one not in _SILENT and _is_sign(one)}
    return "".join(one for one in text if one in told) if told else ""


def _is_sign(one: str) -> bool:
    if one.isalpha():
        return _SPACED.match(one) is None
    category = unicodedata.category(one)
    if category[0] == "S":
        return category != "Sk" or one > "\uffff"
    if "\U000e0020" <= one <= "\U000e007e":
        return True  # tags, which tell flags apart
    return category[0] == "M" and _SPACED.match(one) is None
