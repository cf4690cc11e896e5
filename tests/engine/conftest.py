"""A world without I/O: tiers are dicts, the channel is a list, and flows are driven one effect at a time."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from typing import Any

import pytest

from scoutcache.coherence.messages import Message, concerns, invalidates
from scoutcache.engine.computing import Computing, Recipe
from scoutcache.engine.effects import (
    Announce,
    Call,
    Clear,
    Current,
    Erase,
    Join,
    Names,
    Read,
    ReadOne,
    Remove,
    RemoveOlder,
    Renew,
    Spawn,
    Work,
    Write,
)
from scoutcache.engine.failures import Failures
from scoutcache.engine.flights import LEADING, TooSlow
from scoutcache.engine.reading import Found, Reading
from scoutcache.engine.removing import Removing
from scoutcache.engine.world import World
from scoutcache.engine.writing import Lifetime, Writing
from scoutcache.entry import NEVER, Live, Ref, Row, Sealed
from scoutcache.errors import TierUnavailable
from scoutcache.events import Hooks
from scoutcache.wire.codec import Codec
from scoutcache.wire.unknown import UnknownType, Unread

NS = "ns"


class FakeTier:
    """Rows in a dict, with the rules of the protocol: the later start stays, `allow` is asked inside the write."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: dict[Ref, Row] = {}
        self.raw: dict[Ref, Sealed] = {}
        """Bytes that stand there whatever the rows say: damage."""
        self.down = False

    def __contains__(self, key: str) -> bool:
        return Ref(NS, key) in self.rows

    def read(self, ref: Ref, now: float) -> Sealed | None:
        if ref in self.raw:
            return self.raw[ref]
        row = self.rows.get(ref)
        return None if row is None or row.header.expires <= now else row.sealed

    def write(self, rows, allow) -> int:
        taken = 0
        for row in rows:
            old = self.rows.get(row.header.ref)
            if (old is None or old.header.start <= row.header.start) and (allow is None or allow(row.header)):
                self.rows[row.header.ref] = row
                self.raw.pop(row.header.ref, None)
                taken += 1
        return taken

    def take(self, refs) -> int:
        gone = [ref for ref in set(refs) if self.rows.pop(ref, None) or self.raw.pop(ref, None)]
        return len(gone)

    def erase(self, namespace, pattern) -> int:
        return self.take([ref for ref in self.rows if ref.namespace == namespace and pattern.matches(ref.key)])


