"""A journal of the test's own, and work done in real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scoutcache.channels.journal import Journal
from scoutcache.coherence.messages import Message


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(directory: Path) -> Iterator[Journal]:
    with_limit = Journal(directory)
    yield with_limit
    with_limit.close()


@pytest.fixture
def said() -> Callable[..., Message]:
    """A message that names one key, or whatever is given."""

    def make(*names: str, kind: str = "key", source: str = "test") -> Message:
        return Message(kind, "default", names, 1, source)  # type: ignore[arg-type]

    return make
