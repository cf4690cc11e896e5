"""The recorder: what the faces tell about every operation becomes exact counters, histograms and log lines.

Rules.

Rule 1: the caller pays for an append, never for a file.  Only `publish` and `close` do I/O, and nothing they meet
        (a read-only folder, a full disk) reaches the caller: one warning, counters go on in memory, and the first
        publish that succeeds heals it.
Rule 2: counters (`scoutcache.oplog.counters`) are exact.  Events wait in a queue that nobody but `_absorb` empties; a
        caller who finds it long absorbs it himself.  Hits in memory are counted by their tier and harvested
        (`count_hits`); `hit_log` only feeds latencies and log lines, so what overflows there costs no count.
Rule 3: a forked child begins with nothing: whatever was pending is the parent's to publish.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scoutcache.entry import Usage
from scoutcache.oplog.counters import Counters
from scoutcache.oplog.counting import count_events, count_makings, price_of
from scoutcache.oplog.elsewhere import Sharing
from scoutcache.oplog.hits import MEMORY, Hit, latencies
from scoutcache.oplog.linelog import LineLog, LogLimits
from scoutcache.oplog.process import Segment
from scoutcache.oplog.records import Event
from scoutcache.oplog.sealing import Sealer
from scoutcache.oplog.tally import Tally

__all__ = ["OplogSettings", "Recorder"]

_log = logging.getLogger("scoutcache.oplog")

WAITING_LIMIT: Final = 1024
"""Events that may wait before a caller absorbs them: about two milliseconds of work at most."""
LINES_LIMIT: Final = 65_536
"""Events that may wait for the log between two publishes; further ones are left out and counted."""
HITS_LIMIT: Final = 65_536
"""Memory hits that may wait for the log (about 12 MB); four times as many when the log has no cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OplogSettings:
    """``[oplog]`` and ``[costs]`` as plain values.

    *enabled* is about the log; counters are always kept.  *counters_max_age* is in seconds.  *default_call_usd* is
    what a call costs where an entry doesn't say; None means nobody knows, and money stays unknown.
    """

    enabled: bool = True
    limits: LogLimits = field(default_factory=LogLimits)
    counters_max_age: float | None = 90 * 86_400.0
    default_call_usd: float | None = None


_new: Final = tuple.__new__


