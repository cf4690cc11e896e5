"""What one cache has of its server: the way to it, the tier there, the stream it hears, and who hears it."""

from __future__ import annotations

import logging
import socket
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoutcache.assembly.losses import Losses
from scoutcache.assembly.outage import Outage
from scoutcache.calls.calls import Calls
from scoutcache.calls.invalidating import invalidate, target_of
from scoutcache.channels.counts import SharedCounts
from scoutcache.channels.follower import Follower, Holder
from scoutcache.channels.foreign import Foreign
from scoutcache.channels.handed_on import HandedOn
from scoutcache.channels.lease_plans import LeasePlans
from scoutcache.channels.leases import Leases
from scoutcache.channels.listener import Listener, longest_round
from scoutcache.channels.members import Membership, Process, gone, members
from scoutcache.channels.neighbours import Neighbours, said_before, said_instead
from scoutcache.channels.remote_leases import RemoteLeases
from scoutcache.channels.stream import StreamChannel
from scoutcache.channels.tracking import Sent, Tracked
from scoutcache.coherence.foreign import CHANNEL, Order, texts_for
from scoutcache.coherence.messages import Message
from scoutcache.config import CacheConfig
from scoutcache.drive.blocking import run
from scoutcache.engine.entrusted import Entrusted
from scoutcache.entry import Row
from scoutcache.errors import ConfigError, TierUnavailable
from scoutcache.oplog.who import begun, numbered_by, this_process
from scoutcache.server.breaker import Breaker
from scoutcache.server.cluster import AsyncCluster, Cluster
from scoutcache.server.coalescing import Coalescing
from scoutcache.server.commands import AsyncConduit, Batch, Conduit, Plan, perform
from scoutcache.server.connecting import Source, server_name
from scoutcache.server.direct import Direct
from scoutcache.server.layout import Layout
from scoutcache.server.nodes import Breakers
from scoutcache.server.replicas import AsyncSplit, Split
from scoutcache.tiers.base import Tier
from scoutcache.tiers.disk.holder import DiskHolder, heard_before, machine_of
from scoutcache.tiers.redis import RedisTier

if TYPE_CHECKING:
    from scoutcache.core.core import Core
    from scoutcache.wire.codec import Codec

__all__ = ["Remote"]

_log = logging.getLogger("scoutcache")

_BEGUN = 1000
"""Invalidations under way at once that are remembered; those beyond are not published."""

_UNREAD = 1.0
"""Seconds within which a neighbour has read the stream, unless the server went away first."""


