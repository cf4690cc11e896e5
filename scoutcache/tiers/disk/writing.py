"""Sets: concurrent ones of a process share a transaction.

Rule 1: who finds the mutex free and nobody queued writes at once.  Others put their job into a queue and wait for
        the mutex; who gets it commits what is queued, its own job included; who finds its own job done meanwhile has
        nothing left to do.  So a call returns after its commit, and what came while one commit lasted shares the next.
Rule 2: *allow* is asked after the write lock was taken, and again when a transaction is tried again.
Rule 3: an error reaches its own caller only: where a shared transaction fails, each job is done again by itself.
Rule 4: whoever is interrupted leaves the jobs of the others undone, and they do them themselves.
Rule 5: what doesn't fit into the store is not taken, and nothing else goes for it: the transaction is done again
        without it.  Where several jobs don't fit together, each is done by itself.
Rule 6: of a key that somebody set, an older entry goes also when the new one is forbidden: else it would answer for it.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from scoutcache.errors import TierUnavailable
from scoutcache.tiers.base import Allow
from scoutcache.tiers.disk.database import Database
from scoutcache.tiers.disk.faults import Fault, fault_of
from scoutcache.tiers.disk.rows import DELETE_OLDER, UPSERT, Record
from scoutcache.tiers.disk.space import TooMuch
from scoutcache.tiers.disk.stamps import horizon
from scoutcache.tiers.disk.versions import renew

__all__ = ["Writer"]

_MOST_JOBS: Final = 64
_MOST_BYTES: Final = 4 << 20


@dataclass(slots=True, eq=False)
class _Job:
    """The rows of one call, and what became of them."""

    records: Sequence[Record]
    now: float
    allow: Allow | None
    deadline: float
    unfit: set[int] = field(default_factory=set)
    """The records, by `id`, that were found not to fit."""
    taken: int = 0
    done: bool = False
    error: Exception | None = field(default=None, repr=False)


class Writer:
    """The one queue of a process's sets."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: deque[_Job] = deque()
        database.after_fork.append(self._queue.clear)  # those callers are in the parent

    def write(self, records: Sequence[Record], now: float, allow: Allow | None) -> int:
        """Store them in one transaction, perhaps with those of other callers; returns how many were taken."""
        database = self._database
        job = _Job(records, now, allow, time.monotonic() + database.timeout)
        if not self._queue and database.writing.acquire(blocking=False):
            try:
                self._commit([job])
            finally:
                database.writing.release()
            return job.taken
        self._queue.append(job)
        self._wait(job)
        if job.error is not None:
            raise job.error
        return job.taken

    def _wait(self, job: _Job) -> None:
        """Until it is done, by this thread or by another."""
        database = self._database
        if not database.writing.acquire(timeout=max(0.0, job.deadline - time.monotonic())):
            self._withdraw(job)
            if not job.done:
                raise database.unavailable(Fault.LOCKED)
            return
        try:
            if not job.done:
                self._lead(job)
        finally:
            database.writing.release()

    def _withdraw(self, job: _Job) -> None:
        try:
            self._queue.remove(job)
        except ValueError:  # a leader has it, and will end soon: its own time is over as well
            with self._database.writing:
                pass

    def _lead(self, own: _Job) -> None:
        jobs, bytes_ = [own], sum([one.size for one in own.records])
        while self._queue and len(jobs) < _MOST_JOBS and bytes_ < _MOST_BYTES:
            job = self._queue.popleft()
            if job is not own and not job.done:
                jobs.append(job)
                bytes_ += sum([one.size for one in job.records])
        try:
            self._commit(jobs)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is raised in the threads that asked
            if len(jobs) == 1 or _concerns_all(error):
                for job in jobs:
                    job.error, job.done = error, True
            else:
                self._one_by_one(jobs)

    def _one_by_one(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            try:
                self._commit([job])
            except Exception as error:  # noqa: BLE001  # as above
                job.error, job.done = error, True

    def _commit(self, jobs: Sequence[_Job]) -> None:
        database, latest = self._database, max([job.deadline for job in jobs])
        try:
            taken, removed = database.transact_alone(partial(_put_all, database, jobs), latest)
        except TooMuch as error:
            if len(jobs) > 1:
                raise
            jobs[0].unfit.update([id(one) for one in error.records])
            self._commit(jobs)
            return
        if removed:
            database.store.space.left(removed)
        for job, number in zip(jobs, taken, strict=True):
            job.taken, job.done = number, True


def _concerns_all(error: Exception) -> bool:
    """Whether trying again would only wait again."""
    cause = error.__cause__
    return (isinstance(error, TierUnavailable)
            and not (isinstance(cause, sqlite3.Error) and fault_of(cause) in {Fault.FULL, Fault.OTHER}))  # fmt: skip


def _put_all(database: Database, jobs: Sequence[_Job], con: sqlite3.Connection) -> tuple[list[int], Counter[str]]:
    """How many of each job were taken, and what was removed for them."""
    space = database.store.space  # asked now: opening the database may have taken over the store's own limit
    taken = [_put(space.max_bytes, job, con) for job in jobs]
    together = taken[0] if len(taken) == 1 else [one for some in taken for one in some]
    removed = space.check(con, together, jobs[0].now) if together else Counter[str]()
    return [len(some) for some in taken], removed


def _put(max_bytes: int, job: _Job, con: sqlite3.Connection) -> list[Record]:
    taken, written, latest = list[Record](), 0, horizon(job.now)
    for one in job.records:
        if written + one.size > max_bytes or (job.unfit and id(one) in job.unfit):
            # What is there would answer for the newer one.
            con.execute(DELETE_OLDER, (one.values[0], one.header.start / 1e9, latest))
        elif job.allow is None or job.allow(one.header):
            if not con.execute(UPSERT, (*one.values, latest)).rowcount:
                continue  # a later one is there
            taken.append(one)
            written += one.size
            if one.chunks:
                _put_chunks(con, one)
            if one.renews is not None:
                renew(con, one.header.ref.namespace, [one.renews])
        elif one.replaces:
            con.execute(DELETE_OLDER, (one.values[0], one.header.start / 1e9, latest))
    return taken


def _put_chunks(con: sqlite3.Connection, record: Record) -> None:
    """Put the chunks beside their row; a trigger removed those it had."""
    (owner,) = con.execute("SELECT rowid FROM Cache WHERE key = ? AND raw = 1", record.values[:1]).fetchone()
    rows = ((owner, n, chunk) for n, chunk in enumerate(record.chunks))
    con.executemany("INSERT OR REPLACE INTO Chunks VALUES (?, ?, ?)", rows)
