"""A server's stream as the channel by which the processes of many machines tell each other what died or was written.

The stream is the source of truth; a process keeps the last messages of it in memory, and how far it has heard is its
*position*.  `Listener` feeds it; who announces or is told that it is behind reads the rest itself.

A position is a number made of a stream's id: milliseconds since 2020, the id's sequence, and 14 bits for what only this
process was told (by server-assisted tracking, or by itself while the server is away), so that those of all processes
compare.

Rule 1: each message names the id before it.  Whoever reads one that doesn't continue what it has read missed something
        for good: the stream was trimmed, lost with its server, or emptied.  Then there is a gap, and everything held in
        memory is dropped.
Rule 2: `end` moves only after the message it covers is in the buffer, so that `since` finds it.
Rule 3: an invalidation moves the position that writes compare in the script that appends it; on a cluster, where that
        lies in other slots, after it, and before anything is removed.  A write's message moves no position.
Rule 4: a position that was lost (evicted, emptied) is no position: who finds that, by writing, opening, or looking
        whether the stream is still there, appends a message that continues nothing, which is a gap for everybody, and
        goes on from there.  One made anew at nought would let a write pass that began before what it hasn't heard.  On
        a cluster that takes three steps, so that no
        invalidation is forgotten that comes in between: a mark of one's own in its place, the message, and its id for
        the mark if that still stands.  Who is to raise a position finds the mark and takes it away, so that the next
        writer begins again; and makes none where there is none.
Rule 5: what this process appends is in its buffer when the call returns, so that what it begins after it comes after.
        An invalidation that can't be appended is noted all the same: this process must not serve what it names.
Rule 6: an invalidation that is interrupted ends there: left open, nobody would keep what it names for a minute.  For
        one that was killed another process of its machine, which alone can tell, ends it (`scoutcache.remote`).
Rule 7: the processes of one machine hear each other at once, by the word that their hits in memory compare
        (`neighbours`); what they say is noted.  That word doesn't move with the stream, so hits go the long way from
        when something is heard until it has been applied (`settle`).
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Final

from scoutcache.channels.neighbours import Neighbours
from scoutcache.channels.placeless import Placeless
from scoutcache.channels.private import PrivateJournal
from scoutcache.channels.stream_scripts import ANNOUNCE, BREAK, BUMP, LOSE, MARK, REPLACE
from scoutcache.coherence.messages import Message, decode, encode
from scoutcache.entry import Ref
from scoutcache.errors import CorruptEntry, TierUnavailable
from scoutcache.server.commands import Command, Conduit, Plan, perform, replies
from scoutcache.server.layout import Layout, position_text

__all__ = ["StreamChannel", "id_text", "position_of"]

_SINCE: Final = 1_577_836_800_000
"""The beginning of 2020 in milliseconds: 40 bits of them last till 2054."""
_SEQUENCE, _OWN = 10, 14
_AT_ONCE: Final = 1000
"""Messages that are read at a time."""

_BACK: Final = 300
"""Messages to look back at, for invalidations that are under way."""

LOST: Final = b"lost"
"""What a message that continues nothing names as the one before it."""

def position_of(identity: bytes) -> int:
    """The position of a stream's id."""
    milliseconds, _, number = identity.partition(b"-")
    since = min(max(0, int(milliseconds) - _SINCE), (1 << 64 - _SEQUENCE - _OWN) - 1)
    return (since << (_SEQUENCE + _OWN)) | min(int(number or 0), (1 << _SEQUENCE) - 1) << _OWN


def _split(position: int) -> tuple[int, int]:
    since, number = position >> (_SEQUENCE + _OWN), (position >> _OWN) & ((1 << _SEQUENCE) - 1)
    return (since + _SINCE, number) if since else (0, number)


def _parts(identity: bytes) -> tuple[int, int]:
    """An id's milliseconds and its sequence, which grows beyond a position's where a server's clock was set back."""
    milliseconds, _, number = identity.partition(b"-")
    return int(milliseconds), int(number or 0)


def id_text(position: int) -> str:
    """The stream's id of a position."""
    milliseconds, number = _split(position)
    return f"{milliseconds}-{number}"


