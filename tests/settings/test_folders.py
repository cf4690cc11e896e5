"""Where things live: the platform's folders, and what becomes of a process without a home."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs
import pytest

from scoutcache import CacheConfig
from scoutcache.settings import default_directory, directory_of, user_folder
from scoutcache.settings.folders import temporary_directory


def test_the_cache_lives_in_the_users_cache_folder(home):
    assert default_directory() == home / "cache" / "scoutcache"
    assert user_folder() == home / "config" / "scoutcache"


@pytest.mark.parametrize(
    ("named", "meant"), [(None, "{home}/cache/scoutcache"), ("here", "{cwd}/here"), ("~/x", "{home}/x"), ("/x", "/x")]
)
def test_a_directory_is_one_place_wherever_the_process_goes(named, meant, home, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    assert directory_of(CacheConfig(directory=named)) == Path(meant.format(home=home, cwd=tmp_path))


def unknown_home(*args: object, **options: object) -> Path:
    raise RuntimeError("could not determine the home directory")


def test_a_home_that_can_not_be_written_is_not_used(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith("/proc"))
    assert default_directory() == Path(tempfile.gettempdir()) / f"scoutcache-{os.getuid()}"


@pytest.mark.parametrize("platform", [unknown_home, lambda *args, **options: Path("~/.cache/scoutcache")])
def test_a_process_without_a_home_keeps_its_cache_below_the_temporary_folder_and_has_no_configuration(
    platform, monkeypatch
):
    """Newer versions of platformdirs raise, older ones leave the tilde."""
    monkeypatch.setattr(platformdirs, "user_cache_path", platform)
    monkeypatch.setattr(platformdirs, "user_config_path", platform)
    assert default_directory() == Path(tempfile.gettempdir()) / f"scoutcache-{os.getuid()}"
    assert user_folder() is None


def test_where_no_temporary_folder_can_be_written_there_is_a_name_for_it_all_the_same(monkeypatch):
    """A container whose root is read-only: opening a cache of memory alone, or beside a server, must not fail."""
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    assert temporary_directory() == Path(f"/tmp/scoutcache-{os.getuid()}")
