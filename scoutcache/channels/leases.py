"""One computation per key among the processes of one machine: whoever holds the key's lease computes, others wait.

A lease is an flock on a file of its own, so the kernel keeps the books.  The owner is the open file in the process that
leads: its lock is gone the moment that process dies, however it dies, and lasts as long as the process computes, be it
minutes.  There is nothing to renew, no clock to compare, and a waiter is woken by the kernel.  A stopped process
(SIGSTOP) is alive: whoever can't wait for it gives a timeout.

Rule 1: the owner unlinks the file while it holds it, so that nothing is left over.  Whoever got a lock therefore looks
        whether the path still is that file, and begins again if not.
Rule 2: what a computation waits for is written into the lease files it holds *before* looking where the others' lead.
        Of the processes that close a circle at least one sees it, and all of them may: `FlightCycle`.
Rule 3: such a note counts while the file it names is locked, by the process that waits; so the notes of the dead, which
        a lease's next owner may not have wiped out yet, close no circle.
Rule 4: a forked child holds none of its parent's leases.  It closes the descriptors it inherited, and no fork happens
        between opening one and writing it down.  (Unlocking there would unlock the parent's: they share the lock.)
Rule 5: where no file can be made or locked, there are no leases, and each process computes for itself.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import secrets
import stat
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

from scoutcache.entry import Ref
from scoutcache.errors import FlightCycle

__all__ = ["Lease", "Leases"]

_log = logging.getLogger("scoutcache")

_SHORTEST, _LONGEST = 0.001, 0.05
"""Seconds between two looks of a waiter with a timeout: the kernel has no lock that gives up by itself, a signal would
need the main thread, and a thread that waits in its place could not be called off.  Each look costs two microseconds,
and who waits for long learns of the release a twentieth of a second late."""

_SETTLED: Final = 5.0
"""Seconds after which a file that nobody has locked was left by a process that died."""

_TAKE: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_LOOK: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_NOTE: Final = re.compile(rb"(w\.[0-9a-f]{16}) ([0-9a-f]{32})\n")
_LONGEST_NOTES: Final = 1 << 20


class Lease:
    """The right to compute *ref*, until `release`.  Where there can be no leases it holds nothing."""

    __slots__ = ("_fd", "_owner", "_path", "_waits", "ref")

    def __init__(self, owner: Leases, ref: Ref, path: str, fd: int) -> None:
        self._owner, self.ref, self._path, self._fd = owner, ref, path, fd
        self._waits = 0

    @property
    def held(self) -> bool:
        """Does it keep other processes out?"""
        return self in self._owner._held

    def release(self) -> None:
        """Let another one have it; idempotent, and nothing in a forked child."""
        with _descriptors.lock:
            if not self.held:
                return
            self._owner._held.discard(self)
        with suppress(OSError):
            if _same_file(self._path, self._fd):
                os.unlink(self._path)  # noqa: PTH108  # pathlib costs as much as the system does
        fcntl.flock(self._fd, fcntl.LOCK_UN)  # for a child between its fork and closing its copy as well
        _descriptors.close(self._fd)

    def _note(self, line: bytes) -> None:
        with _descriptors.lock:
            if self.held:
                self._waits += 1
                os.write(self._fd, line)

    def _wipe(self) -> None:
        with _descriptors.lock:
            if self.held:
                self._waits -= 1
                if not self._waits:
                    os.ftruncate(self._fd, 0)


class Leases:
    """The leases of one cache directory; *directory* is made, for its owner alone, when the first one is taken.

    ``len()`` says how many this process holds.
    """

    def __init__(self, directory: Path) -> None:
        self._directory, self._prefix = directory, f"{directory}/"
        self._held: set[Lease] = set()
        self._opened = self._warned = False
        _all.add(self)

    def __len__(self) -> int:
        return len(self._held)

    def try_take(self, ref: Ref) -> Lease | None:
        """The lease of *ref*, None while somebody holds it, a thread of this process too.  Never waits."""
        return self._take(ref, _lock_now)

    async def try_take_async(self, ref: Ref) -> Lease | None:
        """`try_take` on an event loop: it asks nobody but the kernel."""
        return self.try_take(ref)

    def wait(self, ref: Ref, holding: Sequence[Lease] = (), timeout: float | None = None) -> Lease | None:
        """The lease of *ref* once its owner has released it or died; None after *timeout* seconds.

        *holding* are the leases of the computations around the caller, outermost first.  Raises `FlightCycle` where
        one of their owners would wait for itself.  Blocks the thread, in the kernel where there is no timeout; a signal
        handler that raises ends it.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self.waiting(ref, holding) as told:
            return self._take(ref, lambda fd: _lock_by(fd, until)) if told else self.none(ref)

    async def wait_async(
        self, ref: Ref, holding: Sequence[Lease] = (), timeout: float | None = None  # noqa: ASYNC109  # as `wait`
    ) -> Lease | None:  # fmt: skip
        """`wait` on an event loop: it asks in growing steps, and holds no thread that a lease's owner may need."""
        import asyncio

        until = time.monotonic() + (float("inf") if timeout is None else timeout)
        with self.waiting(ref, holding) as told:
            if not told:
                return self.none(ref)
            step = _SHORTEST
            while (lease := self.try_take(ref)) is None and (left := until - time.monotonic()) > 0:
                await asyncio.sleep(min(step, left))
                step = min(step * 2, _LONGEST)
            return lease

    @contextmanager
    def waiting(self, ref: Ref, holding: Sequence[Lease]) -> Iterator[bool]:
        """While it is entered, the owners of *holding* wait for *ref*, be it in this process; raises `FlightCycle`.

        Gives false where that can't be told to other processes.
        """
        held = [lease for lease in holding if lease.held]
        if not held:
            yield True
            return
        path, fd = self._locked_token()
        noted: list[Lease] = []
        try:
            try:
                for lease in held:
                    lease._note(f"{path.name} {_name(ref)}\n".encode())
                    noted.append(lease)
            except OSError as error:  # a full disk
                self._warn(error)
            self._refuse_circle(ref, held)
            yield fd is not None and len(noted) == len(held)
        finally:
            with suppress(OSError):
                path.unlink()
            if fd is not None:
                _descriptors.close(fd)
            for lease in noted:
                lease._wipe()

    @asynccontextmanager
    async def waiting_async(self, ref: Ref, holding: Sequence[Lease]) -> AsyncIterator[bool]:
        """`waiting` on an event loop."""
        with self.waiting(ref, holding) as told:
            yield told

    def close(self) -> None:
        """What is held is held until it is released, or the process ends."""

    def _locked_token(self) -> tuple[Path, int | None]:
        """A file that is locked as long as this process lives and waits (Rule 3)."""
        while True:
            name = f"w.{secrets.token_hex(8)}"
            path, fd = self._directory / name, self._open(name)
            if fd is None or (_lock_now(fd) and _same_file(path, fd)):
                return path, fd
            _descriptors.close(fd)  # somebody who sweeps was faster

    def _refuse_circle(self, ref: Ref, held: Sequence[Lease]) -> None:
        own = {_name(lease.ref): lease.ref.key for lease in held}
        seen: set[str] = set()
        todo = [_name(ref)]
        while todo:
            name = todo.pop()
            if name in own:
                raise FlightCycle(
                    f"computing {held[-1].ref.key!r} asks for {ref.key!r}, which another process computes and which "
                    f"waits for {own[name]!r}: neither could ever end",
                    hint="compute one of them outside the other's factory",
                )
            if name not in seen:
                seen.add(name)
                todo += self._awaited_by(name)

    def _awaited_by(self, name: str) -> list[str]:
        """What the owner of the lease called *name* waits for (Rule 3)."""
        fd = self._look_at(name)
        if fd is None:
            return []
        try:
            notes = _NOTE.findall(os.read(fd, _LONGEST_NOTES))
        finally:
            _descriptors.close(fd)
        return [target.decode() for waiter, target in notes if self._is_locked(waiter.decode())]

    def _is_locked(self, name: str) -> bool:
        fd = self._look_at(name)
        if fd is None:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            _descriptors.close(fd)

    def _take(self, ref: Ref, lock: Callable[[int], bool]) -> Lease | None:
        name = _name(ref)
        path = self._prefix + name
        while (fd := self._open(name)) is not None:
            lease = Lease(self, ref, path, fd)
            try:
                if not lock(fd):
                    return None
                if self._is_ours(lease):
                    return lease
            except OSError as error:
                self._warn(error)
                break
            finally:
                if not lease.held:
                    _descriptors.close(fd)
        return self.none(ref)

    def none(self, ref: Ref) -> Lease:
        """A lease that holds nothing (Rule 5)."""
        return Lease(self, ref, "", -1)

    def _is_ours(self, lease: Lease) -> bool:
        """It is locked: is it the lease of its key still (Rule 1)?"""
        if not _same_file(lease._path, lease._fd):
            return False
        if os.lseek(lease._fd, 0, os.SEEK_END):
            os.ftruncate(lease._fd, 0)  # what its owner was waiting for when it died
        self._held.add(lease)
        return True

    def _open(self, name: str) -> int | None:
        """A descriptor of the file, made if it isn't there; None, and a warning, where none can be had."""
        try:
            if not self._opened:
                self._prepare()
            try:
                return _descriptors.open(self._prefix + name, _TAKE)
            except FileNotFoundError:  # the directory went away under us
                self._prepare()
                return _descriptors.open(self._prefix + name, _TAKE)
        except OSError as error:
            self._warn(error)
            return None

    def _look_at(self, name: str) -> int | None:
        """A descriptor of the file if it is there."""
        try:
            return _descriptors.open(self._prefix + name, _LOOK)
        except OSError:  # a link in its place is an error as well
            return None

    def _prepare(self) -> None:
        self._directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        status = self._directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise NotADirectoryError(errno.ENOTDIR, "it is no folder of this user's")
        self._opened = True
        self.sweep()

    def sweep(self) -> int:
        """Remove the files of processes that died, and whose keys nobody asked for since; return how many."""
        removed = 0
        for path in self._directory.iterdir():
            fd = self._look_at(path.name)
            if fd is None:
                continue
            # One that was just made may not be locked yet, and its maker would find it taken.
            settled = abs(time.time() - os.fstat(fd).st_mtime) > _SETTLED
            if settled and _lock_now(fd) and _same_file(path, fd):
                path.unlink()
                removed += 1
            _descriptors.close(fd)
        return removed

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "leases don't work in %s (%s), so each process computes for itself", self._directory, error.strerror
            )


