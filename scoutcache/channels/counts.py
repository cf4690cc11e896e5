"""Counters on a server: each process publishes its segments there, and whoever asks sums those of other machines.

A segment (`scoutcache.oplog.process`) is a key of its own, its value a zstd frame of JSON, the machine's name in front.
A sorted set tells which there are: ``<machine>.<process>.<segment>``, scored by the server's time of the last writing.

Rule 1: a machine is a directory.  Its own figures come from its files, so it never reads what it published itself.
Rule 2: a process publishes the present segment `EVERY` seconds when something was counted since, the last state of one
        that is over, and what there is when it is closed.  What can't be sent waits for the next time, some hours long.
        A hit costs nothing: the recorder hands on what it made for its file.
Rule 3: times are the server's, so that no two clocks are compared, except where minutes are summed.
Rule 4: all of it lasts for `KEPT` seconds: longer periods know other machines by their last 25 hours only.
Rule 5: a key is written before the set names it.  On a cluster they lie in different slots, hence two batches.
Rule 6: whatever the bytes, a segment is summed or left out and counted, and nothing is raised.  Nothing larger than
        `LARGEST` is fetched or expanded, or published.
Rule 7: of a living process the newest segment tells its sizes, however old that is; so it is published again each
        `AGAIN` seconds by one that counts nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from scoutcache.channels.members import members
from scoutcache.errors import TierUnavailable
from scoutcache.oplog.elsewhere import Elsewhere
from scoutcache.oplog.process import Segment
from scoutcache.oplog.tally import Counted, Spread, check_rows
from scoutcache.server.commands import Batch, Conduit, Plan, Script, perform, replies
from scoutcache.server.faults import Kind, fault_of, unavailable
from scoutcache.server.layout import Layout

__all__ = ["AGAIN", "EVERY", "KEPT", "LARGEST", "SharedCounts", "encode", "others", "publish"]

_log = logging.getLogger("scoutcache")

EVERY: Final = 4.0
"""Seconds between two publications: with the half seconds of two threads' turns, five may be lost by a kill."""

AGAIN: Final = 3600.0
"""Seconds after which a process that counts nothing publishes its sizes again."""

KEPT: Final = 25 * 3600.0
"""Seconds for which segments are kept."""

SLACK: Final = 120.0
"""Seconds before a period whose segments are read too: it begins with a whole minute, and clocks differ."""

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a segment, expanded or not."""

WAITING: Final = 200
"""Segments that wait for a server that is away; with one of ten minutes each, more than a day."""

AT_ONCE: Final = 16
"""Segments in one batch."""

NAMED: Final = 100_000
"""Segments that are looked at, the newest."""

_HUGE: Final = 1 << 53
"""No count is larger."""
_LONGEST: Final = 1 << 90
"""No sum of nanoseconds is larger."""
_MINUTES_AHEAD: Final = 1440
"""How far another machine's clock may be ahead."""

_NAME: Final = Script("""
local now = redis.call('TIME')
local at = now[1] * 1000 + now[2] / 1000
for number = 2, #ARGV do
  redis.call('ZADD', KEYS[1], string.format('%.3f', at + number / 1000), ARGV[number])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', at - ARGV[1]))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""")
"""Name segments as written now, in their order, and forget the old ones."""

_NAMED: Final = Script("""
local now = redis.call('TIME')
local at = now[1] * 1000 + math.floor(now[2] / 1000)
local first = string.format('%.0f', at - ARGV[1])
return {string.format('%.0f', at),
        redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', first, 'WITHSCORES', 'LIMIT', 0, ARGV[2])}
""")
"""The server's time, and the newest names with their times."""


class Published(msgspec.Struct, array_like=True):
    """What stands in a key."""

    machine: str
    segment: Segment


class Name(NamedTuple):
    """What the sorted set holds of a segment."""

    machine: str
    process: str
    segment: str

    @classmethod
    def parse(cls, text: bytes) -> Name | None:
        """The parts, None where it isn't such a name."""
        parts = text.decode("ascii", "replace").split(".")
        if len(parts) != len(cls._fields) or not all(part.isascii() and part.isalnum() for part in parts):
            return None
        return cls(*parts)

    def __str__(self) -> str:
        return ".".join(self)


