"""A master, its replica and one sentinel that lets the replica take over."""

from __future__ import annotations

from pathlib import Path

import redis

from .process import HOST, RedisServer, Servers
from .waiting import until

SERVICE = "mymaster"
NOT_YET = (redis.ConnectionError, redis.TimeoutError, redis.ResponseError)


class SentinelProcess(RedisServer):
    """A sentinel that watches one master and needs nobody's consent to replace it."""

    READY = "+monitor master"

    def __init__(self, directory: Path, port: int, options: tuple[str, ...], *, master: int) -> None:
        super().__init__(directory, port, options)
        self.file = directory / "sentinel.conf"
        self.file.write_text(
            f"port {port}\nbind {HOST}\nunixsocket {self.socket}\ndir {directory}\n"
            f"sentinel monitor {SERVICE} {HOST} {master} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 2000\n"
        )

    def command(self) -> list[str]:
        return [self.binary, str(self.file), "--sentinel", *self.options]


class Sentinel:
    """A service whose master can be killed: `sentinel` (host and port), `service`, `servers` and `process`."""

    service = SERVICE

    def __init__(self, servers: Servers) -> None:
        at_once = ("--repl-diskless-sync-delay", "0")
        first = servers.start(RedisServer, *at_once)
        self.servers = [first, servers.start(RedisServer, *at_once, "--replicaof", f"{HOST} {first.port}")]
        # A sentinel asks a master for its replicas as it begins, and then every ten seconds only.
        until(lambda: _follows(self.servers[1]), "the replica follows its master", ignoring=NOT_YET)
        self.process = servers.start(SentinelProcess, master=first.port)
        until(self._knows_a_replica, "the sentinel knows the replica", ignoring=NOT_YET)

    @property
    def sentinel(self) -> tuple[str, int]:
        return self.process.address

    def master(self) -> RedisServer:
        """The server that the sentinel names at this moment, dead or alive."""
        _, port = self.process.cli("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    def kill_master(self) -> RedisServer:
        """Kill the master and return it; `settle` waits for the replica to take over."""
        server = self.master()
        server.kill()
        return server

    def settle(self) -> RedisServer:
        """Wait until the sentinel names a master that lives and knows it is one, and return it."""
        return until(self._living_master, "the replica takes over", ignoring=NOT_YET)

    def _living_master(self) -> RedisServer | None:
        # GET-MASTER-ADDR-BY-NAME names the heir while MASTERS, which clients ask as well, still has the dead one.
        told = _record(self.process.cli("SENTINEL", "MASTER", SERVICE))
        server = self.master()
        settled = told[b"flags"] == b"master" and int(told[b"port"]) == server.port and server.alive
        return server if settled and server.cli("ROLE")[0] == b"master" else None

    def _knows_a_replica(self) -> bool:
        known = [_record(flat) for flat in self.process.cli("SENTINEL", "REPLICAS", SERVICE)]
        return [(one[b"flags"], one[b"master-link-status"]) for one in known] == [(b"slave", b"ok")]


def _record(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _follows(server: RedisServer) -> bool:
    return server.fields("INFO", "replication")["master_link_status"] == "up"
