"""When a change was interrupted: every channel that counts changes judges alike how one ended."""

from __future__ import annotations

from scoutcache.errors import TierUnavailable

__all__ = ["was_interrupted"]


def was_interrupted(ended_by: type[BaseException]) -> bool:
    """Whether a change that ended by an error of this kind stopped half-way, so that nobody knows what it did.

    A tier's error is no interruption: the change went on without that tier, and owes it what it missed.
    """
    return not issubclass(ended_by, TierUnavailable)
