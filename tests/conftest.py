"""Fixtures for every test: a clock that stands still, an environment of its own, other processes, real servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from .servers.fixtures import (  # noqa: F401 - pytest finds a fixture where a conftest knows its name
    make_remote,
    proxy,
    redis_cluster,
    redis_sentinel,
    redis_server,
    redis_tls,
    redis_url,
    start_cluster,
    start_proxy,
    start_redis,
    start_redis_with_acl,
    until,
)

# How long an example takes says more about the machine than about the code.
settings.register_profile("repository", deadline=None)
settings.load_profile("repository")

REPOSITORY = Path(__file__).resolve().parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs beside it deaf to Ctrl-C, which some tests send, to themselves and to what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


_ONE_AFTER_ANOTHER = {"channels", "faults", "server", "servers"}
"""Folders of tests that time what servers and other processes do: beside each other they would be late."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under pytest-xdist (``--dist=loadgroup``) tests of a file share a process, and so do those that take time."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        folder, *_ = item.path.relative_to(REPOSITORY / "tests").parts
        item.add_marker(pytest.mark.xdist_group("timed" if folder in _ONE_AFTER_ANOTHER else str(item.path)))


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


@pytest.fixture
def in_child() -> Callable[[Callable[[], object]], int]:
    """Run something in a forked child, wait for its end, and give its exit status; a raise is 1, a hang is killed."""

    def run(work: Callable[[], object]) -> int:
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return run


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
