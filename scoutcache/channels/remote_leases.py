"""One computation per key among the processes of many machines: leases on a server, renewed while their owners live.

What a lease is there, `scoutcache.channels.lease_plans` says; `scoutcache.channels.lease_keeper` renews it.

Rule 1: an owner that dies is succeeded when its lease has run out, three seconds after it was renewed last; one that
        was paused for longer has lost it, and takes nothing from whoever has it now.
Rule 2: the machine's own lease comes first (`scoutcache.channels.leases`), then the server's; so of a machine one
        process at most asks the server, its neighbours wait for that one, and it gives up both together.  Where the
        machine has none, for want of a lock or of files, the server's alone decides.
Rule 3: whoever holds the machine's own takes the server's from an owner of his machine at once: that is dead.
Rule 4: without the server the machine's own counts alone, also for who waits when the server goes.  Once it is back
        what is held is there as well, unless another machine has it by now.
Rule 5: who asked and was given no answer can't know whether he has it: what may stand for nobody is let go of once the
        server answers (`scoutcache.channels.lease_doubts`).
Rule 6: who waits is woken: by the kernel for his own machine, else by his own process or the server's stream.  He looks
        for himself twice a second, and when the lease should have run out, so a wake that is lost costs no more.
Rule 7: a circle of waiting is refused, `scoutcache.channels.circles` says how, and of one machine by its own leases.
Rule 8: a forked child holds none of its parent's leases.
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
from scoutcache.channels.lease_flows import Flow, Rest, aperform, perform
from scoutcache.channels.lease_keeper import Keeper, Keeps
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

FILES: Final = 256
"""Leases of the machine that a process holds at most at a time, for each is an open file: of a batch of many keys the
server's alone hold the others."""


class RemoteLease:
    """The right to compute *ref* among all machines, until `release`; *here* is the machine's own, or holds nothing."""

    __slots__ = ("_owner", "asked", "beats", "here", "name", "notes", "ref", "token", "unsure")

    def __init__(self, owner: RemoteLeases, ref: Ref, name: bytes, here: Lease, machine: bytes) -> None:
        self._owner, self.ref, self.name, self.here = owner, ref, name, here
        self.token = machine + secrets.token_hex(8).encode()
        self.notes: dict[bytes, bytes] = {}
        self.beats = 0
        self.asked, self.unsure = True, False
        """Was the server asked for it; and was there ever no answer?"""

    @property
    def held(self) -> bool:
        """Does it keep other processes out?"""
        return self.here.held or self.stands

    @property
    def stands(self) -> bool:
        """Is it held on the server too, or will be when that is back?"""
        return self._owner._held.get(self.name) is self

    def release(self) -> None:
        """Let another one have it; idempotent, and nothing in a forked child.  Waits for nobody."""
        self._owner._let_go(self)


