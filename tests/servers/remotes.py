"""The way to a server as `scoutcache.assembly.remote` puts it together, without the cache around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scoutcache.channels.stream import StreamChannel
from scoutcache.config.sections import RedisSection
from scoutcache.server.breaker import Breaker
from scoutcache.server.cluster import AsyncCluster, Cluster
from scoutcache.server.coalescing import Coalescing
from scoutcache.server.commands import perform
from scoutcache.server.connecting import Source
from scoutcache.server.direct import Direct
from scoutcache.server.layout import Layout
from scoutcache.server.nodes import Breakers
from scoutcache.tiers.redis import RedisTier


class OnServer:
    """A conduit for threads, those for loops, and the stream, which is heard from its end on; *said* by breakers."""

    def __init__(self, section: RedisSection, monotonic: Callable[[], float]) -> None:
        self.source, self.said = Source(section), list[str]()
        self.breaker = Breaker("the server", monotonic, self.said.append)
        self.breakers = Breakers(self.breaker, lambda name: Breaker(name, monotonic, self.said.append))
        cluster = self.source.is_cluster
        self.layout = Layout(section.key_prefix, sharded=cluster)
        self.conduit: Any = Cluster(self.source, self.breakers) if cluster else Direct(self.source, self.breaker)
        self.channel = StreamChannel(self.layout, self.conduit, most=section.max_events, now=monotonic)
        perform(self.channel.open_plan(), self.conduit)

    def on_loop(self) -> Any:
        """A conduit for the running loop."""
        if self.source.is_cluster:
            return AsyncCluster(self.source, self.breakers)
        return Coalescing(self.source, self.breaker)

    def make_tier(self, codec: Any) -> RedisTier:
        """The tier there."""
        section = self.source.section
        return RedisTier(
            self.layout, self.conduit, self.on_loop, self.channel, codec, stream_length=section.max_events,
            max_bytes=section.max_bytes, max_entries=section.max_entries,
        )  # fmt: skip