class Recorder:
    """Counts and logs for one cache in one process; every method may be called from any thread.

    *directory* is the cache's (None keeps everything in memory), *wall* gives seconds since the epoch,
    *monotonic_ns* the clock of ``began_ns`` and ``ended_ns``, *token* a new random name each time.
    """

    def __init__(self, directory: Path | None, settings: OplogSettings, *, wall: Callable[[], float],
                 monotonic_ns: Callable[[], int], token: Callable[[], str]) -> None:  # fmt: skip
        self._directory = directory
        self._settings = settings
        self._wall = wall
        self._monotonic_ns = monotonic_ns
        self._token = token
        self._waiting: deque[Event] = deque()
        limit = HITS_LIMIT if settings.limits.max_records_per_s else 4 * HITS_LIMIT
        self._hits: deque[Hit] = deque(maxlen=limit)
        self._keyed: deque[Event] = deque(maxlen=limit)
        self.hit_log: Callable[[Hit], None] | None = self._hits.append if settings.enabled and directory else None
        """Takes ``(began_ns, ended_ns, namespace, key, size)`` of a hit in memory; None when nobody wants them."""
        self._sealer = Sealer(self._say_unsealed, wall)
        self.sharing: Sharing | None = None
        """Is given each segment as it was written, or as it would have been."""
        self._begin()
        _recorders.add(self)

    def _begin(self) -> None:
        """Start with nothing: at first, and again in a forked child."""
        self._publishing = threading.Lock()  # over the files; never taken while holding that of the counters
        self._waiting.clear()
        self._hits.clear()
        self._keyed.clear()
        self._lines: deque[Event] = deque()
        self._harvested = 0
        self._broken = False
        self._process = self._token()
        settings = self._settings
        self._counters = Counters(self._directory, self._process, max_age=settings.counters_max_age, wall=self._wall,
                                  token=self._token, share=self._share)  # fmt: skip
        self._lock = self._counters.lock  # over what waits, too
        self._log: LineLog | None = None
        if self._directory is not None and settings.enabled:
            self._log = LineLog(self._directory, settings.limits, token=self._token, process=self._process,
                                price=lambda event: price_of(event, settings.default_call_usd))  # fmt: skip

    # What the faces call.

    def record(self, kind: str, namespace: str, key: str, *, tier: str | None, outcome: str, reason: str | None = None,
               began_ns: int, ended_ns: int, size: int | None = None, error: str | None = None,
               cost: float | None = None, factory_s: float | None = None,
               tags: tuple[str, ...] = (), depends_on: tuple[str, ...] = (), ttl: float | None = None,
               stored: int | None = None, codec: str | None = None, codec_us: float | None = None,
               keygen_us: float | None = None, wait_us: float | None = None) -> None:  # fmt: skip
        """Record one event; `scoutcache.oplog.records` lists kinds and outcomes and says what *tier* means.

        Times are monotonic nanoseconds, *size* bytes, *cost* USD of the call that was saved or made, *factory_s* the
        seconds the factory took, *error* the error's type, a colon and its message; `scoutcache.oplog.records.Line`
        explains the others.
        """
        # Not Event(…): the Python frame of a NamedTuple's own __new__ costs more than everything else here.
        self._waiting.append(_new(Event, (kind, namespace, key, tier or "", outcome, reason or "", began_ns, ended_ns,
                                          size, error, cost, factory_s, tags, depends_on, ttl,
                                          stored, codec, codec_us, keygen_us, wait_us)))  # fmt: skip
        if len(self._waiting) > WAITING_LIMIT:
            with self._lock:
                self._absorb()

    def hit_of_made_key(self, namespace: str, key: str, began_ns: int, ended_ns: int, size: int,
                        keygen_us: float) -> None:  # fmt: skip
        """As `hit_log`, of a hit by a `CacheKey` whose making took so long: it has a line of its own."""
        self._keyed.append(_new(Event, ("get", namespace, key, MEMORY, "hit", "", began_ns, ended_ns, size, None, None,
                                        None, (), (), None, None, None, None, keygen_us, None)))  # fmt: skip

    def evicted(self, namespace: str, key: str, reason: str, size: int | None, tier: str) -> None:
        """An entry left *tier*; the reason ``expired`` makes it an expiration, any other an eviction."""
        now = self._monotonic_ns()
        self.record(_departure(reason), namespace, key, tier=tier, outcome="done", reason=reason, began_ns=now,
                    ended_ns=now, size=size)  # fmt: skip

    def left(self, tier: str, reason: str, times: int) -> None:
        """So many entries left *tier*, whose keys nobody noted; the reason ``expired`` makes them expirations."""
        kind, counters = _departure(reason), self._counters
        with self._lock:
            counters.tally.add(counters.minute, "", "", tier, kind, "done", reason, times=times)
            counters.changed = True

    def error(self, tier: str | None, error: BaseException, *, namespace: str = "", key: str = "") -> None:
        """A tier failed, and the caller saw a miss or nothing at all."""
        now = self._monotonic_ns()
        name = type(error).__name__
        self.record("error", namespace, key, tier=tier, outcome="failed", reason=name, began_ns=now, ended_ns=now,
                    error=f"{name}: {error}")  # fmt: skip

    def count_hits(self, harvest: Mapping[tuple[str, str], int], tier: str,
                   costs: Mapping[tuple[str, str], tuple[int, float]] | None = None) -> None:  # fmt: skip
        """Count hits in memory since the last harvest, by (namespace, prefix).

        *costs* says of how many of them the entry's cost is known, and their sum in USD; the others count with
        ``default_call_usd`` when there is one.
        """
        default, counters, minute = self._settings.default_call_usd, self._counters, self._counters.minute
        with self._lock:
            for pair, times in harvest.items():
                known, usd = (costs or {}).get(pair, (0, 0.0))
                cost = usd if known else None
                if default is not None:
                    known, cost = times, usd + default * (times - known)
                counters.tally.add(minute, *pair, tier, "get", "hit", times=times, cost=cost, costed=known)
                self._harvested += times
            counters.changed = counters.changed or bool(harvest)

    @property
    def may_have_hits(self) -> bool:
        """Were there hits in memory since the last publication, as far as the log knows?  Without a log: perhaps."""
        return self.hit_log is None or bool(self._hits) or bool(self._keyed)

    def publish(self, usages: Mapping[str, Usage | None]) -> None:
        """Write counters, tier sizes and log lines; for a background thread, about once a second.

        What the folder refuses is a warning, never an error.
        *usages* names the tiers in the order they are asked; give the sizes of those that belong to this process, and
        None for what other processes share.
        """
        with self._publishing:
            self._counters.measured(usages)
            self._perform(self._write_log, self._counters.write)

    flush = publish

    def seal_full(self, *, beside: bool) -> None:
        """Seal the log's full files; *beside* in a thread of its own, for that takes a second and imports a library."""
        if self._log is None or not self._log.full:
            return
        with self._publishing:
            files = list(self._log.full)
        if beside and not self._sealer.begin(files):
            return
        if not beside:
            self._sealer.work(files)
        with self._publishing:
            self._log.full = [path for path in self._log.full if path not in files]

    def _say_unsealed(self, error: OSError) -> None:
        _log.warning("a file of the operation log in %s stays unsealed: %s", self._directory, error)

    def snapshot(self) -> Segment:
        """The counters that are not folded yet, for who can't read them from the directory."""
        with self._publishing, self._lock:
            self._absorb()
            return self._counters.segment()

    def lived(self, since_minute: int | None = None) -> Tally:
        """What this process counted, by the minute since *since_minute* (an hour back at most); None: all, summed."""
        with self._lock:
            self._absorb()
            return self._counters.lived(since_minute)

    def close(self, usages: Mapping[str, Usage | None]) -> None:
        """Publish a last time and let go of the files.  Idempotent; recording afterwards begins anew."""
        self.publish(usages)
        self._sealer.close()
        with self._publishing:
            if self._log is not None:
                self._log.close()
            with self._lock:
                self._absorb()
            self._perform(self._counters.close)
        if self.sharing is not None:
            self.sharing.close()

    def _share(self, segment: Segment) -> None:
        if self.sharing is not None:
            self.sharing.take(segment)

    # What publishing does.

    def _write_log(self) -> None:
        hits, keyed, lost = self._drain()
        with self._lock:
            self._absorb()
            events, self._lines = self._lines, deque()
        events.extend(keyed)
        now = self._wall()
        if self._log is None:
            return
        try:
            left_out = self._log.write(events, hits, offset_ns=self._offset(now), now=now)
        except OSError:
            self._count_left_out({"unwritable": len(events) + len(hits), "overflow": lost})
            raise
        self._count_left_out({**left_out, "overflow": lost})
        if lost:
            self._log.say_left_out(now, "overflow", lost)

    def _drain(self) -> tuple[list[Hit], list[Event], int]:
        """Take the hits that wait, count their latencies, and say how many overflowed."""
        full = self._hits.maxlen in {len(self._hits), len(self._keyed)}
        pop, pop_keyed = self._hits.popleft, self._keyed.popleft
        hits = [pop() for _ in range(len(self._hits))]
        keyed = [pop_keyed() for _ in range(len(self._keyed))]
        took = latencies(hits + [(one.began_ns, one.ended_ns, one.namespace, one.key, 0) for one in keyed])
        counters, minute = self._counters, self._counters.minute
        with self._lock:
            lost = max(0, self._harvested - len(hits) - len(keyed)) if full else 0
            self._harvested = 0
            for space, values in took.items():
                counters.tally.spread(minute, space, MEMORY, "hit").add_all(values)
            count_makings(counters.tally, minute, keyed)
            counters.changed = counters.changed or bool(took)
        return hits, keyed, lost

    def _absorb(self) -> None:
        """Count what waits and keep it for the log; called with the lock held."""
        waiting, offset, counters = self._waiting, self._offset(self._wall()), self._counters
        batch = [waiting.popleft() for _ in range(len(waiting))]
        if not batch:
            return
        count_events(counters.tally, batch, offset, self._settings.default_call_usd)
        count_makings(counters.tally, counters.minute, batch)
        if self._log is not None:
            room = LINES_LIMIT - len(self._lines)
            self._lines.extend(batch[:room])
            if len(batch) > room:
                counters.left_out("overflow", len(batch) - room)
        counters.changed = True

    def _count_left_out(self, counts: Mapping[str, int]) -> None:
        with self._lock:
            for reason, times in counts.items():
                if times:
                    self._counters.left_out(reason, times)

    def _perform(self, *acts: Callable[[], None]) -> None:
        """Do each; when the folder doesn't let us, warn once until all of it works again."""
        problems = []
        for act in acts:
            try:
                act()
            except OSError as error:
                problems.append(error)
        if problems and not self._broken:
            _log.warning("the operation log in %s can't be written, counters continue in memory: %s",
                         self._directory, problems[0])  # fmt: skip
        elif self._broken and not problems:
            _log.warning("the operation log in %s is written again", self._directory)
        self._broken = bool(problems)

    def _offset(self, now: float) -> int:
        return int(now * 1e9) - self._monotonic_ns()

    def _after_fork(self) -> None:
        counters, log = self._counters, self._log
        self._sealer.forget()
        self._begin()
        with contextlib.suppress(OSError):  # already closed: nothing of the parent's to let go of
            counters.forget()
            if log is not None:
                log.close()
        if self.sharing is not None:
            self.sharing.forget()


def _departure(reason: str) -> str:
    return "expire" if reason == "expired" else "evict"


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _renew_recorders() -> None:
    for recorder in list(_recorders):
        recorder._after_fork()


os.register_at_fork(after_in_child=_renew_recorders)
