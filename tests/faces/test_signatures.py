"""Both faces have the same methods with the same names, parameters and defaults, and types that a checker follows."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from scoutcache import AsyncCache, Cache


def public(face):
    return {name for name in dir(face) if not name.startswith("_")}


def test_both_have_the_same_names():
    assert public(Cache) == public(AsyncCache)


@pytest.mark.parametrize("name", [*sorted(public(Cache)), "__init__"])
def test_both_take_the_same_arguments(name):
    blocking, awaited = getattr(Cache, name), getattr(AsyncCache, name)
    if isinstance(blocking, property):
        assert isinstance(awaited, property)
        return
    ours, theirs = inspect.signature(blocking), inspect.signature(awaited)
    assert list(ours.parameters.values()) == list(theirs.parameters.values())
    assert name == "__init__" or (blocking.__doc__ and awaited.__doc__)


def test_the_constructor_tells_its_arguments():
    assert {"config", "profile", "directory", "redis_url"} <= set(inspect.signature(Cache).parameters)


def test_the_calls_of_the_contract_are_there():
    assert public(Cache) >= {
        "get", "set", "get_many", "set_many", "delete", "delete_many", "exists", "ttl", "touch", "keys", "invalidate",
        "clear", "stats", "health", "get_entry", "get_or_compute", "cached", "namespace", "on", "flush", "close",
        "position", "emit", "on_event", "rules", "llm",
    }  # fmt: skip


def test_what_is_awaited_is_a_coroutine_function():
    plain = {"on", "on_event", "rules", "namespace", "cached", "position", "key", "keys", "config"}
    plain |= {"through", "behind", "hash", "versioned", "llm", "semantic"}
    for name in public(AsyncCache) - plain:
        assert inspect.iscoroutinefunction(getattr(AsyncCache, name)), name
    assert inspect.isasyncgenfunction(AsyncCache.keys)


def test_the_types_are_what_a_caller_expects():
    check = Path(__file__).parent / "typing_check.py"
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(check)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=check.parents[2])
    assert done.stdout + done.stderr == ""
