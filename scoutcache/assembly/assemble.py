"""A configuration becomes an open cache: the one place that knows how the parts fit together."""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoutcache import events
from scoutcache.assembly.background import Background
from scoutcache.assembly.given import configuration_of
from scoutcache.assembly.local import claim, codec_settings, custom_tier, open_journal, refuse_unbuilt
from scoutcache.assembly.strangers import tell_strangers
from scoutcache.calls.ruling import Dependents
from scoutcache.channels.follower import Channel, Follower, Holder
from scoutcache.channels.leases import Leases
from scoutcache.config import CacheConfig
from scoutcache.core.core import Clocks, Core, harvest
from scoutcache.core.factories import Factories
from scoutcache.core.keeping import keeping_of
from scoutcache.core.rulebook import RuleBook
from scoutcache.core.telling import (
    say_hook_failed,
    tell_recorder,
    tell_refresh_failed,
    tell_refreshed,
    tell_what_writes_removed,
    warn_of_trouble,
)
from scoutcache.drive.blocking import goes_on, running_loop
from scoutcache.drive.ports import Ports
from scoutcache.engine.amends import Amends
from scoutcache.engine.computing import Computing
from scoutcache.engine.failures import Failures
from scoutcache.engine.flights import Running
from scoutcache.engine.moments import Moments
from scoutcache.engine.reading import Found, Reading
from scoutcache.engine.removing import Removing
from scoutcache.engine.staling import Staling
from scoutcache.engine.world import World
from scoutcache.engine.writing import Writing
from scoutcache.entry import Ref
from scoutcache.errors import ConfigError
from scoutcache.events import Hooks
from scoutcache.keys import measure_making
from scoutcache.oplog.linelog import LogLimits
from scoutcache.oplog.recorder import OplogSettings, Recorder
from scoutcache.settings import directory_of
from scoutcache.tiers.base import Tier, Versions
from scoutcache.tiers.memory import MemoryTier
from scoutcache.tiers.memory.holder import MemoryHolder
from scoutcache.tiers.versions import LocalVersions, RememberedVersions
from scoutcache.wire.codec import Codec

if TYPE_CHECKING:
    from scoutcache.assembly.remote import Remote
    from scoutcache.assembly.together import Together
    from scoutcache.channels.leasing import Leasing
    from scoutcache.tiers.disk import DiskTier

__all__ = ["REAL_CLOCKS", "open_core"]

REAL_CLOCKS = Clocks(time.time, time.monotonic, time.monotonic_ns)
measure_making(REAL_CLOCKS.monotonic_ns)  # keys are made before the call that takes them, and know no cache

LATE_RESULTS = 5.0
"""Seconds for which closing waits for computations beside the calls, so that their results are stored."""


def open_core(
    config: CacheConfig | Mapping[str, Any] | None,
    profile: str | None,
    overrides: Mapping[str, Any],
    *,
    raise_errors: bool = False,
    clocks: Clocks | None = None,
) -> Core:
    """Open a cache.  Raises `ConfigError`, or `CacheError` for a directory that can't be used."""
    settled = configuration_of(config, profile, overrides)
    place = directory_of(settled)
    if settled.directory is not None and settled.directory != place:
        settled = settled.replace(directory=place)  # the same one wherever the process goes
    return Assembly(settled, clocks or REAL_CLOCKS, raise_errors=raise_errors or settled.raise_errors).open()


