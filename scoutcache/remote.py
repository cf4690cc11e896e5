"""What one cache has of its server: the way to it, the tier there, the stream it hears, and who hears it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from scoutcache.channels.follower import Follower
from scoutcache.channels.listener import Listener
from scoutcache.channels.stream import StreamChannel
from scoutcache.coherence.messages import Message
from scoutcache.config_sections import RedisSection
from scoutcache.errors import TierUnavailable
from scoutcache.server.breaker import Breaker
from scoutcache.server.cluster import AsyncCluster, Breakers, Cluster
from scoutcache.server.coalescing import Coalescing
from scoutcache.server.commands import AsyncConduit, Conduit, perform
from scoutcache.server.connecting import Source, server_name
from scoutcache.server.direct import Direct
from scoutcache.server.layout import Layout
from scoutcache.tiers.redis import RedisTier

if TYPE_CHECKING:
    from scoutcache.wire.codec import Codec

__all__ = ["Remote"]

_log = logging.getLogger("scoutcache")


class Remote:
    """The server of a cache.  Raises `ConfigError` for settings that can't be used; one that is away is no error."""

    def __init__(self, section: RedisSection, monotonic: Callable[[], float]) -> None:
        self.source, self._monotonic = Source(section), monotonic
        self.breaker = self._breaker(server_name(section))
        self._breakers = Breakers(self.breaker, self._breaker)
        self.layout = Layout(section.key_prefix, sharded=self.source.is_cluster)
        self.conduit: Conduit = (
            Cluster(self.source, self._breakers) if self.source.is_cluster else Direct(self.source, self.breaker)
        )
        self.channel = StreamChannel(self.layout, self.conduit, most=section.max_events, now=monotonic)
        self.tier: RedisTier | None = None

    def _breaker(self, server: str) -> Breaker:
        return Breaker(server, self._monotonic, lambda what: _log.warning("%s", what))

    def _on_loop(self) -> AsyncConduit:
        if self.source.is_cluster:
            return AsyncCluster(self.source, self._breakers)
        return Coalescing(self.source, self.breaker)

    def open(self) -> None:
        """Hear the stream from its end on; where the server is away, from where it is when it comes back."""
        try:
            perform(self.channel.open_plan(), self.conduit)
        except TierUnavailable:
            return  # the breaker has said so

    def make_tier(self, codec: Codec) -> RedisTier:
        """The tier on this server."""
        section = self.source.section
        self.tier = RedisTier(
            self.layout, self.conduit, self._on_loop, self.channel, codec, stream_length=section.max_events,
            max_bytes=section.max_bytes, max_entries=section.max_entries,
        )  # fmt: skip
        return self.tier

    def announcing(self, follower: Follower) -> Callable[[Message], Awaitable[None]]:
        """Announces on an event loop."""

        async def announce(message: Message) -> None:
            assert self.tier is not None
            positions = await self.tier.on_loop(self.channel.announce(message))
            follower.announced(message, *positions)

        return announce

    def listen(self, follower: Follower, trouble: Callable[[Exception], None]) -> Listener:
        """Who hears the stream; to be started with the cache's background."""
        return Listener(
            self.source, self.channel, self.breaker, heard=follower.sync, released=lambda _: None,
            turn=lambda _: None, trouble=trouble,
        )  # fmt: skip