class Remote:
    """The server of a cache, which this machine's *neighbours* share.

    Raises `ConfigError` for settings that can't be used; a server that is away is no error.
    """

    def __init__(
        self, config: CacheConfig, directory: Path, monotonic: Callable[[], float],
        neighbours: Neighbours | None = None,
    ) -> None:
        section, self._directory = config.redis, directory
        if section.tracking and section.nodes:
            raise ConfigError("redis.tracking: on a cluster each node announces only its own keys",
                              hint="set it to false; scoutcache's own changes are heard without it")  # fmt: skip
        self.machine = machine_of(directory)
        # What lies on the disk has heard the stream up to there.
        self._heard_before = heard_before(directory) if "disk" in config.tiers else None
        self.source, self._monotonic = Source(section), monotonic
        self.breaker = self._breaker(server_name(section))
        self.breaker.patience += longest_round(section)  # while the listener looks, no caller need wait for it again
        self._breakers = Breakers(self.breaker, self._breaker)
        self.layout = Layout(section.key_prefix, sharded=self.source.is_cluster)
        self.conduit = self._for_threads()
        known, name = self._heard_before or (None, b"")
        self.channel = StreamChannel(self.layout, self.conduit, most=section.max_events, now=monotonic,
                                     known=known, name=name, beside=neighbours)  # fmt: skip
        self.tier: RedisTier | None = None
        self.disk: DiskHolder | None = None
        self._listener: Listener | None = None
        self._leases: RemoteLeases | None = None
        self._sent = Sent() if section.tracking else None
        if section.publish:
            self.channel.publishing = self._publish
        self._begun: dict[int, None] = {}
        self._late = set[Message]()
        self.place = (server_name(section), section.key_prefix)
        self._handed_on = HandedOn(directory, " ".join(self.place))
        self.counts = SharedCounts(self.layout, self.conduit, self.machine, lambda: self._name, monotonic)

    def _breaker(self, server: str) -> Breaker:
        return Breaker(server, self._monotonic, lambda what: _log.warning("%s", what))

    def _for_threads(self) -> Conduit:
        if self.source.is_cluster:
            return Cluster(self.source, self._breakers)
        primary = Direct(self.source, self.breaker)
        if not self.source.reads_replicas:
            return primary
        return Split(primary, Direct(self.source, self._breaker(f"a replica of {self.breaker.server}"), replica=True))

    def _on_loop(self) -> AsyncConduit:
        if self.source.is_cluster:
            return AsyncCluster(self.source, self._breakers)
        primary = Coalescing(self.source, self.breaker)
        if not self.source.reads_replicas:
            return primary
        breaker = self._breaker(f"a replica of {self.breaker.server}")
        return AsyncSplit(primary, Coalescing(self.source, breaker, replica=True))

    def keep(self, tier: Tier) -> None:
        """Let the disk *tier* of this machine drop what other machines announce."""
        self.disk = DiskHolder(tier, self._directory, self.machine)
        if self._heard_before is None:
            self.disk.drop()  # it has never heard of the server, which alone can say what is valid

    @property
    def holders(self) -> list[Holder]:
        """Who must hear what other machines say."""
        if self.disk is None:
            return []
        return [_OfStream(self.disk, lambda: self.channel.missed_of_stream(self._follower.seen))]

    def open(self, core: Core) -> None:
        """Hear the stream from its end on; where the server is away, from where it is when it comes back.

        The disk drops what it missed before anybody reads it.
        """
        world, self._follower = core.world, core.follower
        doubts = [world.doubts[level] for level in world.lower if core.tiers[level] is not self.tier]
        for doubt in doubts:
            doubt.also = self.disk
        self._outage = Outage(
            self.channel, self._follower, core.ports.versions, self.disk, doubts, self._handed_on,
            most=self.source.section.max_offline, wall=core.clocks.wall, monotonic=self._monotonic,
        )  # fmt: skip
        assert self.tier is not None
        level = core.tiers.index(self.tier)
        self._entrusted = Entrusted(world, level, self._monotonic, threading.Lock(), self.channel.beside.lately)
        self._owed = world.doubts[level]
        self._owed.also = self._entrusted
        world.takes_writes = self.tier.takes_writes
        self.tier.version_plans.owed = self._entrusted.owes
        self._follower.watch(self._entrusted)
        self._follower.of_written = self._entrusted.without_later
        self._losses = Losses(self.breaker.server, self._entrusted, self._owed, self._end_all)
        self.channel.went_back = self._losses.heard_of
        core.sure, core.owing = self.sure, self._owing
        self.breaker.on_open.append(lambda: self.channel.beside.say_again(_UNREAD))
        self.breaker.on_close.append(self.channel.beside.be_uneasy)
        core.at_fork.append(self.after_fork)
        core.recorder.sharing, core.others = self.counts, self.counts.ask
        try:
            perform(self.channel.open_plan(), self.conduit)
        except TierUnavailable:  # the breaker has said so
            self._outage.begin()
        else:
            self._outage.end()
        self._entrusted.recall()
        if core.clocks.looking:
            self._follower.sync()
            return
        self._entrusted.turn(answers=self.channel.opened)
        with suppress(TierUnavailable):  # it stays in doubt, and is done later
            self._heard()

    def _end_all(self) -> None:
        """End whatever stands on the server, and what others remember of it."""
        assert self.tier is not None
        self.tier.drop_versions()
        perform(self.channel.end_all(), self.conduit)

    def members(self) -> set[str]:
        """The names of the processes that live with the cache there.  Raises `TierUnavailable`."""
        return {one.name for one in perform(members(self.layout), self.conduit)}

    def sure(self) -> bool:
        """May memory answer without asking the server?

        Where it was heard of lately, or where it can't be asked: then what this machine has is all there is.
        """
        if self._listener is None or not self._listener.is_listening or self._listener.fault is not None:
            return True
        return self._monotonic() - self.channel.heard_at <= self.source.section.max_stale

    def _owing(self) -> bool:
        return self.breaker.fault is None and bool(self._entrusted or self._owed.is_owing or self._owed.is_trying)

    def after_fork(self) -> None:
        """In a forked child, before it listens: what threads of the parent's held is free, what they had is theirs."""
        self._breakers.restart()
        if isinstance(self.conduit, Cluster):
            self.conduit.after_fork()
        if self.disk is not None:
            self.disk.renew_lock()
        self._entrusted.restart(threading.Lock())

    def _heard(self) -> None:
        try:
            self._losses.make_good()
        finally:
            self._follower.sync()
        self._outage.tell_disk()

    def _turn(self, answers: bool) -> None:
        """About twice a second: what is due, with the server there or away."""
        self._entrusted.turn(answers=answers)
        if not answers:
            self._outage.go_on()
            return
        self._outage.end()
        self._heard()
        self.channel.beside.answer()
        self._end_for_the_dead()
        self._end_late_ones()
        self.counts.turn()

    def _end_for_the_dead(self) -> None:
        """End the invalidations of processes of this machine that were killed.

        Those remove nothing more, and nobody was told that they are done, or neighbours alone were; open, they keep
        others from storing.
        """
        follower = self._follower
        heard = (*follower.opened.messages(), *self.channel.under_way.messages())
        begun = dict.fromkeys([one for one in heard if one.source != follower.source])
        if begun:
            dead = perform(gone(self.layout, {_name_in(one.source) for one in begun}), self.conduit)
            for message in begun:
                if _name_in(message.source) in dead:
                    follower.announce(message.undone)

    def _end_late_ones(self) -> None:
        """End what this process began at the server, and could not end there, or not before that had carried it out.

        First what failed is made good.  Open, it keeps all from storing what it names.  Neighbours know of its end.
        """
        owed, channel, follower = self._owed, self.channel, self._follower
        open_ones = (*follower.opened.messages(), *channel.under_way.messages())
        own = {message for message in open_ones if message.source == follower.source}
        late = {message for message in own if not channel.is_under_way(message)}
        for message in late & self._late if not (owed.is_owing or owed.is_trying) else ():  # else it is just ending
            ended = message.closing
            follower.announced(ended, *perform(channel.announce(ended), self.conduit))
        self._late = late

    @property
    def _name(self) -> str:
        """This process among the members."""
        assert self._listener is not None
        return self._listener.member.name

    def make_tier(self, codec: Codec) -> RedisTier:
        """The tier on this server."""
        section = self.source.section
        self.tier = RedisTier(
            self.layout, self.conduit, self._on_loop, self.channel, codec, stream_length=section.max_events,
            max_bytes=section.max_bytes, max_entries=section.max_entries,
        )  # fmt: skip
        self.tier.lags = section.read_from != "primary" and bool(section.nodes or section.sentinel)
        if self._sent is not None:
            _noting(self.tier, self._sent)
        return self.tier

    def announcing(self, follower: Follower) -> Callable[[Message], Awaitable[None]]:
        """Announces on an event loop."""

        async def announce(message: Message) -> None:
            assert self.tier is not None
            await self._tell_neighbours(said_before(message))
            try:
                positions = await self.tier.on_loop(self.channel.announce(message.plain))
            except TierUnavailable:
                await self._tell_neighbours(said_instead(message))
                follower.unannounced()
                raise
            follower.announced(message, *positions)

        return announce

    async def _tell_neighbours(self, message: Message | None) -> None:
        import asyncio

        try:
            self.channel.tell_neighbours(message, wait=False)
        except BlockingIOError:
            await asyncio.to_thread(self.channel.tell_neighbours, message)

    def listen(self, trouble: Callable[[Exception], None]) -> Listener:
        """Who hears the stream; to be started with the cache's background."""
        follower, announced = self._follower, self.channel.announced
        member = Membership(self.layout, _this_process, lambda: follower.seen, announced, self._monotonic,
                            name=lambda: _name_in(follower.source))  # fmt: skip
        self._listener = Listener(
            self.source, self.channel, self.breaker, heard=self._heard, released=self._released, turn=self._turn,
            trouble=trouble, member=member,
        )  # fmt: skip
        return self._listener

    def hear_foreign(self, core: Core, trouble: Callable[[Exception], None]) -> Foreign:
        """Who hears applications that know nothing of us; it doesn't keep *core*."""
        held = weakref.ref(core)

        def carry_out(order: Order) -> None:
            if (core := held()) is not None and not core.closed:
                calls = Calls(core, core.config.namespace)
                target = target_of(calls, order.patterns, order.keys, order.tags, namespace=order.namespace)
                run(invalidate(calls, target, reason=order.reason), core.ports)

        tracked = None if self._sent is None else Tracked(self.layout, core.memory, self._sent, self.channel.note)
        return Foreign(self.source, self.channel, carry_out=carry_out, heard=self._heard, tracked=tracked,
                       trouble=trouble, is_away=lambda: self.breaker.fault is not None)  # fmt: skip

    def _publish(self, message: Message) -> Plan[None]:
        """Tell other applications of an invalidation that is over; who can't be told is no reason for it to fail.

        It is announced before the removal and after it, so the second time is the one.
        """
        if message.is_invalidation and message.stamp not in self._begun:
            self._begun[message.stamp] = None
            for oldest in list(self._begun)[:-_BEGUN]:  # a copy: another thread may add one meanwhile
                self._begun.pop(oldest, None)
            return
        self._begun.pop(message.stamp, None)
        with suppress(TierUnavailable):
            for text in texts_for(message, self.layout.prefix):
                yield Batch([("PUBLISH", CHANNEL, text)])

    def appear(self) -> None:
        """Be known to whoever waits for all processes, and hear what was announced before, ere anybody is served."""
        if self._listener is None:
            return
        with suppress(TierUnavailable):  # the listener says so when the server is back
            perform(self._listener.member.say(), self.conduit)
            perform(self.channel.check(), self.conduit)
            self._heard()
            self._end_for_the_dead()

    def make_leases(self, here: Leases) -> RemoteLeases:
        """The leases on this server; *here* are the machine's own."""
        assert self.tier is not None
        plans = LeasePlans(self.layout, self.channel)
        leases = RemoteLeases(plans, self.conduit, self.tier.on_loop, here, self.machine)
        self.breaker.on_open.append(leases.server_changed)
        self.breaker.on_close.append(leases.server_changed)
        self._leases = leases
        return leases

    def _released(self, name: bytes | None) -> None:
        if self._leases is not None:
            self._leases.released(name)


def _noting(tier: RedisTier, sent: Sent) -> None:
    """Let *sent* know what *tier* sends, of threads and of event loops."""
    write = tier.plans.write

    def noted(rows: Sequence[Row], *more: Any) -> Plan[int]:
        sent.note(rows)
        return write(rows, *more)

    vars(tier.plans)["write"] = noted  # so that a cache which isn't told of changes pays nothing


class _OfStream:
    """What *disk* hears: what neighbours did they have done to it themselves, so that no gap among them matters."""

    def __init__(self, disk: DiskHolder, missed: Callable[[], bool]) -> None:
        self._disk, self._missed, self.apply = disk, missed, disk.apply

    def drop(self) -> None:
        """Something was missed: of the stream?"""
        if self._missed():
            self._disk.drop()


def _name_in(source: str) -> str:
    """The name of a process, behind its machine's."""
    return source.rpartition(".")[2]


def _this_process() -> Process:
    who = this_process()
    return Process(who.pid, socket.gethostname(), who.user, who.command, numbered_by(), begun(who.pid))
