"""A server whose clock seems to run slower than ours, for tests whose own clock says what has expired."""

from __future__ import annotations

from typing import Any

from scoutcache.server.commands import Batch, Command
from scoutcache.tiers.redis import RedisTier
from scoutcache.tiers.redis.scripts import WRITE

SLOWER = 10_000
"""So many times: what a test writes for a millisecond stands for ten seconds."""


def slow_down(tier: RedisTier) -> None:
    """From now on *tier* asks its server to keep what it writes so many times as long."""
    on_loop = tier._make_on_loop
    tier.conduit = _Slow(tier.conduit)  # type: ignore[assignment]
    tier._make_on_loop = lambda: _Slow(on_loop())  # type: ignore[assignment,return-value]


class _Slow:
    """A conduit, of threads or of a loop."""

    def __init__(self, conduit: Any) -> None:
        self._conduit = conduit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conduit, name)

    def execute(self, batch: Batch) -> Any:
        return self._conduit.execute(batch._replace(commands=[_slower(command) for command in batch.commands]))


def _slower(command: Command) -> Command:
    if command[:2] != ("EVALSHA", WRITE.digest):
        return command
    left = 3 + command[2] + 5
    return tuple(part * SLOWER if at == left else part for at, part in enumerate(command))