class RemoteLeases:
    """The leases of the cache that *plans* knows; *here* are those of this *machine*, *on_loop* carries out a plan.

    ``len()`` says how many this process holds.
    """

    def __init__(
        self, plans: LeasePlans, conduit: Conduit, on_loop: Callable[[Plan[Any]], Awaitable[Any]], here: Leases,
        machine: str,
    ) -> None:  # fmt: skip
        self._plans, self._conduit, self._on_loop, self._here = plans, conduit, on_loop, here
        self._machine = f"{machine}.".encode()
        self._keeper = Keeper(plans, conduit, Keeps(self._to_renew, self._freed, self._lost))
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
        return len(self._here) + len([lease for lease in list(self._held.values()) if not lease.here.held])

    # -- taking, as threads and event loops do

    def try_take(self, ref: Ref) -> Held | None:
        """The lease of *ref*, None while somebody holds it.  One round trip; the machine's own without a server."""
        here = self._try_here(ref)
        return None if here is None else self._perform(self._obtain(ref, here))

    async def try_take_async(self, ref: Ref) -> Held | None:
        """The same on an event loop."""
        here = self._try_here(ref)
        return None if here is None else await self._aperform(self._obtain(ref, here))

    def _try_here(self, ref: Ref) -> Lease | None:
        return self._here.try_take(ref) if len(self._here) < FILES else self._here.none(ref)

    def wait(self, ref: Ref, holding: Sequence[Held] = (), timeout: float | None = None) -> Held | None:
        """The lease of *ref* once its owner has released it or died; None after *timeout* seconds.

        *holding* are the leases of the computations around the caller, outermost first.  Raises `FlightCycle` where
        one of their owners would wait for itself.
        """
        until, bell = _until(timeout), threading.Event()
        with self.waiting(ref, holding) as told:
            here = self._here.wait(ref, (), timeout) if told else self._here.none(ref)
            if here is None:
                return None
            with self._ringing(ref, bell.set):
                return self._perform(self._obtain(ref, here, self._own(holding), until, bell.clear), bell)

    async def wait_async(
        self, ref: Ref, holding: Sequence[Held] = (), timeout: float | None = None  # noqa: ASYNC109  # as `wait`
    ) -> Held | None:  # fmt: skip
        """`wait` on an event loop."""
        until, bell, loop = _until(timeout), asyncio.Event(), asyncio.get_running_loop()

        def ring() -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits on it any more
                loop.call_soon_threadsafe(bell.set)

        async with self.waiting_async(ref, holding) as told:
            here = await self._here.wait_async(ref, (), timeout) if told else self._here.none(ref)
            if here is None:
                return None
            with self._ringing(ref, ring):
                return await self._aperform(self._obtain(ref, here, self._own(holding), until, bell.clear), bell)

    @contextmanager
    def waiting(self, ref: Ref, holding: Sequence[Held]) -> Iterator[bool]:
        """While it is entered, the owners of *holding* wait for *ref*, be it in this process; raises `FlightCycle`."""
        own, word = self._own(holding), secrets.token_hex(8).encode()
        with self._here.waiting(ref, _machines(holding)) as told:  # first: it sees a circle at once
            try:
                self._perform(self._note(ref, own, word))
                yield told
            finally:
                self._wipe(own, word)

    @asynccontextmanager
    async def waiting_async(self, ref: Ref, holding: Sequence[Held]) -> AsyncIterator[bool]:
        """The same on an event loop."""
        own, word = self._own(holding), secrets.token_hex(8).encode()
        with self._here.waiting(ref, _machines(holding)) as told:
            try:
                await self._aperform(self._note(ref, own, word))
                yield told
            finally:
                self._wipe(own, word)

    def _perform(self, flow: Flow[T], bell: threading.Event | None = None) -> T:
        return perform(flow, self._conduit, bell)

    async def _aperform(self, flow: Flow[T], bell: asyncio.Event | None = None) -> T:
        return await aperform(flow, self._on_loop, bell)

    # -- what is done, whoever does it

    def _obtain(
        self, ref: Ref, here: Lease, own: Sequence[RemoteLease] = (), until: float = 0.0,
        begin: Callable[[], None] | None = None,
    ) -> Flow[Held | None]:  # fmt: skip
        """The lease of *ref*, of which *here* is held; *here* is let go where it comes to nothing.

        Who waits *until* then, for what *own* is held for, gives *begin*, which is called before each look.
        """
        try:
            while True:
                if begin is not None:
                    begin()
                taken = yield from self._take(ref, here, waits=begin is not None)
                if not isinstance(taken, float):
                    return taken
                with suppress(TierUnavailable):  # the next look says so
                    yield from self._circles.refuse(ref, own)
                left = until - time.monotonic()
                if left <= 0:
                    break
                yield Rest(min(left, taken + 0.01, LOOK * random.uniform(0.8, 1.2)))  # noqa: S311  # no secret
        except BaseException:
            here.release()
            raise
        here.release()
        return None

    def _take(self, ref: Ref, here: Lease, *, waits: bool) -> Flow[Held | float]:
        """The lease, or the seconds that another machine's has left."""
        try:
            self._keeper.begin()
        except TierUnavailable:
            return here
        machine = self._machine if here.held else b""
        lease = RemoteLease(self, ref, self._plans.name(ref), here, machine)
        try:
            if not machine and (old := self._leaving.get(lease.name)) is not None:  # the keeper has yet to say so
                yield from self._plans.free([(lease.name, old)])
            left = yield from self._plans.take(lease.name, lease.token, waits=waits, instead_of=machine)
        except TierUnavailable as error:  # Rule 4
            left, lease.asked, lease.unsure = None, error.uncertain, error.uncertain
        except BaseException:  # the caller was cancelled: it may be ours
            self._keeper.free(lease.name, lease.token, unsure=True)
            raise
        if left is not None:
            return left
        with self._lock:
            if self._held.setdefault(lease.name, lease) is lease:
                return lease
        self._keeper.free(lease.name, lease.token, unsure=True)  # another thread's, without a server and a lock
        return here

    def _let_go(self, lease: RemoteLease) -> None:
        with self._lock:
            stood = lease.stands and lease.asked
            if lease.stands:
                del self._held[lease.name]
            if stood:
                self._leaving[lease.name] = lease.token
        lease.here.release()
        if stood:  # last: the keeper that is woken takes the interpreter
            self._keeper.free(lease.name, lease.token, unsure=lease.unsure)

    # -- circles

    def _own(self, holding: Sequence[Held]) -> list[RemoteLease]:
        return [lease for lease in holding if isinstance(lease, RemoteLease) and lease.stands]

    def _note(self, ref: Ref, own: Sequence[RemoteLease], word: bytes) -> Flow[None]:
        with suppress(TierUnavailable):  # it is told once it is back
            yield from self._circles.note(ref, own, word)

    def _wipe(self, own: Sequence[RemoteLease], word: bytes) -> None:
        for lease in own:
            lease.notes.pop(word, None)
        if names := [lease.name for lease in own if lease.stands]:
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

    def _to_renew(self) -> list[RemoteLease]:
        with self._lock:
            held = list(self._held.values())
            for lease in held:
                lease.asked = True
        return held

    def close(self) -> None:
        """Let go of everything; idempotent."""
        self._keeper.close()

    def after_fork(self) -> None:
        """In a forked child."""
        self._begin()
        self._keeper.forget()


def _machines(holding: Sequence[Held]) -> list[Lease]:
    """The machine's own leases among them."""
    found = [lease.here if isinstance(lease, RemoteLease) else lease for lease in holding]
    return [lease for lease in found if isinstance(lease, Lease)]


def _until(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout


_all: weakref.WeakSet[RemoteLeases] = weakref.WeakSet()


def _after_fork() -> None:
    for leases in list(_all):
        leases.after_fork()


os.register_at_fork(after_in_child=_after_fork)
