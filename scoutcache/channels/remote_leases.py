"""One computation per key among the processes of many machines: leases on a server, renewed while their owners live.

What a lease is there, `scoutcache.channels.lease_plans` says; `scoutcache.channels.lease_keeper` renews it.

Rule 1: an owner that dies is succeeded when its lease has run out, three seconds after it was renewed last; one that
        was paused for longer has lost it, and takes nothing from whoever has it now.
Rule 2: who waits is woken: by its own process, or by the server's stream when the owner is another one.  It looks for
        itself twice a second, and when the lease should have run out, so a wake that is lost costs no more than that.
Rule 3: a circle of waiting is refused, `scoutcache.channels.circles` says how.
Rule 4: while the server is away the machine's own leases count, of which whoever computes takes one as soon as it
        knows.  So a waiter gives the owner it knew of a moment to do so.  It asks the server again now and then, or a
        circle that lies half there and half here would never be seen.
Rule 5: a forked child holds none of its parent's leases.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, TypeVar

from scoutcache.channels.circles import Circles
from scoutcache.channels.lease_flows import Flow, Rest, There, aperform, perform
from scoutcache.channels.lease_keeper import RENEWED_EVERY, Keeper, Keeps
from scoutcache.channels.lease_plans import LeasePlans, Owned
from scoutcache.channels.leases import Lease, Leases
from scoutcache.channels.leasing import Held
from scoutcache.entry import Ref
from scoutcache.errors import TierUnavailable
from scoutcache.server.commands import Conduit, Plan

__all__ = ["RemoteLease", "RemoteLeases"]

T = TypeVar("T")

LOOK: Final = 0.5
"""Seconds between two looks of a waiter, give or take a fifth."""

GRACE: Final = 1.5 * RENEWED_EVERY
"""Seconds in which an owner notices that the server is away, and takes the machine's lease."""

SLICE: Final = 1.0
"""Seconds to wait for the machine's lease before the server is asked again."""


class RemoteLease:
    """The right to compute *ref* among all machines, until `release`."""

    __slots__ = ("_owner", "beats", "here", "name", "notes", "ref", "token")

    def __init__(self, owner: RemoteLeases, ref: Ref, name: bytes) -> None:
        self._owner, self.ref, self.name, self.token = owner, ref, name, secrets.token_hex(8).encode()
        self.notes: dict[bytes, bytes] = {}
        self.beats = 0
        self.here: Lease | None = None
        """The machine's own lease, taken when the server went away."""

    @property
    def held(self) -> bool:
        """Does it keep other processes out?"""
        return self._owner._held.get(self.name) is self

    def release(self) -> None:
        """Let another one have it; idempotent, and nothing in a forked child.  Waits for nobody."""
        self._owner._let_go(self)


