"""What a cache asks of its leases, whichever keeps them: the files of a directory, or a server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from scoutcache.entry import Ref

__all__ = ["Held", "Leasing"]


class Held(Protocol):
    """The right to compute *ref*, until `release`."""

    @property
    def ref(self) -> Ref:
        """Which key."""

    @property
    def held(self) -> bool:
        """Does it keep other processes out?"""

    def release(self) -> None:
        """Let another one have it; idempotent, never waits."""


class Leasing(Protocol):
    """The leases of one cache; ``len()`` says how many this process holds.

    *holding* are the leases of the computations around the caller, outermost first, of any kind.
    """

    def __len__(self) -> int: ...

    def try_take(self, ref: Ref) -> Held | None:
        """The lease of *ref*, None while somebody holds it.  Waits for nobody."""

    async def try_take_async(self, ref: Ref) -> Held | None:
        """The same on an event loop."""

    def wait(self, ref: Ref, holding: Sequence[Any] = (), timeout: float | None = None) -> Held | None:
        """The lease of *ref* once its owner has released it or died; None after *timeout* seconds.

        Raises `FlightCycle` where an owner of *holding* would wait for itself.
        """

    async def wait_async(
        self, ref: Ref, holding: Sequence[Any] = (), timeout: float | None = None  # noqa: ASYNC109  # as `wait`
    ) -> Held | None:  # fmt: skip
        """The same on an event loop."""

    def waiting(self, ref: Ref, holding: Sequence[Any]) -> AbstractContextManager[bool]:
        """While it is entered, the owners of *holding* wait for *ref*; entering raises `FlightCycle`."""

    def waiting_async(self, ref: Ref, holding: Sequence[Any]) -> AbstractAsyncContextManager[bool]:
        """The same on an event loop."""

    def close(self) -> None:
        """Let go of everything; idempotent."""
