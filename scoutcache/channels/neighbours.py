"""What the processes of one machine tell each other beside their server, by the journal of the directory they share.

By the server alone an invalidation would reach the memory of the process next door when that next reads the stream,
some milliseconds after it has returned; and while the server is away it would not reach it at all.

Rule 1: an invalidation stands in the journal before it stands in the stream, and who reads the stream reads the journal
        first.  So what comes by both ways is heard here, and its copy in the stream says nothing new: counted twice,
        it would forbid what was computed in between.
Rule 2: what can't be told to the server is told here all the same; there that is owed.  So is what the server heard
        of and did not do: nobody is told that it is over, only that it is owed.
Rule 3: what was owed and is done is told as well: who starts later reads the journal alone (`lately`).
Rule 4: a journal that can't be written is no reason for anything to fail: the server tells the others.  One's turn to
        speak is waited for, on a busy machine it may take a while, but in vain only once: a neighbour that was stopped
        while it spoke keeps all others from it.  Only what the server can't be told is waited for each time, as in a
        directory without a server; who can't be told even so has missed something.
Rule 5: a write is told by the server alone, unless that goes away before a neighbour may have read it: then what was
        written last is told here as well, or the older values would be served until it is back.  So it is told here
        until all of them have noticed that it is back: what they stored meanwhile and depends on it has no version that
        could be renewed.  Who alone is cut off from the server asks for that, again and again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from scoutcache.channels.page import END
from scoutcache.channels.private import PrivateJournal
from scoutcache.coherence.messages import Message
from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scoutcache.channels.follower import Channel

__all__ = ["Neighbours", "said_before", "said_instead"]

_AT_ONCE: Final = 1 << 20
"""Bytes of messages that are read at a time: a process that slept may find many."""

_PATIENCE, _POLL = 1.0, 0.002
"""Seconds to wait for one's turn to speak, and between two tries."""

_COPIES: Final = 10_000
"""Messages whose copies in the stream may be yet to come; of older ones the copy counts."""

_UNEASY: Final = 5.0
"""Seconds after an outage in which neighbours may have what they stored without versions."""

_NOTICED: Final = 3.0
"""Seconds within which who is cut off from the server has noticed, and asked."""

_WRITTEN: Final = 1_000
"""Messages of writes of this process that are at hand for Rule 5."""

_OWING: Final = 10_000
"""Entries that were owed of which it is told when they are no longer; nobody takes on that many."""


def said_before(message: Message) -> Message | None:
    """What neighbours are told before *message* is announced to the server (Rule 1)."""
    return message if message.is_invalidation or message.owed else None


def said_instead(message: Message) -> Message | None:
    """What they are told where it could not be (Rule 2)."""
    return None if message.opens or message.owed else message.owing


