r"""The one grammar of patterns: that of Redis, matched against the whole key the user wrote, case-sensitively.

==========  ===========================================================================================
``*``       any characters, none too, ``:`` too
``?``       exactly one character (a code point; a Redis server would count bytes)
``[abc]``   one of these; ``[a-c]`` a range, its ends in any order; ``[^x]`` any other character.  A ``]``
            always ends the class unless escaped, so ``[]`` matches nothing and ``[^]`` any character
``\x``      the character x itself, inside a class too
==========  ===========================================================================================

Refused where Redis guesses: a class that is never closed, a backslash with nothing after it.  Refused as well: a lone
surrogate, which no key can hold and no store can be asked for.

A star is the only thing of variable length.  Between two stars stands a run of fixed length, and taking each run at the
leftmost place it fits is always enough: no choice is ever taken back, so matching costs at most key × pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from scoutcache.errors import InvalidKey

__all__ = ["Pattern", "Spans", "escape", "spans_of"]

MAX_WILDCARDS: Final = 1000
"""A pattern with more of ``?`` and classes is refused, to bound what one match may cost."""

_MAX_LENGTH: Final = 2 * 65536  # the longest key there may be, each character of it escaped
_SPECIAL: Final = re.compile(r"[*?\[\]\\]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


def escape(text: str) -> str:
    """The pattern that matches *text* and nothing else, or a literal part of a larger pattern."""
    return _SPECIAL.sub(r"\\\g<0>", text)


@dataclass(frozen=True, slots=True)
class _Run:
    """What stands between two stars: *literal* text, or a regular expression of a fixed *width* without repetition."""

    literal: str | None
    regex: re.Pattern[str] | None
    width: int

    def at(self, key: str, position: int) -> bool:
        if self.literal is not None:
            return key.startswith(self.literal, position)
        assert self.regex is not None
        return self.regex.match(key, position) is not None

    def find(self, key: str, start: int, end: int) -> int:
        """Where it first fits inside key[start:end], or -1."""
        if self.literal is not None:
            return key.find(self.literal, start, end)
        assert self.regex is not None
        found = self.regex.search(key, start, end)
        return -1 if found is None else found.start()


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern, compiled.  Make one with `Pattern.parse`; equal texts are equal patterns."""

    text: str
    prefix: str = field(compare=False)
    """The literal text before the first wildcard, unescaped: every key that matches begins with it."""
    literal: str | None = field(compare=False)
    """The one key it can match, when it has no wildcard."""
    matches_all: bool = field(compare=False)
    """True when it is made of ``*`` only."""
    _runs: tuple[_Run, ...] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Compile *text*.  Raises `InvalidKey` for what can't be a pattern."""
        if not isinstance(text, str):
            raise InvalidKey(f"a pattern is a str, not {type(text).__name__}")
        return _parse(text)

    def matches(self, key: str) -> bool:
        """Whether the whole *key* matches."""
        if self.literal is not None:
            return key == self.literal
        runs = self._runs
        if len(runs) == 1:
            return len(key) == runs[0].width and runs[0].at(key, 0)
        head, tail = runs[0], runs[-1]
        start, end = head.width, len(key) - tail.width
        if start > end or not head.at(key, 0) or not tail.at(key, end):
            return False
        for run in runs[1:-1]:
            found = run.find(key, start, end)
            if found < 0:
                return False
            start = found + run.width
        return True


@lru_cache(maxsize=512)
def _parse(text: str) -> Pattern:
    if not text:
        raise InvalidKey("a pattern can't be empty", hint="'*' matches every key")
    if len(text) > _MAX_LENGTH:
        raise InvalidKey(f"a pattern of {len(text)} characters is longer than any key")
    if (found := _SURROGATE.search(text)) is not None:
        raise InvalidKey(f"the pattern {_shown(text)} holds the lone surrogate U+{ord(found[0]):04X} at character "
                         f"{found.start() + 1}: no key can hold one")  # fmt: skip
    pieces: list[list[_Piece]] = [[]]
    for piece in _pieces(text):
        if piece is None:
            pieces.append([])
        else:
            pieces[-1].append(piece)
    if sum(piece.literal is None for run in pieces for piece in run) > MAX_WILDCARDS:
        raise InvalidKey(f"a pattern may hold {MAX_WILDCARDS} of '?' and '[…]', no more")
    # Empty runs between stars (`a**b`) match anywhere and are left out.
    runs = tuple(_run(run) for at, run in enumerate(pieces) if run or at in (0, len(pieces) - 1))
    literal = runs[0].literal if len(pieces) == 1 else None
    return Pattern(text, _prefix(pieces[0]), literal, len(pieces) > 1 and not any(pieces), runs)