# What is published.


def encode(machine: str, segment: Segment) -> bytes | None:
    """A segment as it is published; None where it is too large for that."""
    raw = msgspec.json.encode(Published(machine, segment))
    return None if len(raw) > LARGEST else _zstd().ZstdCompressor().compress(raw)


def publish(layout: Layout, machine: str, process: str, segments: Mapping[str, bytes]) -> Plan[None]:
    """Write encoded *segments*, by their ids, the newest last.  Raises `TierUnavailable`."""
    lasting = round(KEPT * 1000)
    keys = [("SET", layout.counted(name), value, "PX", lasting) for name, value in segments.items()]
    named = _NAME.call([layout.counts], lasting, *[str(Name(machine, process, name)) for name in segments])
    if layout.sharded:  # Rule 5
        yield from replies(*keys)
        yield from replies(named)
    else:
        yield from replies(*keys, named)


# What is read.


class _Wanted(NamedTuple):
    """The segments to fetch: whether each is the newest of a living process."""

    names: dict[Name, bool]
    skipped: int


def others(layout: Layout, machine: str, period_s: float | None, now: float) -> Plan[Elsewhere]:
    """What machines other than *machine* counted in the last *period_s* seconds, where *now* is the wall clock's time.

    Raises `TierUnavailable`.
    """
    living = {one.name for one in (yield from members(layout))}
    ((time, named),) = yield from replies(_NAMED.call([layout.counts], round(KEPT * 1000), NAMED))
    first = float("-inf") if period_s is None else float(time) - (period_s + SLACK) * 1000
    wanted = _wanted(zip(named[::2], named[1::2], strict=True), machine, living, first)
    found: dict[bool, list[Segment]] = {True: [], False: []}
    machines, skipped = set(), wanted.skipped
    waiting = iter(wanted.names.items())
    while some := dict(islice(waiting, AT_ONCE)):
        for (name, lives), value in zip(some.items(), (yield from _fetch(layout, some)), strict=True):
            segment = _decode(name, value, now)
            if segment is None:
                skipped += 1
                continue
            machines.add(name.machine)
            found[lives].append(segment)
    return Elsewhere(found[True], found[False], len(machines), skipped)


def _wanted(named: Iterable[tuple[bytes, bytes]], machine: str, living: set[str], first: float) -> _Wanted:
    """Of all names, from the newest on, what to fetch."""
    names: dict[Name, bool] = {}
    told, seen, skipped = set(), set(), 0
    for text, time in named:
        name = Name.parse(text)
        if name is None or name.segment in seen:
            skipped += 1
            continue
        seen.add(name.segment)
        if name.machine == machine:  # Rule 1
            continue
        newest = name.process in living and name.process not in told
        told.add(name.process)
        if newest or float(time) >= first:  # Rule 7
            names[name] = newest
    return _Wanted(names, skipped)


def _fetch(layout: Layout, names: Iterable[Name]) -> Plan[list[bytes]]:
    """The values of some segments, a little longer than they may be at most, and empty where there is none."""
    answers = yield Batch([("GETRANGE", layout.counted(name.segment), 0, LARGEST) for name in names])
    return [_value(answer) for answer in answers]


def _value(answer: Any) -> bytes:
    if isinstance(answer, Exception):
        if fault_of(answer).kind not in {Kind.OTHER, Kind.WRONGTYPE}:
            raise unavailable(fault_of(answer))
        return b""  # another kind of key
    return bytes(answer)


def _decode(name: Name, value: bytes, now: float) -> Segment | None:
    """Rule 6."""
    zstd = _zstd()
    try:
        if not 0 < zstd.frame_content_size(value) <= LARGEST or len(value) > LARGEST:
            return None
        raw = zstd.ZstdDecompressor().decompress(value, max_output_size=LARGEST, allow_extra_data=False)
        found = msgspec.json.decode(raw, type=Published)
        segment = found.segment
        if (found.machine, segment.id) != (name.machine, name.segment) or not _can_be(segment, now):
            return None
        check_rows(segment.counted, segment.spreads)
    except (zstd.ZstdError, msgspec.MsgspecError, ValueError, MemoryError, RecursionError):
        return None
    return _recent(segment, now)


