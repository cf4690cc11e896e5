"""Everything one open cache is made of; both faces and the operator's commands work on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol

from scoutcache.channels.follower import Channel, Follower
from scoutcache.config import CacheConfig
from scoutcache.core.alarms import Alarms
from scoutcache.core.factories import Factories
from scoutcache.core.rulebook import RuleBook
from scoutcache.drive.ports import Ports
from scoutcache.engine.amends import Amends
from scoutcache.engine.computing import Computing
from scoutcache.engine.effects import Flow
from scoutcache.engine.reading import Reading
from scoutcache.engine.removing import Removing
from scoutcache.engine.staling import Staling
from scoutcache.engine.world import Watch, World
from scoutcache.engine.writing import Writing
from scoutcache.entry import Ref, Usage
from scoutcache.errors import CacheError
from scoutcache.events import Hooks
from scoutcache.oplog.elsewhere import Ask
from scoutcache.oplog.recorder import Recorder
from scoutcache.tiers.base import Tier
from scoutcache.tiers.memory import MemoryTier

__all__ = ["Clocks", "Core", "harvest"]


@dataclass(frozen=True)
class Clocks:
    """The clocks of a cache: seconds since the epoch, monotonic seconds, monotonic nanoseconds.

    *ticking* is false for a clock that is moved by hand: then nothing runs in the background by itself.  *looking* says
    that the cache is opened to be looked into, and that nothing is to be removed for that.
    """

    wall: Callable[[], float]
    monotonic: Callable[[], float]
    monotonic_ns: Callable[[], int]
    ticking: bool = True
    looking: bool = False


class ByMeaning(Protocol):
    """Answers questions by what was answered to others that mean the same; see `scoutcache.answers.routing`."""

    def near(self, key: object, ref: Ref, accepts: Callable[[Any], bool]) -> Flow[Any]:
        """The answer to one that means the same, recorded as a hit; `MISSING` where there is none *accepts*."""

    def keep(self, key: object, ref: Ref, response: Any, ttl: float) -> Flow[None]:
        """Let *response*, which was stored at *ref* for *ttl* seconds, be found by meaning."""


class Ticker(Protocol):
    """What runs beside the calls."""

    def close(self) -> None:
        """Stop it, and shut the cache."""

    def turn(self) -> None:
        """Do one turn now."""

    def after_fork(self) -> None:
        """Begin again in a forked child."""


@dataclass(eq=False)
class Core:
    """The parts of one open cache, put together in `assembly`."""

    config: CacheConfig
    directory: Path
    clocks: Clocks
    hooks: Hooks
    world: World
    ports: Ports
    memory: MemoryTier | None
    follower: Follower
    journal: Channel
    recorder: Recorder
    rulebook: RuleBook
    reading: Reading
    writing: Writing
    computing: Computing
    removing: Removing
    amends: Amends
    staling: Staling
    factories: Factories
    background: Ticker = field(init=False)
    dependents: Watch = field(init=False)
    """Told of every removal that a caller asked for."""
    sure: Callable[[], bool] = lambda: True
    """May memory answer without a shared server having been asked?"""
    owing: Callable[[], bool] = lambda: False
    """Is something yet to be made good on a shared server that answers?  What lives with it does so within seconds."""
    alarms: Alarms = field(default_factory=Alarms)
    """The alerts that stand in this process."""
    by_meaning: ByMeaning | None = None
    """None where no policy says ``strategy = "semantic"``."""
    place: tuple[str, ...] = ()
    """The shared server and the prefix there; empty without one."""
    strangers: Sequence[str] = ()
    """Processes that use the directory and another place, as the cache was opened: neither hears of the other."""
    others: Ask | None = None
    """Asks a shared server for what other machines counted."""
    closed: bool = False
    at_fork: list[Callable[[], None]] = field(default_factory=list)
    """What a forked child renews before anything runs beside its calls."""
    at_flush: list[Callable[[], None]] = field(default_factory=list)
    """What is to be written down whenever counters are."""
    at_close: list[Callable[[], None]] = field(default_factory=list)
    """What has something to deliver before the cache is closed."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a cache can't be copied or pickled, because it has files, locks and threads of its own: "
                        "open one in each process, in the same directory")  # fmt: skip

    @property
    def tiers(self) -> Sequence[Tier]:
        """From the highest down."""
        return self.ports.tiers

    def check_open(self) -> None:
        """Raise `CacheError` once it is closed."""
        if self.closed:
            raise CacheError("the cache is closed", hint="open another one, or close it later")

    def may_peek(self) -> bool:
        """May memory answer at all?"""
        return self.config.enabled and self.sure()

    def tier(self, name: str) -> Tier | None:
        """The tier called *name*, if this cache has one."""
        return next((tier for tier in self.tiers if tier.name == name), None)

    def flush(self, *, searching: bool = True) -> None:
        """Write counters and log down now; without *searching* hits that the log doesn't know of may wait."""
        self.recorder.publish(harvest(self.recorder, self.tiers, searching=searching))
        self.rulebook.write()
        for write in list(self.at_flush):
            write()

    def close(self) -> None:
        """Write down what is pending and let go of files and threads; idempotent."""
        with ExitStack() as last_first:  # each of them, though one before it fails
            last_first.callback(self.background.close)
            last_first.callback(setattr, self, "closed", True)
            for deliver in reversed(list(self.at_close)):
                last_first.callback(deliver)

    def after_fork(self) -> None:
        """In a forked child: nobody here leads the parent's flights, and its threads don't exist."""
        self.rulebook.after_fork()
        self.world.flights.drop()
        self.world.refreshes.drop()
        self.reading.renewing.drop()
        self.factories.renew_lock()
        for doubt in self.world.doubts:
            doubt.after_fork()
        for renew in self.at_fork:
            renew()
        if self.memory is not None:
            self.memory.harvest()  # hits that the parent is going to count
        if not self.closed:
            self.background.after_fork()


def harvest(recorder: Recorder, tiers: Sequence[Tier], *, searching: bool = True) -> dict[str, Usage | None]:
    """Count the hits that memory had, and give the tiers in order with the sizes that only this process can see.

    A hit leaves its count in the entry, and looking at all of them costs milliseconds.  Without *searching* nobody
    looks while the log says that there was no hit, so that a process at rest costs nothing.
    """
    usages: dict[str, Usage | None] = {}
    for tier in tiers:
        usages[tier.name] = None
        if isinstance(tier, MemoryTier):
            if searching or recorder.may_have_hits:
                hits, costs = tier.harvest()
                recorder.count_hits(hits, tier.name, costs)
            usages[tier.name] = tier.usage()
    return usages
