"""What a server tells of entries that somebody changed: whether it was this process itself, and what becomes of copies.

The server names what changed, and not who changed it; each write of our own comes back too.

Rule 1: an entry that began, by what stands on the server now, when the copy in memory did, or a write of this process
        that is under way, is what memory has or is about to have: it stays.  Stamps are nanoseconds, and its own never
        come twice in a process.
Rule 2: anything else is noted as written, also where memory has no copy: who has read the old value and is about to
        promote it noted the position before, and is refused.  What is noted is applied after that, so that a copy which
        was promoted while we asked the server goes as well.
Rule 3: a key too long for its name stands there as a digest.  Where memory has it, it is known; else every key that
        begins as it does counts as changed, which costs what is being computed under such keys its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from scoutcache.coherence.messages import Message
from scoutcache.entry import Header, Ref, Row
from scoutcache.keys import HASHED, physical_key
from scoutcache.patterns import Pattern, escape
from scoutcache.server.commands import Command
from scoutcache.server.layout import START_DIGITS, Layout, start_text

__all__ = ["FOREIGN", "Sent", "Tracked"]

FOREIGN: Final = "foreign"
"""The source of what is noted: no process is called so."""

_AT_ONCE: Final = 1000
"""Entries asked for in one batch."""


class Sent:
    """When what this process has lately sent to the server began, by physical keys.

    Two generations of at most *capacity*: what is under way is far less.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def note(self, rows: Sequence[Row]) -> None:
        """*rows* are about to be sent."""
        for row in rows:
            self._young[physical_key(row.header.ref)] = row.header.start
        if len(self._young) > self._capacity:
            self._old, self._young = self._young, {}

    def start(self, physical: str) -> int | None:
        """The start of what was sent last under that key."""
        found = self._young.get(physical)
        return self._old.get(physical) if found is None else found


class _Detail(Protocol):
    @property
    def header(self) -> Header: ...


class _Memory(Protocol):
    """The part of the memory tier that is needed here."""

    def entry(self, ref: Ref) -> _Detail | None: ...
    def scan(self, namespace: str | None, pattern: Pattern | None = None) -> Iterator[_Detail]: ...
    def clear(self, namespace: str | None) -> int: ...


class _Changed(NamedTuple):
    """An entry that somebody changed.  *ours* are the starts, as on the server, that say it was us."""

    name: bytes
    ref: Ref
    ours: frozenset[bytes]
    hashed: bool = False
    """The ref's key is but the beginning of the entry's."""


class Tracked:
    """Judges what changed among the entries of *layout*; *note* is told of what others did, which *memory* may hold."""

    def __init__(self, layout: Layout, memory: _Memory | None, sent: Sent, note: Callable[[Message], None]) -> None:
        self._layout, self._memory, self._sent, self._note = layout, memory, sent, note
        self._beginning = layout.entries.encode()

    def changed(self, names: Iterable[bytes], ask: Callable[[Sequence[Command]], list[Any]]) -> bool:
        """These entries changed; *ask* carries commands to the server.  Is there anything to apply?"""
        found = [one for name in dict.fromkeys(names) if (one := self._of(name)) is not None]
        asked = [one for one in found if one.ours]
        standing: dict[bytes, Any] = {}
        for at in range(0, len(asked), _AT_ONCE):
            some = asked[at : at + _AT_ONCE]
            answers = ask([("GETRANGE", one.name, 0, START_DIGITS - 1) for one in some])
            standing.update(zip([one.name for one in some], answers, strict=True))
        doomed = [one for one in found if standing.get(one.name) not in one.ours]
        for message in _messages(doomed):
            self._note(message)
        return bool(doomed)

    def forget(self) -> None:
        """In a forked child, before it reads anything: of what memory has come with, changes may have been missed."""
        if self._memory is not None:
            self._memory.clear(None)

    def _of(self, name: bytes) -> _Changed | None:
        """What is known of an entry by its name; None for what is no name of an entry."""
        physical = self._layout.physical(name) if name.startswith(self._beginning) else ""
        if (ref := _ref(physical)) is None:
            return None
        sent = self._sent.start(physical)
        ours = set() if sent is None else {start_text(sent)}
        if HASHED in ref.key:
            head = Ref(ref.namespace, ref.key.partition(HASHED)[0])
            held = self._held_as(head, physical)
        else:
            head, detail = ref, None if self._memory is None else self._memory.entry(ref)
            held = None if detail is None else detail.header
        if held is not None:
            ours.add(start_text(held.start))
        return _Changed(name, head if held is None else held.ref, frozenset(ours), HASHED in ref.key and held is None)

    def _held_as(self, head: Ref, physical: str) -> Header | None:
        """The entry in memory that stands under a digest."""
        if self._memory is None:
            return None
        pattern = Pattern.parse(escape(head.key) + "*")
        like = (one.header for one in self._memory.scan(head.namespace, pattern))
        return next((header for header in like if physical_key(header.ref) == physical), None)


def _messages(doomed: Sequence[_Changed]) -> Iterator[Message]:
    """What to note; one message for a namespace, for a channel has few numbers for what only one process is told."""
    keys: dict[str, list[str]] = {}
    heads: dict[str, list[str]] = {}
    for one in doomed:
        space, key = one.ref
        (heads if one.hashed else keys).setdefault(space, []).append(escape(key) + "*" if one.hashed else key)
    for space, names in keys.items():
        yield Message("written", space, tuple(names), time.time_ns(), FOREIGN)
    for space, names in heads.items():
        yield Message("pattern", space, tuple(dict.fromkeys(names)), time.time_ns(), FOREIGN)


def _ref(physical: str) -> Ref | None:
    """The namespace and the key in a physical key, as they stand there; None where none are."""
    length, _, rest = physical.partition(":")
    if not (length.isascii() and length.isdecimal() and len(length) < 4):
        return None
    space, key = rest[: int(length)], rest[int(length) + 1 :]
    return Ref(space, key) if key and rest[int(length)] == ":" else None
