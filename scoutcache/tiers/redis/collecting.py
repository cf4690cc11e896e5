"""Which tag versions no entry on the server carries any more, so that they can go.

The versions are read first and the entries after them, so that one which is written meanwhile with a version that was
just made is seen.  What is found unused may all the same be carried by an entry that only some machine's own tiers
hold: so forgetting is announced like any invalidation, and what carries it dies once, a miss and never a wrong answer.
Memory stays flat: at most `_AT_ONCE` names are looked for in one pass over the entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

from scoutcache.entry import Listed
from scoutcache.patterns import escape
from scoutcache.server.commands import Plan, replies
from scoutcache.server.layout import Layout
from scoutcache.tiers.redis.versions import RedisVersions
from scoutcache.tiers.versions import stays

__all__ = ["namespaces", "unused"]

_AT_ONCE: Final = 50_000
_COUNT: Final = 1000


def namespaces(layout: Layout, node: Any) -> Plan[list[str]]:
    """The namespaces that have versions on one node."""
    head, found, cursor = layout.versions_of_all, set[str](), 0
    while True:
        glob = f"{escape(head)}*"
        ((cursor, names),) = yield from replies(("SCAN", cursor, "MATCH", glob, "COUNT", _COUNT), node=node)
        for name in names:
            # what follows the prefix is the length of a namespace, the namespace, and a colon after each
            found.add(name.decode("utf-8", "surrogateescape")[len(head) :].partition(":")[2][:-1])
        cursor = int(cursor)
        if not cursor:
            return sorted(found)


def unused(
    spaces: list[str], versions: RedisVersions, do: Callable[[Plan[Any]], Any], entries: Callable[[], Iterator[Listed]]
) -> Iterator[dict[tuple[str, str], int]]:
    """Batches of versions, by namespace and name, that no entry carries.  Raises `TierUnavailable`."""
    names = ((space, name, version) for space in spaces for name, version in do(versions.all(space)).items()
             if not stays(name))  # fmt: skip
    while batch := {(space, name): version for space, name, version in islice(names, _AT_ONCE)}:
        for entry in entries():
            for mark in entry.header.marks:
                batch.pop((entry.header.ref.namespace, mark.name), None)
        yield batch