Spans = tuple[tuple[int, int], ...]
"""Ranges of code points, both ends included, rising and apart."""

_ANY: Final[Spans] = ((0, 0x10FFFF),)


class _Piece(NamedTuple):
    """One character to match: *literal* when it can only be that one, and the ranges of what it can be."""

    literal: str | None
    spans: Spans

    @property
    def expression(self) -> str:
        """The regular expression for it."""
        if self.literal is not None:
            return re.escape(self.literal)
        ranges = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in self.spans)
        return f"[{ranges}]" if ranges else "(?!)"


def spans_of(pattern: Pattern) -> list[Spans | None]:
    """What *pattern* is made of: the ranges of code points of each character to match, None for a star."""
    return [None if piece is None else piece.spans for piece in _pieces(pattern.text)]


def _pieces(text: str) -> Iterator[_Piece | None]:
    """One piece for each character to match, None for a star."""
    at = 0
    while at < len(text):
        sign = text[at]
        at += 1
        if sign == "*":
            yield None
        elif sign == "?":
            yield _Piece(None, _ANY)
        elif sign == "[":
            spans, at = _class(text, at)
            yield _Piece(None, spans)
        else:
            if sign == "\\":
                if at == len(text):
                    raise InvalidKey(f"the pattern {_shown(text)} ends with a backslash",
                                     hint="write \\\\ for a backslash")  # fmt: skip
                sign = text[at]
                at += 1
            yield _Piece(sign, ((ord(sign), ord(sign)),))


def _class(text: str, at: int) -> tuple[Spans, int]:
    """What the class takes that begins at *at*, after its bracket, and where it ends."""
    opened = at - 1
    negated = text.startswith("^", at)
    at += negated
    ranges: list[tuple[int, int]] = []
    while at < len(text) and text[at] != "]":
        if text[at] == "\\" and at + 1 < len(text):
            first = last = text[at + 1]
            at += 2
        elif text.startswith("-", at + 1) and at + 2 < len(text):
            first, last = sorted((text[at], text[at + 2]))
            at += 3
        else:
            first = last = text[at]
            at += 1
        ranges.append((ord(first), ord(last)))
    if at >= len(text):
        raise InvalidKey(f"the pattern {_shown(text)} has a '[' at character {opened + 1} that is never closed",
                         hint="write \\[ for a bracket, and \\- or \\] for these inside a class")  # fmt: skip
    return (_others(ranges) if negated else _joined(ranges)), at + 1


def _joined(ranges: list[tuple[int, int]]) -> Spans:
    spans: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = spans[-1][0], max(last, spans[-1][1])
        else:
            spans.append((first, last))
    return tuple(spans)


def _others(ranges: list[tuple[int, int]]) -> Spans:
    edges = [(-1, -1), *_joined(ranges), (0x110000, 0x110000)]
    return tuple((low + 1, high - 1) for (_, low), (high, _) in pairwise(edges) if low + 1 < high)


def _run(pieces: list[_Piece]) -> _Run:
    literals = [piece.literal for piece in pieces if piece.literal is not None]
    if len(literals) == len(pieces):
        return _Run("".join(literals), None, len(pieces))
    return _Run(None, re.compile("".join(piece.expression for piece in pieces)), len(pieces))


def _prefix(pieces: list[_Piece]) -> str:
    letters: list[str] = []
    for piece in pieces:
        if piece.literal is None:
            break
        letters.append(piece.literal)
    return "".join(letters)


def _shown(text: str) -> str:
    """The pattern for a message: short, and without control codes."""
    shown = ascii(text)
    return shown if len(shown) <= 60 else shown[:57] + "..."
