"""A real cluster: three masters and three replicas, whose masters can be killed and whose slots can be moved.

Theory: a cluster is settled when all that live agree. `settle` asks each of them, not one, since a client may ask any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis
from redis.crc import key_slot

from .process import HOST, RedisServer, Servers, ask
from .waiting import until

SLOTS = 16_384
SIZE = 3
OPTIONS = (
    "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "1000",
    "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0",
    # A replica takes over however long it has been without its master: on a busy machine ten seconds are nothing.
    "--cluster-replica-validity-factor", "0",
)  # fmt: skip
NOT_YET = (redis.ConnectionError, redis.TimeoutError, redis.ResponseError)


@dataclass(frozen=True)
class Line:
    """What one node says of another (or itself): a line of CLUSTER NODES."""

    id: str
    port: int
    flags: frozenset[str]
    master: str
    slots: frozenset[int]

    @classmethod
    def parse(cls, line: str) -> Line:
        name, address, flags, master, _, _, _, _, *ranges = line.split()
        port = int(address.split("@")[0].rpartition(":")[2])
        slots = [slot for found in ranges if not found.startswith("[") for slot in _span(found)]
        return cls(name, port, frozenset(flags.split(",")), master, frozenset(slots))


def _span(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def view(server: RedisServer) -> list[Line]:
    """What a node knows of the cluster."""
    return [Line.parse(line) for line in server.cli("CLUSTER", "NODES").decode().splitlines()]


class Cluster:
    """Six processes that are one cluster: `url`, `nodes`, and `members`, which are all its servers, the dead too."""

    def __init__(self, servers: Servers) -> None:
        self.members = [servers.start(RedisServer, *OPTIONS) for _ in range(2 * SIZE)]
        self._create()

    @property
    def url(self) -> str:
        """The URL of one node that lives."""
        return self._live()[0].url

    @property
    def nodes(self) -> list[tuple[str, int]]:
        """Host and port of every node, the dead too."""
        return [server.address for server in self.members]

    def masters(self) -> list[RedisServer]:
        """The living servers that own slots."""
        return self._named(lambda line: bool(line.slots))

    def replicas(self) -> list[RedisServer]:
        """The living servers that follow a master."""
        return self._named(lambda line: "slave" in line.flags)

    def master_of(self, key: str | bytes) -> RedisServer:
        """The server that owns a key's slot."""
        slot = slot_of(key)
        return self._named(lambda line: slot in line.slots)[0]

    def kill_master_of(self, key: str | bytes) -> RedisServer:
        """Kill the server that owns a key's slot and return it; `settle` waits for its replica to take over."""
        server = self.master_of(key)
        server.kill()
        return server

    def repair(self) -> None:
        """Restart whoever was killed, resume whoever was paused, and wait until the cluster has settled."""
        for server in self.members:
            server.resume() if server.alive else server.restart()
        self.settle()

    def flush(self) -> None:
        """Remove all keys, on the replicas too."""
        for server in self.masters():
            with server.connection() as connection:
                ask(connection, "FLUSHALL")
                followers = int(server.fields("INFO", "replication")["connected_slaves"])
                ask(connection, "WAIT", followers, 4000)

    def settle(self) -> None:
        """Wait until all that live agree that every slot has a living owner, and all living replicas follow theirs."""
        until(self._settled, "the cluster settles", ignoring=NOT_YET)

    @contextmanager
    def migrating(self, key: str | bytes) -> Iterator[Callable[[], int]]:
        """Hold a key's slot half-way between two masters; leaving it moves the rest and gives the slot away.

        Yields a function that moves the slot's keys and returns how many those were. Until it is called, what is there
        is answered where it is; what isn't there is answered with ASK.
        """
        source = self.master_of(key)
        with self._migrating(slot_of(key), source, self._smallest_but(source)) as move:
            yield move
        self.settle()

    def move_slots(self, count: int, key: str | bytes | None = None) -> list[int]:
        """Move so many slots from one master to another with their keys, while clients go on, and return them.

        They come from the owner of the key, its own slot first, or else from the master with the most slots; then the
        slots that hold keys are the first.
        """
        source = self.master_of(key) if key is not None else max(self.masters(), key=self._slots_owned)
        target = self._smallest_but(source)
        wanted = [] if key is None else [slot_of(key)]
        slots = list(dict.fromkeys([*wanted, *_slots_with_keys(source), *sorted(self._owned(source))]))[:count]
        for slot in slots:
            with self._migrating(slot, source, target):
                pass
        self.settle()
        return slots

    def _create(self) -> None:
        for epoch, server in enumerate(self.members, 1):
            server.cli("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for number, server in enumerate(self.members[:SIZE]):
            server.cli("CLUSTER", "ADDSLOTS", *range(SLOTS * number // SIZE, SLOTS * (number + 1) // SIZE))
        for server in self.members:
            for other in self.members:
                if other is not server:
                    server.cli("CLUSTER", "MEET", HOST, other.port)
        until(self._all_met, "the nodes have met")
        for master, replica in zip(self.members[:SIZE], self.members[SIZE:], strict=True):
            replica.cli("CLUSTER", "REPLICATE", self._id(master))
        until(lambda: self._settled() and len(self.replicas()) == SIZE and self._all_told(), "the cluster is made",
              ignoring=NOT_YET)  # fmt: skip

    def _all_told(self) -> bool:
        """Does each tell clients of a replica of every slot?  It does so once it has heard how far that has come."""
        return all(len(row) > 3 for server in self.members for row in server.cli("CLUSTER", "SLOTS"))

    def _all_met(self) -> bool:
        views = [view(server) for server in self.members]
        return all(len(lines) == len(views) and not any("handshake" in line.flags for line in lines) for lines in views)

    def _live(self) -> list[RedisServer]:
        return [server for server in self.members if server.alive]

    def _named(self, wanted: Callable[[Line], bool]) -> list[RedisServer]:
        """The living servers of which the first of them says something."""
        live = self._live()
        ports = {line.port for line in view(live[0]) if wanted(line)}
        return [server for server in live if server.port in ports]

    def _settled(self) -> bool:
        live = self._live()
        ports = {server.port for server in live}
        opinions = {_opinion(server, ports) for server in live}
        return len(opinions) == 1 and None not in opinions and all(map(_is_in_order, live))

    def _id(self, server: RedisServer) -> str:
        return server.cli("CLUSTER", "MYID").decode()

    def _owned(self, server: RedisServer) -> frozenset[int]:
        return next(line.slots for line in view(server) if "myself" in line.flags)

    def _slots_owned(self, server: RedisServer) -> int:
        return len(self._owned(server))

    def _smallest_but(self, source: RedisServer) -> RedisServer:
        return min((server for server in self.masters() if server is not source), key=self._slots_owned)

    @contextmanager
    def _migrating(self, slot: int, source: RedisServer, target: RedisServer) -> Iterator[Callable[[], int]]:
        target.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", self._id(source))
        source.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", self._id(target))

        def move() -> int:
            moved = 0
            while keys := source.cli("CLUSTER", "GETKEYSINSLOT", slot, 100):
                source.cli("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
                moved += len(keys)
            return moved

        try:
            yield move
        finally:
            move()
            # The new owner first: were it the last, nobody would own the slot should this end between the two.
            others = [server for server in self.masters() if server not in (source, target)]
            for server in (target, source, *others):
                server.cli("CLUSTER", "SETSLOT", slot, "NODE", self._id(target))


def slot_of(key: str | bytes) -> int:
    """The slot of a key."""
    return key_slot(key.encode() if isinstance(key, str) else key)


def _slots_with_keys(server: RedisServer) -> list[int]:
    cursor, found = b"0", set()
    while True:
        cursor, keys = server.cli("SCAN", cursor, "COUNT", 1000)
        found |= {key_slot(key) for key in keys}
        if cursor == b"0":
            return sorted(found)


def _opinion(server: RedisServer, live: set[int]) -> frozenset[tuple[int, bool, frozenset[int]]] | None:
    """Who of the living is what and owns what, for a node; None if it lacks a slot, or one of the living for it."""
    lines = [line for line in view(server) if line.port in live]
    trouble = {"fail", "fail?", "handshake", "noaddr"}
    whole = len(lines) == len(live) and sum(len(line.slots) for line in lines) == SLOTS
    if not whole or any(line.flags & trouble for line in lines):
        return None
    return frozenset((line.port, "slave" in line.flags, line.slots) for line in lines)


def _is_in_order(server: RedisServer) -> bool:
    replication = server.fields("INFO", "replication")
    linked = replication["role"] == "master" or replication["master_link_status"] == "up"
    return linked and server.fields("CLUSTER", "INFO")["cluster_state"] == "ok"
