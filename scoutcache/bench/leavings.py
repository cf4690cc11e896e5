"""What a benchmark leaves on a server: nothing, or where it was killed, what goes by itself or with the next one.

Rule 1: everything has a time to live, an hour more than the benchmark may take.  Entries are stored with it; what a
        cache keeps beside them without one is given it before each run and never during one, when only what is measured
        may happen.  Who is there and its counters end by themselves.  What a write sets anew (`Layout.last`, a few
        bytes) has none again.
Rule 2: that the next benchmark removes: what lies under a prefix like its own (`prefix_of`) of which no process has
        said that it lives for a minute.  Such a prefix is looked for at the start and asked again at the end: who only
        begins has not said so yet.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from scoutcache.errors import TierUnavailable
from scoutcache.patterns import escape
from scoutcache.server.layout import Layout
from scoutcache.ttl import LONGEST

if TYPE_CHECKING:
    from scoutcache.bench.records import BenchOptions
    from scoutcache.server.commands import Command

__all__ = ["cleared", "lasting", "limit", "prefix_of"]

_MORE: Final = 3600.0
_FOR_EACH_KEY: Final = 0.01
"""Seconds in which any tier is filled with one key."""

_TOKEN_BYTES: Final = 8
_PREFIX: Final = re.compile(rf"bench:[0-9a-f]{{{2 * _TOKEN_BYTES}}}:")


def prefix_of(key_prefix: str) -> str:
    """A prefix of the benchmark's own, behind that of the server's cache."""
    return f"{key_prefix}bench:{secrets.token_hex(_TOKEN_BYTES)}:"


def lasting(options: BenchOptions) -> float:
    """Seconds that what is on a server may live (Rule 1)."""
    running = options.runs * (options.warmup + options.duration)
    return min(LONGEST, len(options.tiers) * (running + options.keys * _FOR_EACH_KEY) + _MORE)


def limit(tier: Any, namespace: str, seconds: float) -> None:
    """Give what lies beside the entries of *tier* so long to live; a server that refuses that is measured as well."""
    layout: Layout = tier.layout
    beside = (layout.last, layout.name, layout.wakes)
    names = [layout.events, *beside, *layout.positions, layout.versions(namespace)]
    with suppress(TierUnavailable):
        _answers(tier, *[("PEXPIRE", name, round(seconds * 1000)) for name in names])


@contextmanager
def cleared(tier: Any, key_prefix: str) -> Iterator[None]:
    """Remove what others left on the server of *tier*, if the block comes to its end (Rule 2); None is no server."""
    found: set[str] = set()
    with suppress(TierUnavailable):
        found = set() if tier is None else _dead(tier, _prefixes(tier, key_prefix))
    yield
    with suppress(TierUnavailable):
        _remove(tier, key_prefix, _dead(tier, found))


def _prefixes(tier: Any, key_prefix: str) -> set[str]:
    """Those of all benchmarks on the server."""
    names = (name for names in _batches(tier, key_prefix) for name in names)
    return {prefix for name in names if (prefix := _prefix_in(name, key_prefix)) is not None}


def _dead(tier: Any, prefixes: Collection[str]) -> set[str]:
    """Those of *prefixes* that nobody uses, as it seems."""
    return {one for one in prefixes if not _answers(tier, ("EXISTS", Layout(one).members))[0]}


def _remove(tier: Any, key_prefix: str, prefixes: Collection[str]) -> None:
    for names in _batches(tier, key_prefix) if prefixes else ():
        gone = [name for name in names if _prefix_in(name, key_prefix) in prefixes]
        if gone:
            _answers(tier, *[("UNLINK", name) for name in gone])


def _prefix_in(name: bytes, key_prefix: str) -> str | None:
    text = name.decode("utf-8", "surrogateescape")
    found = _PREFIX.match(text, len(key_prefix)) if text.startswith(key_prefix) else None
    return found and text[: found.end()]


def _batches(tier: Any, key_prefix: str) -> Iterator[list[bytes]]:
    """The names of benchmarks on all nodes."""
    from scoutcache.tiers.redis.listing import Listing

    listing, glob = Listing(tier.layout), f"{escape(f'{key_prefix}bench:')}*"
    for node in tier.conduit.nodes():
        cursor, goes_on = 0, True
        while goes_on:
            cursor, names = tier.do(listing.step(cursor, glob, node))
            yield names
            goes_on = bool(cursor)


def _answers(tier: Any, *commands: Command) -> list[Any]:
    from scoutcache.server.commands import replies  # not before there is a server: it takes its time

    answers: list[Any] = tier.do(replies(*commands))
    return answers
