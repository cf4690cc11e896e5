"""The memory tier: live values in this process, bounded by entries and by bytes.

Rule 1: only writes lock.  A hit (`hot`) reads a table, which is a plain dict; a listing reads a copy of one.
Rule 2: neither limit is exceeded at any moment: who must leave has left before the newcomer is in its table.
Rule 3: a deadline is monotonic, reckoned from the wall clock when the entry came: setting the wall clock neither
        revives nor kills, and the *now* of callers, which is wall time, decides nothing about expiry here.
Rule 4: each hit is counted once, also that of an entry that left since (`harvest`).
Rule 5: callbacks run after the lock was released, except `allow`, whose answer must hold while the entry goes in.
Rule 6: a child forked while another thread was writing has half a write; it starts empty.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from time import perf_counter_ns
from typing import Final, Protocol, cast

from scoutcache.entry import Header, Listed, Live, Ref, Row, Sealed, Usage
from scoutcache.eviction import DEFAULT, make_policy
from scoutcache.patterns import Pattern
from scoutcache.tiers.base import Allow, outranks
from scoutcache.tiers.memory import hot
from scoutcache.tiers.memory.departed import FEWEST, MOST, Departed
from scoutcache.tiers.memory.slot import Detail, Slot
from scoutcache.tiers.memory.tables import Harvest, Tables, excess_of, sorted_out

__all__ = ["MemoryTier"]

OnEvict = Callable[[Ref, str, int], None]
"""Takes the entry, why it left (`entries`, `bytes`, `expired`, `pruned`) and its size in bytes."""

_COARSE: Final = 0.5
"""Entries that come within so many seconds share one number for when they came."""


_STEP: Final = 0.01
"""Seconds by which the wall clock must be off to have been set."""


class Sealer(Protocol):
    """The part of a codec that is needed here."""

    def seal(self, header: Header, live: Live) -> Sealed:
        """The entry as bytes."""


class MemoryTier:
    """Live values, at most *max_entries* of them and at most *max_bytes* in all; the size of one is `Live.size`.

    *strategy* is one of `scoutcache.eviction.STRATEGIES`.  *monotonic* and *wall* are clocks in seconds.
    *on_evict* hears of each entry that left without anybody having removed it.  *told_from* says of an entry from which
    wall time on its hits must not take the short way, so that the caller can do something about the next one.
    """

    name = "memory"
    blocking = False

    def __init__(
        self, codec: Sealer, *, max_entries: int = 100_000, max_bytes: int = 100_000_000, strategy: str = DEFAULT,
        monotonic: Callable[[], float], wall: Callable[[], float], on_evict: OnEvict | None = None,
        told_from: Callable[[Header], float | None] | None = None,
    ) -> None:  # fmt: skip
        self.max_entries, self.max_bytes, self.strategy = max_entries, max_bytes, strategy
        self._codec = codec
        self._monotonic, self._wall = monotonic, wall
        self._on_evict, self._told_from = on_evict, told_from
        self._policy = make_policy(strategy, max_entries, max_bytes)
        self._tables, self._departed = Tables(), Departed(max(max_entries, FEWEST))
        self.carried = self._tables.carried
        self._pulse = hot.Pulse()
        self._coarse = -math.inf
        self._lock = threading.RLock()
        _living.add(self)

    # -- the hot path ----------------------------------------------------------------------------------------------

    def make_get(
        self, miss: hot.Miss, *, namespace: str, position: hot.Position | None = None, log: hot.Log | None = None,
        nanoseconds: Callable[[], int] = perf_counter_ns,
    ) -> hot.Get:  # fmt: skip
        """A function ``get(key, default=None, namespace=None)`` for callers without a namespace to use *namespace*.

        It answers fresh entries and calls ``miss(key, default, namespace)`` for everything else, among it whenever
        *position* differs from what `seen` was last told.  *log* takes a tuple per hit, in *nanoseconds*.
        """
        pulse, spaces, position = self._pulse, self._tables.spaces, position or hot.Nowhere()
        home, note = self.table(namespace), self._policy.note
        if note is None and log is None:
            return hot.build_get(pulse, spaces, home, position, self._monotonic, miss)
        observers = hot.Observers(note, log, nanoseconds)
        return hot.build_observed_get(pulse, spaces, home, position, self._monotonic, miss, observers)

    def table(self, namespace: str) -> dict[str, Slot]:
        """The slots of *namespace* by key, stale ones too; always the same dict, and not to be changed."""
        with self._lock:
            return self._tables.pin(namespace)

    def seen(self, position: int) -> None:
        """Everything announced up to *position* was applied to this tier; hits compare it with the shared word."""
        self._pulse.seen = position

    def tick(self, now: float | None) -> None:
        """It is *now*, monotonic; for the next `hot.SLACK` seconds hits need no clock for slots that live longer.

        To be called about twice a second or not at all; None says that nobody will any more.  A caller starved for
        longer than the slack could let a value be served late by as much; nothing else can.
        """
        self._pulse.horizon = math.inf if now is None else now + hot.SLACK
        with self._lock:
            self._policy.settle()

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, ref: Ref, now: float) -> Sealed | None:
        """The entry as bytes, made for this call; stale ones too, until they expire.  No hit: those go by `live`."""
        return self.read_many([ref], now).get(ref)

    def read_many(self, refs: Sequence[Ref], now: float) -> dict[Ref, Sealed]:  # noqa: ARG002  # Rule 3
        """Those that are there."""
        return {ref: row.sealed for ref, row in self.rows(refs).items()}

    def rows(self, refs: Iterable[Ref]) -> dict[Ref, Row]:
        """Those that are there with their live values, stale ones too.  No hits: whoever serves one calls `served`.

        Those that are found past their time are removed.
        """
        now = self._monotonic()
        found, over = {}, set()
        with self._lock:
            for ref in refs:
                slot = self._tables.get(*ref)
                if slot is None:
                    continue
                if slot.expired(now):
                    over.add(slot)
                else:
                    found[ref] = self._row(slot)
            self._expire(over)
        self._tell((slot, "expired") for slot in over)
        return found

    def look(self, ref: Ref) -> Row | None:
        """The entry with its live value, stale ones too; as `rows`."""
        return self.rows([ref]).get(ref)

    def served(self, header: Header) -> None:
        """Count as a hit that what `rows` gave was served, though the entry may have left since."""
        with self._lock:
            slot = self._tables.get(*header.ref)
            if slot is None:
                self._tables.count(header.ref, header.cost)
            else:
                self._hit(slot)

    def live(self, ref: Ref) -> Live | None:
        """The fresh value as it is held, None when there is none.  Counts as a hit.  One past its time is removed."""
        now = self._monotonic()
        with self._lock:
            slot = self._tables.get(*ref)
            if slot is None:
                return None
            if slot.until > now:
                self._hit(slot)
                return slot.live
            over = [slot] if slot.expired(now) else []
            self._expire(over)
        self._tell((slot, "expired") for slot in over)
        return None

    def _hit(self, slot: Slot) -> None:
        slot.hits += 1
        if self._policy.note is not None:
            self._policy.note(slot)

    def why_absent(self, ref: Ref) -> str | None:
        """Why an entry isn't here that was lately; None where that isn't known."""
        slot = self._tables.get(*ref)
        if slot is not None:
            return (self._departed.why(ref) or "expired") if slot.until <= self._monotonic() else None
        return self._departed.why(ref)

    def note_ended(self, ref: Ref) -> None:
        """An entry that isn't here was ended in a tier below."""
        with self._lock:
            if self._tables.get(*ref) is None:
                self._departed.note(ref, "invalidated")

    def entry(self, ref: Ref) -> Detail | None:
        """What is known of an entry, without its value; None when it is absent or expired.  No hit."""
        now = self._monotonic()
        slot = self._tables.get(*ref)
        if slot is None or slot.expired(now):
            return None
        used = slot.used if slot.hits == slot.told else now
        return Detail(slot.header, slot.size, slot.hits, self._wall() - (now - used))

    def scan(self, namespace: str | None, pattern: Pattern | None = None) -> Iterator[Listed]:
        """List entries, expired ones too, in no order; those that come or go meanwhile may be in it or not."""
        if namespace is not None and pattern is not None and pattern.literal is not None:
            only = self._tables.get(namespace, pattern.literal)
            slots = iter([] if only is None else [only])
        else:
            slots = self._tables.slots(namespace)
        for slot in slots:
            if pattern is None or pattern.matches(slot.key):
                yield Listed(self._as_of_now(slot), self.name, slot.size, slot.hits)

    def count(self, namespace: str | None, pattern: Pattern | None, now: float) -> int:  # noqa: ARG002  # Rule 3
        """How many unexpired entries match."""
        clock = self._monotonic()
        return sum(
            not slot.expired(clock)
            for slot in self._tables.slots(namespace)
            if pattern is None or pattern.matches(slot.key)
        )

    def usage(self) -> Usage:
        """How full it is, expired entries included."""
        return Usage(self._policy.entries, self._policy.size_bytes, self.max_entries, self.max_bytes)

    # -- writing ---------------------------------------------------------------------------------------------------

    def write(self, rows: Sequence[Row], now: float, allow: Allow | None = None) -> int:  # noqa: ARG002  # Rule 3
        """Store live values and return how many were taken.

        An unexpired entry with a later start stays, what *allow* refuses isn't written, and what is larger than the
        whole tier isn't either, but ends the older entry of its key.
        """
        taken = 0
        evicted: list[tuple[Slot, str]] = []
        with self._lock:
            for row in rows:
                taken += self._put(row, allow, evicted)
        self._tell(evicted)
        return taken

    def _put(self, row: Row, allow: Allow | None, evicted: list[tuple[Slot, str]]) -> bool:
        header = row.header
        now = self._monotonic()
        old = self._tables.get(*header.ref)
        if (old is not None and old.start > header.start and not old.expired(now)
                and outranks(old.start, header.start, self._wall())):  # fmt: skip
            return False
        if allow is not None and not allow(header):
            return False
        if row.live.size > self.max_bytes:
            self._drop([old] if old is not None else [])
            self._departed.back(header.ref)  # it lives on below
            return False
        slot = Slot(
            header, row.live, self._tables.shared(header.marks), now, self._wall(), self._coarsely(now),
            told_from=None if self._told_from is None else self._told_from(header),
        )  # fmt: skip
        if old is not None and old.start == header.start:  # the same entry with other times
            slot.hits = slot.told = old.hits
        why = "entries" if self._policy.entries >= self.max_entries else "bytes"
        victims = self._policy.admit(slot) if old is None else self._policy.replace(old, slot)
        for victim in cast("list[Slot]", victims):
            self._tables.take(victim)
            left = "expired" if victim.expired(now) else why
            evicted.append((victim, left))
            self._departed.note(victim.ref, "expired" if left == "expired" else "evicted")
        self._tables.put(slot)
        if slot.until > now or self._departed.why(header.ref) != "invalidated":  # else it is stale for that reason
            self._departed.back(header.ref)
        return True

    def _coarsely(self, now: float) -> float:
        """*now*, or a moment shortly before it that other slots share."""
        if not now - self._coarse < _COARSE:
            self._coarse = now
        return self._coarse

    def _tell(self, evicted: Iterable[tuple[Slot, str]]) -> None:
        if self._on_evict is not None:
            for slot, why in evicted:
                self._on_evict(slot.ref, why, slot.written)

    # -- removing --------------------------------------------------------------------------------------------------

    def remove(self, refs: Sequence[Ref], *, superseded: bool = False) -> int:
        """Remove them, which something ended unless they are only *superseded*; how many were there."""
        with self._lock:
            slots = cast("set[Slot]", {self._tables.get(*ref) for ref in refs} - {None})
            if not superseded:
                return self._end(slots)
            for ref in refs:  # what is written anew has not ended
                self._departed.back(ref)
            return self._drop(slots)

    def remove_each(self, refs: Sequence[Ref]) -> set[Ref]:
        """Remove them, which something ended; those that were there."""
        with self._lock:
            slots = {ref: slot for ref in refs if (slot := self._tables.get(*ref)) is not None}
            self._end(slots.values())
            return set(slots)

    def discard(self, rows: Sequence[Row]) -> int:
        """Remove those that are still the same entry as when they were listed, as `idle` does, and return how many."""
        with self._lock:
            slots = {self._tables.get(*row.header.ref): row.header.start for row in rows}
            return self._drop(slot for slot, start in slots.items() if slot is not None and slot.start == start)

    def remove_matching(self, namespace: str, pattern: Pattern) -> int:
        """Remove every key that matches and return how many."""
        if pattern.matches_all:
            return self.clear(namespace)
        if pattern.literal is not None:
            return self.remove([Ref(namespace, pattern.literal)])
        with self._lock:
            return self._end([slot for slot in self._tables.slots(namespace) if pattern.matches(slot.key)])

    def drop_marked(self, namespace: str, names: Sequence[str]) -> int:
        """Remove what carries a mark of one of these names, whatever its version, and return how many.

        Costs in proportion to what it removes.  The namespace's own mark is on every entry of it.
        """
        with self._lock:
            return self._end(self._tables.tagged(namespace, names))

    def marks(self, namespace: str) -> list[str]:
        """The names of all marks that anything in *namespace* carries, but for its own."""
        with self._lock:
            return [name for space, name in self._tables.carried if space == namespace]

    def unversioned(self) -> list[tuple[Ref, list[str]]]:
        """What depends on keys by marks whose versions nobody could tell, and the names of all its marks."""
        if not self._tables.unversioned:
            return []
        with self._lock:
            return [(slot.ref, [mark.name for mark in slot.marks]) for slot in self._tables.unversioned]

    def age(self, refs: Sequence[Ref]) -> None:
        """They are stale from now on; those that expire at the end of their fresh time keep that as their end."""
        with self._lock:
            slots = {self._tables.get(*ref) for ref in refs}
            self._age(slot for slot in slots if slot is not None)

    def age_matching(self, namespace: str, pattern: Pattern) -> None:
        """So is every key that matches."""
        with self._lock:
            self._age([slot for slot in self._tables.slots(namespace) if pattern.matches(slot.key)])

    def age_marked(self, namespace: str, names: Sequence[str]) -> None:
        """So is what carries a mark of one of these names."""
        with self._lock:
            self._age(list(self._tables.tagged(namespace, names)))

    def _age(self, slots: Iterable[Slot]) -> None:
        now, wall = self._monotonic(), self._wall()
        for old in slots:
            if old.until > now:
                slot = Slot(self._as_of_now(old).aged(wall), old.live, old.marks, now, wall, old.used)
                slot.hits = slot.told = 0
                for victim in cast("list[Slot]", self._policy.replace(old, slot)):
                    self._tables.take(victim)
                self._tables.put(slot)
                self._departed.note(slot.ref, "invalidated")  # why it is missed by who takes nothing stale

    def clear(self, namespace: str | None) -> int:
        """Remove a whole namespace, or everything for None."""
        with self._lock:
            slots = list(self._tables.slots(namespace))
            number = self._drop(slots) if namespace is None else self._end(slots)
            self._tables.sweep()
            return number

    def _end(self, slots: Iterable[Slot]) -> int:
        """Drop what was deleted or invalidated."""
        ended = list(slots)
        for slot in ended:
            self._departed.note(slot.ref, "invalidated")
        return self._drop(ended)

    def _drop(self, slots: Iterable[Slot]) -> int:
        number = 0
        for slot in slots:
            self._tables.take(slot)
            self._policy.forget(slot)
            number += 1
        return number

    def _expire(self, slots: Collection[Slot]) -> None:
        """Drop them, whose time is over."""
        self._drop(slots)
        for slot in islice(slots, MOST):
            if self._departed.why(slot.ref) is None:  # what was marked stale before is gone for that reason
                self._departed.note(slot.ref, "expired")

    # -- maintenance -----------------------------------------------------------------------------------------------

    def prune(self, now: float, *, older_than: float | None = None, max_bytes: int | None = None,
              dry_run: bool = False) -> dict[str, int]:  # fmt: skip
        """Remove what is expired, created more than *older_than* seconds ago, or too much for *max_bytes*."""
        clock = self._monotonic()
        with self._lock:
            before = None if older_than is None else now - older_than
            expired, older, rest = sorted_out(self._tables.slots(), clock, before)
            nodes = cast("Iterator[Slot]", self._policy.nodes())
            excess = [] if max_bytes is None else excess_of(rest, nodes, max_bytes)
            if not dry_run:
                self._expire(expired)
                self._drop([*older, *excess])
                self._tables.sweep()
        if not dry_run:
            self._tell([*((slot, "expired") for slot in expired), *((slot, "pruned") for slot in [*older, *excess])])
        return {"expired": len(expired), "older": len(older), "oversize": len(excess), "orphaned": 0}

    def harvest(self) -> Harvest:
        """The hits since the last harvest, each counted exactly once.

        Looks at every slot: about 5 ms for 100,000.
        """
        with self._lock:
            self._tables.collect(self._monotonic())
            return self._tables.harvest()

    def idle(self, now_monotonic: float, seconds: float, *, limit: int | None = None) -> list[Row]:
        """Unexpired entries that nobody asked for in the last *seconds*, at most *limit*; see `discard`.

        When an entry was last asked for is known from one `harvest` or call of this to the next, and no better.
        """
        rows: list[Row] = []
        with self._lock:
            self._tables.collect(now_monotonic)
            for slot in self._tables.slots():
                if limit is not None and len(rows) >= limit:
                    break
                if slot.used <= now_monotonic - seconds and not slot.expired(now_monotonic):
                    rows.append(self._row(slot))
        return rows

    def _row(self, slot: Slot) -> Row:
        header, live = self._as_of_now(slot), slot.live
        return Row(header, live, partial(self._codec.seal, header, live))

    def _as_of_now(self, slot: Slot) -> Header:
        """Its header in the time that the wall clock shows now, should it have been set since the entry came."""
        header = slot.header
        shift = self._wall() - self._monotonic() + slot.until - min(header.fresh_until, header.expires)
        if not _STEP < abs(shift) < math.inf:  # NaN for what never expires
            return header
        fresh_until, expires = header.fresh_until + shift, header.expires + shift
        return header._replace(created=header.created + shift, fresh_until=fresh_until, expires=expires)

    def close(self) -> None:
        """Let go of everything; idempotent."""
        self.tick(None)
        self.clear(None)

    def _renew(self) -> None:
        """In a child: nobody ticks, and no other thread will ever release the lock."""
        self._pulse.horizon = math.inf
        whole = self._lock.acquire(blocking=False)
        self._lock = threading.RLock()
        if not whole:
            self._tables.restart()
            self._policy.reset()


_living: weakref.WeakSet[MemoryTier] = weakref.WeakSet()


def _renew_all() -> None:
    for tier in list(_living):
        tier._renew()


os.register_at_fork(after_in_child=_renew_all)
