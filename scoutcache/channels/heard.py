"""What a process has heard: the last messages of a stream, and of what it alone was told, by their positions.

A position is a number made of a stream's id: milliseconds since 2020, the id's sequence, and 30 bits for what only this
process was told (by its neighbours, by server-assisted tracking, or by itself while the server is away), so that those
of all processes compare.

Rule 1: each message names the id before it.  Whoever reads one that doesn't continue what it has read missed something
        for good: the stream was trimmed, lost with its server, or emptied.  Then there is a gap, and everything held in
        memory is dropped.
Rule 2: `end` moves only after the message it covers is in the buffer, so that `since` finds it; and what a write names
        as heard (`seen`) moves last.
        Where the one before it is older than what was heard, the server itself has lost that: it was restarted with an
        older snapshot, or a replica took its place that had not been given all.  What was invalidated since is there
        again, so who knows of it says what it was (`went_back`).
Rule 3: what neighbours say (`neighbours`) is noted as soon as anybody asks for the end.  The word by which they are
        heard, which hits in memory compare, doesn't move with the stream: hits go the long way from when something is
        heard until it has been applied (`settle`).
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Final

from scoutcache.channels.lately import Lately, Told
from scoutcache.channels.neighbours import Neighbours
from scoutcache.coherence.messages import Message, decode, encode
from scoutcache.coherence.opened import Opened
from scoutcache.errors import CorruptEntry

__all__ = ["AMONG", "LOST", "Heard", "field_of", "id_text", "parts_of", "position_of"]

_SINCE: Final = 1_577_836_800_000
"""The beginning of 2020 in milliseconds: 40 bits of them last till 2054."""
_BITS, _SEQUENCE, _OWN = 40, 10, 30

_ID: Final = re.compile(rb"\d+-\d+")

AMONG: Final = -1
"""In place of the position before a message: it has been heard, others perhaps beside it."""

LOST: Final = b"lost"
"""What a message that continues nothing names as the one before it."""


def position_of(identity: bytes) -> int:
    """The position of a stream's id."""
    milliseconds, _, number = identity.partition(b"-")
    since = min(max(0, int(milliseconds) - _SINCE), (1 << _BITS) - 1)
    return (since << (_SEQUENCE + _OWN)) | min(int(number or 0), (1 << _SEQUENCE) - 1) << _OWN


def _split(position: int) -> tuple[int, int]:
    since, number = position >> (_SEQUENCE + _OWN), (position >> _OWN) & ((1 << _SEQUENCE) - 1)
    return (since + _SINCE, number) if since else (0, number)


def parts_of(identity: bytes) -> tuple[int, int]:
    """An id's milliseconds and its sequence, which grows beyond a position's where a server's clock was set back."""
    milliseconds, _, number = identity.partition(b"-")
    return int(milliseconds), int(number or 0)


def id_text(position: int) -> str:
    """The stream's id of a position."""
    milliseconds, number = _split(position)
    return f"{milliseconds}-{number}"