class FakeWorld:
    """One process: memory (level 0), disk (level 1), its flows, and what happened.

    `drive` runs a flow to its end; `step`-wise tests call ``next``, `perform` and ``send`` themselves.
    """

    def __init__(self, names=("memory", "disk"), *, promote_on_hits: int = 2) -> None:
        self.now, self.messages, self.told = 1_800_000_000.0, [], []
        self.tiers = [FakeTier(name) for name in names]
        self.versions: dict[tuple[str, str], int] = {}
        self.authority_down = self.journal_down = False
        self._next, self._stamps = itertools.count(100 << 24, 1 << 24), itertools.count(10)
        self.effects: list[Any] = []
        self.hooks = Hooks(on_error=lambda *_: pytest.fail("a hook raised"))
        self.hooks.add("*", self.told.append)
        self.codec = Codec()
        self.loop = None
        self.beside: list[Any] = []
        """Flows that were begun beside the calls and are driven by `refresh`."""
        self.spawns = True
        self.world = World(
            names=names, memory=0 if "memory" in names else None, shared=len(names) > 1, codec=self.codec,
            hooks=self.hooks, source="me", now=lambda: self.now, stamp=lambda: next(self._stamps),
            end=lambda: len(self.messages), applied=lambda: len(self.messages),
            invalidated=lambda: max((n for n, m in enumerate(self.messages, 1) if m.is_invalidation), default=0),
            since=lambda end: (self.messages[end:], len(self.messages)), known=lambda *_: None,
            is_current=lambda *_: False,
            promote_on_hits=promote_on_hits,
            loop=lambda: self.loop, failures=Failures(lambda: self.now),
        )  # fmt: skip
        self.reading = Reading(self.world)
        self.writing = Writing(self.world, self.reading)
        self.removing = Removing(self.world, self.writing)
        self.computing = Computing(
            self.world, self.reading, self.writing, self.removing, lambda: self.now, self.look
        )
        self.flights = self.world.flights

    @property
    def memory(self) -> FakeTier:
        return self.tiers[0]

    @property
    def disk(self) -> FakeTier:
        return self.tiers[-1]

    def peek(self, ref: Ref) -> Live | None:
        row = self.memory.rows.get(ref) if self.world.memory == 0 else None
        return None if row is None or row.header.fresh_until <= self.now else row.live

    def look(self, ref: Ref) -> Found | None:
        row = self.memory.rows.get(ref) if self.world.memory == 0 else None
        if row is None or row.header.expires <= self.now:
            return None
        return Found.in_memory(row.header, row.live, "msgpack")

    def hear(self, kind: str, *names: str, source: str = "you", namespace: str = NS) -> None:
        """Another process announces something, and this one applies it."""
        self.say(Message(kind, namespace, names, 1, source))  # type: ignore[arg-type]

    def say(self, message: Message) -> None:
        self.messages.append(message)
        self.flights.apply(message)
        if self.world.memory == 0 and (message.source != self.world.source or message.is_invalidation):
            rows = self.memory.rows
            for ref, row in list(rows.items()):
                if invalidates(message, row.header) or concerns(message, ref, []):
                    del rows[ref]

    # -- performing

    def perform(self, effect: Any) -> Any:
        """The answer to *effect*, or what performing it raises."""
        self.effects.append(effect)
        match effect:
            case Announce(message):
                if self.journal_down:
                    raise TierUnavailable("journal", "full")
                return self.say(message)
            case Current(namespace, names, create):
                return self._current(namespace, names, create)
            case Names(namespace, prefix):
                self._authority()
                return [name for space, name in self.versions if space == namespace and name.startswith(prefix)]
            case Renew(namespace, names):
                self._authority()
                self.versions.update({(namespace, name): next(self._next) for name in names})
                return None
            case Call(factory, flight):
                token = LEADING.set((*LEADING.get(), flight))
                try:
                    return factory()
                finally:
                    LEADING.reset(token)
            case Join(flight, timeout):
                if timeout is not None and not flight.future.done():
                    raise TooSlow
                return flight.future.result(timeout=0)
            case Spawn(flow):
                self.beside.append(flow)
                return self.spawns
            case Work(do):
                return do()
        tier = self.tiers[effect.level]
        if tier.down:
            raise TierUnavailable(tier.name, "gone")
        match effect:
            case ReadOne(_, ref):
                return tier.read(ref, self.now)
            case Read(_, refs):
                return {ref: sealed for ref in refs if (sealed := tier.read(ref, self.now)) is not None}
            case Write(_, rows, allow, message):
                taken = tier.write(rows, allow)
                if taken and message is not None:
                    self.say(message)
                return taken
            case RemoveOlder(_, starts):
                return tier.take([ref for ref, start in starts.items()
                                  if ref in tier.rows and tier.rows[ref].header.start <= start])  # fmt: skip
            case Remove(_, refs):
                return tier.take(refs)
            case Erase(_, namespace, pattern):
                return tier.erase(namespace, pattern)
            case Clear(_, namespace):
                return tier.take([ref for ref in tier.rows if ref.namespace == namespace])
        raise AssertionError(effect)

    def _authority(self) -> None:
        if self.authority_down:
            raise TierUnavailable("disk", "locked")

    def _current(self, namespace, names, create):
        self._authority()
        if create:
            return {name: self.versions.setdefault((namespace, name), next(self._next)) for name in names}
        return {name: self.versions[namespace, name] for name in names if (namespace, name) in self.versions}

    def drive(self, flow: Generator[Any, Any, Any]) -> Any:
        """Run *flow* to its end as the blocking driver does."""
        return self.drive_until(flow, lambda _: False)[1]

    def drive_until(self, flow, stop) -> tuple[Any, Any]:
        """Perform effects until one for which *stop* says so, which is not performed: ``(effect, None)``, or the end:
        ``(None, value)``."""
        try:
            effect = next(flow)
            while not stop(effect):
                effect = self.advance(flow, effect)
            return effect, None
        except StopIteration as end:
            return None, end.value

    def advance(self, flow, effect: Any) -> Any:
        """Perform *effect* and give the flow its answer; the next effect.  Raises StopIteration at its end."""
        try:
            answer = self.perform(effect)
        except Exception as error:
            return flow.throw(error)
        return flow.send(answer)

    def finish(self, flow, effect: Any, during=lambda step: None) -> Any:
        """Perform *effect* and all that follow; *during* is told the number of each before it.  The flow's value."""
        step = 0
        try:
            while True:
                during(step)
                step += 1
                effect = self.advance(flow, effect)
        except StopIteration as end:
            return end.value

    def refresh(self) -> None:
        """Drive what was begun beside the calls."""
        while self.beside:
            self.drive(self.beside.pop(0))

    # -- the calls

    def ref(self, key: str) -> Ref:
        return Ref(NS, key)

    def set(self, key: str, value: Any, *, ttl: float = 60.0, stale: float = 0.0, began=None, **options: Any):
        entry = self.writing.entry(self.ref(key), value, Lifetime(ttl, stale))
        return self.writing.store([entry], began or self.writing.moment(), **options)

    def put(self, key: str, value: Any, **options: Any) -> int:
        """`set`, driven to its end."""
        taken: int = self.drive(self.set(key, value, **options))
        return taken

    def find(self, key: str, **options: Any):
        """What is found below memory, driven to its end."""
        return self.drive(self.reading.find_one(self.ref(key), **options))

    def compute(self, key: str, factory, *, ttl: float = NEVER, stale: float = 0.0, **options: Any):
        return self.computing.compute(self.ref(key), Recipe(factory, Lifetime(ttl, stale), **options))

    def names_told(self) -> list[str]:
        return [record.name for record in self.told]


@pytest.fixture
def world() -> FakeWorld:
    """Memory and disk."""
    return FakeWorld()


@pytest.fixture
def shared() -> FakeWorld:
    """Memory, a server that announces what it takes (level 1), and disk (level 2)."""
    world = FakeWorld(("memory", "redis", "disk"))
    world.world.tells, world.world.written_in_order = 1, [1, 2]
    return world


@pytest.fixture
def make_world():
    """A world of other tiers, or with other settings."""
    return FakeWorld


@pytest.fixture
def foreign(monkeypatch):
    """From now on a process can read no value, and with *expands* False not even its bytes."""

    def begin(world, *, expands):
        real = world.world.codec.open

        def refuse(ref, sealed, tier=""):
            opened = real(ref, sealed, tier)
            error = UnknownType("a class nobody told us of")
            error.unread = Unread(opened.header, opened.coding, opened.packing, opened.payload if expands else None)
            raise error

        monkeypatch.setattr(world.world.codec, "open", refuse)

    return begin
