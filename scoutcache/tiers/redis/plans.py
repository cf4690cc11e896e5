"""What is sent for each call of the tier protocol, and what becomes of the replies.

Rule 1: a write goes through a script that compares the position of the last invalidation, and the start of what stands.
        Where the position has moved the writer reads what was announced, asks `allow` again, and tries once more, a
        few times in all: where a hundred invalidations a second meet a round trip of ten milliseconds, two of three
        tries fail.  What could not be written then isn't, nor what `allow` forbids.  An older entry of a key that
        somebody set goes in both cases: who set a value must not be answered with the one before.
Rule 2: a single row's message is appended by its own script.  That of several follows their scripts in the same batch;
        on a cluster it is sent when they were answered, or a reader who hears it would find the old entry still there.
Rule 3: an entry that is larger than a server takes isn't taken.
Rule 4: a server that is full takes nothing and still removes: who set a value there ends the older one at least.  That
        can't be announced, and is owed: what other machines have in memory they go on with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from scoutcache.coherence.messages import Message, encode
from scoutcache.entry import NEVER, Header, Ref, Row, Sealed
from scoutcache.errors import TierUnavailable
from scoutcache.server.commands import Batch, Command, Plan, checked, replies
from scoutcache.server.faults import Kind, fault_of, refusal, unavailable
from scoutcache.server.layout import Layout, frame, start_text, unexpired
from scoutcache.tiers.base import AHEAD
from scoutcache.tiers.redis.scripts import END_OLDER, LOST, MOVED, TAKEN, WRITE
from scoutcache.tiers.redis.versions import version_text

__all__ = ["Events", "RedisPlans"]

ATTEMPTS: Final = 16
LARGEST: Final = 512 << 20
"""Bytes that a server takes in one string at most (its ``proto-max-bulk-len``)."""

_AT_ONCE: Final = 512
"""Keys, or rows, that share a batch."""
_BYTES: Final = 4 << 20


class Events(Protocol):
    """What a write must know of the stream; see `scoutcache.channels.stream`."""

    def seen(self) -> bytes: ...
    def wrote(self, message: Message, before: bytes, identity: bytes) -> None: ...
    def appending(self, message: Message) -> Command: ...
    def catch_up(self) -> Plan[None]: ...
    def lose(self, position: str) -> Plan[None]: ...


class RedisPlans:
    """Plans for the entries of the cache that *layout* names.

    *stream_length* is what the stream is kept at, *draw* gives a new version.
    """

    def __init__(self, layout: Layout, events: Events, *, stream_length: int, draw: Callable[[], int]) -> None:
        self.layout, self._events, self._length, self._draw = layout, events, stream_length, draw

    # -- reading

    def read(self, ref: Ref, now: float) -> Plan[Sealed | None]:
        """The entry, or None when it is absent or expired."""
        name = self.layout.entry(ref)
        (value,) = checked_of(name, (yield Batch([("GET", name)])))
        return None if value is None else unexpired(value, now)

    def read_many(self, refs: Sequence[Ref], now: float) -> Plan[dict[Ref, Sealed]]:
        """Those that are there, 512 in a batch."""
        found = {}
        for at in range(0, len(refs), _AT_ONCE):
            some = refs[at : at + _AT_ONCE]
            for ref, value in zip(some, (yield from self._values(some)), strict=True):
                if value is not None and (sealed := unexpired(value, now)) is not None:
                    found[ref] = sealed
        return found

    def _values(self, refs: Sequence[Ref]) -> Plan[list[bytes | None]]:
        names = self.layout.entries_of(refs)
        if self.layout.sharded:
            return (yield from replies(*[("GET", name) for name in names]))
        (values,) = yield from replies(("MGET", *names))
        return list(values)

    # -- writing

    def write(
        self, rows: Sequence[Row], now: float, allow: Callable[[Header], bool] | None, message: Message | None = None
    ) -> Plan[int]:
        """Store those of *rows* that *allow* lets, and announce *message* with them; how many were taken."""
        left, taken = list(rows), 0
        for _ in range(ATTEMPTS):
            seen = self._events.seen()  # before `allow` looks at what was heard
            wanted = [row for row in left if (allow is None or allow(row.header)) and row.sealed.size < LARGEST]
            if len(wanted) < len(left):
                kept = {id(row) for row in wanted}
                yield from self._end_older([row for row in left if id(row) not in kept], message)
            if not wanted:
                yield from self._events.catch_up()  # what forbids it may have ended: who begins anew must know
                break
            try:
                answers = yield from self._sent(wanted, seen, now, message)
            except TierUnavailable as error:
                if refusal(error.reason) is Kind.OOM:
                    yield from self._remove_replaced(wanted)
                raise
            if MOVED not in answers and LOST not in answers:
                return taken + answers.count(TAKEN)
            left = [row for row, answer in zip(wanted, answers, strict=True) if answer in (MOVED, LOST)]
            taken += answers.count(TAKEN)
            lost = [row for row, answer in zip(wanted, answers, strict=True) if answer == LOST]
            for name in dict.fromkeys(self.layout.position(row.header.ref) for row in lost):
                yield from self._events.lose(name)
            yield from self._events.catch_up()
        else:
            yield from self._end_older(left, message)
        return taken

    def _end_older(self, rows: Sequence[Row], message: Message | None) -> Plan[None]:
        rows = yield from self._remove_replaced(rows)
        if rows and message is not None:
            named = _naming(message, rows)
            (told,) = yield from replies(self._events.appending(named))
            self._events.wrote(named, *told)

    def _remove_replaced(self, rows: Sequence[Row]) -> Plan[list[Row]]:
        """Remove what stands in place of those of *rows* that somebody set; which they are."""
        rows = [row for row in rows if row.replaces]
        commands = [END_OLDER.call([self.layout.entry(row.header.ref)], start_text(row.header.start)) for row in rows]
        if commands:
            yield from replies(*commands)
        return rows

    def _sent(self, rows: Sequence[Row], seen: bytes, now: float, message: Message | None) -> Plan[list[int]]:
        """What became of each row, by the codes of `WRITE`."""
        if len(rows) == 1 and not self.layout.sharded:
            name, command = self.layout.entry(rows[0].header.ref), self._command(rows[0], seen, now, message)
            answers = checked_of(name, (yield Batch([command])))
            return [self._code(answers[0], message)]
        codes: list[int] = []
        for some in _batches(rows):
            commands = [self._command(row, seen, now, None) for row in some]
            if message is not None and not self.layout.sharded:
                *answers, told = checked((yield Batch([*commands, self._events.appending(_naming(message, some))])))
                self._events.wrote(_naming(message, some), *told)
            else:
                answers = checked((yield Batch(commands)))
                if message is not None and TAKEN in answers:
                    named = _naming(message, some)
                    (told,) = yield from replies(self._events.appending(named))
                    self._events.wrote(named, *told)
            codes += answers
        return codes

    def _code(self, answer: Any, message: Message | None) -> int:
        if isinstance(answer, int):
            return answer
        if message is not None:
            self._events.wrote(message, *answer)
        return TAKEN

    def _command(self, row: Row, seen: bytes, now: float, message: Message | None) -> Command:
        header, layout = row.header, self.layout
        left = 0 if header.expires == NEVER else max(1, math.ceil((header.expires - now) * 1000))
        latest = start_text(int((now + AHEAD) * 1e9))
        told = b"" if message is None else encode(message)
        own = [seen, frame(header, row.sealed), latest, left, told]
        keys = [layout.entry(header.ref), layout.position(header.ref)]
        if not layout.sharded:
            keys += [layout.events, layout.last]
        if row.renews is not None and not layout.sharded:
            keys.append(layout.versions(header.ref.namespace))
            own += [row.renews, version_text(self._draw())]
        return WRITE.call(keys, 1, self._length, *own)

    # -- removing

    def remove(self, refs: Sequence[Ref]) -> Plan[int]:
        """Remove them; how many were there."""
        return (yield from self.unlink([self.layout.entry(ref) for ref in refs]))

    def remove_each(self, refs: Sequence[Ref]) -> Plan[set[Ref]]:
        """Remove them; those that were there."""
        there: set[Ref] = set()
        for at in range(0, len(refs), _AT_ONCE):
            some = refs[at : at + _AT_ONCE]
            gone = yield from replies(*[("UNLINK", self.layout.entry(ref)) for ref in some])
            there.update([ref for ref, number in zip(some, gone, strict=True) if number])
        return there

    def remove_older(self, starts: Mapping[Ref, int]) -> Plan[int]:
        """Remove those that began no later than told; how many were there."""
        removed, pairs = 0, list(starts.items())
        for at in range(0, len(pairs), _AT_ONCE):
            commands = [END_OLDER.call([self.layout.entry(ref)], start_text(start))
                        for ref, start in pairs[at : at + _AT_ONCE]]  # fmt: skip
            removed += sum((yield from replies(*commands)))
        return removed

    def unlink(self, names: Sequence[str | bytes]) -> Plan[int]:
        """Remove entries by their names; how many were there."""
        removed = 0
        for at in range(0, len(names), _AT_ONCE):
            some = names[at : at + _AT_ONCE]
            commands = [("UNLINK", name) for name in some] if self.layout.sharded else [("UNLINK", *some)]
            removed += sum((yield from replies(*commands)))
        return removed


def checked_of(name: str, answers: list[Any]) -> list[Any]:
    """`checked`, of one entry: where something of another type lies under its *name*, that is named."""
    if answers and isinstance(answers[0], Exception) and (fault := fault_of(answers[0])).kind is Kind.WRONGTYPE:
        raise unavailable(fault._replace(reason=f"wrongtype: {name} is not an entry but has another type"))
    return checked(answers)


def _naming(message: Message, rows: Sequence[Row]) -> Message:
    """*message* as far as it is about *rows*."""
    import msgspec

    keys = [row.header.ref.key for row in rows]
    if len(keys) == len(message.names):
        return message
    same = tuple(key for key in message.same if key in set(keys))
    return msgspec.structs.replace(message, names=tuple(keys), same=same)


def _batches(rows: Sequence[Row]) -> list[list[Row]]:
    """*rows* in parts that a server is sent at once."""
    batches: list[list[Row]] = [[]]
    size = 0
    for row in rows:
        own = row.sealed.size
        if batches[-1] and (len(batches[-1]) >= _AT_ONCE or size + own > _BYTES):
            batches.append([])
            size = 0
        batches[-1].append(row)
        size += own
    return batches
