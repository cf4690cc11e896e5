"""What ``--since`` means: when a period begins."""

from __future__ import annotations

from scoutcache.cli.errors import read

__all__ = ["begin_of"]


def begin_of(since: str | None, now: float) -> float | None:
    """When the period *since* began, in seconds since the epoch; None for all time.  Raises `InvalidTTL`."""
    from scoutcache.ttl import parse_duration

    return None if since is None else now - read("--since", parse_duration, since)
