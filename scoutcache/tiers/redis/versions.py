"""Tag versions on the server: a hash for each namespace, from the name of a mark to ``life.count``.

Rule 1: what a version means is the engine's (`scoutcache.entry.SOFT_BITS`); here its two parts are apart, because a
        script can count to 2**53 only.
Rule 2: a version is drawn by the client; of two that are made at once the first one stands.
Rule 3: who makes the implicit tag of a key hears the stream to its end before going on.  A writer of that key found no
        tag, so he told nobody that what depends on it is dead; but he has told that he wrote, or will find the tag.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from scoutcache.entry import KEY_MARK, SOFT_BITS
from scoutcache.errors import TierUnavailable
from scoutcache.patterns import escape
from scoutcache.server.commands import Plan, Script, replies
from scoutcache.server.layout import Layout
from scoutcache.tiers.redis.scripts import SOFTEN

__all__ = ["RedisVersions", "version_text"]

_FORGET: Final = Script("""
local gone = 0
for at = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[at]) == ARGV[at + 1] then gone = gone + redis.call('HDEL', KEYS[1], ARGV[at]) end
end
return gone
""")

_AT_ONCE: Final = 1000


def version_text(version: int) -> str:
    """A version as it stands on the server."""
    return f"{version >> SOFT_BITS}.{version & ((1 << SOFT_BITS) - 1)}"


def _version(text: bytes) -> int | None:
    life, _, count = text.partition(b".")
    return int(life) << SOFT_BITS | int(count) if life.isdigit() and count.isdigit() else None


def _draw() -> int:
    return secrets.randbits(63)


class RedisVersions:
    """Plans about the versions of the cache that *layout* names; see `scoutcache.tiers.base.Versions`.

    *catch_up* hears the stream to its end, *draw* gives a version.
    """

    owed: Callable[[str, Sequence[str]], bool] = staticmethod(lambda _, __: False)
    """Was one of those names to be renewed while the server was away, and hasn't been?  Then nobody is told."""

    def __init__(
        self, layout: Layout, *, catch_up: Callable[[], Plan[None]], draw: Callable[[], int] = _draw
    ) -> None:
        self._layout, self._catch_up, self._draw = layout, catch_up, draw

    def current(self, namespace: str, names: Sequence[str], *, create: bool = False) -> Plan[dict[str, int]]:
        """The versions there are; with *create* those missing are made."""
        if not names:
            return {}
        if self.owed(namespace, names):
            raise TierUnavailable("redis", "invalidations made while it was away have not been sent to it yet",
                                  hint="scoutcache doctor says why; once the server takes writes, a command that may "
                                       "write sends them, such as scoutcache prune")  # fmt: skip
        where, wanted = self._layout.versions(namespace), list(dict.fromkeys(names))
        (answer,) = yield from replies(("HMGET", where, *wanted))
        found = _found(wanted, answer)
        missing = [name for name in wanted if name not in found] if create else ()
        if missing:
            made = [("HSETNX", where, name, version_text(self._draw())) for name in missing]
            *_, answer = yield from replies(*made, ("HMGET", where, *missing))
            found |= _found(missing, answer)
            if any(name.startswith(KEY_MARK) for name in missing):
                yield from self._catch_up()
        return found

    def names(self, namespace: str, prefix: str) -> Plan[list[str]]:
        """The names that begin with *prefix* and have a version."""
        return [name for name, _ in (yield from self._all(namespace, prefix))]

    def _all(self, namespace: str, prefix: str) -> Plan[list[tuple[str, int]]]:
        found: dict[str, int] = {}
        cursor: bytes | int = b"0"
        while True:
            where = self._layout.versions(namespace)
            ((cursor, flat),) = yield from replies(
                ("HSCAN", where, cursor, "MATCH", f"{escape(prefix)}*", "COUNT", _AT_ONCE)
            )
            pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
            for name, text in pairs:
                if (version := _version(text)) is not None:
                    found[name.decode("utf-8", "surrogateescape")] = version
            if int(cursor) == 0:
                return list(found.items())

    def renew(self, namespace: str, names: Sequence[str], *, soft: bool = False) -> Plan[None]:
        """Give each name a new version: another life, or with *soft* the next count of the same."""
        where = self._layout.versions(namespace)
        for at in range(0, len(names), _AT_ONCE):
            some = names[at : at + _AT_ONCE]
            if soft:
                yield from replies(SOFTEN.call([where], *some))
            else:
                pairs = [part for name in some for part in (name, version_text(self._draw()))]
                yield from replies(("HSET", where, *pairs))

    def forget(self, namespace: str, versions: Mapping[str, int]) -> Plan[int]:
        """Remove those that are still the current ones; how many."""
        pairs = [part for name, version in versions.items() for part in (name, version_text(version))]
        if not pairs:
            return 0
        (gone,) = yield from replies(_FORGET.call([self._layout.versions(namespace)], *pairs))
        return int(gone)

    def all(self, namespace: str) -> Plan[dict[str, int]]:
        """Every version of a namespace."""
        return dict((yield from self._all(namespace, "")))


def _found(names: Sequence[str], answer: Sequence[bytes | None]) -> dict[str, int]:
    pairs = ((name, None if text is None else _version(text)) for name, text in zip(names, answer, strict=True))
    return {name: version for name, version in pairs if version is not None}
