"""Counts of requests to models, of all processes that share a cache, kept in the cache itself.

Rules.

1. Counting touches memory alone; twice a second, and when the cache is flushed or closed, each process writes what it
   counted, under a key of its own, for each piece of ten minutes.  Nobody writes what another wrote, so nothing is lost
   between processes; a process that is killed takes its last half second with it.
2. They live in a namespace of their own for ``[llm] metrics_ttl``: patterns, tags and `clear` of users don't reach
   them, and keeping them is no operation that is counted.
3. A cache that is switched off stores nothing, these neither: a process tells what it counted itself, and forgets what
   is older than that time.
4. Counted by namespace, provider, model, operation and size of text; nothing of a prompt is.
"""

from __future__ import annotations

import atexit
import secrets
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from scoutcache import events
from scoutcache.calls.calls import Calls
from scoutcache.calls.listing import known, list_entries
from scoutcache.core.core import Core
from scoutcache.drive.blocking import run
from scoutcache.engine.effects import Flow, Work, perform
from scoutcache.engine.writing import Lifetime
from scoutcache.entry import Ref
from scoutcache.errors import CacheError
from scoutcache.oplog.histogram import Histogram

__all__ = ["NAMESPACE", "PIECE", "Label", "Ledger", "Row", "ledger_of", "read_rows"]

NAMESPACE: Final = "scoutcache:llm"
PIECE: Final = 600
"""Seconds whose counts share an entry: how precisely a period can be asked for."""

REPORTED: Final = 10_000


class Label(NamedTuple):
    """What is counted apart."""

    namespace: str
    provider: str
    model: str
    operation: str
    size: str


class Row(NamedTuple):
    """The counts of one label in one piece of time, which began at *begin* (seconds since the epoch)."""

    begin: int
    label: Label
    numbers: Mapping[str, float]
    latency: Histogram


class Ledger:
    """What this process has counted and not yet written, or may have to write again."""

    def __init__(self) -> None:
        self._lock, self.writing = threading.Lock(), threading.Lock()
        self._name = secrets.token_hex(8)
        self._counts: dict[int, dict[Label, tuple[dict[str, float], Histogram]]] = {}
        self._dirty: set[int] = set()
        self._reported: dict[str, None] = {}

    def is_new(self, request_id: str) -> bool:
        """Was no call of that id asked about before?  Of the latest ten thousand."""
        with self._lock:
            if request_id in self._reported:
                return False
            self._reported[request_id] = None
            while len(self._reported) > REPORTED:
                del self._reported[next(iter(self._reported))]
        return True

    def count(self, now: float, label: Label, numbers: Mapping[str, float], latency_ns: int | None = None) -> None:
        """Add *numbers* to those of *label*."""
        begin = int(now) // PIECE * PIECE
        with self._lock:
            totals, latency = self._counts.setdefault(begin, {}).setdefault(label, ({}, Histogram()))
            for name, number in numbers.items():
                totals[name] = totals.get(name, 0) + number
            if latency_ns is not None:
                latency.add(latency_ns)
            self._dirty.add(begin)

    def take(self) -> dict[str, list[Any]]:
        """What is to be written, by key: each time all of its piece, so that writing twice does no harm."""
        with self._lock:
            dirty, self._dirty = sorted(self._dirty), set()
            found = self._told(dirty)
            for begin in sorted(self._counts)[:-2]:  # a piece that is over is counted in no more
                del self._counts[begin]
            return found

    def forget(self, until: float) -> None:
        """Drop the pieces that were over by then."""
        with self._lock:
            for begin in [begin for begin in self._counts if begin + PIECE <= until]:
                del self._counts[begin]
            self._dirty.intersection_update(self._counts)

    def held(self) -> dict[str, list[Any]]:
        """All that is in memory, by key, written or not."""
        with self._lock:
            return self._told(self._counts)

    def _told(self, pieces: Iterable[int]) -> dict[str, list[Any]]:
        return {
            f"{begin}:{self._name}": [
                [list(label), dict(totals), latency.to_list()]
                for label, (totals, latency) in self._counts.get(begin, {}).items()
            ]
            for begin in pieces
        }

    def put_back(self, keys: Mapping[str, Any]) -> None:
        """They could not be written."""
        with self._lock:
            self._dirty.update(begin for begin in self._counts if f"{begin}:{self._name}" in keys)

    def renew(self) -> None:
        """In a forked child: what the parent counted is the parent's."""
        self.__init__()  # type: ignore[misc]  # its lock may be held by a thread that isn't here


