"""The journal by which the processes of one machine tell each other what died, with no server.

A directory holds `head` (a mapped page of words: magic, end, base, invalidated, current, owed, and the slots) and
segments `journal.<position>` (length- and checksum-framed messages, from that position on).  `end` counts every byte
ever announced, so it is a *position*: a reader whose own position differs has something to read, and comparing costs
one load from shared memory.  `invalidated` is the position after the last message that was an invalidation: what a
writer compares, so that busy writers don't disturb slow ones.

Rule 1: `end` moves only after the bytes it covers are in the file.  What lies beyond `end` is the torn append of a
        writer that died, and the next writer writes over it.
Rule 2: whoever finds its position older than `base` missed messages for good, and must drop its memory tier.
Rule 3: writers hold the lock (`exclusion`); readers hold nothing, and look at `base` again after reading.
Rule 4: messages are kept for ten minutes, and longer until their segment is full; a total of *limit* bytes counts for
        more than that.  `base` rises before a segment goes.
Rule 5: the head page is allocated, not sparse: a full disk is an error here and not a SIGBUS at the first store.
        A directory that was replaced under a live process shows in the inode: reopen, and drop the memory tier.
Rule 6: positions begin at the time in nanoseconds, which no journal outruns: a position of one that was replaced is
        older than `base` of the new one, so whoever noted it finds that it missed something.
Rule 7: who changes what others hold copies of says so in its slot, from before the first announcement to after the
        last (`changing`).  A slot that counts changes and belongs to nobody was left by a process that died in the
        middle of one: what it changed is unknown, so there is a gap (`recover`).  Likewise where a change was
        interrupted (`changes`): its last announcement will never come.
Rule 8: what could not be announced, because the lock was held too long, is a gap as soon as this process has the lock:
        before its next message, or at the next `recover`.  Until then it is a change in progress, should it die first.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Final

from scoutcache.channels.changes import was_interrupted
from scoutcache.channels.exclusion import OPEN, PATIENCE, SLOTS, Exclusion, exclusion_of
from scoutcache.channels.page import BASE, CURRENT, END, INVALIDATED, MAGIC, OWED, Page
from scoutcache.channels.segment import Segment, opened
from scoutcache.coherence.messages import Message, decode, encode
from scoutcache.errors import CorruptEntry, TierUnavailable

__all__ = ["KEPT", "Journal"]

_SLOT: Final = 64
"""The word of the first slot."""

KEPT: Final = 600.0
"""Seconds that a message is kept at least."""

_FORMAT: Final = 0x53434F5554303033
_FRAME: Final = struct.Struct("<II")  # length, crc32 of the payload
_IDLE: Final = bytes(8 * SLOTS)


class Journal(Page):
    """The journal in *directory*, which holds no more than *limit* bytes (default 256 MB), a fourth more at times.

    Raises `TierUnavailable` when the directory can't be written (full, read-only, another user's).
    """

    def __init__(self, directory: Path, limit: int = 256 << 20) -> None:
        self.directory, self._limit, self._segment = directory, limit, min(4 << 20, limit // 4)
        self._fd = self._open_base = -1
        self._lock: Exclusion | None = None
        self._reading: Segment | None = None
        self.reopen()

    def reopen(self) -> None:
        """Open what the directory holds now, after it was `replaced`; raises `TierUnavailable`.

        `words` is then another object: whoever kept the old one sees nothing any more.
        """
        self.close()
        try:
            self.directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # `mode` is for the last part only
            self.directory.mkdir(mode=0o700, exist_ok=True)
            self._lock = exclusion_of(self.directory / "lock")
            self.words = self._map_head()
        except BlockingIOError as error:
            raise TierUnavailable("journal", f"another process has locked it for {PATIENCE:g} s") from error
        except OSError as error:
            raise TierUnavailable("journal", f"{self.directory}: {error.strerror}") from error

    def _map_head(self) -> memoryview:
        head = os.open(self.directory / "head", OPEN, 0o600)
        try:
            with self._locked().held():
                os.posix_fallocate(head, 0, mmap.PAGESIZE)  # Rule 5
                self._map = mmap.mmap(head, mmap.PAGESIZE)
                words = memoryview(self._map).cast("Q")
                if words[MAGIC] != _FORMAT:
                    words[END] = words[BASE] = words[INVALIDATED] = words[CURRENT] = time.time_ns()  # Rule 6
                    words[OWED] = 0
                    words[MAGIC] = _FORMAT
            self._inode = os.fstat(head).st_ino
        finally:
            os.close(head)
        return words

    def _locked(self) -> Exclusion:
        if self._lock is None:
            raise ValueError("the journal is closed")
        return self._lock

    def replaced(self) -> bool:
        """Has the directory been removed or replaced?  Ask about once a second, not on a hit."""
        try:
            return (self.directory / "head").stat().st_ino != self._inode
        except OSError:
            return True

    # -- writing

    def append(self, message: Message, *, wait: bool = True) -> tuple[int, int]:
        """Announce *message*; return the positions before and after it.

        Without *wait*, a lock somebody else holds raises `BlockingIOError` at once: an event loop then asks a thread.

        What can't be announced must not pass unnoticed: when the file can't be written, `base` rises, so that every
        process drops its memory tier, and `TierUnavailable` is raised only if not even that is possible.
        """
        payload = encode(message)
        frame = _FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        try:
            if self._locked().unsaid:
                self._make_up(self._locked(), wait=wait)
            with self._locked().held(wait=wait):
                end = self.words[END]
                try:
                    self._write(end, frame)
                except OSError:
                    self._remove_empty()
                    self._gap(len(frame))
                    return end, end + len(frame)
                # In this order: who sees that something was invalidated must find the message within `end`.
                after = end + len(frame)
                if message.owed:  # first: who finds it within `end` when he starts hears of it in no other way
                    self.words[OWED] = after
                self.words[END] = after
                if message.is_invalidation:
                    self.words[INVALIDATED] = after
                return end, after
        except BlockingIOError:
            if wait:
                self._leave_unsaid()
                raise TierUnavailable("journal", f"another process has locked it for {PATIENCE:g} s") from None
            raise
        except (OSError, ValueError) as error:
            self._leave_unsaid()
            raise TierUnavailable("journal", f"{self.directory}: {error}") from error

    def _leave_unsaid(self) -> None:
        """A message could not be announced (Rule 8)."""
        lock = self._lock
        if lock is not None and not lock.unsaid:
            change = self.changing()
            change.__enter__()
            lock.unsaid.append(change)

    def _make_up(self, lock: Exclusion, *, wait: bool) -> None:
        """Everybody has missed what was left unsaid; raises `BlockingIOError` while the lock is somebody else's."""
        with contextlib.ExitStack() as over, lock.held(wait=wait):  # the changes end when the lock is free again
            while lock.unsaid:
                over.push(lock.unsaid.pop())
            self._gap()

    def _write(self, end: int, frame: bytes) -> None:
        if end - self.words[CURRENT] > self._segment:
            os.close(os.open(self._file(end), OPEN, 0o600))
            self.words[CURRENT] = end
            self._trim()
        # Over whatever a dead writer left there (Rule 1): nobody reads beyond `end`.
        current = self.words[CURRENT]
        if os.pwrite(self._writable(current), frame, end - current) != len(frame):
            raise OSError("short write")

    def _remove_empty(self) -> None:
        """Let go of a segment that took nothing: on a full disk each message would leave one.  The lock is held."""
        with contextlib.suppress(OSError):
            if self._fd >= 0 and not os.fstat(self._fd).st_size:
                self._file(self._open_base).unlink()
                self._close_file()

    def _gap(self, length: int = 1) -> None:
        """Everybody has missed something; the lock is held."""
        words, after = self.words, self.words[END] + length
        words[BASE] = words[CURRENT] = after
        words[END] = after
        words[INVALIDATED] = after

    def trim(self) -> None:
        """Let go of what is older than it need be; to be called about once a minute.  Raises `TierUnavailable`."""
        try:
            if len(self._segments()) > 1:
                with self._locked().held():
                    self._trim()
        except (OSError, ValueError) as error:
            raise TierUnavailable("journal", f"{self.directory}: {error}") from error

    def _trim(self) -> None:
        words = self.words
        segments = [base for base in self._segments() if base <= words[CURRENT]]
        for base, following in pairwise(segments):
            old = time.time() - self._file(base).stat().st_mtime > KEPT
            if not old and words[END] - base <= self._limit:  # before a gap, too: `lately` reads it
                return
            words[BASE] = max(words[BASE], following)
            self._file(base).unlink()

    def _writable(self, base: int) -> int:
        """A descriptor of the file that begins at *base*, kept open because opening costs as much as writing."""
        if self._open_base != base:
            self._close_file()
            self._fd = os.open(self._file(base), OPEN, 0o600)
            self._open_base = base
        return self._fd

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = self._open_base = -1

    # -- reading

    def since(self, position: int, most: int | None = None) -> tuple[list[Message] | None, int]:
        """The messages after *position*, and the position after them; None for them when some are gone or unreadable.

        With *most*, about so many bytes of them are enough.
        """
        while True:
            end, base = self.words[END], self.words[BASE]
            if position < base or position > end:
                return None, end
            stop = end if most is None else min(end, position + most)
            data = self._bytes(position, stop)
            if self.words[BASE] > position:
                continue  # Rule 3
            messages, length = (None, 0) if data is None else _unframe(data, whole=stop == end)
            if messages is None:
                return None, end
            if length or stop == end:
                return messages, position + length
            most = None  # the first one alone is larger

    def lately(self) -> list[Message]:
        """What was said, debts among it, as far as the last segment has it; nothing where that has none.

        Beyond a gap as well, as long as it is no more: what somebody missed there is whole in the file.
        """
        words, following, size, parts = self.words, self.words[END], 0, list[tuple[int, int]]()
        for base in reversed([base for base in self._segments() if base <= words[CURRENT]]):
            size += following - base
            if base != words[CURRENT] and size > self._segment:
                break
            parts.append((base, following))
            following = base
        if words[OWED] <= following:
            return []
        messages: list[Message] = []
        for base, stop in reversed(parts):
            data = self._part(base, base, stop)
            messages += _unframe(data or b"", whole=False)[0] or ()
        return messages

    def recent(self) -> tuple[list[Message], int]:
        """The messages among which those of changes in progress are, and a position before them all."""
        if self._map[8 * _SLOT : 8 * (_SLOT + SLOTS)] == _IDLE:
            return [], self.end()
        start = self.words[CURRENT]
        return self.since(start)[0] or [], start

    def _bytes(self, start: int, stop: int) -> bytes | None:
        if start == stop:  # maybe of a segment's beginning, while others go on to the next
            return b""
        current = self.words[CURRENT]
        bases = [current] if start >= current else [base for base in self._segments() if base < stop]
        if not bases:
            return None
        parts = []
        for base, following in zip(bases, [*bases[1:], stop], strict=True):
            if following <= start:
                continue
            part = self._part(base, max(start, base), min(following, stop))
            if part is None:
                return None
            parts.append(part)
        data = b"".join(parts)
        return data if len(data) == stop - start else None

    def _part(self, base: int, start: int, stop: int) -> bytes | None:
        known = self._reading
        data = known.read(start, stop) if known is not None and known.base == base else b""
        if len(data) == stop - start:
            return data
        try:
            self._reading = anew = opened(self._file(base), base)
        except OSError:
            return None
        return anew.read(start, stop)

    def _segments(self) -> list[int]:
        """Where the segments begin, in order; an empty one may stand for what is going to be written next."""
        names = (path.name.removeprefix("journal.") for path in self.directory.glob("journal.*"))
        return sorted(int(name) for name in names if name.isdecimal())

    def _file(self, base: int) -> Path:
        return self.directory / f"journal.{base}"

    # -- changes in progress

    def changing(self) -> contextlib.AbstractContextManager[None]:
        """While it is entered, this process is in the middle of a change (Rule 7).  Never raises."""
        lock = self._lock
        if lock is None:
            return contextlib.nullcontext()
        slot = lock.slot
        if slot is None:
            with lock.counting:
                slot = lock.slot = self._take_slot(lock) if lock.slot is None else lock.slot
        return contextlib.nullcontext() if slot is None else _Change(self, self.words, _SLOT + slot, lock)

    def _take_slot(self, lock: Exclusion) -> int | None:
        """A slot that nobody has; None when there is none, and the death of this process would not be noticed."""
        for slot in range(SLOTS):
            if lock.take_slot(slot):
                with contextlib.suppress(BlockingIOError):
                    self._settle(lock, slot)
                    return slot
                lock.leave_slot(slot)
        return None

    def recover(self) -> bool:
        """Has a process died in the middle of a change, or was one not announced?  Then everybody missed something.

        Costs nothing while nobody is in the middle of one; ask about twice a second.
        """
        lock = self._lock
        if lock is None:
            return False
        found = False
        if lock.unsaid:
            with contextlib.suppress(BlockingIOError):  # next time
                self._make_up(lock, wait=False)
                found = True
        if self._map[8 * _SLOT : 8 * (_SLOT + SLOTS)] == _IDLE:
            return found
        with lock.counting:
            for slot in range(SLOTS):
                if self.words[_SLOT + slot] and slot != lock.slot and lock.take_slot(slot):
                    with contextlib.suppress(BlockingIOError):  # next time
                        found |= self._settle(lock, slot)
                    lock.leave_slot(slot)
        return found

    def _settle(self, lock: Exclusion, slot: int) -> bool:
        """Nobody has *slot*: if its last owner was in the middle of a change, there is a gap.

        Raises `BlockingIOError` instead of waiting: every change of this process, an event loop's too, waits for
        *counting* meanwhile.
        """
        if not self.words[_SLOT + slot]:
            return False
        with lock.held(wait=False):
            self._gap()
        self.words[_SLOT + slot] = 0
        return True

    def renew_mutex(self) -> None:
        """Called in a forked child: the thread that held the old one doesn't exist here."""
        if self._lock is not None:
            self._lock.renew()

    def close(self) -> None:
        """Let go of the files; the page stays mapped for whoever still looks at it.  Idempotent."""
        lock, self._lock, self._reading = self._lock, None, None
        if lock is not None:
            with lock.mutex:  # or a thread that is writing would find its descriptor gone, or somebody else's
                self._close_file()


