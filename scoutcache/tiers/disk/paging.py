"""Entries in the order of their physical keys, page by page, so that a listing can be taken up where it was left."""

# ruff: noqa: S608  # statements are put together from this package's constants; every value is bound

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from scoutcache.entry import Listed
from scoutcache.patterns import Pattern
from scoutcache.tiers.disk.listing import Range
from scoutcache.tiers.disk.rows import BYTES, PLAIN, TAG, header_of
from scoutcache.tiers.disk.tier import DiskTier

__all__ = ["pages"]

_AT_ONCE: Final = 500


def pages(
    tier: DiskTier, namespace: str | None, pattern: Pattern | None, after: str
) -> Iterator[tuple[list[Listed], str | None]]:
    """Pages of entries, expired ones too, whose physical keys (in hexadecimal) come after *after*.

    With each the last key looked at, None with the last page.  Raises `TierUnavailable`.
    """
    span = Range.of(namespace, pattern)
    last, compare = (bytes.fromhex(after), ">") if after else (span.low.encode(), ">=")
    while True:
        sql = (f"SELECT {TAG}, size, CAST(key AS BLOB) FROM Cache WHERE key {compare} {BYTES} AND key < ? AND {PLAIN}"
               f" ORDER BY key LIMIT {_AT_ONCE}")  # fmt: skip
        with tier._database.link() as con:
            rows = con.execute(sql, (last, span.high)).fetchall()
        headers = [(header_of(tag), size) for tag, size, _ in rows]
        found = [Listed(header, "disk", size, None) for header, size in headers
                 if header is not None and (pattern is None or pattern.matches(header.ref.key))]  # fmt: skip
        if len(rows) < _AT_ONCE:
            yield found, None
            return
        last, compare = rows[-1][2], ">"
        yield found, last.hex()
