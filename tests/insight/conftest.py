"""A recorder to make a log with, and keys that mean harm."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scoutcache.oplog.recorder import OplogSettings, Recorder

HOSTILE = (
    "=cmd|' /C calc'!A0:1", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\x1b]0;owned\x07\x1b[31mred", "\u202egnp.exe", "</style><script>x</script>", "{{7*7}}", "a,b\n\"c\"", "＝1+1",
    " =1",
    "\ud800", "&lt;b&gt;", "x" * 5000, "']);DROP",
)  # fmt: skip


@pytest.fixture
def hostile() -> tuple[str, ...]:
    """Keys with escape codes, markup, formulas, direction marks, line breaks, and some that are merely long."""
    return HOSTILE


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The cache's directory, not made yet."""
    return tmp_path / "cache"


@pytest.fixture
def recorder(directory: Path, fake_clock: Any) -> Recorder:
    """A recorder of `directory` with `fake_clock`."""
    return Recorder(directory, OplogSettings(), wall=fake_clock.wall, monotonic_ns=fake_clock.monotonic_ns,
                    token=lambda: secrets.token_hex(8))  # fmt: skip


@pytest.fixture
def say(recorder: Recorder, fake_clock: Any) -> Callable[..., None]:
    """Record one event that takes two milliseconds, a second after the last."""

    def record(kind: str, outcome: str, key: str = "llm:1", namespace: str = "default", **more: Any) -> None:
        now = fake_clock.monotonic_ns()
        recorder.record(kind, namespace, key, outcome=outcome, began_ns=now, ended_ns=now + 2_000_000,
                        **{"tier": None, **more})  # fmt: skip
        fake_clock.advance(1)

    return record
