"""Everything that can be wrong with a server or the way to it, each as a generator of its beginning and its end.

A fault yields the settings of a cache that uses its server, then (once it is in force) the words of which `health` must
say one, and ends when all is well again.  `FAULTS` has them by name.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

from tests.servers.process import HOST, AclServer, RedisServer, Servers, ask
from tests.servers.proxy import Proxy
from tests.servers.waiting import until

T = TypeVar("T")

TIMEOUT = 0.25
"""What the caches wait for an answer: the default."""

Course = Iterator[Any]


@dataclass(frozen=True)
class Fault:
    """A fault: its course, whether the server answers meanwhile, and what of it can't be seen in `health`."""

    course: Callable[..., Course]
    answers: bool = False
    silent: bool = False


class Lab:
    """Servers and proxies of one run, all ended with it; *seconds* is how long a fault is to last."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._stack = ExitStack()
        self.servers = self._stack.enter_context(Servers())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def redis(self, *options: str) -> RedisServer:
        return self.servers.start(RedisServer, *options)

    def during(self, context: AbstractContextManager[T]) -> T:
        """Enter something until the end of the run."""
        return self._stack.enter_context(context)

    def proxy(self, server: RedisServer) -> Proxy:
        proxy = Proxy(server.port)
        self._stack.callback(proxy.close)
        return proxy


def cut_off(server: RedisServer) -> None:
    """Close the connections of all clients, so that they must come in anew."""
    with server.connection() as admin:
        ask(admin, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def frozen(lab: Lab) -> Course:
    server = lab.redis()
    yield {"url": server.url}
    server.pause()
    yield ["no answer in time"]
    server.resume()


def killed(lab: Lab) -> Course:
    """It comes back with nothing."""
    server = lab.redis()
    yield {"url": server.url}
    server.kill()
    yield ["unreachable"]
    server.restart()


def killed_with_log(lab: Lab) -> Course:
    """It comes back with all that it had acknowledged."""
    server = lab.redis("--appendonly", "yes", "--appendfsync", "always")
    yield {"url": server.url}
    server.kill()
    yield ["unreachable"]
    server.restart()


def client_pause(lab: Lab) -> Course:
    """It answers nobody, and ends of itself."""
    server = lab.redis()
    yield {"url": server.url}
    over = threading.Event()
    server.cli("CLIENT", "PAUSE", round(lab.seconds * 1000 + 300), "ALL")
    yield ["no answer in time"]
    over.wait(0)
    with server.connection() as admin:
        admin.send_command("PING")
        until(lambda: admin.can_read(0), "the pause ends")


def oom(lab: Lab) -> Course:
    server = lab.redis("--maxmemory-policy", "noeviction")
    yield {"url": server.url}
    server.cli("CONFIG", "SET", "maxmemory", "1")
    yield ["oom"]
    server.cli("CONFIG", "SET", "maxmemory", "0")


def replica(lab: Lab) -> Course:
    """It was made a replica of one that has all it has, and is made a primary again."""
    server, other = lab.redis(), lab.redis("--repl-diskless-sync-delay", "0")
    yield {"url": server.url}
    other.cli("REPLICAOF", HOST, server.port)
    until(lambda: _replication(other)["master_link_status"] == "up", "it follows")
    server.cli("CONFIG", "SET", "min-replicas-to-write", "2")  # so that nothing is lost that was acknowledged
    until(lambda: _replication(other)["slave_repl_offset"] == _replication(server)["master_repl_offset"], "it has all")
    other.cli("REPLICAOF", "NO", "ONE")
    server.cli("REPLICAOF", HOST, other.port)
    yield ["readonly", "masterdown", "loading"]
    server.cli("REPLICAOF", "NO", "ONE")
    server.cli("CONFIG", "SET", "min-replicas-to-write", "0")


def _replication(server: RedisServer) -> dict[str, str]:
    return server.fields("INFO", "replication")


def too_few_replicas(lab: Lab) -> Course:
    server = lab.redis()
    yield {"url": server.url}
    server.cli("CONFIG", "SET", "min-replicas-to-write", "1")
    yield ["readonly"]
    server.cli("CONFIG", "SET", "min-replicas-to-write", "0")


def loading(lab: Lab) -> Course:
    """It was restarted and reads its data for as long as the fault lasts."""
    keys = 300
    delay = round(lab.seconds / keys * 1e6)
    slow = ("--key-load-delay", str(delay), "--loading-process-events-interval-bytes", "1024")
    server = lab.redis("--appendonly", "no")
    yield {"url": server.url}
    with server.connection() as admin:
        for number in range(keys):
            ask(admin, "SET", f"load:{number}", "x" * 2000)
        ask(admin, "CONFIG", "SET", "rdbcompression", "no")
        ask(admin, "SAVE")
    server.kill()
    server.options = (*server.options, *slow)
    back = threading.Thread(target=server.restart)
    back.start()
    until(lambda: "Loading RDB" in server.said(), "it loads")
    yield ["loading", "no answer in time", "unreachable"]
    back.join()


def password_set(lab: Lab) -> Course:
    """It wants a password from one moment to the next."""
    server = lab.redis()
    yield {"url": server.url}
    with server.connection() as admin:
        ask(admin, "CONFIG", "SET", "requirepass", "new")
        ask(admin, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield ["noauth"]
        ask(admin, "CONFIG", "SET", "requirepass", "")


def _of_alice(lab: Lab) -> AclServer:
    return lab.servers.start(AclServer, username="alice", password="secret", rules=("~*", "&*", "+@all"))


def password_changed(lab: Lab) -> Course:
    server = _of_alice(lab)
    yield {"url": server.url}
    server.cli("ACL", "SETUSER", "alice", "resetpass", ">changed")
    cut_off(server)
    yield ["noauth"]
    server.cli("ACL", "SETUSER", "alice", "resetpass", ">secret")


def _denied(*commands: str) -> Callable[[Lab], Course]:
    def course(lab: Lab) -> Course:
        server = _of_alice(lab)
        yield {"url": server.url}
        server.cli("ACL", "SETUSER", "alice", *[f"-{one}" for one in commands])
        yield ["noperm"]
        server.cli("ACL", "SETUSER", "alice", *[f"+{one}" for one in commands])

    return course


def misconf(lab: Lab) -> Course:
    """It can't save, and so takes no writes."""
    server = lab.redis("--dbfilename", "dump")
    yield {"url": server.url}
    (server.directory / "dump" / "in the way").mkdir(parents=True)
    server.cli("CONFIG", "SET", "save", "3600 1000000")
    server.cli("BGSAVE")
    until(lambda: server.fields("INFO", "persistence")["rdb_last_bgsave_status"] == "err", "it can't save")
    yield ["misconf"]
    (server.directory / "dump" / "in the way").rmdir()
    (server.directory / "dump").rmdir()
    server.cli("BGSAVE")
    until(lambda: server.fields("INFO", "persistence")["rdb_last_bgsave_status"] == "ok", "it saves")