class Assembly:
    """Puts one cache together."""

    def __init__(self, config: CacheConfig, clocks: Clocks, *, raise_errors: bool) -> None:
        refuse_unbuilt(config)
        self._config, self._clocks = config, clocks
        self._directory = directory_of(config)
        claim(self._directory)
        self._hooks = Hooks(on_error=say_hook_failed)
        self._keeping = keeping_of(config)
        self._codec = Codec(codec_settings(config), token=os.urandom, compresses=self._keeping.compresses,
                            clock=self._clocks.monotonic_ns)  # fmt: skip
        journal = open_journal(self._directory, beside_server="redis" in config.tiers)
        self._remote = _make_remote(config, self._directory, clocks, journal)
        self._source = _source_on(None if self._remote is None else self._remote.machine)
        self._journal: Channel = journal if self._remote is None else self._remote.channel
        self._recorder = self._make_recorder()
        self._memory: MemoryTier | None = None
        self._disk: DiskTier | None = None
        self._moments = Moments(threading.Lock())
        self._raise_errors = raise_errors

    def open(self) -> Core:
        """The cache, with its background at work.

        It is shut when it is closed, when nobody holds it any more, and at the interpreter's end, so what was counted
        is written down though nobody closed it.  (Which is why nothing that shutting needs may refer to the core.)
        """
        tiers = [self._make_tier(name) for name in self._config.tiers]
        core = self._assemble(tiers, raise_errors=self._raise_errors)
        if self._remote is not None:
            core.place = self._remote.place
            self._remote.open(core)
        core.strangers = tell_strangers(self._directory, core.place, self._remote)
        core.dependents = core.world.watch = Dependents(core)
        core.background = Background(
            core, partial(_shut, core.recorder, core.ports, core.journal, core.rulebook), self._make_listener(core)
        )
        warn_of_trouble(self._hooks, {tier.name for tier in tiers if getattr(tier, "warns", False)})
        core.alarms.hear(self._hooks, self._clocks.monotonic)
        tell_recorder(self._hooks, self._recorder, self._clocks.monotonic_ns)
        tell_what_writes_removed(self._recorder, self._hooks, tiers)  # a database that opening set aside
        _open_cores.add(core)
        core.background.start()
        if self._remote is not None and self._clocks.ticking:
            self._remote.appear()
        return core

    def _make_listener(self, core: Core) -> Together | None:
        if self._remote is None:
            return None
        from scoutcache.assembly.together import Together

        hooks = self._hooks

        def trouble(error: Exception) -> None:
            hooks.emit(events.Trouble("listening", repr(error)))

        return Together(self._remote.listen(trouble), self._remote.hear_foreign(core, trouble))

    def _assemble(self, tiers: Sequence[Tier], *, raise_errors: bool) -> Core:
        candidates = [tier for tier in tiers if isinstance(tier, Versions)]
        # A server knows for all machines; the disk is the authority only where there is none.
        authority = next((tier for tier in candidates if tier.name == "redis"), next(iter(candidates), None))
        for tier in tiers:
            if tier is not authority and hasattr(tier, "leave_marks"):
                tier.leave_marks()
        carried = None if self._memory is None else self._memory.carried
        local = LocalVersions(lambda: secrets.randbits(63), carried if len(tiers) == 1 else None)
        versions = RememberedVersions(authority or local, self._journal.end, self._journal.since, carried=carried)
        if (on_reopen := getattr(authority, "on_reopen", None)) is not None:
            on_reopen(versions.drop)
        shared = len(tiers) > (self._memory is not None)
        running = _running_in(self._directory) if shared else Running()
        failures, factories = Failures(self._clocks.monotonic), Factories()
        copies = [] if self._memory is None else [MemoryHolder(self._memory)]
        follower = self._make_follower([versions, *copies], [running.flights, running.refreshes, failures, factories])
        self._moments.opened = follower.opened.messages
        versions.under_way = follower.opened.messages
        world = self._make_world(tiers, versions, running, failures, follower, raise_errors=raise_errors)
        for copy in copies:
            copy.lasts = world.may_lie_below
        if self._disk is not None:
            self._disk.on_reclaim(world.ended)
        leases = self._make_leases() if world.leased else None
        ports = Ports(tiers, versions, follower.announce, self._clocks.wall, _threads(), leases)
        if self._remote is not None:
            ports.authority, ports.announcing = self._remote.tier, self._remote.announcing(follower)
        reading = Reading(world)
        writing = Writing(world, reading)
        removing = Removing(world, writing)
        computing = Computing(world, reading, writing, removing, self._clocks.monotonic, self._peek)
        return Core(
            config=self._config, directory=self._directory, clocks=self._clocks, hooks=self._hooks, world=world,
            ports=ports, memory=self._memory, follower=follower, recorder=self._recorder, reading=reading,
            writing=writing, computing=computing, removing=removing,
            staling=Staling(world, reading, writing, removing), amends=Amends(world, reading, writing, removing),
            factories=factories, journal=self._journal,
            rulebook=RuleBook(self._config.rules, self._directory / "rules", say_hook_failed),
        )  # fmt: skip

    def _make_leases(self) -> Leasing:
        here = Leases(self._directory / "leases")
        return here if self._remote is None else self._remote.make_leases(here)

    def _make_world(
        self, tiers: Sequence[Tier], versions: RememberedVersions, running: Running, failures: Failures,
        follower: Follower, *, raise_errors: bool,
    ) -> World:  # fmt: skip
        names = [tier.name for tier in tiers]
        memory = None if self._memory is None else 0
        return World(
            names=names, memory=memory, shared=len(tiers) > (memory is not None), codec=self._codec,
            hooks=self._hooks, source=self._source, now=self._clocks.wall, stamp=_stamps(self._clocks.wall),
            end=self._journal.end, invalidated=self._journal.invalidated, since=self._journal.since,
            hear=follower.sync, applied=follower.noted, known=versions.remembered, is_current=versions.are_current,
            without_authority=versions.without_authority,
            remembered=versions.remembered_names, is_remembered=versions.is_remembered,
            why_gone=self._why_gone, note_ended=(lambda _: None) if self._memory is None else self._memory.note_ended,
            price=self._price(),
            refresh_failed=partial(tell_refresh_failed, self._recorder, self._clocks.monotonic_ns),
            served=(lambda _: None) if self._memory is None else self._memory.served,
            promote_on_hits=self._config.placement.promote_on_hits, raise_errors=raise_errors,
            lagging=frozenset(level for level, tier in enumerate(tiers) if getattr(tier, "lags", False)),
            policy=self._keeping.policy, sliding=self._keeping.sliding,
            running=running, failures=failures, loop=running_loop, goes_on=goes_on,
            moments=self._moments, changing=self._journal.changing,
            leased="disk" in names or "redis" in names, tells=_telling(tiers, memory),
            throttle=self._config.freshness.throttle, dice=random.random,
            refreshed=partial(tell_refreshed, self._recorder, self._clocks.monotonic_ns),
        )  # fmt: skip

    def _price(self) -> Callable[[Sequence[str], int], float | None] | None:
        if not self._config.costs.models:
            return None
        from scoutcache.chat.prices import cost_by_size

        return partial(cost_by_size, self._config.costs)

    def _make_follower(self, holders: Sequence[Holder], watchers: Sequence[Holder]) -> Follower:
        memory = self._memory
        if self._remote is not None:
            holders = [*holders, *self._remote.holders]
        return Follower(
            self._journal, self._source, holders, (lambda _: None) if memory is None else memory.seen,
            watchers=[*watchers, self._moments], settled=self._moments.applied,
            watched=(lambda: False) if memory is None else self._hits_are_watched,
        )  # fmt: skip

    def _hits_are_watched(self) -> bool:
        """Must hits in memory go the long way: because somebody wants to see them, or the server is asked first?"""
        return self._hooks.wants("hit") or not (self._remote is None or self._remote.sure())

    def _make_recorder(self) -> Recorder:
        oplog, costs = self._config.oplog, self._config.costs
        limits = LogLimits(
            sample_rate=oplog.sample_rate, max_records_per_s=oplog.max_records_per_s, max_bytes=oplog.max_bytes,
            max_age=oplog.max_age, redact_keys=oplog.redact_keys,
        )  # fmt: skip
        settings = OplogSettings(enabled=oplog.enabled, limits=limits, default_call_usd=costs.default_call_usd)
        return Recorder(
            self._directory, settings, wall=self._clocks.wall, monotonic_ns=self._clocks.monotonic_ns,
            token=lambda: secrets.token_hex(8),
        )  # fmt: skip

    def _make_tier(self, name: str) -> Tier:
        if name == "memory":
            self._memory = self._make_memory()
            return self._memory
        if name == "disk":
            return self._make_disk()
        if self._remote is not None and name == "redis":
            return self._remote.make_tier(self._codec)
        return custom_tier(name)

    def _make_memory(self) -> MemoryTier:
        memory = self._config.memory
        return MemoryTier(
            self._codec, max_entries=memory.max_entries, max_bytes=memory.max_bytes, strategy=memory.strategy.value,
            monotonic=self._clocks.monotonic, wall=self._clocks.wall, on_evict=self._evicted,
            told_from=self._keeping.told_from,
        )  # fmt: skip

    def _make_disk(self) -> Tier:
        from scoutcache.tiers.disk import DiskTier

        disk = self._config.disk
        tier = DiskTier(
            self._directory / "disk",
            self._codec,
            max_bytes=disk.max_bytes,
            timeout=disk.timeout,
            wall=self._clocks.wall,
        )
        if self._remote is not None:
            self._remote.keep(tier)
        self._disk = tier
        return tier

    def _evicted(self, ref: Ref, reason: str, size: int) -> None:
        self._recorder.evicted(ref.namespace, ref.key, reason, size, "memory")
        self._hooks.emit(
            events.Expired(*ref, "memory") if reason == "expired" else events.Evicted(*ref, "memory", reason)
        )

    def _why_gone(self, ref: Ref) -> str | None:
        why = None if self._memory is None else self._memory.why_absent(ref)
        if why in {None, "evicted"} and self._disk is not None:  # what left memory for want of room lived on below
            why = self._disk.why_absent(ref) or why
        return why

    def _peek(self, ref: Ref) -> Found | None:
        if self._memory is None or not (self._remote is None or self._remote.sure()):
            return None
        row = self._memory.look(ref)
        return None if row is None else Found.in_memory(row.header, row.live, self._codec.settings.serializer)


