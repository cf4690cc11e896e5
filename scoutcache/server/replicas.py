"""Reads from replicas behind sentinels, by option: what only reads goes to a replica, everything else to the primary.

A replica lags, so a value that was invalidated a moment ago may be read from it.  Where none answers the primary does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from scoutcache.errors import TierUnavailable
from scoutcache.server.coalescing import Coalescing
from scoutcache.server.commands import Batch
from scoutcache.server.direct import Direct

__all__ = ["AsyncSplit", "Split"]

_ENTRIES: Final = frozenset({"GET", "MGET"})
"""Commands that fetch entries: versions, the stream and leases are the primary's alone to tell."""


def _only_reads(batch: Batch) -> bool:
    return all(command[0] in _ENTRIES for command in batch.commands)


class Split:
    """A conduit for threads."""

    def __init__(self, primary: Direct, replica: Direct) -> None:
        self._primary, self._replica = primary, replica
        self.breaker = primary.breaker

    def nodes(self) -> Sequence[Any]:
        """There is one server."""
        return self._primary.nodes()

    def execute(self, batch: Batch) -> list[Any]:
        """The replies, errors among them.  Raises `TierUnavailable`."""
        if _only_reads(batch):
            try:
                return self._replica.execute(batch)
            except TierUnavailable:
                pass
        return self._primary.execute(batch)

    def close(self) -> None:
        """Let go of the connections; idempotent."""
        self._replica.close()
        self._primary.close()


class AsyncSplit:
    """A conduit for the tasks of one event loop."""

    def __init__(self, primary: Coalescing, replica: Coalescing) -> None:
        self._primary, self._replica = primary, replica
        self.breaker = primary.breaker

    async def nodes(self) -> Sequence[Any]:
        """There is one server."""
        return await self._primary.nodes()

    async def execute(self, batch: Batch) -> list[Any]:
        """The replies, errors among them.  Raises `TierUnavailable`."""
        if _only_reads(batch):
            try:
                return await self._replica.execute(batch)
            except TierUnavailable:
                pass
        return await self._primary.execute(batch)

    async def close(self) -> None:
        """Let go of the connections; idempotent."""
        await self._replica.close()
        await self._primary.close()

    def abandon(self) -> None:
        """Let go of the connections where their loop was closed."""
        self._replica.abandon()
        self._primary.abandon()
