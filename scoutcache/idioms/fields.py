"""Field access: one entry that holds a mapping, read and changed field by field.

Rules.

- A change reads the entry, changes the field and writes all of it, alone among all that change fields of that key, in
  every process: no two lose each other's fields.  A plain `set` of the whole key doesn't wait; of it and a change of a
  field that run at once, the one that began later stands.
- The entry keeps its end, tags, dependencies and cost; a change gives it no new life.  An entry that isn't there, or
  whose time is over, begins anew, empty, with the options of `cache.hash`.
- Where the key holds something else than a mapping nothing is changed, and `CacheError` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from scoutcache.calls.calls import Calls, Key, Options, tag_names
from scoutcache.engine.effects import Flow
from scoutcache.engine.reading import Found
from scoutcache.engine.writing import Lifetime, Moment
from scoutcache.entry import MISSING, NEVER, Ref
from scoutcache.errors import CacheError, InvalidKey
from scoutcache.idioms.alone import alone

if TYPE_CHECKING:
    from scoutcache.async_cache import AsyncCache
    from scoutcache.cache import Cache

__all__ = ["AsyncHash", "Hash"]

_TRIES: Final = 10
"""Against writers of the whole key that come in between."""


class _Fields:
    """The flows of both faces."""

    def __init__(self, calls: Calls, key: Key, options: Options) -> None:
        self._calls, self._options = calls, options._replace(tags=tag_names(options.tags))
        self._ref = calls.ref(key, options.namespace)
        calls.lifetime(self._ref, options.ttl)  # a wrong one fails here

    def all(self, value: Any) -> dict[str, Any]:
        """The fields of what the cache gave."""
        return {} if value is MISSING else _mapping(value, self._ref)

    def put(self, fields: Mapping[str, Any]) -> Flow[bool]:
        """Set *fields*; True if some tier took it."""
        if not isinstance(fields, Mapping):
            raise CacheError(f"set_fields takes a mapping of fields to values, not {type(fields).__name__}")
        new = {_field(name): value for name, value in fields.items()}

        def change(held: dict[str, Any]) -> dict[str, Any] | None:
            return held | new if new else None

        return (yield from self._change(change)) if new else False

    def drop(self, names: Iterable[str]) -> Flow[int]:
        """Remove the fields *names*; how many were there."""
        gone = {_field(name) for name in names}
        removed = 0

        def change(held: dict[str, Any]) -> dict[str, Any] | None:
            nonlocal removed
            left = {name: value for name, value in held.items() if name not in gone}
            removed = len(held) - len(left)
            return left if removed else None

        taken = yield from self._change(change)
        return removed if taken else 0

    def _change(self, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Flow[bool]:
        core = self._calls.core
        if not core.config.enabled:
            return False
        return (yield from alone(core, self._ref, lambda _: self._rewrite(change)))

    def _rewrite(self, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Flow[bool]:
        """Read, change, write; again if a writer of the whole key came in between."""
        calls, core = self._calls, self._calls.core
        before: tuple[int | None, int] | None = None
        for _ in range(_TRIES):
            core.follower.sync()
            began, told = core.writing.moment(), core.world.invalidated()
            found = yield from self._found()
            seen = None if found is None else found.header.start, told
            if seen == before:
                break  # nobody came in between: no tier takes it
            before, refused = seen, set[Ref]()
            fields = change({} if found is None else _mapping(found.value, self._ref))
            if fields is None:
                return False
            if fields:
                taken = yield from self._write(found, fields, began, refused)
            else:  # an entry without fields is none
                taken = yield from calls.delete_older(self._ref, began.start)
            if taken:
                return True
            if refused and found is None:
                break
        calls.recording.done("set", self._ref, core.clocks.monotonic_ns(), outcome="refused")
        return False

    def _found(self) -> Flow[Found | None]:
        found = yield from self._calls.find(self._ref.key, self._ref.namespace)
        return None if found is None or found.header.fresh_until <= self._calls.core.world.now() else found

    def _write(
        self, found: Found | None, fields: dict[str, Any], began: Moment, refused: set[Ref]
    ) -> Flow[bool]:  # fmt: skip
        """Write the entry with other fields; it keeps its end.  *refused* tells of a policy that forbids it."""
        calls, core, options = self._calls, self._calls.core, self._options
        began_ns = core.clocks.monotonic_ns()
        tags, depends_on = tuple(tag_names(options.tags)), list[str]()
        if found is None:
            entry = core.writing.entry(self._ref, fields, calls.lifetime(self._ref, options.ttl), None, tags)
        else:
            header = found.header
            entry = core.writing.entry(self._ref, fields, Lifetime(NEVER), header.cost)
            entry = replace(entry, ends=(header.fresh_until, header.expires))
            tags, depends_on = header.tags, list(header.depends_on)
        taken = yield from core.writing.store([entry], began, tags=tags, depends_on=depends_on, refused=refused)
        if taken:
            calls.recording.done("set", self._ref, began_ns, outcome="stored", size=entry.live.written, tags=tags)
        elif refused:  # and the fields that were are no longer right
            yield from calls.delete_older(self._ref, began.start)
        return bool(taken)


def _field(name: object) -> str:
    if not isinstance(name, str):
        raise InvalidKey(f"the name of a field is a str, not {type(name).__name__}")
    return name


def _mapping(value: Any, ref: Ref) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise CacheError(f"{ref.key!r} holds a {type(value).__name__}, which has no fields",
                         hint="set a dict there, or delete it first")  # fmt: skip
    return dict(value)


class Hash:
    """The fields of one key; see `Cache.hash`.

    >>> import tempfile
    >>> from scoutcache import Cache
    >>> with Cache(directory=tempfile.mkdtemp()) as cache:
    ...     cart = cache.hash("cart:7", ttl="1h")
    ...     cart.set_field("apples", 3), cart.set_fields({"pears": 1, "plums": 5}), cart.delete_field("pears")
    ...     cart.get_field("apples"), cart.get_all()
    (True, True, 1)
    (3, {'apples': 3, 'plums': 5})
    """

    def __init__(self, cache: Cache, key: Key, options: Options) -> None:
        self._cache, self._fields = cache, _Fields(cache._calls, key, options)
        self._ref = self._fields._ref

    def get_field(self, name: str, default: Any = None) -> Any:
        """The value of the field *name*, else *default*.  Raises `CacheError` where the key holds no mapping."""
        return self.get_all().get(name, default)

    def get_all(self) -> dict[str, Any]:
        """Every field with its value; empty when there is no entry."""
        return self._fields.all(self._cache.get(self._ref.key, MISSING, self._ref.namespace))

    def set_field(self, name: str, value: Any) -> bool:
        """Set one field and leave the others; True if some tier took it."""
        return self._cache._run(self._fields.put({name: value}))

    def set_fields(self, fields: Mapping[str, Any]) -> bool:
        """Set several fields at once and leave the others; True if some tier took it."""
        return self._cache._run(self._fields.put(fields))

    def delete_field(self, *names: str) -> int:
        """Remove fields; how many were there.  The entry goes with its last field."""
        return self._cache._run(self._fields.drop(names))


class AsyncHash:
    """The fields of one key; see `AsyncCache.hash`."""

    def __init__(self, cache: AsyncCache, key: Key, options: Options) -> None:
        self._cache, self._fields = cache, _Fields(cache._calls, key, options)
        self._ref = self._fields._ref

    async def get_field(self, name: str, default: Any = None) -> Any:
        """The value of the field *name*, else *default*.  Raises `CacheError` where the key holds no mapping."""
        return (await self.get_all()).get(name, default)

    async def get_all(self) -> dict[str, Any]:
        """Every field with its value; empty when there is no entry."""
        return self._fields.all(await self._cache.get(self._ref.key, MISSING, self._ref.namespace))

    async def set_field(self, name: str, value: Any) -> bool:
        """Set one field and leave the others; True if some tier took it."""
        return await self._cache._run(self._fields.put({name: value}))

    async def set_fields(self, fields: Mapping[str, Any]) -> bool:
        """Set several fields at once and leave the others; True if some tier took it."""
        return await self._cache._run(self._fields.put(fields))

    async def delete_field(self, *names: str) -> int:
        """Remove fields; how many were there.  The entry goes with its last field."""
        return await self._cache._run(self._fields.drop(names))
