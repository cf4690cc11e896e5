from __future__ import annotations

import sys

import pytest

from scoutcache.cache import Cache


@pytest.fixture
def cache(tmp_path):
    with Cache(directory=tmp_path / "cache", tiers=["memory", "disk"]) as opened:
        yield opened


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the working directory and return its name; it is forgotten afterwards."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = []

    def write(source, name="warming_jobs"):
        (folder / f"{name}.py").write_text(source)
        made.append(name)
        return name

    yield write
    for name in made:
        sys.modules.pop(name, None)
