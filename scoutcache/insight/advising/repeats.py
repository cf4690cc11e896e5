"""Which requests repeat earlier ones: exactly, in their beginning, or nearly.

Rule 1: exact: the key was asked for before, hit or not.
Rule 2: prefix: another key, but one with the same text up to the last colon was asked for before.
Rule 3: near: another key, whose readable text (after the first colon, without case, punctuation and the order of its
        words) was asked for before.  Keys that end in a hash or are redacted hold no text: of these nobody can tell.
        Meaning is not judged here; what `scoutcache semantic` would find can be more.
Rule 4: a request counts once, for the first of these that holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from scoutcache.insight.simulation.history import is_request
from scoutcache.oplog.records import Line

__all__ = ["HOW", "Repeats", "repeats"]

HOW: Final = (
    "exact: the same key again; prefix: a new key that shares all up to its last colon with an earlier one; near: a "
    "new key with the same words as an earlier one, whatever their case, punctuation and order; keys that end in a "
    "hash hold no text, so that nobody can tell from the log whether their texts are near"
)
_HASHED: Final = re.compile(r"(?:^|[:#])[0-9a-f]{16,}$")
_WORD: Final = re.compile(r"\w+")


class Repeats(NamedTuple):
    """Shares of *requests*, 0 to 1; *near* is None where no new key holds text, *without_text* how many hold none."""

    requests: int
    exact: float
    prefix: float
    near: float | None
    without_text: float
    how: str = HOW


def repeats(lines: Iterable[Line]) -> Repeats:
    """What repeats in *lines*, which are in the order of time."""
    keys: set[tuple[str, str]] = set()
    heads: set[tuple[str, str]] = set()
    texts: set[tuple[str, str]] = set()
    total = exact = prefix = near = hidden = readable = 0
    for line in lines:
        if not is_request(line):
            continue
        total += 1
        name = (line.namespace, line.key)
        if name in keys:
            exact += 1
            continue
        keys.add(name)
        head = (line.namespace, line.key.rpartition(":")[0])
        text = _text(line.key)
        said = (line.namespace, f"{line.key.partition(':')[0]}:{text}")
        hidden += text is None
        readable += text is not None
        if head[1].count(":") and head in heads:
            prefix += 1
        elif text and said in texts:
            near += 1
        heads.add(head)
        if text:
            texts.add(said)
    whole = max(total, 1)
    return Repeats(total, exact / whole, prefix / whole, near / whole if readable else None, hidden / whole)


def _text(key: str) -> str | None:
    """The words of a key in a fixed order; None where it ends in a hash."""
    if _HASHED.search(key):
        return None
    head, colon, rest = key.partition(":")
    return " ".join(sorted(_WORD.findall((rest if colon else head).casefold())))
