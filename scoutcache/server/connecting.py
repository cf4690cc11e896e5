"""Connections of redis-py, with every option set: its defaults wait for seconds and repeat what they must not.

Measured on redis-py 8.1: by default one GET of a frozen server costs 58 s, and one INCR whose replies are lost counts
eleven times.  Before 6.4 the name in a server's certificate was not looked at.

Secrets come from the configuration (environment, file), never from a command line, and are in no message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from scoutcache.config.sections import RedisSection
from scoutcache.config.types import URL_IGNORES, mask_url
from scoutcache.errors import ConfigError
from scoutcache.server.ending import waited_for

if TYPE_CHECKING:
    from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
    from redis.cluster import RedisCluster

__all__ = ["Source", "server_name"]

CLIENT_NAME: Final = "scoutcache"


def server_name(section: RedisSection) -> str:
    """What to call the server in messages: its address without secrets."""
    if section.url is not None:
        return mask_url(section.url.get_secret_value())
    if section.nodes:
        return f"the cluster at {section.nodes[0]}"
    return f"{section.sentinel_service} behind the sentinel at {section.sentinel[0]}"


@dataclass(frozen=True)
class Source:
    """Makes connections to what *section* names.  Raises `ConfigError` for what can't be used."""

    section: RedisSection
    _pools: list[Any] = field(default_factory=list, repr=False, compare=False)
    """Connections behind sentinels ask the pool they were made for, and don't keep it alive."""

    @property
    def is_cluster(self) -> bool:
        """Is it a cluster?"""
        return bool(self.section.nodes)

    @property
    def reads_replicas(self) -> bool:
        """Are entries read from a replica that sentinels know?"""
        return bool(self.section.sentinel) and self.section.read_from != "primary"

    def options(self, timeout: float | None, **more: Any) -> dict[str, Any]:
        """The options of a connection that waits *timeout* seconds for an answer (None: its user looks at that)."""
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        section = self.section
        return {
            "socket_timeout": timeout, "socket_connect_timeout": section.connect_timeout, "socket_keepalive": True,
            "health_check_interval": 0, "retry": Retry(NoBackoff(), 0), "retry_on_error": [],
            "decode_responses": False, "encoding": "utf-8", "client_name": CLIENT_NAME, "protocol": 2,
            **self._credentials(), **self._tls(), **more,
        }  # fmt: skip

    def _credentials(self) -> dict[str, Any]:
        section, given = self.section, {}
        if section.username is not None:
            given["username"] = section.username
        if (password := self.password) is not None:
            given["password"] = password
        return given

    @property
    def password(self) -> str | None:
        """The password that a setting or a file gives, None for none but a URL's."""
        section = self.section
        if section.password is not None:
            return section.password.get_secret_value()
        if section.password_file is None:
            return None
        try:
            return section.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise ConfigError(f"redis.password_file: {section.password_file}: {error.strerror}") from None

    @property
    def authenticates(self) -> bool:
        """Does a connection say who it is?"""
        url = None if self.section.url is None else urlsplit(self.section.url.get_secret_value())
        return self.password is not None or bool(url is not None and (url.password or "password=" in url.query))

    @property
    def encrypts(self) -> bool:
        """Does a connection use TLS?"""
        url = self.section.url
        return self.section.tls or (url is not None and url.get_secret_value().startswith("rediss://"))

    def _tls(self) -> dict[str, Any]:
        section = self.section
        if not self.encrypts:
            return {}
        files = {"ssl_ca_certs": section.tls_ca_file, "ssl_certfile": section.tls_cert_file,
                 "ssl_keyfile": section.tls_key_file}  # fmt: skip
        for name, path in zip(("tls_ca_file", "tls_cert_file", "tls_key_file"), files.values(), strict=True):
            if path is not None and not path.is_file():
                raise ConfigError(f"redis.{name}: {path}: there is no such file",
                                  hint="name the file that is meant, in PEM form, by its whole path")  # fmt: skip
        given: dict[str, Any] = {name: str(path) for name, path in files.items() if path is not None}
        given["ssl_cert_reqs"] = "required" if section.tls_verify else "none"
        given["ssl_check_hostname"] = section.tls_verify
        return given

    # -- one server, or the one that sentinels know

    def connection_kind(self, *, asynchronous: bool, timeout: float | None, replica: bool = False,
                        **more: Any) -> tuple[type[Any], dict[str, Any]]:  # fmt: skip
        """The class of a connection, and what to make it with."""
        if self.section.sentinel:
            return self._behind_sentinel(asynchronous, timeout, replica=replica, **more)
        if asynchronous:
            from redis.asyncio import connection as kinds
        else:
            from redis import connection as kinds  # type: ignore[no-redef]  # the same names
        given: dict[str, Any] = dict(kinds.parse_url(self._url))
        kind: type[Any] = given.pop("connection_class", kinds.Connection)
        for name in URL_IGNORES:
            given.pop(name, None)
        options = self.options(timeout, **more)
        if kind is kinds.UnixDomainSocketConnection:
            options = {name: value for name, value in options.items()
                       if not name.startswith("ssl_") and name not in _TCP_ONLY}  # fmt: skip
        elif self.encrypts:
            kind = kinds.SSLConnection if asynchronous else waited_for(kinds.SSLConnection)
        return kind, {**given, **options}

    @property
    def _url(self) -> str:
        if self.section.url is None:
            raise ConfigError("redis.url is not set")
        return self.section.url.get_secret_value()

    def _behind_sentinel(self, asynchronous: bool, timeout: float | None, *, replica: bool,
                         **more: Any) -> tuple[type[Any], dict[str, Any]]:  # fmt: skip
        if asynchronous:
            from redis.asyncio import sentinel as kinds
        else:
            from redis import sentinel as kinds  # type: ignore[no-redef]
        section = self.section
        options = self.options(timeout, **more)
        addresses = [_address(one) for one in section.sentinel]
        asked = {name: value for name, value in options.items() if name not in {"username", "password"}}
        asked["socket_timeout"] = section.timeout
        make: Any = kinds  # which has no types
        sentinel = make.Sentinel(addresses, sentinel_kwargs=asked)
        pool = make.SentinelConnectionPool(section.sentinel_service, sentinel, is_master=not replica,
                                           ssl=self.encrypts, **options)  # fmt: skip
        self._pools.append(pool)
        kind = pool.connection_class if asynchronous or not self.encrypts else waited_for(pool.connection_class)
        return kind, dict(pool.connection_kwargs)

    # -- a cluster

    def connection_to(self, node: Any, timeout: float | None, **more: Any) -> Any:
        """A connection for threads to one node of the cluster."""
        from redis.connection import Connection, SSLConnection

        kind = waited_for(SSLConnection) if self.encrypts else Connection
        return kind(host=node.host, port=node.port, **self.options(timeout, **more))

    def cluster(self, timeout: float) -> RedisCluster:
        """A client of the cluster for threads.  Raises redis-py's errors where no node answers."""
        from redis.cluster import ClusterNode, RedisCluster

        make: Any = ClusterNode
        nodes = [make(*_address(one)) for one in self.section.nodes]
        return RedisCluster(startup_nodes=nodes, **self._cluster_options(timeout))

    def async_cluster(self, timeout: float) -> AsyncRedisCluster:
        """The same for an event loop."""
        from redis.asyncio.cluster import ClusterNode, RedisCluster

        nodes = [ClusterNode(*_address(one)) for one in self.section.nodes]
        options = self._cluster_options(timeout)
        options["max_connections"] += 1  # on which redis-py asks for the map of slots while all others are in use
        return RedisCluster(startup_nodes=nodes, **options)

    @property
    def balancing(self) -> Any:
        """How reads are spread over a primary and its replicas; None where primaries alone are asked."""
        from redis.cluster import LoadBalancingStrategy

        spread = {"any": LoadBalancingStrategy.ROUND_ROBIN, "replica": LoadBalancingStrategy.ROUND_ROBIN_REPLICAS}
        return spread.get(self.section.read_from)

    def _cluster_options(self, timeout: float) -> dict[str, Any]:
        from redis.backoff import ExponentialWithJitterBackoff
        from redis.retry import Retry

        options = self.options(timeout)
        options.pop("retry_on_error")
        # To follow a slot that moved takes a second try; what is sent again does no harm (`commands`, rule 4).
        options["retry"] = Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.2), 3)
        if self.balancing is not None:
            options["load_balancing_strategy"] = self.balancing
        if self.encrypts:
            options["ssl"] = True
        # After five slots that moved redis-py would close all connections on an event loop, those in use too.
        options["reinitialize_steps"] = 0
        return {**options, "require_full_coverage": False, "max_connections": self.section.max_connections}


_TCP_ONLY: Final = frozenset({"socket_keepalive"})


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
