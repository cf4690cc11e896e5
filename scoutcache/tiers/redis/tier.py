"""The Redis tier: `RedisTier`, which hands each call of the protocol to a plan and carries that out.

Rules.

- Threads and event loops carry out the same plans: `read` and the others block, `on_loop` gives what awaits them.
- A read is one round trip, a write is one too, its announcement included; those of many keys share a few.
- What can't be done now raises `TierUnavailable`, and nothing else does.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from scoutcache.coherence.messages import Message
from scoutcache.entry import Listed, Ref, Row, Sealed, Usage
from scoutcache.errors import TierUnavailable
from scoutcache.keys import asked_for
from scoutcache.patterns import Pattern
from scoutcache.server.commands import AsyncConduit, Conduit, Plan, aperform, perform, replies
from scoutcache.server.faults import fault_of, unavailable
from scoutcache.server.layout import Layout, unexpired, unframe
from scoutcache.tiers.base import Allow
from scoutcache.tiers.judging import Judged, judge
from scoutcache.tiers.redis.information import run_of
from scoutcache.tiers.redis.listing import Listing, Pace, Stored, Unpaced, listed
from scoutcache.tiers.redis.plans import Events, RedisPlans
from scoutcache.tiers.redis.versions import RedisVersions

if TYPE_CHECKING:
    from scoutcache.wire.codec import Codec

__all__ = ["RedisTier"]

T = TypeVar("T")

_LOOK_EVERY: Final = 60.0
"""Seconds between two looks at whether the cache is within its limits, among all processes."""


def _nowhere() -> None:
    """No loop."""


class RedisTier:
    """Entries of the cache that *layout* names, on the server that *conduit* leads to.

    *on_loop* makes a conduit for the running event loop.  *max_bytes* and *max_entries* bound the cache's own entries.
    """

    name = "redis"
    blocking = True
    tells = True
    """A write appends its announcement itself."""
    lags = False
    """Do replicas answer, which may not have heard yet of what was announced?"""
    warns = True
    """Its breaker says, once an episode, that it can't answer."""

    def __init__(
        self, layout: Layout, conduit: Conduit, on_loop: Callable[[], AsyncConduit], events: Events, codec: Codec, *,
        stream_length: int, max_bytes: int | None = None, max_entries: int | None = None,
    ) -> None:  # fmt: skip
        self.layout, self.conduit, self._make_on_loop, self._codec = layout, conduit, on_loop, codec
        self.max_bytes, self.max_entries = max_bytes, max_entries
        self.plans = RedisPlans(layout, events, stream_length=stream_length, draw=lambda: secrets.randbits(63))
        self.version_plans = RedisVersions(layout, catch_up=events.catch_up)
        self._listing = Listing(layout)
        self.pace: Pace = Unpaced()
        """Asked between the steps of scans and of removals by pattern."""
        self.tells_idle = False
        """Is a scan to ask how long each entry was idle?"""
        self._latest: tuple[Callable[[], asyncio.AbstractEventLoop | None], Any] = _nowhere, None
        """The loop that asked last, and its conduit: to look it up in a weak mapping takes as long as to ask it."""
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncConduit] = weakref.WeakKeyDictionary()

    def do(self, plan: Plan[T]) -> T:
        """Carry a plan out, blocking.  Raises `TierUnavailable`."""
        return perform(plan, self.conduit)

    def on_loop(self, plan: Plan[T]) -> Coroutine[Any, Any, T]:
        """Carries a plan out on the running event loop.  Raises `TierUnavailable`."""
        return aperform(plan, self._loop_conduit())

    def _loop_conduit(self) -> Any:
        loop = asyncio.get_running_loop()
        latest, conduit = self._latest
        if latest() is loop:
            return conduit
        conduit = self._loops.get(loop)
        if conduit is None:
            self._abandon()
            conduit = self._loops[loop] = self._make_on_loop()
        self._latest = weakref.ref(loop), conduit
        return conduit

    def _abandon(self) -> None:
        """Let go of what loops had open that were closed: a connection reaches its loop, which would live for ever."""
        self._latest = _nowhere, None
        for reference in self._loops.keyrefs():
            loop = reference()
            if loop is not None and loop.is_closed():
                abandon = getattr(self._loops.pop(loop, None), "abandon", None)
                if abandon is not None:
                    abandon()

    async def read_on_loop(self, ref: Ref, now: float) -> Sealed | None:
        """`read`, awaited: by the short way where there is one, for a hit has few other parts."""
        conduit = self._loop_conduit()
        get = getattr(conduit, "get", None)
        if get is None:
            return await aperform(self.plans.read(ref, now), conduit)
        value = await get(self.layout.entry(ref))
        if isinstance(value, Exception):
            raise unavailable(fault_of(value))
        return None if value is None else unexpired(value, now)

    # -- reading and writing

    def read(self, ref: Ref, now: float) -> Sealed | None:
        """The entry, or None when it is absent or expired.  Raises `TierUnavailable`."""
        return self.do(self.plans.read(ref, now))

    def read_many(self, refs: Sequence[Ref], now: float) -> dict[Ref, Sealed]:
        """Those that are there, 512 in a round trip.  Raises `TierUnavailable`."""
        return self.do(self.plans.read_many(refs, now))

    def write(
        self, rows: Sequence[Row], now: float, allow: Allow | None = None, message: Message | None = None
    ) -> int:
        """Store them, and announce *message* with them; how many were taken.  Raises `TierUnavailable`."""
        return self.do(self.plans.write(rows, now, allow, message))

    def takes_writes(self) -> bool:
        """Does the server take any now?  One that is full, or a replica, answers and takes none."""
        try:
            self.do(replies(("SET", self.layout.probe, "1", "PX", 1000)))
        except TierUnavailable:
            return False
        return True

    def remove(self, refs: Sequence[Ref]) -> int:
        """Remove them and return how many were there.  Raises `TierUnavailable`."""
        return self.do(self.plans.remove(refs))

    def remove_each(self, refs: Sequence[Ref]) -> set[Ref]:
        """Remove them and return those that were there.  Raises `TierUnavailable`."""
        return self.do(self.plans.remove_each(refs))

    def remove_older(self, starts: Mapping[Ref, int]) -> int:
        """Remove those that began no later than told; how many were there.  Raises `TierUnavailable`."""
        return self.do(self.plans.remove_older(starts))

    def remove_matching(self, namespace: str, pattern: Pattern) -> int:
        """Remove every key that matches and return how many; memory stays flat.  Raises `TierUnavailable`."""
        if pattern.literal is not None:
            return self.remove([Ref(namespace, pattern.literal)])
        return self._remove(namespace, pattern)

    def clear(self, namespace: str | None) -> int:
        """Remove a whole namespace, or every entry of this cache for None.  Raises `TierUnavailable`."""
        return self._remove(namespace, None)

    def erase(self) -> int:
        """Remove all that this cache has on the server, its stream and versions too; nobody may use it meanwhile."""
        return sum(self.do(self._listing.erase(node)) for node in self.conduit.nodes())

    def drop_versions(self) -> None:
        """Remove all versions, so that whatever carries one is dead."""
        for node in self.conduit.nodes():
            self.do(self._listing.drop_versions(node))

    def _remove(self, namespace: str | None, pattern: Pattern | None) -> int:
        """On every node that answers; that another didn't is raised when the rest is done."""
        removed: list[int] = []
        what, away = _asked(namespace, pattern), list[TierUnavailable]()
        for node, name, cursor in self._nodes_from(what):
            work = partial(self._listing.remove_matching, namespace, pattern, node, removed.append)
            try:
                if not self.do(work(partial(self._goes_on, what, name), cursor)):
                    break
            except TierUnavailable as error:
                away.append(error)
        if away:
            raise away[0]
        return sum(removed)

    def _nodes_from(self, what: str) -> Iterator[tuple[Any, str, int]]:
        """The nodes, and the cursor of each at which a scan for *what* begins there."""
        nodes = sorted(self.conduit.nodes(), key=lambda node: str(getattr(node, "name", "")))
        paced = not isinstance(self.pace, Unpaced)
        names = [self.do(run_of(node)) if paced else "" for node in nodes]
        begin = self.pace.from_(self.name, what, names)
        if begin is None:
            return
        for number in range(begin[0], len(nodes)):
            yield nodes[number], names[number], int(begin[1] or 0) if number == begin[0] else 0

    def _goes_on(self, what: str, node: str, cursor: int) -> bool:
        return self.pace.goes_on(self.name, what, node, str(cursor))

    # -- versions

    def current(self, namespace: str, names: Sequence[str], *, create: bool = False) -> dict[str, int]:
        """See `Versions`.  Raises `TierUnavailable`."""
        return self.do(self.version_plans.current(namespace, names, create=create))

    def names(self, namespace: str, prefix: str) -> list[str]:
        """See `Versions`.  Raises `TierUnavailable`."""
        return self.do(self.version_plans.names(namespace, prefix))

    def renew(self, namespace: str, names: Sequence[str], *, soft: bool = False) -> None:
        """See `Versions`.  Raises `TierUnavailable`."""
        self.do(self.version_plans.renew(namespace, names, soft=soft))

    def forget_versions(self, namespace: str, versions: Mapping[str, int]) -> int:
        """Remove those that are still the current ones; how many.  Announce it before and after."""
        return self.do(self.version_plans.forget(namespace, versions))

    def unused_versions(self) -> Iterator[dict[tuple[str, str], int]]:
        """Batches of versions, by namespace and name, that no entry here carries.  Raises `TierUnavailable`."""
        from scoutcache.tiers.redis.collecting import namespaces, unused

        spaces = {name for node in self.conduit.nodes() for name in self.do(namespaces(self.layout, node))}
        return unused(sorted(spaces), self.version_plans, self.do, lambda: self.scan(None))

    # -- listing

    def scan(self, namespace: str | None, pattern: Pattern | None = None) -> Iterator[Listed]:
        """List entries in no particular order, without reading values.  Raises `TierUnavailable`."""
        for one in self._stored(namespace, pattern):
            found = listed(one)
            if found is not None:
                yield found

    def _stored(self, namespace: str | None, pattern: Pattern | None) -> Iterator[Stored]:
        glob, what = self.layout.glob(namespace, pattern), _asked(namespace, pattern)
        look = self._listing.idle_beginnings if self.tells_idle else self._listing.beginnings
        if namespace is not None and pattern is not None and pattern.literal is not None:
            name = self.layout.entry(Ref(namespace, pattern.literal)).encode()
            yield from [one for one in self.do(look([name])) if _matches(one, namespace, pattern)]
            return
        for node, node_name, begin in self._nodes_from(what):
            cursor = begin
            while True:
                cursor, names = self.do(self._listing.step(cursor, glob, node))
                for one in self.do(look(names)):
                    if _matches(one, namespace, pattern):
                        yield one
                if not cursor:
                    break
                if not self._goes_on(what, node_name, cursor):
                    return

    def count(self, namespace: str | None, pattern: Pattern | None, now: float) -> int:  # noqa: ARG002  # the server
        """How many unexpired entries match.  Raises `TierUnavailable`."""
        return sum(self.do(self._listing.count(namespace, pattern, node)) for node in self.conduit.nodes())

    def usage(self) -> Usage:
        """How many entries this cache has, and their bytes: not the server's memory.  Raises `TierUnavailable`."""
        found = [self.do(self._listing.usage(node)) for node in self.conduit.nodes()]
        entries, size = sum(number for number, _ in found), sum(size for _, size in found)
        return Usage(entries, size, self.max_entries, self.max_bytes)

    # -- upkeep

    def prune(self, now: float, *, older_than: float | None = None, max_bytes: int | None = None,
              dry_run: bool = False) -> dict[str, int]:  # fmt: skip
        """Remove what was created more than *older_than* seconds ago, is no entry, or is the oldest beyond *max_bytes*.

        The server itself removes what expires.  Raises `TierUnavailable`.
        """
        counts = {"expired": 0, "older": 0, "oversize": 0, "orphaned": 0}
        doomed: list[bytes] = []
        left: list[tuple[float, int, bytes]] = []
        for one in self._stored(None, None):
            if one.header is None:
                counts["orphaned"] += 1
                doomed.append(one.name)
            elif older_than is not None and one.header.created < now - older_than:
                counts["older"] += 1
                doomed.append(one.name)
            elif max_bytes is not None:
                left.append((one.header.created, one.size, one.name))
        if max_bytes is not None:
            beyond = _oldest_beyond(left, max_bytes=max_bytes, max_entries=None)
            counts["oversize"] = len(beyond)
            doomed += beyond
        if not dry_run:
            self.do(self.plans.unlink(doomed))
        return counts

    def maintain(self, now: float) -> dict[str, int]:  # noqa: ARG002  # the server has a clock of its own
        """Keep the cache within its limits: once a minute, by one process of all.  Raises `TierUnavailable`."""
        if self.max_bytes is None and self.max_entries is None:
            return {}
        turn = ("SET", f"{self.layout.prefix}pruning", "1", "NX", "PX", round(_LOOK_EVERY * 1000))
        if self.do(replies(turn))[0] is None:
            return {}
        usage = self.usage()
        over = (usage.size_bytes or 0) > (self.max_bytes or float("inf")), (usage.entries or 0) > (
            self.max_entries or float("inf")
        )
        if not any(over):
            return {}
        rows = [(one.header.created, one.size, one.name) for one in self._stored(None, None) if one.header is not None]
        beyond = _oldest_beyond(rows, max_bytes=self.max_bytes, max_entries=self.max_entries)
        return {"oversize": self.do(self.plans.unlink(beyond))}

    def verify(self, repair: bool = False) -> dict[str, Any]:
        """Open every envelope, and see that each name of the cache's holds what it should; *repair* removes the rest.

        Returns ``integrity``, ``entries``, ``corrupt`` (the keys, and names under which another type lies),
        ``foreign``, ``orphaned``, ``unverified``, ``removed``.  Raises `TierUnavailable`.
        """
        corrupt: list[str] = []
        entries = foreign = unverified = removed = 0
        for one in self._stored(None, None):
            entries += 1
            ref = None if one.header is None else one.header.ref
            if ref is not None and (judged := self._judged(ref)) != "corrupt":
                unverified += judged == "unverified"
                continue
            foreign += ref is None
            if ref is not None:
                corrupt.append(ref.key)
            if repair:
                removed += self.do(self.plans.unlink([one.name]))
        for node in self.conduit.nodes():
            wrong = self.do(self._listing.mistyped(node))
            corrupt += [f"{name.decode('utf-8', 'replace')} (a {kind}, not a {right})" for name, kind, right in wrong]
            if repair:
                removed += self.do(self.plans.unlink([name for name, _, _ in wrong]))
        return {"integrity": "ok", "entries": entries, "corrupt": corrupt, "foreign": foreign, "orphaned": 0,
                "unverified": unverified, "removed": removed}  # fmt: skip

    def _judged(self, ref: Ref) -> Judged:
        (value,) = self.do(replies(("GET", self.layout.entry(ref))))
        if value is None:
            return "sound"  # gone meanwhile
        return judge(self._codec, ref, unframe(value))[1]

    def close(self) -> None:
        """Let go of the connections of threads and of loops that were closed; idempotent."""
        self.conduit.close()
        self._abandon()

    async def close_on_loop(self) -> None:
        """Let go of the running event loop's connection."""
        self._latest = _nowhere, None
        conduit = self._loops.pop(asyncio.get_running_loop(), None)
        if conduit is not None:
            await conduit.close()


def _asked(namespace: str | None, pattern: Pattern | None) -> str:
    return asked_for(namespace, None if pattern is None else pattern.text)


def _matches(one: Stored, namespace: str | None, pattern: Pattern | None) -> bool:
    if one.header is None:
        return pattern is None
    ref = one.header.ref
    return namespace in (None, ref.namespace) and (pattern is None or pattern.matches(ref.key))


def _oldest_beyond(
    rows: list[tuple[float, int, bytes]], *, max_bytes: int | None, max_entries: int | None
) -> list[bytes]:
    """The names of what was written longest ago, until the rest is within the limits."""
    size, number = sum(row[1] for row in rows), len(rows)
    heapq.heapify(rows)
    beyond = []
    while rows and (size > (max_bytes or float("inf")) or number > (max_entries or float("inf"))):
        _, own, name = heapq.heappop(rows)
        beyond.append(name)
        size, number = size - own, number - 1
    return beyond
