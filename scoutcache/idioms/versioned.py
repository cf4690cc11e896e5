"""Versioned keys: a version that all processes share stands in each key, and raising it leaves all older keys behind.

The version lives with the versions of tags, under their one authority: nothing evicts it, it has no expiry, and a
change is announced to every process before and after.  It is random and never used twice, so one that was lost (with
its directory, say) makes no old key reachable again.  What was left behind goes by its time or its tier's limits.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from uuid import UUID

from scoutcache.calls.calls import Calls, Key
from scoutcache.engine import effects
from scoutcache.engine.effects import Flow
from scoutcache.entry import VERSION_MARK
from scoutcache.errors import TierUnavailable
from scoutcache.keys import check_namespace, key_text

if TYPE_CHECKING:
    from scoutcache.async_cache import AsyncCache
    from scoutcache.cache import Cache

__all__ = ["AsyncVersioned", "Versioned"]

Identifier = Key | int | UUID


class _Version:
    """The flows of both faces."""

    def __init__(self, calls: Calls, name: str, namespace: str | None) -> None:
        self._calls, self._name = calls, key_text(name)
        self._namespace = calls.namespace if namespace is None else check_namespace(namespace)
        self._marks = [VERSION_MARK + self._name]

    def key(self, identifier: Identifier) -> Flow[str]:
        """The key that *identifier* has now."""
        text = key_text(str(identifier) if isinstance(identifier, int | UUID) else identifier)
        return key_text(f"{self._name}:{text}:{(yield from self.current())}")

    def current(self) -> Flow[str]:
        """The version as it stands in keys.  Without the authority it is one that nobody else has: a miss."""
        core = self._calls.core
        core.follower.sync()
        try:
            (version,) = (yield from effects.current(self._namespace, self._marks, create=True)).values()
        except TierUnavailable as error:
            core.world.down(error.tier, error)
            version = secrets.randbits(63)
        return f"v{version:x}"

    def bump(self) -> Flow[str]:
        """A new version.  Raises `TierUnavailable` when the old one may still stand."""
        yield from self._calls.core.writing.renew(self._namespace, self._marks, "version")
        return (yield from self.current())


class Versioned:
    """The keys of one version; see `Cache.versioned`.

    >>> import tempfile
    >>> from scoutcache import Cache
    >>> with Cache(directory=tempfile.mkdtemp()) as cache:
    ...     catalog = cache.versioned("catalog")
    ...     old = catalog.key(42)
    ...     _ = cache.set(old, "a chair"), catalog.bump()
    ...     cache.get(catalog.key(42), "gone"), old.startswith("catalog:42:v")
    ('gone', True)
    """

    def __init__(self, cache: Cache, name: str, namespace: str | None) -> None:
        self._cache, self._version = cache, _Version(cache._calls, name, namespace)

    def key(self, identifier: Identifier) -> str:
        """The key that *identifier* has now, such as ``catalog:42:v5d0c81b2f3a9e764``; numbers count as their text."""
        return self._cache._run(self._version.key(identifier))

    def version(self) -> str:
        """The version as it stands in keys."""
        return self._cache._run(self._version.current())

    def bump(self) -> str:
        """Leave all keys made so far behind, in every process; returns the new version.

        Raises `TierUnavailable` when that can't be done: the old keys may still be in use.
        """
        return self._cache._run(self._version.bump())


class AsyncVersioned:
    """The keys of one version; see `AsyncCache.versioned`."""

    def __init__(self, cache: AsyncCache, name: str, namespace: str | None) -> None:
        self._cache, self._version = cache, _Version(cache._calls, name, namespace)

    async def key(self, identifier: Identifier) -> str:
        """The key that *identifier* has now, such as ``catalog:42:v5d0c81b2f3a9e764``; numbers count as their text."""
        return await self._cache._run(self._version.key(identifier))

    async def version(self) -> str:
        """The version as it stands in keys."""
        return await self._cache._run(self._version.current())

    async def bump(self) -> str:
        """Leave all keys made so far behind, in every process; returns the new version.

        Raises `TierUnavailable` when that can't be done: the old keys may still be in use.
        """
        return await self._cache._run(self._version.bump())
