"""Whether two patterns have a key in common.

Exact for the whole grammar: two places walk over the patterns at once, and a star lets the other one walk on.  Only of
patterns so long that this would take noticeable time it is said that they may.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scoutcache.patterns import Pattern, Spans, spans_of

__all__ = ["overlap"]

_MOST_STEPS: Final = 200_000
"""They take about a tenth of a second."""

Pieces = Sequence[Spans | None]


def overlap(one: Pattern, other: Pattern) -> bool:
    """Is there a key that both match?"""
    if one.literal is not None:
        return other.matches(one.literal)
    if other.literal is not None:
        return one.matches(other.literal)
    if not (one.prefix.startswith(other.prefix) or other.prefix.startswith(one.prefix)):
        return False
    if len(one.text) * len(other.text) > _MOST_STEPS:
        return True
    return _meet(spans_of(one), spans_of(other))


def _meet(one: Pieces, other: Pieces) -> bool:
    if () in one or () in other:  # a class that takes nothing
        return False
    here = [True] + [False] * len(other)  # the places in *other* that a key can lead to, here before *one*'s first
    for piece in one:
        _walk(here, other, starred=piece is None)
        here = _next(here, piece, other)
    _walk(here, other, starred=False)
    return here[-1]


def _walk(here: list[bool], other: Pieces, *, starred: bool) -> None:
    """Places reached without leaving the place in *one*: *starred* when its star takes what *other* goes over."""
    for at, piece in enumerate(other):
        if here[at] and (starred or piece is None):
            here[at + 1] = True


def _next(here: Sequence[bool], piece: Spans | None, other: Pieces) -> list[bool]:
    """The places reached by going over *piece* of *one*."""
    after = [False] * len(here)
    for at, reached in enumerate(here):
        facing = other[at] if at < len(other) else ()
        if not reached:
            continue
        if piece is None or facing is None:
            after[at] = True
        elif _share(piece, facing):
            after[at + 1] = True
    return after


def _share(one: Spans, other: Spans) -> bool:
    return any(first <= last_other and first_other <= last for first, last in one for first_other, last_other in other)