class Heard:
    """*kept* messages stay in memory; *known* is the id up to which all is known.  *beside* are the neighbours."""

    def __init__(self, beside: Neighbours, *, kept: int, known: bytes | None) -> None:
        self.beside, self._kept = beside, kept
        self._end = self._invalidated = self._repeated = self._stream_gap = 0
        self.under_way = Opened(time.monotonic)
        """The invalidations that are, as far as the stream has told: neighbours may know of an end that it doesn't."""
        self.went_back: Callable[[Sequence[Message] | None], object] = _nobody
        """Told what was heard and the server has lost; None where that isn't known.  No lock is held meanwhile."""
        self._lost: list[Sequence[Message] | None] = []
        """What it is yet to be told."""
        self._moved: Callable[[int], object] = _nobody
        self._lock = threading.Lock()
        self._positions: list[int] = []
        self._messages: list[Message] = []
        self._base = 0
        self._last = b"0-0"
        """The id that the next message must continue."""
        self._lately = Lately()
        if known is not None:
            self._gap(known, position_of(known))

    # -- what followers and flows ask

    @property
    def words(self) -> memoryview:
        """The page on which the machine's processes see that one of them has said something."""
        return self.beside.journal.words

    @property
    def index(self) -> int:
        """The word of `words` that a hit in memory compares."""
        return self.beside.journal.index

    def settle(self, seen: int, moved: Callable[[int], object]) -> None:
        """Everything up to *seen* has been applied: tell *moved* what hits may compare, -1 where there is more."""
        self.end()  # what this process itself has said is read, too
        with self._lock:
            self._moved = moved
            moved(self._here(seen))

    def here(self, seen: int) -> int:
        """Up to where everything in the journal has been applied, where everything up to *seen* has; -1 for less."""
        with self._lock:
            return self._here(seen)

    def _here(self, seen: int) -> int:
        return self.beside.read if seen == self._end else -1

    def end(self) -> int:
        """The position after the last message that was heard, what neighbours have said by now among them."""
        if self.beside.is_ahead:
            self._hear_neighbours()
        return self._end

    def invalidated(self) -> int:
        """The position after the last invalidation among those."""
        self.end()
        return self._invalidated

    def announced(self) -> int:
        """The same, counting what neighbours had said before the stream did: for who waits there for all to hear it."""
        return max(self.invalidated(), self._repeated)

    def seen(self) -> bytes:
        """How far this process has heard, as the scripts of a write compare it."""
        milliseconds, _, number = self._last.partition(b"-")
        return b"%b-%b" % (milliseconds.zfill(15), number.zfill(10))  # `position_text`, on every write

    def since(self, position: int, most: int | None = None) -> tuple[list[Message] | None, int]:  # noqa: ARG002
        """The messages after *position* and the position after them; None for them when some are gone."""
        with self._lock:
            end = self._end
            if position < self._base or position > end:
                return None, end
            return self._messages[bisect_right(self._positions, position) :], end

    def recent(self) -> tuple[list[Message], int]:
        """The messages at hand, and a position before them all."""
        with self._lock:
            return list(self._messages), self._base

    def heard(self) -> bytes:
        """The id of the stream's last message that was heard."""
        return self._last

    def told_lately(self) -> list[Told]:
        """The last messages of the stream that were heard, as far as they could be read."""
        with self._lock:
            return self._lately.all()

    # -- what it is told

    def feed(self, entries: Sequence[tuple[bytes, Any]]) -> bool:
        """Messages of the stream in their order, as XREAD and XRANGE give them; whether any was not known yet."""
        self.end()  # before its copies come
        with self._lock:
            is_news = self._feed(entries)
        self._tell_lost()
        return is_news

    def _feed(self, entries: Sequence[tuple[bytes, Any]]) -> bool:
        known = self._last
        for identity, fields in entries:
            if parts_of(identity) <= parts_of(self._last):
                continue
            position = position_of(identity)
            if position > self._end:
                self._take(identity, position, field_of(fields, b"p"), field_of(fields, b"m"))
            else:  # more of them in a millisecond than there are positions
                self._gap(identity, self._end + 1)
        return self._last != known

    def _take(self, identity: bytes, position: int, before: bytes, payload: bytes) -> None:
        message = None
        if before == self._last:
            with contextlib.suppress(CorruptEntry):
                message = decode(payload)
        if message is None:  # Rule 1; what can't be read might have named anything
            self._look_back(payload if before == LOST else before)
            self._gap(identity, position)
            return
        self._lately.add(identity, before, message)
        self.under_way.apply(message, position)
        if self.beside.has_heard(message):
            self._advance(identity, position, invalidates=False)
            self._repeated = position if message.is_invalidation else self._repeated
        else:
            self._keep(identity, position, message)

    def look_back(self, newest: bytes) -> None:
        """The stream that was heard has *newest* as its last: has it lost anything?"""
        with self._lock:
            self._look_back(newest)
        self._tell_lost()

    def _look_back(self, newest: bytes) -> None:
        """Has the server lost what came after *newest*?  One that is empty has nothing that could be old."""
        after = position_of(newest) if _ID.fullmatch(newest) else 0
        if not 0 < after < position_of(self._last):
            return
        self._lost.append(self._messages[bisect_right(self._positions, after) :] if after >= self._base else None)

    def _tell_lost(self) -> None:
        while self._lost:
            with self._lock:
                lost, self._lost = self._lost, []
            for one in lost:
                self.went_back(one)

    def _keep(self, identity: bytes, position: int, message: Message) -> None:
        if len(self._messages) >= self._kept:
            half = self._kept // 2
            self._base = self._positions[half - 1]
            del self._positions[:half], self._messages[:half]
        self._positions.append(position)
        self._messages.append(message)
        self._advance(identity, position, invalidates=message.is_invalidation)

    def _advance(self, identity: bytes, position: int, *, invalidates: bool) -> None:
        self._moved(-1)
        self._end = position  # first, for who sees an invalidation must find its message
        if invalidates:
            self._invalidated = position
        self._last = identity  # Rule 2

    def _gap(self, identity: bytes, position: int, *, of_stream: bool = True) -> None:
        if of_stream:
            self._stream_gap = position
        self._positions.clear()
        self._messages.clear()
        self._base = position
        self._advance(identity, position, invalidates=True)

    def note(self, message: Message) -> None:
        """Something that only this process was told, as if it stood in the stream behind what was heard."""
        with self._lock:
            self._note(message)

    def _note(self, message: Message) -> None:
        position = self._end + 1
        if position & ((1 << _OWN) - 1) == 0:  # more of them than there are numbers: drop everything instead
            self._gap(self._last, position)
        else:
            self._keep(self._last, position, message)

    def missed_of_stream(self, seen: int) -> bool:
        """Was it more than what neighbours said that was missed after *seen*?"""
        return self._stream_gap > seen or self._end < seen

    def miss(self) -> None:
        """Something that only this process is told may have been missed, and might have named anything."""
        with self._lock:
            self._gap(self._last, self._end + 1)

    def retell(self, told: Sequence[Told], until: bytes) -> bool:
        """Hear what the stream *told* a neighbour, up to the id *until*, if it continues what was heard here."""
        last, left = self._last, list[tuple[bytes, Any]]()
        for identity, before, message in told:
            if parts_of(last) < parts_of(identity) <= parts_of(until):
                if before != last:
                    return False
                left.append((identity, {b"p": before, b"m": encode(message)}))
                last = identity
        if last != until:
            return False
        self.feed(left)
        return True

    def fall_behind(self) -> None:
        """A neighbour has heard more of the stream, which may have named anything that is held or computed here."""
        with self._lock:
            self._gap(self._last, self._end + 1, of_stream=False)

    def _hear_neighbours(self) -> None:
        with self._lock:
            while self.beside.is_ahead:
                news, read = self.beside.news()
                if news is None:
                    self._gap(self._last, self._end + 1, of_stream=False)
                for message in news or ():
                    self._note(message)
                    if message.is_invalidation or message.owed:
                        self.beside.expect(message.plain)
                self.beside.read = read

    def told(self, message: Message, before: bytes, identity: bytes) -> int | None:
        """This process appended *message*; the end before it, which what was noted meanwhile has moved.

        `AMONG` where the stream was faster, None where others came in between that are yet to be heard.
        """
        with self._lock:
            position, end = position_of(identity), self._end
            self.under_way.apply(message, position)
            if before != self._last or position <= end:
                at = bisect_right(self._positions, position) - 1
                is_there = at >= 0 and self._positions[at] == position and self._messages[at] == message
                return AMONG if is_there else None
            self._lately.add(identity, before, message)
            self._keep(identity, position, message)
            return end

    def wrote(self, message: Message, before: bytes, identity: bytes) -> None:
        """This process appended *message* with a write of its own: who reads an older value from now on must know.

        Where others came in between, it is noted until the stream brings it.
        """
        if self.told(message, before, identity) is None:
            self.note(message)
        self.beside.written(message)

    def begin(self, identity: bytes, before: Sequence[tuple[bytes, Any]]) -> None:
        """Stand behind the message called *identity*, with those *before* it at hand.

        What was noted until now, while the server was away, stays behind it: running computations count from there.
        """
        first = field_of(before[0][1], b"p") if before else b""
        start = first if first and first != LOST else identity
        self.end()
        with self._lock:
            last, end, base = self._last, self._end, self._base
            after = bisect_right(self._positions, position_of(last))
            noted = list(zip(self._positions[after:], self._messages[after:], strict=True))
            self._gap(start, position_of(start))
            self._feed(before)
            if self._last != identity:  # what is known was trimmed away, and perhaps more
                self._gap(identity, position_of(identity))
            if last == identity:
                self._stand_behind(noted, end, base)
            elif position_of(last) < end < self._end:  # it stood behind another one
                self._base = max(self._base, end + 1)
        self._tell_lost()

    def _stand_behind(self, noted: Sequence[tuple[int, Message]], end: int, base: int) -> None:
        """Have at hand again what was *noted* behind the stream's last message, up to *end*, with any gap in it."""
        for position, message in noted:
            self._positions.append(position)
            self._messages.append(message)
            self._advance(self._last, position, invalidates=message.is_invalidation)
        if end > self._end:  # the last of it was a gap
            self._advance(self._last, end, invalidates=True)
        if base > position_of(self._last):
            self._base = base

    def renew_mutex(self) -> None:
        """Called in a forked child.  What a thread of the parent's was about to keep is half done here, for good."""
        half_done, self._lock = self._lock.locked(), threading.Lock()
        self.beside.renew()
        if half_done:
            self._gap(self._last, self._end + 1)


def _nobody(_: object) -> None:
    """Before anybody follows."""


def field_of(fields: Any, name: bytes) -> bytes:
    """A field of a message, as XRANGE gives it with any version of redis-py: a flat list or a mapping."""
    if isinstance(fields, dict):
        value = fields.get(name, b"")
    else:
        value = next((fields[at + 1] for at in range(0, len(fields) - 1, 2) if fields[at] == name), b"")
    return value if isinstance(value, bytes) else b""
