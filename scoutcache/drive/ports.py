"""What the effects of a flow are performed on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scoutcache.channels.leasing import Leasing
from scoutcache.coherence.messages import Message
from scoutcache.tiers.base import Tier
from scoutcache.tiers.versions import RememberedVersions

if TYPE_CHECKING:
    import asyncio

__all__ = ["BESIDE_LIMIT", "Ports"]

BESIDE_LIMIT = 32
"""How many flows that nobody needs run beside the calls of a cache at once."""


@dataclass
class Ports:
    """What effects are performed on.  *now* gives seconds since the epoch; *threads* are other ones after a fork."""

    tiers: Sequence[Tier]
    versions: RememberedVersions
    announce: Callable[..., None]
    now: Callable[[], float]
    threads: Executor
    leases: Leasing | None = None
    authority: Any = None
    """The tier that keeps the versions, where an event loop asks it itself."""
    announcing: Callable[[Message], Awaitable[None]] | None = None
    """Announces on an event loop, where that means asking a server."""
    beside: set[Future[None]] = field(default_factory=set)
    """The flows that run beside the calls."""
    loops: dict[Future[None], asyncio.AbstractEventLoop] = field(default_factory=dict)
    """The event loops that drive them, for those that a loop drives."""

    def __post_init__(self) -> None:
        self.awaiting: list[Any] = [tier if hasattr(tier, "on_loop") else None for tier in self.tiers]
        """By level: the tier, where an event loop asks it itself."""
        self.ready: list[Callable[[], bool]] = [getattr(tier, "ready", _always) for tier in self.tiers]
        """By level: would a read by this thread wait for nobody?"""

    async def close_on_loop(self) -> None:
        """Let go of what the running event loop has open; another loop's goes with that loop."""
        for tier in self.awaiting:
            if tier is not None:
                await tier.close_on_loop()

    def cold(self) -> list[Any]:
        """The tiers of which this thread isn't ready to read."""
        return [tier for tier, ready in zip(self.tiers, self.ready, strict=True) if not ready()]


def _always() -> bool:
    return True
