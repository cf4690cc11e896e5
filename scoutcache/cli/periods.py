"""What ``--since`` and ``--period`` mean: how long a period is, and when it begins."""

from __future__ import annotations

from scoutcache.cli.errors import Usage, read

__all__ = ["begin_of", "counted_since", "length_of"]


def begin_of(since: str | None, now: float) -> float | None:
    """When the period *since* began, in seconds since the epoch; None for all time.  Raises `InvalidTTL`, `Usage`."""
    seconds = length_of("--since", since)
    return None if seconds is None else now - seconds


def counted_since(since: str | None, now: float) -> float | None:
    """The same where counters are told beside the log: the beginning of that minute, or of the hour as they have it."""
    from scoutcache.oplog.ledger import counted_from

    start = begin_of(since, now)
    return None if start is None else counted_from(start, now)


def length_of(option: str, given: str | None) -> float | None:
    """The seconds that *option* names; None for all time.  Raises `InvalidTTL`, and `Usage` for no time at all."""
    from scoutcache.ttl import parse_duration

    seconds = None if given is None else read(option, parse_duration, given)
    if seconds == 0:
        raise Usage(f"{option}: expected more than 0 seconds", hint="leave it out for all time")
    return seconds