_ledgers: weakref.WeakKeyDictionary[Core, Ledger] = weakref.WeakKeyDictionary()


def ledger_of(core: Core) -> Ledger:
    """The ledger of an open cache, which is written whenever its counters are."""
    if (ledger := _ledgers.get(core)) is None:
        made = Ledger()
        if (ledger := _ledgers.setdefault(core, made)) is made:  # of several threads one is the first
            _keep(core, ledger)
    return ledger


def _keep(core: Core, ledger: Ledger) -> None:
    whose = weakref.ref(core)

    def write() -> None:
        if (alive := whose()) is not None:
            _write(alive, ledger)

    core.at_flush.append(write)
    core.at_close.append(write)
    core.at_fork.append(ledger.renew)


def _write(core: Core, ledger: Ledger) -> None:
    if not core.closed:
        with ledger.writing:  # whoever flushes waits for what another thread has taken and is just writing
            run(written(core, ledger), core.ports)


def _write_all() -> None:
    """At the interpreter's end, of caches that nobody closed: what is shut by itself then is no more than files."""
    for core, ledger in list(_ledgers.items()):
        try:
            _write(core, ledger)
        except Exception as error:  # noqa: BLE001  # a full disk, say; the others are written
            core.hooks.emit(events.Trouble("llm", str(error)))


atexit.register(_write_all)


def written(core: Core, ledger: Ledger) -> Flow[None]:
    """Write what was counted since."""
    if not core.config.enabled:
        ledger.forget(core.clocks.wall() - core.config.llm.metrics_ttl)
        return
    if not (taken := ledger.take()):
        return
    core.follower.sync()
    began, life = core.writing.moment(), Lifetime(core.config.llm.metrics_ttl, 0.0)
    entries = [core.writing.entry(Ref(NAMESPACE, key), rows, life) for key, rows in taken.items()]
    stored = 0
    try:
        stored = yield from core.writing.store(entries, began)
    finally:
        if life.fresh > 0 and not stored:  # also where a tier is away and the user asked for an exception
            ledger.put_back(taken)


def read_rows(calls: Calls, since: float) -> Flow[list[Row]]:
    """The counts of all processes in the pieces that end after *since*, of the namespace of *calls*.

    A piece that can't be read, or was made by something else, is left out.  What this process holds in memory is told
    from there: it is the newest, and another thread may be writing it just now.
    """
    core = calls.core
    ends = max(since, core.clocks.wall() - core.config.llm.metrics_ttl)
    held = ledger_of(core).held()
    pieces: dict[str, Any] = {key: rows for key, rows in held.items() if _begin(key) + PIECE > ends}
    for key in (yield from perform(Work(lambda: _keys(core, since)))) if core.config.enabled else ():
        if key not in pieces and (found := (yield from known(calls, Ref(NAMESPACE, key)))) is not None:
            pieces[key] = found.value
    return [
        row for key, told in pieces.items() for row in _rows(key, told) if row.label.namespace == calls.namespace
    ]  # fmt: skip


def _keys(core: Core, since: float) -> list[str]:
    keys = (entry.header.ref.key for entry in list_entries(core, NAMESPACE, unchecked=True))
    return [key for key in keys if _begin(key) + PIECE > since]


def _begin(key: str) -> int:
    head = key.partition(":")[0]
    return int(head) if head.isascii() and head.isdigit() else -PIECE


def _rows(key: str, value: Any) -> Iterator[Row]:
    try:
        for label, numbers, latency in value:
            named = {str(name): float(number) for name, number in numbers.items()}
            yield Row(_begin(key), Label(*map(str, label)), named, Histogram.from_list(latency))
    except (TypeError, ValueError, OverflowError, AttributeError, CacheError):
        return
