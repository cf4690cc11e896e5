"""Recorders with a clock that stands still and names that count up."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scoutcache.oplog.recorder import OplogSettings, Recorder


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The cache's directory, not made yet."""
    return tmp_path / "cache"


@pytest.fixture
def make_recorder(directory: Path, fake_clock: Any) -> Callable[..., Recorder]:
    """Make a recorder of `directory` (or of another place) with `fake_clock`."""
    names = itertools.count()

    def make(where: Path | None = directory, **settings: Any) -> Recorder:
        return Recorder(where, OplogSettings(**settings), wall=fake_clock.wall, monotonic_ns=fake_clock.monotonic_ns,
                        token=lambda: f"t{next(names):015d}")  # fmt: skip

    return make


@pytest.fixture
def miss(fake_clock: Any) -> Callable[..., None]:
    """Record one miss."""

    def record(
        recorder: Recorder, key: str = "llm:1", reason: str = "cold", namespace: str = "default", **more: Any
    ) -> None:
        now = fake_clock.monotonic_ns()
        recorder.record("get", namespace, key, tier=None, outcome="miss", reason=reason, began_ns=now,
                        ended_ns=now + 5000, **more)  # fmt: skip

    return record
