"""The fixtures that start real servers; tests/conftest.py makes them known to all tests.

Those of the session are shared: whoever kills, pauses or reconfigures a server takes one of its own from a factory.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .cluster import Cluster
from .process import AclServer, RedisServer, Servers
from .proxy import Proxy
from .sentinel import Sentinel
from .waiting import until as wait_until

if TYPE_CHECKING:
    from .remotes import OnServer

_numbers = itertools.count()


@pytest.fixture(scope="session")
def until() -> Callable[..., object]:
    """Wait for a condition with a deadline: `until(condition, "what", seconds=30, ignoring=(Error,))`."""
    return wait_until


@pytest.fixture(scope="session")
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start one more server, with options of its own; all are ended with the session."""
    with Servers() as servers:
        yield lambda *options: servers.start(RedisServer, *options)


@pytest.fixture(scope="session")
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """One real server for the whole session: `url`, `unix_url`, `port`, `process`."""
    return start_redis()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The session's server, emptied before the test."""
    redis_server.cli("FLUSHALL")
    return redis_server.url


@pytest.fixture(scope="session")
def start_redis_with_acl() -> Iterator[Callable[..., AclServer]]:
    """Start a server that lets in one user only: `start_redis_with_acl("alice", "secret", "~app:*", "+@read")`."""
    with Servers() as servers:
        yield lambda username, password, *rules: servers.start(
            AclServer, username=username, password=password, rules=rules
        )


@pytest.fixture(scope="session")
def redis_tls() -> Iterator[object]:
    """Servers behind TLS and the files a client needs: see `TlsServers`."""
    pytest.importorskip("trustme")
    from .tls import TlsServers, skip_without_tls

    skip_without_tls()
    with Servers() as servers:
        yield TlsServers(servers)


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[Cluster]:
    """A cluster of three masters and three replicas for the whole session; `flush` it before use, kill none of it."""
    with Servers() as servers:
        yield Cluster(servers)


@pytest.fixture
def start_cluster() -> Iterator[Callable[[], Cluster]]:
    """Make a cluster of the test's own, of which it may kill what it likes."""
    with Servers() as servers:
        yield lambda: Cluster(servers)


@pytest.fixture
def redis_sentinel() -> Iterator[Sentinel]:
    """A master, a replica and a sentinel of the test's own."""
    with Servers() as servers:
        yield Sentinel(servers)


@pytest.fixture
def start_proxy() -> Iterator[Callable[..., Proxy]]:
    """Put a proxy before a server: `start_proxy(server.port, seed=0)`; all are ended with the test."""
    started: list[Proxy] = []

    def start(server_port: int, *, seed: int = 0) -> Proxy:
        started.append(Proxy(server_port, seed=seed))
        return started[-1]

    yield start
    for proxy in started:
        proxy.close()


@pytest.fixture
def proxy(start_proxy: Callable[..., Proxy], redis_server: RedisServer, redis_url: str) -> Proxy:
    """A proxy before the session's server, which is emptied before the test."""
    return start_proxy(redis_server.port)


@pytest.fixture
def make_remote() -> Iterator[Callable[..., OnServer]]:
    """The way to a server: `make_remote(url, timeout=1.0)`, or to a cluster: `make_remote(cluster)`.

    Each has a key prefix of its own, unless told; all are closed with the test.
    """
    from scoutcache.config.sections import RedisSection

    from .remotes import OnServer

    made: list[OnServer] = []

    def make(server: str | Cluster, *, monotonic: Callable[[], float] = time.monotonic, **settings: Any) -> OnServer:
        if isinstance(server, str):
            where: dict[str, Any] = {"url": server}
        else:
            where = {"nodes": [f"{host}:{port}" for host, port in server.nodes]}
        own = {"key_prefix": f"test{next(_numbers)}:", "timeout": 5.0}  # a busy machine is no failure
        made.append(OnServer(RedisSection(**{**own, **where, **settings}), monotonic))
        return made[-1]

    yield make
    for remote in made:
        remote.conduit.close()
