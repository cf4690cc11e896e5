"""Tiers to test, and entries to put into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scoutcache.entry import NEVER, Header, Mark, Ref, Row
from scoutcache.tiers.base import Tier
from scoutcache.tiers.redis import RedisTier
from scoutcache.wire.codec import Codec, CodecSettings

from ..servers.slow import slow_down  # noqa: TID252 - tests are no package


def _memory(directory: Path, codec: Codec, clock: Any) -> Tier:
    from scoutcache.tiers.memory import MemoryTier

    return MemoryTier(codec, monotonic=clock.monotonic, wall=clock.wall)


def _disk(directory: Path, codec: Codec, clock: Any) -> Tier:
    from scoutcache.tiers.disk import DiskTier

    return DiskTier(directory / "disk", codec, max_bytes=100_000_000, wall=clock.wall)


FACTORIES: dict[str, Callable[[Path, Codec, Any], Tier]] = {"memory": _memory, "disk": _disk}
"""A new kind of tier that needs no server joins the contract by an entry here."""

SERVERS = {"redis": "redis_url", "cluster": "redis_cluster"}
"""Kinds of servers, and the fixtures that start them."""


@pytest.fixture(scope="session")
def codec() -> Codec:
    """A codec with the default settings."""
    return Codec(CodecSettings())


def on_server(make_remote: Callable[..., Any], server: Any, codec: Codec, **settings: Any) -> Tier:
    """A tier on a server or a cluster."""
    made: RedisTier = make_remote(server, max_bytes=100_000_000, **settings).make_tier(codec)
    slow_down(made)
    return made


@pytest.fixture(params=[*sorted(FACTORIES), *SERVERS])
def tier(request: pytest.FixtureRequest, tmp_path: Path, codec: Codec, fake_clock: Any) -> Iterator[Tier]:
    """Each kind of tier in turn, empty, under the fake clock."""
    kind = request.param
    if kind in FACTORIES:
        made = FACTORIES[kind](tmp_path, codec, fake_clock)
    else:
        server = request.getfixturevalue(SERVERS[kind])
        made = on_server(request.getfixturevalue("make_remote"), server, codec)
    yield made
    made.close()


@pytest.fixture
def own_clock(request: pytest.FixtureRequest) -> None:
    """Skips where the tier itself removes what has expired, by another clock than the test's."""
    if request.node.callspec.params["tier"] in SERVERS:
        pytest.skip("a server removes what expires by itself")


@pytest.fixture
def make_row(codec: Codec, fake_clock: Any) -> Callable[..., Row]:
    """Makes an entry as the engine would: *ttl* None is never, *stale* seconds come on top of it."""

    def make(
        key: str, value: Any = "value", *, ttl: float | None = 60.0, stale: float = 0.0, start: int = 1,
        marks: tuple[Mark, ...] = (), namespace: str = "default", **header: Any,
    ) -> Row:  # fmt: skip
        now = fake_clock.wall()
        fresh_until = NEVER if ttl is None else now + ttl
        made = Header(
            ref=Ref(namespace, key), start=start, created=now, fresh_until=fresh_until, expires=fresh_until + stale,
            marks=marks, **header,
        )  # fmt: skip
        live, encoded = codec.hold(value)
        return Row(made, live, lambda: codec.seal(made, live, encoded))

    return make
