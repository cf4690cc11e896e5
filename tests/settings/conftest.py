"""A project folder inside a home folder, both empty."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scoutcache.errors import ConfigError
from scoutcache.settings import Loaded, load_config


@pytest.fixture
def home(isolated_environment: Path) -> Path:
    return isolated_environment


@pytest.fixture
def project(home: Path) -> Path:
    folder = home / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def user_dir(home: Path) -> Path:
    folder = home / "user"
    folder.mkdir()
    return folder


@pytest.fixture
def load(project: Path, user_dir: Path) -> Callable[..., Loaded]:
    """load_config in the project folder, with an empty environment unless one is given."""
    return partial(load_config, env={}, cwd=project, user_dir=user_dir)


@pytest.fixture
def problems(load: Callable[..., Loaded]) -> Callable[..., tuple[str, ...]]:
    def of(**options: Any) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            load(**options)
        return caught.value.problems or (str(caught.value),)

    return of
