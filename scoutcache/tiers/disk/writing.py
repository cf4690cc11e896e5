"""Sets: concurrent ones of a process share a transaction.

Rule 1: each caller puts its job into a queue and then asks for the mutex.  Who gets it commits what is queued, its own
        job included; who finds its own job done meanwhile has nothing left to do.  So a call returns after its commit,
        and alone it pays for two operations on a deque.
Rule 2: *allow* is asked after the write lock was taken, and again when a transaction is tried again.
Rule 3: an error reaches its own caller only: where a shared transaction fails, each job is done again by itself.
Rule 4: whoever is interrupted leaves the jobs of the others undone, and they do them themselves.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from scoutcache.errors import TierUnavailable
from scoutcache.tiers.base import Allow
from scoutcache.tiers.disk.database import Database
from scoutcache.tiers.disk.faults import Fault, fault_of
from scoutcache.tiers.disk.rows import UPSERT, Record

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
    size: int
    taken: int = 0
    done: bool = False
    error: Exception | None = field(default=None, repr=False)


class Writer:
    """The one queue of a process's sets."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: deque[_Job] = deque()

    def write(self, records: Sequence[Record], now: float, allow: Allow | None) -> int:
        """Store them in one transaction, perhaps with those of other callers; returns how many were taken."""
        timeout = self._database.timeout
        size = sum([one.size for one in records])
        job = _Job(records, now, allow, time.monotonic() + timeout, size)
        self._queue.append(job)
        if not self._database.writing.acquire(timeout=timeout):
            self._withdraw(job)
            if not job.done:
                raise TierUnavailable("disk", "another process holds the write lock")
        else:
            try:
                if not job.done:
                    self._lead(job)
            finally:
                self._database.writing.release()
        if job.error is not None:
            raise job.error
        return job.taken

    def forget(self) -> None:
        """Drop what is queued: in the child of a fork, those callers don't exist."""
        self._queue.clear()

    def _withdraw(self, job: _Job) -> None:
        try:
            self._queue.remove(job)
        except ValueError:  # a leader has it, and will end soon: it has waited as long
            with self._database.writing:
                pass

    def _lead(self, own: _Job) -> None:
        jobs, size = [own], own.size
        while self._queue and len(jobs) < _MOST_JOBS and size < _MOST_BYTES:
            job = self._queue.popleft()
            if job is not own and not job.done:
                jobs.append(job)
                size += job.size
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
        deadline = max(job.deadline for job in jobs)
        with self._database.locked(deadline) as con:
            space = self._database.space  # asked now: opening it may have taken over the store's own limit
            taken = [_put(con, job, space.max_bytes) for job in jobs]
            space.check(con, sum([job.size for job in jobs]), max([job.now for job in jobs]))
        for job, number in zip(jobs, taken, strict=True):
            job.taken, job.done = number, True


def _concerns_all(error: Exception) -> bool:
    """Whether trying again would only wait again."""
    cause = error.__cause__
    return (isinstance(error, TierUnavailable)
            and not (isinstance(cause, sqlite3.Error) and fault_of(cause) in {Fault.FULL, Fault.OTHER}))  # fmt: skip


def _put(con: sqlite3.Connection, job: _Job, max_bytes: int) -> int:
    allow = job.allow
    records = [one for one in job.records if one.size <= max_bytes and (allow is None or allow(one.header))]
    if not any(one.chunks for one in records):
        return con.executemany(UPSERT, [one.values for one in records]).rowcount if records else 0
    return sum([_put_one(con, one) for one in records])


def _put_one(con: sqlite3.Connection, record: Record) -> int:
    taken = con.execute(UPSERT, record.values).rowcount
    if taken and record.chunks:
        (owner,) = con.execute("SELECT rowid FROM Cache WHERE key = ? AND raw = 1", record.values[:1]).fetchone()
        con.executemany("INSERT INTO Chunks VALUES (?, ?, ?)",
                        ((owner, n, chunk) for n, chunk in enumerate(record.chunks)))  # fmt: skip
    return taken