def _telling(tiers: Sequence[Tier], memory: int | None) -> int | None:
    """The level that announces what it takes, if it is written last of those that bytes lie in."""
    first = 0 if memory is None else 1
    return first if len(tiers) > first and getattr(tiers[first], "tells", False) else None


def _make_remote(config: CacheConfig, directory: Path, clocks: Clocks, journal: Channel) -> Remote | None:
    """The server that the tiers name; the machine's processes tell each other by *journal* as well."""
    if "redis" not in config.tiers:
        return None
    if not config.redis.configured:
        raise ConfigError("the tiers name redis, and [redis] names no server", hint="set redis.url, or nodes")
    from scoutcache.assembly.remote import Remote
    from scoutcache.channels.neighbours import Neighbours

    return Remote(config, directory, clocks.monotonic, Neighbours(journal))


def _source_on(machine: str | None) -> str:
    """A name for this process among those that share a cache; its machine's comes first, where there are several."""
    return secrets.token_hex(8) if machine is None else f"{machine}.{secrets.token_hex(8)}"


def _stamps(wall: Callable[[], float]) -> Callable[[], int]:
    """Nanoseconds since the epoch, each later than the one before, also when the clock is set back."""
    last = 0
    lock = threading.Lock()

    def stamp() -> int:
        nonlocal last
        with lock:
            now = int(wall() * 1e9)
            last = now if now > last else last + 1
            return last

    return stamp


