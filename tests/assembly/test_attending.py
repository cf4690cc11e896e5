"""What a configuration asks to be done beside the calls is loaded only where it asks for it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time

import pytest

from scoutcache.assembly import attending
from scoutcache.assembly.attending import asks_for_warming, attend
from scoutcache.cache import Cache
from scoutcache.config import CacheConfig
from scoutcache.core.core import Clocks


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, False), ({"warming": {"interval": "1m"}}, False), ({"tasks": [{"name": "t", "source": "f"}]}, False),
        ({"warming": {"on_start": True}}, True), ({"warming": {"patterns": ["llm:*"]}}, True),
        ({"tasks": [{"name": "t", "source": "f", "run_at_startup": True}]}, True),
        ({"policies": [{"name": "p", "strategy": "predictive"}]}, True),
        ({"warming": {"on_start": True}, "enabled": False}, False),
    ],
)  # fmt: skip
def test_only_who_asks_for_it_gets_it(settings, asked):
    assert asks_for_warming(CacheConfig(**settings)) is asked


def test_the_room_that_is_named_is_there():
    assert callable(importlib.import_module(attending._ATTENDANT).begin)


@pytest.mark.parametrize("how", [{"ticking": False}, {"looking": True}])
def test_a_cache_that_is_only_looked_into_begins_nothing(tmp_path, how):
    clocks = Clocks(time.time, time.monotonic, time.monotonic_ns, **{"ticking": False, **how})
    with Cache(CacheConfig(directory=tmp_path, warming={"on_start": True}), clocks=clocks) as cache:
        attend(cache._core)
        assert cache._core.at_close == []


FORKS = """
import os, sys, threading
from scoutcache import Cache
from scoutcache.config import CacheConfig

def names():
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("scoutcache-warming"))

cache = Cache(CacheConfig(directory=sys.argv[1], warming={"patterns": ["*"]}))
before = names()
child = os.fork()
here = names()
cache.close()
ok = before == here == ["scoutcache-warming"] and names() == []
if not child:
    os._exit(0 if ok else 7)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or (0 if ok else 8))
"""


def test_a_forked_child_has_its_own_and_ends_it(tmp_path):
    surroundings = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    ran = subprocess.run([sys.executable, "-c", FORKS, str(tmp_path / "c")], env=surroundings, capture_output=True,
                         text=True, check=False, timeout=60)  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
