"""Ways to run the command line: in this process (fast), as a child, and as a child on a terminal."""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest


class Ran(NamedTuple):
    """How a run ended and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, in which no configuration is found."""
    place = tmp_path / "workplace"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def cli(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ran]]:
    """Run the command line in this process, off a terminal, with what it reads on stdin."""
    from scoutcache.cli.main import run

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    hook = sys.excepthook

    def call(*arguments: str, stdin: str | bytes = "") -> Ran:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "argv", ["scoutcache", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        capsys.readouterr()
        code = run()
        return Ran(code, *capsys.readouterr())

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)
    sys.excepthook = hook


@pytest.fixture
def child(workplace: Path) -> Callable[..., Ran]:
    """Run the command line in a process of its own."""

    def call(*arguments: str, stdin: str = "", env: dict[str, str] | None = None, **more: object) -> Ran:
        command = [sys.executable, "-m", "scoutcache", *arguments]
        done = subprocess.run(
            command,
            input=stdin,
            env={**os.environ, **(env or {})},
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
            **more,
        )  # type: ignore[call-overload]
        return Ran(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def spawn(workplace: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Begin a process of the command line, which ends with its test however that ends, by an interrupt too."""
    with ExitStack() as ended:

        def call(*arguments: str, **streams: int) -> subprocess.Popen[str]:
            process = subprocess.Popen([sys.executable, "-m", "scoutcache", *arguments], text=True, **streams)
            ended.callback(process.wait)
            ended.callback(process.kill)
            return process

        yield call


@pytest.fixture
def terminal(workplace: Path) -> Callable[..., Ran]:
    """Run the command line on a terminal 100 columns wide; what it says on stdout and stderr comes as one text."""

    def call(*arguments: str, keys: str = "", env: dict[str, str] | None = None) -> Ran:
        leader, follower = pty.openpty()
        surroundings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", **(env or {})}
        with subprocess.Popen(
            [sys.executable, "-m", "scoutcache", *arguments],
            stdin=follower, stdout=follower, stderr=follower, env=surroundings, close_fds=True, start_new_session=True,
        ) as process:  # fmt: skip
            os.close(follower)
            if keys:
                os.write(leader, keys.encode())
            said = b"".join(iter(lambda: _said(leader), b""))
            code = process.wait(timeout=60)
        os.close(leader)
        return Ran(code, said.decode().replace("\r\n", "\n"), "")

    return call


def _said(leader: int) -> bytes:
    """The next piece of what the child wrote; nothing once it has gone."""
    select.select([leader], [], [], 60)
    try:
        return os.read(leader, 65536)
    except OSError:  # the other end is closed
        return b""


@pytest.fixture
def directory(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a few entries, which is the one that the environment names."""
    from scoutcache import Cache

    place = workplace / "cache"
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(place))
    with Cache(directory=place) as cache:
        cache.set("llm:a", "hello", ttl="1h", tags=["model:small"])
        cache.set("llm:b", {"text": "x" * 500, "n": [1, 2]}, ttl="30s", tags=["model:big"])
        cache.set("job:1", b"\x00\xff", ttl="never")
        cache.set("job:2", "depends", depends_on=["job:1"])
        cache.set("llm:a", "other tenant", namespace="tenant")
    return place
