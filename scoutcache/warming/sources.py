"""Where the keys of a filling come from besides lines: the operation log, another cache, a generator of one's own.

- *Most frequent*: the keys that were asked for most often.  *Expiring*: those that were asked for, and whose entry, by
  the log, ends soon.  Both know what the log knows: it may be a sample, and what was written with ``redact_keys``
  names no keys (`Named`): their hashes are none.
- *Another cache*: its entries with their values, tags and dependencies, and with the time that is left to each, not a
  new life.
- *A generator* yields ``(key, value)``, or objects as in a line of JSON; what it raises ends the source, and is
  reported as a bad line is.  It computes before anybody knows what that costs, so with a budget it is ended at
  the first value that is beyond it.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

from scoutcache.calls.listing import list_entries
from scoutcache.entry import MISSING
from scoutcache.errors import CacheError, WarmingError
from scoutcache.oplog.records import HIT_OUTCOMES, REQUESTS, Line, is_redacted
from scoutcache.patterns import Pattern
from scoutcache.warming.lines import BadLine, Beyond, Item, item_of
from scoutcache.warming.records import said

if TYPE_CHECKING:
    from scoutcache.cache import Cache
    from scoutcache.config import CacheConfig
    from scoutcache.events import Corrupt, Unreadable
    from scoutcache.warming.budget import Budget

__all__ = [
    "Named", "cache_items", "check_log_has_keys", "expiring_keys", "frequent_keys", "generated", "is_generator",
    "within",
]  # fmt: skip


def check_log_has_keys(config: CacheConfig) -> None:
    """Raise `WarmingError` where the operation log can't name keys."""
    if config.oplog.redact_keys:
        raise _no_keys()


def _no_keys() -> WarmingError:
    return WarmingError("the operation log holds no keys (oplog.redact_keys = true), so none can be taken from it",
                        hint="set oplog.redact_keys = false where the cache is used, or name keys: --from")  # fmt: skip


class Named:
    """Of *lines* of the log those that name their key; *hashed* counts those that say its hash in place of it."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = lines
        self.hashed, self._asked = 0, False

    def __iter__(self) -> Iterator[Line]:
        for line in self._lines:
            if is_redacted(line.key):
                self.hashed += 1
            else:
                self._asked = self._asked or line.op in REQUESTS
                yield line

    def check(self) -> None:
        """Raise `WarmingError` where none of the requests read so far names its key."""
        if self.hashed and not self._asked:
            raise _no_keys()


def frequent_keys(operations: Iterable[Line], most: int | None, namespace: str) -> list[str]:
    """The *most* keys (None: all) of *namespace* that were asked for most often; of equals the one that sorts first."""
    counts = Counter(line.key for line in operations if line.op in REQUESTS and line.namespace == namespace)
    return nsmallest(len(counts) if most is None else most, counts, key=lambda key: (-counts[key], key))


def expiring_keys(operations: Iterable[Line], within: float, now: float, namespace: str) -> list[str]:
    """The keys of *namespace* that were asked for and whose entry ends in the next *within* seconds; soonest first."""
    ends: dict[str, tuple[float, float]] = {}
    asked: set[str] = set()
    for line in operations:
        if line.namespace != namespace:
            continue
        if line.tier is None and (line.op, line.outcome) in {("set", "stored"), ("touch", "done")}:
            end = math.inf if line.ttl is None else line.time + line.ttl
            ends[line.key] = max(ends.get(line.key, (0.0, 0.0)), (line.time, end))
        elif line.op in {"delete", "invalidate"}:
            ends[line.key] = max(ends.get(line.key, (0.0, 0.0)), (line.time, 0.0))
        elif line.op in REQUESTS and line.outcome in HIT_OUTCOMES:
            asked.add(line.key)
    soon = {key: end for key, (_, end) in ends.items() if now <= end <= now + within and key in asked}
    return sorted(soon, key=lambda key: (soon[key], key))


def cache_items(other: Cache, pattern: str = "*") -> Iterator[Item | BadLine]:
    """The fresh entries of *other*'s namespace that match; one that can't be read is a bad line."""
    # All keys first: what is being read may be what is being written.  What others depend on comes before them.
    found = list_entries(other._core, other._calls.namespace, Pattern.parse(pattern))
    headers = sorted((entry.header for entry in found), key=lambda header: len(header.depends_on))
    unread: list[Unreadable | Corrupt] = []
    take_off = [other.on(name, unread.append) for name in ("unreadable", "corrupt")]
    try:
        for key in [header.ref.key for header in headers]:
            unread.clear()
            if (item := _copied(other, key, unread)) is not None:
                yield item
    finally:
        for off in take_off:
            off()


def _copied(other: Cache, key: str, unread: Sequence[Unreadable | Corrupt]) -> Item | BadLine | None:
    """The entry of *key*; None where its time was over meanwhile.  *unread* is told of what can't be read."""
    try:
        entry = other.get_entry(key)
        left = other.ttl(key)
    except CacheError as problem:
        return BadLine(None, key, str(problem))
    if entry is None and unread:
        return BadLine(None, key, f"it can't be read here: {unread[0].problem}")
    if entry is None or left is None or left <= 0:
        return None
    options: dict[str, Any] = {"ttl": "never" if left == math.inf else left, "tags": list(entry.tags)}
    if entry.fresh_until is not None and entry.expires_at is not None:
        options["stale_ttl"] = max((entry.expires_at - entry.fresh_until).total_seconds(), 0.0)
    options |= {"depends_on": list(entry.depends_on), "cost": entry.cost}
    return Item(None, key, entry.value, {name: value for name, value in options.items() if value is not None})


def is_generator(function: Callable[..., Any]) -> bool:
    """Does calling *function* give many values, one after the other?"""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def generated(function: Callable[..., Any]) -> Generator[Item | BadLine, None, None]:
    """What the generator function *function* yields, numbered from 1."""
    number = 0
    try:
        made = function()
        for number, one in enumerate(_drawn(made) if inspect.isasyncgen(made) else made, 1):
            try:
                yield replace(_item(number, one), made=True)
            except (CacheError, ValueError) as problem:
                yield BadLine(number, None, str(problem))
    except (Exception, SystemExit) as problem:  # noqa: BLE001  # the user's code raises what it likes; what came before it counts
        yield BadLine(number + 1, None, f"the source ended: {said(problem)}")


def within(budget: Budget | None, made: Generator[Item | BadLine, None, None]) -> Iterator[Item | BadLine]:
    """What a generator *made* as far as *budget* goes, and the first that is `Beyond` it.  Raises `ConfigError`."""
    with closing(made):
        for item in made:
            if isinstance(item, Item) and budget is not None and not budget.take(item.key, item.options.get("cost")):
                yield Beyond(item.line, item.key)
                return
            yield item


def _drawn(made: AsyncIterator[Any]) -> Iterator[Any]:
    """The values of an asynchronous generator, on an event loop of its own."""
    with asyncio.Runner() as runner:
        while (one := runner.run(_next(made))) is not MISSING:
            yield one


async def _next(made: AsyncIterator[Any]) -> Any:
    return await anext(made, MISSING)


def _item(number: int, one: Any) -> Item:
    if isinstance(one, Mapping):
        return item_of(number, dict(one))
    if isinstance(one, tuple) and len(one) == 2:
        return item_of(number, {"key": one[0], "value": one[1]})
    raise ValueError(f"expected (key, value) or a mapping with 'key' and 'value', not {type(one).__name__}")