class _Change:
    """One more change in progress while it is entered."""

    __slots__ = ("_journal", "_lock", "_word", "_words")

    def __init__(self, journal: Journal, words: memoryview, word: int, lock: Exclusion) -> None:
        self._journal, self._words, self._word, self._lock = journal, words, word, lock

    def __enter__(self) -> None:
        with self._lock.counting:
            self._words[self._word] += 1

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        if kind is not None and was_interrupted(kind):
            self._lock.unsaid.append(self)  # a gap at once, or as soon as the lock is to be had
            self._journal.recover()
            return
        with self._lock.counting:
            self._words[self._word] -= 1


def _unframe(data: bytes, *, whole: bool) -> tuple[list[Message] | None, int]:
    """The messages in *data* and their length; the last one may be cut off unless it is *whole*."""
    messages: list[Message] = []
    at = 0
    while at < len(data):
        size, crc = _FRAME.unpack_from(data, at) if at + _FRAME.size <= len(data) else (len(data), 0)
        payload = data[at + _FRAME.size : at + _FRAME.size + size]
        if len(payload) != size:
            return (None, 0) if whole else (messages, at)
        if zlib.crc32(payload) != crc:
            return None, 0
        try:
            messages.append(decode(payload))
        except CorruptEntry:
            return None, 0
        at += _FRAME.size + size
    return messages, at
