"""Real processes, real disks that are full, real locks."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scoutcache import Cache
from scoutcache.assembly import remote
from scoutcache.entry import NEVER, Header, Ref, Row
from scoutcache.wire.codec import Codec
from tests.servers.proxy import Proxy

CODEC = Codec()


@pytest.fixture
def make_row() -> Callable[..., Row]:
    """Makes an entry that never expires, unless told."""

    def make(key: str, value: Any, start: int = 1, expires: float = NEVER) -> Row:
        header = Header(ref=Ref("default", key), start=start, created=1.0, fresh_until=expires, expires=expires)
        live, encoded = CODEC.hold(value)
        return Row(header, live, lambda: CODEC.seal(header, live, encoded))

    return make


@pytest.fixture
def value_of() -> Callable[..., Any]:
    """The value that a tier holds for a key, or "absent"."""

    def read(tier: Any, key: str) -> Any:
        ref = Ref("default", key)
        sealed = tier.read(ref, 2.0)
        return "absent" if sealed is None else CODEC.open(ref, sealed).value

    return read


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 8 MiB, for this test alone."""
    folder = Path(tempfile.mkdtemp(prefix="sc-disk-"))
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(folder)], check=False, capture_output=True
    ).returncode == 0  # fmt: skip
    if not mounted:
        folder.rmdir()
        pytest.skip("a small file system can't be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


@pytest.fixture
def reached(start_redis: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Opens a cache with a way to the server of its own: both."""
    monkeypatch.setattr(remote, "server_name", lambda _: "one server")
    server, ways, caches = start_redis(), list[Proxy](), list[Cache]()

    def open_one(directory: Path = tmp_path) -> tuple[Cache, Proxy]:
        ways.append(Proxy(server.address[1]))
        caches.append(Cache(tiers=["memory", "redis", "disk"], directory=directory, redis={"url": ways[-1].url}))
        return caches[-1], ways[-1]

    yield open_one
    for cache in caches:
        cache.close()
    for way in ways:
        way.close()
