"""A server's stream as the channel by which the processes of many machines tell each other what died or was written.

The stream is the source of truth; what a process has heard of it is `heard`, and how far is its *position*.  `Listener`
feeds it; who announces or is told that it is behind reads the rest itself.

Rule 1: an invalidation moves the position that writes compare in the script that appends it; on a cluster, where that
        lies in other slots, after it, and before anything is removed.  A write's message moves no position.
Rule 2: a position that was lost (evicted, emptied) is no position: who finds that, by writing, opening, or looking
        whether the stream is still there, appends a message that continues nothing, which is a gap for everybody, and
        goes on from there.  One made anew at nought would let a write pass that began before what it hasn't heard.  On
        a cluster that takes three steps, so that no
        invalidation is forgotten that comes in between: a mark of one's own in its place, the message, and its id for
        the mark if that still stands.  Who is to raise a position finds the mark and takes it away, so that the next
        writer begins again; and makes none where there is none.
        A stream has a random name, so that another one, behind the same address or for the same directory, is not
        taken for one that has lost something: it has other messages, and who comes to it begins there.
Rule 3: what this process appends is in its buffer when the call returns, so that what it begins after it comes after.
        What can't be appended is noted all the same: this process must not serve what an invalidation names, nor what
        depends on what was written.
Rule 4: an invalidation that is interrupted ends there: left open, nobody would keep what it names for a minute.  For
        one that was killed another process of its machine, which alone can tell, ends it (`assembly.remote`).
Rule 5: the processes of its machine are told beside the stream (`neighbours`): of an invalidation before it is
        announced, of whatever the server can't be told after that was tried.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from scoutcache.channels.heard import AMONG, Heard, parts_of, position_of
from scoutcache.channels.neighbours import Neighbours, said_before, said_instead
from scoutcache.channels.placeless import Placeless
from scoutcache.channels.private import PrivateJournal
from scoutcache.channels.stream_scripts import ANNOUNCE, BREAK, BUMP, LOSE, MARK, REPLACE
from scoutcache.coherence.messages import Message, encode
from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable
from scoutcache.server.commands import Command, Conduit, Plan, perform, replies
from scoutcache.server.layout import Layout, position_text

__all__ = ["StreamChannel"]

_AT_ONCE: Final = 1000
"""Messages that are read at a time."""

_BACK: Final = 300
"""Messages to look back at, for invalidations that are under way."""


class StreamChannel(Heard, Placeless):
    """The stream of the cache that *layout* names.  *kept* messages stay in memory, *most* in the stream.

    *now* is monotonic seconds; *beside* are the other processes of this machine, by default none.  It hears nothing
    before `open_plan` was carried out.
    """

    def __init__(self, layout: Layout, conduit: Conduit, *, most: int, now: Callable[[], float],
                 kept: int = 50_000, known: bytes | None = None, name: bytes = b"",
                 beside: Neighbours | None = None) -> None:  # fmt: skip
        super().__init__(beside or Neighbours(PrivateJournal()), kept=kept, known=known)
        self.layout, self.conduit, self._most, self._now = layout, conduit, most, now
        self._known, self._opened = known, False
        self.name = name
        """The stream's own, in which the id was *known*; empty where it isn't known."""
        self.heard_at = now()
        """When the server gave the last sign of life."""
        self._begun: dict[tuple[str, int], tuple[object, Message]] = {}
        """This process's invalidations that are under way, and in which thread or task."""
        self.publishing: Callable[[Message], Plan[None]] | None = None
        """What is done after an announcement, to tell those who don't hear the stream."""

    @property
    def opened(self) -> bool:
        """Has the server ever answered?"""
        return self._opened

    # -- plans

    def open_plan(self) -> Plan[None]:
        """Begin at the stream's end, or after the id that was *known*, where what came since is still there."""
        known = self._known
        yield from self._found_positions()
        last, name = yield from self._newest_and_name()
        newest = last[0][0] if last else b"0-0"
        is_same = yield from self._is_named(name)
        if is_same:
            self.look_back(newest)
        if known is None or not is_same or position_of(known) > position_of(newest):
            known = newest
        (entries,) = yield from replies(("XREVRANGE", self.layout.events, known, "-", "COUNT", _BACK))
        self._opened = True
        self.begin(known, entries[::-1])
        if known != newest:
            yield from self.catch_up()

    def _newest_and_name(self, *more: Command) -> Plan[list[Any]]:
        newest = ("XREVRANGE", self.layout.events, "+", "-", "COUNT", 1)
        return (yield from replies(newest, ("GET", self.layout.name), *more))

    def _is_named(self, name: bytes | None) -> Plan[bool]:
        """Is a stream of this *name* the one that was heard?  One without gets one, and isn't known to be."""
        is_same = name == self.name
        if name is None:
            drawn = secrets.token_hex(8)
            with contextlib.suppress(TierUnavailable):  # it may take no writes
                _, name = yield from replies(("SET", self.layout.name, drawn, "NX"), ("GET", self.layout.name))
        self.name = name or b""
        return is_same

    def _found_positions(self) -> Plan[None]:
        """See that each position is there: nought where nothing was ever announced, else it was lost (Rule 2)."""
        names = self.layout.positions
        asked = [*[("GET", name) for name in names], ("XREVRANGE", self.layout.events, "+", "-", "COUNT", 1)]
        *standing, last = yield from replies(*asked)
        gone = [name for name, value in zip(names, standing, strict=True) if value is None]
        if gone and last:
            yield from self._make_anew(gone)
        elif gone:
            yield from replies(*[("SET", name, position_text(0, 0), "NX") for name in gone])

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
        last, name, *there = yield from self._newest_and_name(*looked)
        newest = last[0][0] if last else b"0-0"
        is_same = yield from self._is_named(name)
        if name and not is_same:
            with self._lock:
                self._gap(newest, position_of(newest) + 1)
        elif parts_of(newest) < parts_of(heard):
            if is_same:
                self.look_back(newest)
            yield from self._begin_anew()
        elif there == [0]:
            yield from self.lose(self.layout.positions[0])
        elif newest != heard:
            yield from self.catch_up()

    def _begin_anew(self) -> Plan[None]:
        """The stream that was heard is gone: say so in the new one, whose ids are smaller where the clock is behind."""
        positions, heard = self.layout.positions, self._last
        newest = yield from self._break()
        if self.layout.sharded and parts_of(newest) < parts_of(heard):  # Rule 2: each is made anew by who needs it
            yield from replies(*[("UNLINK", name) for name in positions])
        with self._lock:  # one further: within the same millisecond the new stream may give an id that was heard before
            self._gap(newest, position_of(newest) + 1)

    def _break(self) -> Plan[bytes]:
        """Append what is a gap for everybody; its id."""
        keys = [self.layout.events, self.layout.last, *([] if self.layout.sharded else self.layout.positions)]
        (identity,) = yield from replies(BREAK.call(keys, self._most))
        return identity  # type: ignore[no-any-return]  # as the script says

    def end_all(self) -> Plan[None]:
        """Have everybody drop what he holds and remembers, this process too."""
        yield from self._break()
        yield from self.catch_up()

    def announce(self, message: Message) -> Plan[tuple[int, int]]:
        """Append *message*; the positions before (or `AMONG`) and after it.  Raises `TierUnavailable`."""
        self._count(message)
        try:
            positions = yield from self._announce(message)
        except TierUnavailable:
            self.note(message if message.is_invalidation else message.owing)
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

    def is_under_way(self, message: Message) -> bool:
        """Is it an invalidation of this process's that goes on?"""
        return (message.source, message.stamp) in self._begun

    def _announce(self, message: Message) -> Plan[tuple[int, int]]:
        ((before, identity),) = yield from replies(self.appending(message))
        if self.layout.sharded and message.is_invalidation:
            mark = position_text(*parts_of(identity))
            yield from replies(*[BUMP.call([name], mark) for name in self._concerned(message)])
        end = self.told(message, before, identity)
        if end is None:
            yield from self.catch_up()  # Rule 3
        return AMONG if end is None else end, position_of(identity)

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
        """Rule 2, for the position named so."""
        yield from self._make_anew([position])
        yield from self.catch_up()

    def _make_anew(self, positions: Sequence[str]) -> Plan[None]:
        """Rule 2, for all of them at once."""
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
        self.tell_neighbours(said_before(message))
        try:
            return perform(self.announce(message.plain), self.conduit)
        except TierUnavailable:
            self.tell_neighbours(said_instead(message))
            raise

    def tell_neighbours(self, message: Message | None, *, wait: bool = True) -> None:
        """Say *message* beside the stream, if there is one.

        Without *wait* `BlockingIOError` where a neighbour is speaking.
        """
        if message is None:
            return
        if message.opens:
            self._count(message)  # or nobody would end it, should this be interrupted
        self.beside.tell(message, wait=wait)

    def trim(self) -> None:
        """Let the journal go of what is old; the stream is trimmed as it grows.  Raises `TierUnavailable`."""
        self.beside.journal.trim()

    def recover(self) -> bool:
        """Has a neighbour missed something for good, because it could not be written?"""
        return self.beside.journal.recover()

    def replaced(self) -> bool:
        """Has the directory that the neighbours share been replaced?"""
        return self.beside.journal.replaced()

    def reopen(self) -> None:
        """Open the journal that is there now; what neighbours said in it before that is missed."""
        self.beside.reopen()
        self.miss()

    def broken_off(self) -> None:
        """End what the calling thread or task has under way (Rule 4); it doesn't know any more what it holds."""
        for message in [message for whose, message in list(self._begun.values()) if whose == _here()]:
            with contextlib.suppress(TierUnavailable):
                self.append(message.undone)
        self.miss()

    def renew_mutex(self) -> None:
        """Called in a forked child.  What a thread of the parent's was about to keep is half done here, for good."""
        super().renew_mutex()
        self._begun.clear()

    def close(self) -> None:
        """Close the journal; the conduit is closed by whoever made it."""
        self.beside.journal.close()


def _here() -> object:
    """The task that is running, else the thread."""
    asyncio = sys.modules.get("asyncio")  # who hasn't loaded it runs no task
    task = None if asyncio is None or asyncio._get_running_loop() is None else asyncio.current_task()
    return threading.get_ident() if task is None else task