def _can_be(segment: Segment, now: float) -> bool:
    """May a process have counted that?"""
    last = now // 60 + _MINUTES_AHEAD
    sizes = [size for tier in segment.tiers.values() if tier is not None for size in msgspec.structs.astuple(tier)]
    return (
        all(0 <= row.minute <= last for row in segment.counted)
        and all(0 <= row.minute <= last for row in segment.spreads)
        and all(0 <= number < _HUGE for row in segment.counted for number in (row.count, row.size, row.costed))
        and all(abs(amount) < _HUGE for row in segment.counted for amount in (row.cost, row.seconds))
        and all(0 <= number < _LONGEST for row in segment.spreads for number in row.values)
        and all(size is None or 0 <= size < _HUGE for size in sizes)
    )


_Row = TypeVar("_Row", Counted, Spread)


def _recent(segment: Segment, now: float) -> Segment:
    """The segment without what is older than others' are kept: where no file can be written, one goes on for long."""
    first = (now - KEPT) // 60

    def of(rows: Sequence[_Row]) -> list[_Row]:
        return [row for row in rows if row.minute >= first]

    return msgspec.structs.replace(segment, counted=of(segment.counted), spreads=of(segment.spreads))


@cache
def _zstd() -> Any:
    import zstandard

    return zstandard


class SharedCounts:
    """What one process publishes, and what it asks others for; for threads.

    *process* gives the name by which `members` knows it, *now* monotonic seconds.
    """

    def __init__(
        self, layout: Layout, conduit: Conduit, machine: str, process: Callable[[], str], now: Callable[[], float], *,
        every: float = EVERY,
    ) -> None:  # fmt: skip
        self._layout, self._conduit, self._machine, self._process = layout, conduit, machine, process
        self._now, self.every = now, every
        self.forget()

    def forget(self) -> None:
        """In a forked child: what was taken is the parent's."""
        self._lock = threading.Lock()
        self._sending = threading.Lock()  # never taken while holding _lock
        self._present: Segment | None = None
        self._fresh = False
        self._waiting: dict[str, bytes] = {}
        self._at = float("-inf")

    def take(self, segment: Segment) -> None:
        """See `Sharing`."""
        with self._lock:
            if self._present is not None and self._present.id != segment.id:
                self._encode()
            self._present, self._fresh = segment, True

    def _encode(self) -> None:
        """Let the present segment wait, as it is by now; called with the lock held."""
        if self._present is None or not self._fresh:
            return
        self._fresh = False
        value = encode(self._machine, self._present)
        if value is not None:
            self._waiting[self._present.id] = value
        while len(self._waiting) > WAITING:
            del self._waiting[next(iter(self._waiting))]

    def turn(self) -> None:
        """Publish, if that is due; to be called often.  What the server refuses waits."""
        rested = self._now() - self._at
        if rested >= AGAIN and self._present is not None:
            self._fresh = True
        if rested >= self.every and (self._fresh or self._waiting):
            self.deliver()

    def deliver(self) -> bool:
        """Publish now what was counted since; whether all of it is there."""
        with self._sending:
            self._at = self._now()
            try:
                for some in self._due():
                    perform(publish(self._layout, self._machine, self._process(), some), self._conduit)
                    self._done(some)
            except TierUnavailable:
                return False
            return True

    def _due(self) -> Iterator[dict[str, bytes]]:
        with self._lock:
            self._encode()
            waiting = iter(list(self._waiting.items()))
        while some := dict(islice(waiting, AT_ONCE)):
            yield some

    def _done(self, sent: Mapping[str, bytes]) -> None:
        with self._lock:
            for name, value in sent.items():
                if self._waiting.get(name) is value:
                    del self._waiting[name]

    def close(self) -> None:
        """See `Sharing`."""
        try:
            self.deliver()
        except Exception as error:  # noqa: BLE001  # counters are no reason for closing to fail
            _log.warning("the last counters could not be published: %r", error)

    def ask(self, period_s: float | None, now: float) -> Elsewhere:
        """See `Ask`."""
        return perform(others(self._layout, self._machine, period_s, now), self._conduit)
