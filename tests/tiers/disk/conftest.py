"""Disk tiers to test, what they warned of, and raw access to what lies in their directories."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scoutcache.entry import Ref
from scoutcache.tiers.disk import DiskTier


@pytest.fixture
def warned() -> list[str]:
    """What the tiers of this test warned of."""
    return []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The directory of this test's tiers."""
    return tmp_path / "disk"


@pytest.fixture
def open_tier(folder: Path, codec: Any, fake_clock: Any, warned: list[str]) -> Iterator[Callable[..., DiskTier]]:
    """Opens one more tier on the test's directory; all are closed with the test."""
    opened: list[DiskTier] = []

    def make(directory: Path = folder, **options: Any) -> DiskTier:
        options = {"wall": fake_clock.wall, "warn": warned.append, "timeout": 0.3} | options
        opened.append(DiskTier(directory, codec, **options))
        return opened[-1]

    yield make
    for tier in opened:
        tier.close()


@pytest.fixture
def disk(open_tier: Callable[..., DiskTier]) -> DiskTier:
    """A disk tier."""
    return open_tier()


@pytest.fixture
def put(make_row: Callable[..., Any], fake_clock: Any) -> Callable[..., int]:
    """Write one entry into a tier and return how many were taken."""
    return lambda tier, *args, **options: tier.write([make_row(*args, **options)], fake_clock.wall())


@pytest.fixture
def get(codec: Any, fake_clock: Any) -> Callable[..., Any]:
    """The value that a tier holds for a key, or "absent"."""

    def read(tier: DiskTier, key: str, namespace: str = "default") -> Any:
        ref = Ref(namespace, key)
        sealed = tier.read(ref, fake_clock.wall())
        return "absent" if sealed is None else codec.open(ref, sealed).value

    return read


@pytest.fixture
def fill_and_damage(open_tier: Callable[..., DiskTier], put: Callable[..., int], folder: Path) -> Callable[[], None]:
    """Make a store of 300 entries with pages spoilt that opening doesn't look at: it looks at both ends."""

    def damage() -> None:
        tier = open_tier()
        for number in range(300):
            put(tier, f"key:{number}", "x" * 500)
        tier.close()
        data = bytearray((folder / "cache.db").read_bytes())
        for page in range(12, len(data) // 8192):
            data[page * 4096 : page * 4096 + 200] = b"\xff" * 200
        (folder / "cache.db").write_bytes(data)

    return damage


@pytest.fixture
def raw_sql(folder: Path) -> Callable[..., list[tuple[Any, ...]]]:
    """Run statements on the database as anybody could who has the file."""

    def run(*statements: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(folder / "cache.db", isolation_level=None, timeout=5)) as con:
            rows: list[tuple[Any, ...]] = []
            for statement in statements:
                rows = con.execute(statement, values if "?" in statement else ()).fetchall()
            return rows

    return run