class RemoteLeases:
    """The leases of the cache that *plans* knows; *here* are those of this machine, *on_loop* carries out a plan.

    ``len()`` says how many this process holds.
    """

    def __init__(
        self, plans: LeasePlans, conduit: Conduit, on_loop: Callable[[Plan[Any]], Awaitable[Any]], here: Leases
    ) -> None:
        self._plans, self._conduit, self._on_loop, self._here = plans, conduit, on_loop, here
        keeps = Keeps(lambda: list(self._held.values()), self._freed, self._lost, self._fall_back)
        self._keeper = Keeper(plans, conduit, keeps)
        self._circles = Circles(plans)
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()  # a signal handler may ask while its own thread is in here
        self._held: dict[bytes, RemoteLease] = {}
        self._circles.held = self._held
        self._leaving: dict[bytes, bytes] = {}
        """The tokens of leases that were released, until the server has been told."""
        self._bells: dict[bytes, list[Callable[[], None]]] = {}

    def __len__(self) -> int:
        doubly = [lease for lease in list(self._held.values()) if lease.here is not None and lease.here.held]
        return len(self._held) + len(self._here) - len(doubly)

    # -- taking, as threads and event loops do

    def try_take(self, ref: Ref) -> Held | None:
        """The lease of *ref*, None while somebody holds it.  One round trip; the machine's own without a server."""
        try:
            taken = self._perform(self._take(ref, waits=False))
        except TierUnavailable:
            return self._here.try_take(ref)
        return taken if isinstance(taken, RemoteLease) else None

    async def try_take_async(self, ref: Ref) -> Held | None:
        """The same on an event loop."""
        try:
            taken = await self._aperform(self._take(ref, waits=False))
        except TierUnavailable:
            return self._here.try_take(ref)
        return taken if isinstance(taken, RemoteLease) else None

    def wait(self, ref: Ref, holding: Sequence[Held] = (), timeout: float | None = None) -> Held | None:
        """The lease of *ref* once its owner has released it or died; None after *timeout* seconds.

        *holding* are the leases of the computations around the caller, outermost first.  Raises `FlightCycle` where
        one of their owners would wait for itself.
        """
        bell = threading.Event()
        with self.waiting(ref, holding), self._ringing(ref, bell.set):
            return self._perform(self._obtain(ref, holding, timeout, bell.clear), bell)

    async def wait_async(
        self, ref: Ref, holding: Sequence[Held] = (), timeout: float | None = None  # noqa: ASYNC109  # as `wait`
    ) -> Held | None:  # fmt: skip
        """`wait` on an event loop."""
        bell, loop = asyncio.Event(), asyncio.get_running_loop()

        def ring() -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits on it any more
                loop.call_soon_threadsafe(bell.set)

        async with self.waiting_async(ref, holding):
            with self._ringing(ref, ring):
                return await self._aperform(self._obtain(ref, holding, timeout, bell.clear), bell)

    @contextmanager
    def waiting(self, ref: Ref, holding: Sequence[Held]) -> Iterator[bool]:
        """While it is entered, the owners of *holding* wait for *ref*, be it in this process; raises `FlightCycle`."""
        own, word = self._own(holding), secrets.token_hex(8).encode()
        try:
            self._perform(self._note(ref, own, word))
            with self._here.waiting(ref, self._machines(holding)) as told:
                yield told
        finally:
            self._wipe(own, word)

    @asynccontextmanager
    async def waiting_async(self, ref: Ref, holding: Sequence[Held]) -> AsyncIterator[bool]:
        """The same on an event loop."""
        own, word = self._own(holding), secrets.token_hex(8).encode()
        try:
            await self._aperform(self._note(ref, own, word))
            with self._here.waiting(ref, self._machines(holding)) as told:
                yield told
        finally:
            self._wipe(own, word)

    def _perform(self, flow: Flow[T], bell: threading.Event | None = None) -> T:
        return perform(flow, self._conduit, self._here, bell)

    async def _aperform(self, flow: Flow[T], bell: asyncio.Event | None = None) -> T:
        return await aperform(flow, self._on_loop, self._here, bell)

    # -- what is done, whoever does it

    def _take(self, ref: Ref, *, waits: bool) -> Flow[RemoteLease | float]:
        """The lease, or the seconds that another one's has left.  Raises `TierUnavailable`."""
        self._keeper.begin()
        lease = RemoteLease(self, ref, self._plans.name(ref))
        try:
            if (old := self._leaving.get(lease.name)) is not None:  # our own, and the keeper has yet to say so
                yield from self._plans.free([(lease.name, old)])
            left = yield from self._plans.take(lease.name, lease.token, waits=waits)
        except BaseException:  # the caller was cancelled, or the answer lost: it may be ours
            self._keeper.free(lease.name, lease.token)
            raise
        if left is not None:
            return left
        with self._lock:
            self._held[lease.name] = lease
        return lease

    def _obtain(
        self, ref: Ref, holding: Sequence[Held], timeout: float | None, begin: Callable[[], None]
    ) -> Flow[Held | None]:
        until = float("inf") if timeout is None else time.monotonic() + timeout
        own, known = self._own(holding), False
        while True:
            begin()
            left = max(0.0, until - time.monotonic())
            try:
                taken = yield from self._take(ref, waits=True)
                if isinstance(taken, RemoteLease):
                    return taken
                known = True
                yield from self._circles.refuse(ref, own)
                if left:
                    yield Rest(min(left, taken + 0.01, LOOK * random.uniform(0.8, 1.2)))  # noqa: S311  # no secret
            except TierUnavailable:
                if known:
                    known = False
                    yield Rest(min(left, GRACE), rung=False)
                    continue
                if (lease := (yield There(ref, self._machines(holding), min(left, SLICE)))) is not None:
                    return lease  # type: ignore[no-any-return]  # of the machine
            if not left:
                return None

    def _let_go(self, lease: RemoteLease) -> None:
        with self._lock:
            if self._held.get(lease.name) is not lease:
                return
            del self._held[lease.name]
            self._leaving[lease.name] = lease.token
            here, lease.here = lease.here, None
        self._keeper.free(lease.name, lease.token)
        if here is not None:
            here.release()

    # -- circles

    def _own(self, holding: Sequence[Held]) -> list[RemoteLease]:
        return [lease for lease in holding if isinstance(lease, RemoteLease) and lease.held]

    def _machines(self, holding: Sequence[Held]) -> list[Lease]:
        """The machine's own leases among them."""
        found = [lease.here if isinstance(lease, RemoteLease) else lease for lease in holding]
        return [lease for lease in found if isinstance(lease, Lease)]

    def _note(self, ref: Ref, own: Sequence[RemoteLease], word: bytes) -> Flow[None]:
        try:
            yield from self._circles.note(ref, own, word)
        except TierUnavailable:  # then those of this machine are told
            self._fall_back()

    def _wipe(self, own: Sequence[RemoteLease], word: bytes) -> None:
        for lease in own:
            lease.notes.pop(word, None)
        if names := [lease.name for lease in own if lease.held]:
            self._keeper.wipe(names, word)

    # -- what is heard

    @contextmanager
    def _ringing(self, ref: Ref, ring: Callable[[], None]) -> Iterator[None]:
        """While it is entered, *ring* is called when the lease of *ref* may be free."""
        name = self._plans.name(ref)
        with self._lock:
            self._bells.setdefault(name, []).append(ring)
        try:
            yield
        finally:
            with self._lock:
                bells = self._bells.get(name, [])
                if ring in bells:
                    bells.remove(ring)
                if not bells:
                    self._bells.pop(name, None)

    def released(self, name: bytes | None) -> None:
        """The lease of that name, or with None any, may be free."""
        with self._lock:
            bells = [ring for of, some in self._bells.items() if name in (None, of) for ring in some]
        for ring in bells:
            ring()

    def server_changed(self) -> None:
        """The server has gone, or come back."""
        self._keeper.renew()
        self.released(None)

    def _freed(self, name: bytes, token: bytes) -> None:
        with self._lock:
            if self._leaving.get(name) == token:
                del self._leaving[name]
        self.released(name)

    def _lost(self, lease: Owned) -> None:
        with self._lock:
            if self._held.get(lease.name) is lease:
                del self._held[lease.name]

    def _fall_back(self) -> None:
        """The server is away: hold the machine's own leases (Rule 4)."""
        for lease in list(self._held.values()):
            with self._lock:
                if lease.held and lease.here is None:
                    lease.here = self._here.try_take(lease.ref)

    def close(self) -> None:
        """Let go of everything; idempotent."""
        self._keeper.close()

    def after_fork(self) -> None:
        """In a forked child."""
        self._begin()
        self._keeper.forget()


_all: weakref.WeakSet[RemoteLeases] = weakref.WeakSet()


def _after_fork() -> None:
    for leases in list(_all):
        leases.after_fork()


os.register_at_fork(after_in_child=_after_fork)