def _other_certificate(make: Callable[[Any], Any]) -> Callable[[Lab], Course]:
    def course(lab: Lab) -> Course:
        from tests.servers.tls import TlsServers

        tls = TlsServers(lab.servers)
        yield {"url": tls.url, "tls_ca_file": tls.ca_file}
        cert, key = tls._files("other", make(tls), lab.servers.directory())
        sound = [str(path) for path in tls.server.files[1:]]
        _certify(tls.server, cert, key)
        yield ["tls"]
        _certify(tls.server, *sound)

    return course


def _certify(server: RedisServer, cert: str, key: str) -> None:
    server.cli("CONFIG", "SET", "tls-cert-file", cert, "tls-key-file", key)
    cut_off(server)


def _rogue(_: Any) -> Any:
    import trustme

    return trustme.CA().issue_cert("localhost")


def _expired(tls: Any) -> Any:
    return tls._authority.issue_cert("localhost", not_before=datetime(2001, 1, 1, tzinfo=UTC),
                                     not_after=datetime(2002, 1, 1, tzinfo=UTC))  # fmt: skip


def nameless(lab: Lab) -> Course:
    """Its name can't be resolved."""
    server, known = lab.redis(), lab.during(_resolving("cache.example"))
    yield {"url": f"redis://cache.example:{server.port}/0"}
    known.clear()
    cut_off(server)
    yield ["unreachable"]
    known.append(HOST)


@contextmanager
def _resolving(name: str) -> Iterator[list[str]]:
    """In this process *name* has the address in the list, or none."""
    known, real = [HOST], socket.getaddrinfo

    def resolve(host: Any, *more: Any, **named: Any) -> Any:
        if host in {name, name.encode()}:
            if not known:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = known[0]
        return real(host, *more, **named)

    socket.getaddrinfo = resolve
    try:
        yield known
    finally:
        socket.getaddrinfo = real


def crowded(lab: Lab) -> Course:
    """One connection for many threads, on a way that is slow though not too slow."""
    server = lab.redis()
    proxy = lab.proxy(server)
    yield {"url": proxy.url, "max_connections": 1}
    proxy.delay(TIMEOUT * 0.8)
    yield []
    proxy.heal()


def _on_the_way(begin: Callable[[Proxy], object], *words: str) -> Callable[[Lab], Course]:
    def course(lab: Lab) -> Course:
        proxy = lab.proxy(lab.redis())
        yield {"url": proxy.url}
        begin(proxy)
        yield list(words)
        proxy.heal()

    return course


FAULTS = {
    "frozen": Fault(frozen),
    "killed": Fault(killed),
    "killed-aof": Fault(killed_with_log),
    "client-pause": Fault(client_pause),
    "oom": Fault(oom, answers=True),
    "replica": Fault(replica, answers=True),
    "min-replicas": Fault(too_few_replicas, answers=True),
    "loading": Fault(loading),
    "password-set": Fault(password_set),
    "password-changed": Fault(password_changed),
    "acl-get": Fault(_denied("get", "mget"), answers=True),
    "acl-script": Fault(_denied("evalsha", "eval"), answers=True),
    "acl-stream": Fault(_denied("xread", "xrange", "xrevrange", "xadd"), answers=True),
    "misconf": Fault(misconf, answers=True),
    "tls-host": Fault(_other_certificate(lambda tls: tls._authority.issue_cert("elsewhere.example"))),
    "tls-expired": Fault(_other_certificate(_expired)),
    "tls-rogue": Fault(_other_certificate(_rogue)),
    "dns": Fault(nameless),
    "pool": Fault(crowded, answers=True, silent=True),
    "late": Fault(_on_the_way(lambda proxy: proxy.delay(4 * TIMEOUT), "no answer in time")),
    "cut": Fault(_on_the_way(Proxy.cut, "unreachable")),
    "half-open": Fault(_on_the_way(Proxy.freeze, "no answer in time")),
    "garbage": Fault(_on_the_way(Proxy.garbage, "unreachable", "no answer in time", "Protocol")),
    "dropped": Fault(_on_the_way(Proxy.drop_replies, "no answer in time")),
}