class StreamChannel(Placeless):
    """The stream of the cache that *layout* names.  *kept* messages stay in memory, *most* in the stream.

    *now* is monotonic seconds; *beside* are the other processes of this machine, by default none.  It hears nothing
    before `open_plan` was carried out.
    """

    def __init__(self, layout: Layout, conduit: Conduit, *, most: int, now: Callable[[], float],
                 kept: int = 50_000, known: bytes | None = None, beside: Neighbours | None = None) -> None:  # fmt: skip
        self.layout, self.conduit, self._most, self._kept, self._now = layout, conduit, most, kept, now
        self._beside = beside or Neighbours(PrivateJournal())
        self._end = self._invalidated = 0
        self._moved: Callable[[int], object] = _nobody
        self._lock = threading.Lock()
        self._positions: list[int] = []
        self._messages: list[Message] = []
        self._base = 0
        self._last = b"0-0"
        """The id that the next message must continue."""
        self._known, self._opened = known, False
        if known is not None:
            self._gap(known, position_of(known))
        self.heard_at = now()
        """When the server gave the last sign of life."""
        self._begun: dict[tuple[str, int], tuple[object, Message]] = {}
        """This process's invalidations that are under way, and in which thread or task."""
        self.publishing: Callable[[Message], Plan[None]] | None = None
        """What is done after an announcement, to tell those who don't hear the stream."""

    # -- what followers and flows ask

    @property
    def opened(self) -> bool:
        """Has the server ever answered?"""
        return self._opened

    @property
    def words(self) -> memoryview:
        """The page on which the machine's processes see that one of them has said something."""
        return self._beside.journal.words

    @property
    def index(self) -> int:
        """The word of `words` that a hit in memory compares."""
        return self._beside.journal.index

    def settle(self, seen: int, moved: Callable[[int], object]) -> None:
        """Everything up to *seen* has been applied: tell *moved* what hits may compare, -1 where there is more."""
        with self._lock:
            self._moved = moved
            moved(self._beside.read if seen == self._end else -1)

    def end(self) -> int:
        """The position after the last message that was heard."""
        if self._beside.is_ahead:
            self._hear_neighbours()
        return self._end

    def invalidated(self) -> int:
        """The position after the last invalidation that was heard."""
        return self._invalidated

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

    # -- what is heard

    def feed(self, entries: Sequence[tuple[bytes, Any]]) -> bool:
        """Messages of the stream in their order, as XREAD and XRANGE give them; whether any was not known yet."""
        self._hear_neighbours()
        with self._lock:
            known = self._last
            for identity, fields in entries:
                if _parts(identity) <= _parts(self._last):
                    continue
                position = position_of(identity)
                if position > self._end:
                    self._take(identity, position, _field(fields, b"p"), _field(fields, b"m"))
                else:  # more of them in a millisecond than there are positions
                    self._gap(identity, self._end + 1)
            return self._last != known

    def _take(self, identity: bytes, position: int, before: bytes, payload: bytes) -> None:
        message = None
        if before == self._last:
            with contextlib.suppress(CorruptEntry):
                message = decode(payload)
        if message is None:  # Rule 1; what can't be read might have named anything
            self._gap(identity, position)
        elif self._beside.has_heard(message):
            self._advance(identity, position)
        else:
            self._keep(identity, position, message)

    def _keep(self, identity: bytes, position: int, message: Message) -> None:
        if len(self._messages) >= self._kept:
            half = self._kept // 2
            self._base = self._positions[half - 1]
            del self._positions[:half], self._messages[:half]
        self._positions.append(position)
        self._messages.append(message)
        self._advance(identity, position)
        if message.is_invalidation:
            self._invalidated = position

    def _advance(self, identity: bytes, position: int) -> None:
        self._moved(-1)
        self._end = position  # Rule 2
        self._last = identity  # last, for a write that names it as heard must find the message

    def _gap(self, identity: bytes, position: int) -> None:
        self._positions.clear()
        self._messages.clear()
        self._base = self._invalidated = position
        self._advance(identity, position)

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

    def miss(self) -> None:
        """Something that only this process is told may have been missed, and might have named anything."""
        with self._lock:
            self._gap(self._last, self._end + 1)

    def _hear_neighbours(self) -> None:
        with self._lock:
            while self._beside.is_ahead:
                news = self._beside.news()
                if news is None:
                    self._gap(self._last, self._end + 1)
                for message in news or ():
                    self._note(message)
                    if message.is_invalidation:
                        self._beside.expect(message)

    def told(self, message: Message, before: bytes, identity: bytes) -> bool:
        """This process appended *message*; false where others came in between, which are yet to be heard."""
        with self._lock:
            position = position_of(identity)
            if before != self._last or position <= self._end:
                at = bisect_right(self._positions, position) - 1  # where the stream was faster it is there
                return at >= 0 and self._positions[at] == position and self._messages[at] == message
            self._keep(identity, position, message)
            return True

    def wrote(self, message: Message, before: bytes, identity: bytes) -> None:
        """This process appended *message* with a write of its own: who reads an older value from now on must know.

        Where others came in between, it is noted until the stream brings it (Rule 5).
        """
        if not self.told(message, before, identity):
            self.note(message)

    # -- plans

    def heard(self) -> bytes:
        """The id of the last message that was heard."""
        return self._last

    def open_plan(self) -> Plan[None]:
        """Begin at the stream's end, or after the id that was *known*, where what came since is still there."""
        known = self._known
        yield from self._found_positions()
        (last,) = yield from replies(("XREVRANGE", self.layout.events, "+", "-", "COUNT", 1))
        newest = last[0][0] if last else b"0-0"
        if known is None or position_of(known) > position_of(newest):  # or the server has lost it
            known = newest
        (entries,) = yield from replies(("XREVRANGE", self.layout.events, known, "-", "COUNT", _BACK))
        self._opened = True
        self._begin(known, entries[::-1])
        if known != newest:
            yield from self.catch_up()

    def _found_positions(self) -> Plan[None]:
        """See that each position is there: nought where nothing was ever announced, else it was lost (Rule 4)."""
        names = self.layout.positions
        asked = [*[("GET", name) for name in names], ("XREVRANGE", self.layout.events, "+", "-", "COUNT", 1)]
        *standing, last = yield from replies(*asked)
        gone = [name for name, value in zip(names, standing, strict=True) if value is None]
        if gone and last:
            yield from self._make_anew(gone)
        elif gone:
            yield from replies(*[("SET", name, position_text(0, 0), "NX") for name in gone])

    def _begin(self, identity: bytes, before: Sequence[tuple[bytes, Any]]) -> None:
        """Stand behind the message called *identity*, with those *before* it at hand."""
        first = _field(before[0][1], b"p") if before else b""
        with self._lock:
            if first and first != LOST:
                self._gap(first, position_of(first))
            else:
                self._gap(identity, position_of(identity))
        self.feed(before)
        with self._lock:
            if self._last != identity:  # what is known was trimmed away, and perhaps more
                self._gap(identity, position_of(identity))

    def recent(self) -> tuple[list[Message], int]:
        """The messages at hand, and a position before them all."""
        with self._lock:
            return list(self._messages), self._base

    def catch_up(self) -> Plan[None]:
        """Hear everything that stands in the stream by now."""
        while True:
            after = b"(" + self._last
            (entries,) = yield from replies(("XRANGE", self.layout.events, after, "+", "COUNT", _AT_ONCE))
            self.feed(entries)
            if len(entries) < _AT_ONCE:
                return

    def check(self) -> Plan[None]:
        """Is the stream still the one that was heard?  A server that lost it has nothing to tell of that."""
        if not self._opened:
            yield from self.open_plan()
        heard = self._last  # first: ids only grow
        # The positions of a cluster lie on all its nodes: there, who writes or opens looks.
        looked = [] if self.layout.sharded else [("EXISTS", self.layout.positions[0])]
        last, *there = yield from replies(("XREVRANGE", self.layout.events, "+", "-", "COUNT", 1), *looked)
        newest = last[0][0] if last else b"0-0"
        if _parts(newest) < _parts(heard):
            yield from self._begin_anew()
        elif there == [0]:
            yield from self.lose(self.layout.positions[0])
        elif newest != heard:
            yield from self.catch_up()

    def _begin_anew(self) -> Plan[None]:
        """The stream that was heard is gone: say so in the new one, whose ids are smaller where the clock is behind."""
        positions, heard = self.layout.positions, self._last
        keys = [self.layout.events, self.layout.last, *([] if self.layout.sharded else positions)]
        (newest,) = yield from replies(BREAK.call(keys, self._most))
        if self.layout.sharded and _parts(newest) < _parts(heard):  # Rule 4: each is made anew by who needs it
            yield from replies(*[("UNLINK", name) for name in positions])
        with self._lock:  # one further: within the same millisecond the new stream may give an id that was heard before
            self._gap(newest, position_of(newest) + 1)

    def announce(self, message: Message) -> Plan[tuple[int, int]]:
        """Append *message*; the positions before and after it.  Raises `TierUnavailable`."""
        self._count(message)
        try:
            positions = yield from self._announce(message)
        except TierUnavailable:
            if message.is_invalidation:
                self.note(message)
            raise
        if self.publishing is not None:
            yield from self.publishing(message)
        return positions

    def _count(self, message: Message) -> None:
        """What is under way from now on, or is no longer."""
        if message.opens:
            self._begun[message.source, message.stamp] = _here(), message
        elif self._begun:
            self._begun.pop((message.source, message.stamp), None)

    def _announce(self, message: Message) -> Plan[tuple[int, int]]:
        ((before, identity),) = yield from replies(self.appending(message))
        if self.layout.sharded and message.is_invalidation:
            mark = position_text(*_parts(identity))
            yield from replies(*[BUMP.call([name], mark) for name in self._concerned(message)])
        if not self.told(message, before, identity):
            yield from self.catch_up()  # Rule 5
        return position_of(before), position_of(identity)

    def appending(self, message: Message) -> Command:
        """The command that appends *message*; its answer is for `told`."""
        keys = [self.layout.events, self.layout.last]
        if message.is_invalidation and not self.layout.sharded:
            keys.append(self.layout.positions[0])
        return ANNOUNCE.call(keys, encode(message), self._most)

    def _concerned(self, message: Message) -> Sequence[str]:
        if message.kind != "key":
            return self.layout.positions
        return list(dict.fromkeys([self.layout.position(Ref(message.namespace, key)) for key in message.names]))

    def lose(self, position: str) -> Plan[None]:
        """Rule 4, for the position named so."""
        yield from self._make_anew([position])
        yield from self.catch_up()

    def _make_anew(self, positions: Sequence[str]) -> Plan[None]:
        """Rule 4, for all of them at once."""
        stream = [self.layout.events, self.layout.last]
        if not self.layout.sharded:
            yield from replies(LOSE.call([*stream, positions[0]], self._most))
            return
        mark = f"~{secrets.token_hex(8)}"
        marked = yield from replies(*[MARK.call([name], mark) for name in positions])
        mine = [name for name, was in zip(positions, marked, strict=True) if was]
        if mine:
            (found,) = yield from replies(LOSE.call(stream, self._most))
            yield from replies(*[REPLACE.call([name], mark, found) for name in mine])

    # -- what a follower asks of any channel

    def append(self, message: Message, *, wait: bool = True) -> tuple[int, int]:
        """`announce`, blocking.  Raises `TierUnavailable`; without *wait* `BlockingIOError`, for it has to."""
        if not wait:
            raise BlockingIOError
        if message.is_invalidation:
            self.tell_neighbours(message)
        try:
            return perform(self.announce(message), self.conduit)
        except TierUnavailable:
            if not message.is_invalidation:
                self.tell_neighbours(message)
            raise

    def tell_neighbours(self, message: Message, *, wait: bool = True) -> None:
        """To be done before an invalidation is announced, and after a write that could not be.

        Without *wait* `BlockingIOError` where a neighbour is speaking.
        """
        if message.opens:
            self._count(message)  # or nobody would end it, should this be interrupted
        self._beside.tell(message, wait=wait)

    def trim(self) -> None:
        """Let the journal go of what is old; the stream is trimmed as it grows.  Raises `TierUnavailable`."""
        self._beside.journal.trim()

    def recover(self) -> bool:
        """Has a neighbour missed something for good, because it could not be written?"""
        return self._beside.journal.recover()

    def replaced(self) -> bool:
        """Has the directory that the neighbours share been replaced?"""
        return self._beside.journal.replaced()

    def reopen(self) -> None:
        """Open the journal that is there now.  Raises `TierUnavailable`."""
        self._beside.reopen()

    def broken_off(self) -> None:
        """End what the calling thread or task has under way (Rule 6); it doesn't know any more what it holds."""
        for message in [message for whose, message in list(self._begun.values()) if whose == _here()]:
            with contextlib.suppress(TierUnavailable):
                self.append(message.closing)
        self.miss()

    def renew_mutex(self) -> None:
        """Called in a forked child.  What a thread of the parent's was about to keep is half done here, for good."""
        half_done, self._lock = self._lock.locked(), threading.Lock()
        self._begun.clear()
        self._beside.renew()
        if half_done:
            self._gap(self._last, max(self._end + 1, position_of(self._last)))

    def close(self) -> None:
        """Close the journal; the conduit is closed by whoever made it."""
        self._beside.journal.close()


def _nobody(_: int) -> None:
    """Before anybody follows."""


def _here() -> object:
    """The task that is running, else the thread."""
    asyncio = sys.modules.get("asyncio")  # who hasn't loaded it runs no task
    task = None if asyncio is None or asyncio._get_running_loop() is None else asyncio.current_task()
    return threading.get_ident() if task is None else task


def _field(fields: Any, name: bytes) -> bytes:
    """A field of a message, as XRANGE gives it with any version of redis-py: a flat list or a mapping."""
    if isinstance(fields, dict):
        value = fields.get(name, b"")
    else:
        value = next((fields[at + 1] for at in range(0, len(fields) - 1, 2) if fields[at] == name), b"")
    return value if isinstance(value, bytes) else b""


