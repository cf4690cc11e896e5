"""Entries by namespace and pattern: listed, counted, measured and removed by SCAN, so that memory stays flat.

Rule 1: the server is asked for what may match (`Layout.glob`); whether a key does is decided by the one grammar of
        patterns, on the key the user wrote.  That of a long key stands in its entry.
Rule 2: what was found is removed in the same batch that goes on with the scan, so that neither waits for the other.
Rule 3: a listing reads the beginnings of the values, and the rest of a header that is longer.  Sizes and counts need
        none of them.
Rule 4: while a server makes its table larger or smaller a scan may meet a key twice.
Rule 5: a scan may be paced, and broken off between two steps (`Pace`).  A server's cursors are those of its own run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from scoutcache.entry import Header, Listed
from scoutcache.errors import CorruptEntry
from scoutcache.keys import HASHED, physical_prefix
from scoutcache.patterns import Pattern, escape
from scoutcache.server.commands import Batch, Command, Plan, checked, replies
from scoutcache.server.layout import FRAME, Layout, head_of
from scoutcache.tiers.redis.scripts import USAGE
from scoutcache.wire.envelope import header_length, read_checked

__all__ = ["Listing", "Pace", "Stored", "Unpaced", "listed"]

COUNT: Final = 1000
"""Keys that a server looks at in one step of a scan."""

BEGINNING: Final = 512
"""Bytes of a value in which most headers end."""

_TYPES: Final = ("string", "list", "set", "zset", "hash", "stream")
_LENGTH: Final = 11
"""Bytes of a head that say how long its header is."""


class Pace(Protocol):
    """Who paces scans and takes them up again; see `scoutcache.calls.walking.Walk`."""

    def from_(self, tier: str, what: str, nodes: Sequence[str]) -> tuple[int, str] | None: ...
    def goes_on(self, tier: str, what: str, node: str, at: str) -> bool: ...


class Unpaced:
    """Nobody does."""

    def from_(self, tier: str, what: str, nodes: Sequence[str]) -> tuple[int, str] | None:  # noqa: ARG002
        """From the beginning."""
        return 0, ""

    def goes_on(self, tier: str, what: str, node: str, at: str) -> bool:  # noqa: ARG002
        """At once."""
        return True


class Stored(NamedTuple):
    """An entry as a scan meets it.  *header* is None where the bytes are none of ours."""

    name: bytes
    header: Header | None
    size: int
    idle_s: float | None = None


class Listing:
    """Plans that scan the cache that *layout* names."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def step(self, cursor: int, glob: str, node: Any, *more: Command) -> Plan[tuple[int, list[bytes]]]:
        """One step of a scan: where it goes on (0 at its end) and the names it met; *more* is sent along."""
        *_, (cursor, names) = checked((yield Batch([*more, ("SCAN", cursor, "MATCH", glob, "COUNT", COUNT)], node)))
        return int(cursor), names

    def matching(self, names: Sequence[bytes], namespace: str | None, pattern: Pattern | None) -> Plan[list[bytes]]:
        """Those of *names* whose keys match (Rule 1)."""
        if pattern is None or pattern.matches_all:
            return list(names)
        if namespace is None:
            stored = yield from self.beginnings(names)
            return [one.name for one in stored if one.header is not None and pattern.matches(one.header.ref.key)]
        skip, layout = len(physical_prefix(namespace)), self.layout
        keys = {name: layout.physical(name)[skip:] for name in names}
        hashed = [name for name, key in keys.items() if HASHED in key]
        found = [name for name, key in keys.items() if HASHED not in key and pattern.matches(key)]
        if hashed:
            stored = yield from self.beginnings(hashed)
            found += [one.name for one in stored if one.header is not None and pattern.matches(one.header.ref.key)]
        return found

    def idle_beginnings(self, names: Sequence[bytes]) -> Plan[list[Stored]]:
        """The same as `beginnings`, and how long each was idle before: reading it ends that."""
        if not names:
            return []
        answers = yield Batch([("OBJECT", "IDLETIME", name) for name in names])
        idle = {name: answer for name, answer in zip(names, answers, strict=True) if isinstance(answer, int)}
        return [one._replace(idle_s=idle.get(one.name)) for one in (yield from self.beginnings(names))]

    def beginnings(self, names: Sequence[bytes]) -> Plan[list[Stored]]:
        """What the entries of those *names* say of themselves, those that are there."""
        if not names:
            return []
        asked = [command for name in names
                 for command in (("GETRANGE", name, 0, BEGINNING - 1), ("STRLEN", name))]  # fmt: skip
        answers = yield Batch(asked)
        stored, longer = [], dict[bytes, tuple[int, int]]()
        for name, start, size in zip(names, answers[::2], answers[1::2], strict=True):
            if isinstance(start, Exception) or isinstance(size, Exception) or not size:
                continue  # gone meanwhile, or no string: nothing of ours
            header, end = _header(start, size)
            if end is not None:
                longer[name] = end, size
            else:
                stored.append(Stored(name, header, size))
        if longer:
            parts = yield from replies(*[("GETRANGE", name, 0, end) for name, (end, _) in longer.items()])
            for (name, (_, size)), part in zip(longer.items(), parts, strict=True):
                stored.append(Stored(name, _header(part, len(part))[0], size))
        return stored

    # -- removing

    def remove_matching(self, namespace: str | None, pattern: Pattern | None, node: Any, told: Callable[[int], None],
                        goes_on: Callable[[int], bool] = lambda _: True, cursor: int = 0) -> Plan[bool]:  # fmt: skip
        """Remove what matches on one node from *cursor* on; *told* is given the number that each batch removed.

        Between two steps *goes_on* is asked; false where it said no.
        """
        glob = self.layout.glob(namespace, pattern)
        while True:
            cursor, names = yield from self.step(cursor, glob, node)
            doomed = yield from self.matching(names, namespace, pattern)
            if doomed:
                commands = [("UNLINK", name) for name in doomed] if self.layout.sharded else [("UNLINK", *doomed)]
                told(sum((yield from replies(*commands))))
            if not cursor:
                return True
            if not goes_on(cursor):
                return False

    def erase(self, node: Any) -> Plan[int]:
        """Remove whatever begins with the cache's prefix on one node: entries, versions, the stream; how much."""
        return (yield from self._erase(f"{escape(self.layout.prefix)}*", node))

    def drop_versions(self, node: Any) -> Plan[int]:
        """Remove the versions that stand on one node; of how many namespaces."""
        return (yield from self._erase(f"{escape(self.layout.versions_of_all)}[0-9]*", node))

    def _erase(self, glob: str, node: Any) -> Plan[int]:
        cursor = number = 0
        while True:
            cursor, names = yield from self.step(cursor, glob, node)
            if names:
                number += sum((yield from replies(*[("UNLINK", name) for name in names])))
            if not cursor:
                return number

    def usage(self, node: Any) -> Plan[tuple[int, int]]:
        """How many entries one node has, and their bytes."""
        glob, cursor, entries, size = self.layout.glob(None), 0, 0, 0
        while True:
            ((cursor, number, more),) = yield from replies(USAGE.call([], cursor, glob, COUNT), node=node)
            entries, size = entries + int(number), size + int(more)
            if not int(cursor):
                return entries, size

    def mistyped(self, node: Any) -> Plan[list[tuple[bytes, str, str]]]:
        """Names of the cache's own on one node under which something of another type lies: name, type, and the right
        type.  The server sorts by type, so that only what may be wrong travels.
        """
        layout, found = self.layout, []
        for kind in _TYPES:
            # Nearly all strings are entries, which are right: of strings only the few other names are asked for.
            globs = ["versions:*", "lease:*", "counts", "{events}*"] if kind == "string" else ["*"]
            for glob in globs:
                cursor = 0
                while True:
                    asked = ("SCAN", cursor, "MATCH", f"{escape(layout.prefix)}{glob}", "COUNT", COUNT, "TYPE", kind)
                    ((at, names),) = yield from replies(asked, node=node)
                    for name in names:
                        right = layout.type_of(name.decode("utf-8", "surrogateescape"))
                        if right not in {None, kind}:
                            found.append((name, kind, right or ""))
                    cursor = int(at)
                    if not cursor:
                        break
        return found

    def count(self, namespace: str | None, pattern: Pattern | None, node: Any) -> Plan[int]:
        """How many entries of one node match."""
        glob, cursor, number = self.layout.glob(namespace, pattern), 0, 0
        while True:
            cursor, names = yield from self.step(cursor, glob, node)
            number += len((yield from self.matching(names, namespace, pattern)))
            if not cursor:
                return number


def _header(start: bytes, size: int) -> tuple[Header | None, int | None]:
    """The header in the beginning of a value of *size* bytes; or the byte up to which more is needed."""
    head = head_of(start)
    try:
        if len(head) < _LENGTH and size > len(start):
            return None, len(start) - len(head) + _LENGTH + BEGINNING  # many chunks stand before it
        length = header_length(head[:_LENGTH])
        if length > len(head) and len(start) < size:
            return None, len(start) - len(head) + length
        return read_checked(head).header, None
    except CorruptEntry:
        return None, None


def listed(stored: Stored) -> Listed | None:
    """What a listing shows of an entry; None for what is none."""
    if stored.header is None:
        return None
    return Listed(stored.header, "redis", max(0, stored.size - FRAME), None, stored.idle_s)