class Neighbours:
    """The other processes of this machine, by *journal*."""

    def __init__(self, journal: Channel) -> None:
        self.journal = journal
        self._begin()
        self.read = journal.end()
        """The position up to which `news` was noted; it moves after that, for who finds it there asks no more."""

    def renew(self) -> None:
        """Called in a forked child, to whom its parent is a neighbour."""
        self.journal.renew_mutex()
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._uneasy = float("-inf")
        """Until when writes are told here as well, by the monotonic clock."""
        self._asked = float("-inf")
        """When anybody said last that the server could not be told something; by that clock, too."""
        self._is_asked = False
        """Does anybody need to hear what was written before he asked?"""
        self._awaits_turn = True
        self._own: list[Message] = []
        """What this process said, and has not read."""
        self._copies: dict[Message, int] = {}
        self._written = deque[tuple[float, Message]](maxlen=_WRITTEN)
        """When, by the monotonic clock."""
        self._owing: dict[Ref, int] = {}
        """Entries that processes of this machine owe the server, as they said, and since when."""

    @property
    def is_ahead(self) -> bool:
        """Is there news?"""
        return self.journal.words[END] != self.read  # `journal.end()`, some seven times for each write

    def tell(self, message: Message, *, wait: bool = True) -> None:
        """Say *message*; where somebody else speaks for too long nobody hears it (Rule 4).

        Without *wait* it is `BlockingIOError` then.
        """
        with self._lock:
            self._own.append(message)
            if message.owed:
                self._heed_asking()
                self._heed(message)
        try:
            if message.owed and wait:
                self.journal.append(message)
            else:
                self._append_by(message, time.monotonic() + (_PATIENCE if wait and self._awaits_turn else 0.0))
        except (TierUnavailable, BlockingIOError) as error:
            self._awaits_turn = self._awaits_turn and not wait
            with self._lock, suppress(ValueError):
                self._own.remove(message)
            if isinstance(error, BlockingIOError) and not wait:
                raise
        else:
            self._awaits_turn = True
            if self._owing and not message.owed:
                with self._lock:
                    self._heed(message)

    def _append_by(self, message: Message, until: float) -> None:
        while True:
            try:
                self.journal.append(message, wait=False)
                return
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise
                time.sleep(_POLL)

    def news(self) -> tuple[list[Message] | None, int]:
        """What the others said since the last time, some of it where it is much, and the position to be `read` then.

        None where it was lost.
        """
        with self._lock:
            messages, position = self.journal.since(self.read, _AT_ONCE)
            if messages is None:
                self._own.clear()
                return None, position
            others = [message for message in messages if not self._is_own(message)]
            for message in others:
                self._heed(message)
            if any(message.owed for message in others):
                self._is_asked = self._is_asked or time.monotonic() >= self._uneasy
                self._heed_asking()
            return others, position

    def written(self, message: Message) -> None:
        """The server has what *message* says was written: it may have been owed, by whomever (Rule 3)."""
        now = time.monotonic()
        self._written.append((now, message))
        if not self._owing and now >= self._uneasy:
            return
        with self._lock:
            is_paid = any(self._owing.get(ref, message.stamp) < message.stamp for ref in _refs_of(message))
        if is_paid or now < self._uneasy:
            with suppress(BlockingIOError):  # then whoever starts takes it for owed
                self.tell(message, wait=False)

    def be_uneasy(self) -> None:
        """The server is away, for somebody of this machine, or is just back."""
        self._uneasy = time.monotonic() + _UNEASY

    def _heed_asking(self) -> None:
        self._asked = time.monotonic()
        self.be_uneasy()

    def ask(self, source: str) -> None:
        """This process, *source*, hears nothing of the server: let the others tell it what they write (Rule 5)."""
        if time.monotonic() >= self._asked + _UNEASY / 2:
            with suppress(BlockingIOError):  # it asks again
                self.tell(Message("written", "", (), 0, source, owed=True), wait=False)

    def answer(self) -> None:
        """Tell who has asked since the last time of what was written before."""
        if self._is_asked:
            self.say_again(_NOTICED)

    def say_again(self, seconds: float) -> None:
        """The server has gone, for somebody: tell of what this process wrote there in the last *seconds* (Rule 5)."""
        self._is_asked = False
        self.be_uneasy()
        since = time.monotonic() - seconds
        lately = [message for at, message in list(self._written) if at > since]
        self._written.clear()
        for namespace in {message.namespace for message in lately}:
            some = [message for message in lately if message.namespace == namespace]
            names = dict.fromkeys([name for one in some for name in one.names if name not in one.same])
            if names:
                began = min([one.stamp for one in some])
                self.tell(Message("written", namespace, tuple(names), began, some[-1].source))

    def _heed(self, message: Message) -> None:
        """Take down what is owed from now on, or is no longer; the lock is held."""
        owing = self._owing
        if message.kind not in ("key", "written") or message.opens or message.action != "delete":
            return
        for ref in _refs_of(message):
            if message.owed:
                if ref in owing or len(owing) < _OWING:
                    owing[ref] = message.stamp
            elif owing.get(ref, message.stamp) < message.stamp:
                del owing[ref]

    def lately(self) -> Sequence[Message]:
        """What was said, debts among it, as far as the journal still knows."""
        messages = self.journal.lately()
        with self._lock:
            for message in messages:
                self._heed(message)
        return messages

    def _is_own(self, message: Message) -> bool:
        if message not in self._own:
            return False
        self._own.remove(message)
        return True

    def expect(self, message: Message) -> None:
        """Its copy will stand in the stream, for each time that it was said."""
        self._copies[message] = self._copies.get(message, 0) + 1
        if len(self._copies) > _COPIES:
            del self._copies[next(iter(self._copies))]

    def has_heard(self, message: Message) -> bool:
        """Is it the copy of what was heard here?"""
        if not self._copies:
            return False
        left = self._copies.pop(message, 0)
        if left > 1:
            self._copies[message] = left - 1
        return left > 0

    def reopen(self) -> None:
        """The directory was replaced; where it can't be made anew nobody is heard beside the server any more."""
        try:
            self.journal.reopen()
        except TierUnavailable:
            self.journal = PrivateJournal()
        with self._lock:
            self.read = self.journal.end()
            self._own.clear()


def _refs_of(message: Message) -> list[Ref]:
    return [Ref(message.namespace, key) for key in message.names]