def _name(ref: Ref) -> str:
    text = f"{len(ref.namespace)}:{ref.namespace}:{ref.key}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _same_file(path: Path | str, fd: int) -> bool:
    try:
        found, there = os.fstat(fd), os.lstat(path)
    except FileNotFoundError:
        return False
    return (found.st_ino, found.st_dev) == (there.st_ino, there.st_dev)


def _lock_now(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_by(fd: int, until: float | None) -> bool:
    """Lock *fd* by *until*, monotonic."""
    if until is None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return True
    step = _SHORTEST
    while not _lock_now(fd):
        left = until - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(step, left))
        step = min(step * 2, _LONGEST)
    return True


class _Descriptors:
    """What this module has open in this process, so that a forked child can close it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal handler may fork while its own thread is in here
        self._open: set[int] = set()

    def open(self, path: str, flags: int) -> int:
        with self.lock:
            fd = os.open(path, flags, 0o600)
            self._open.add(fd)
        return fd

    def close(self, fd: int) -> None:
        with self.lock:
            if fd in self._open:
                self._open.discard(fd)
                os.close(fd)

    def after_fork(self) -> None:
        """In the child: let go of what the parent has."""
        self.lock = threading.RLock()
        for fd in self._open:
            os.close(fd)
        self._open.clear()
        for leases in _all:
            leases._held.clear()


_descriptors = _Descriptors()
_all: weakref.WeakSet[Leases] = weakref.WeakSet()

os.register_at_fork(
    before=lambda: _descriptors.lock.acquire(),
    after_in_parent=lambda: _descriptors.lock.release(),
    after_in_child=_descriptors.after_fork,
)