def _threads() -> ThreadPoolExecutor:
    """Threads for what may wait; none is started before an event loop needs one."""
    return ThreadPoolExecutor(max_workers=4, thread_name_prefix="scoutcache-io")


def _shut(recorder: Recorder, ports: Ports, journal: Channel, rulebook: RuleBook) -> None:
    """Write down what is pending and let go of files and threads."""
    with ExitStack() as last_first:  # each of them, though one before it fails
        last_first.callback(journal.close)
        for tier in reversed(ports.tiers):
            last_first.callback(tier.close)
        if ports.leases is not None:
            last_first.callback(ports.leases.close)
        last_first.callback(ports.threads.shutdown, wait=True)
        last_first.callback(rulebook.write)
        last_first.callback(lambda: recorder.close(harvest(recorder, ports.tiers)))
        wait(list(ports.beside), timeout=LATE_RESULTS)


_running: weakref.WeakValueDictionary[str, Running] = weakref.WeakValueDictionary()


def _running_in(directory: Path) -> Running:
    """Caches of this process over one directory share what is under way, whichever face asks."""
    return _running.setdefault(os.path.realpath(directory), Running())


_open_cores: weakref.WeakSet[Core] = weakref.WeakSet()


def _after_fork() -> None:
    """The child is another process to its parent, and a lock that a thread of the parent's held will never be free."""
    for core in list(_open_cores):
        core.follower.source = core.world.source = _source_on(core.world.source.rpartition(".")[0] or None)
        core.world.stamp = _stamps(core.clocks.wall)
        if core.world.moments is not None:
            core.world.moments.restart(threading.Lock())
        core.ports.versions.renew_lock()
        core.ports.threads = _threads()  # the parent's pool believes in threads that don't exist here
        core.ports.beside = set()  # nor do those of its refreshes
        core.after_fork()


os.register_at_fork(after_in_child=_after_fork)
