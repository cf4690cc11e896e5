"""Any sequence of calls: a cache answers as a dict with deadlines and tags does, on every tier, through both faces."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from scoutcache import AsyncCache, Cache
from scoutcache.core.core import Clocks

from ..servers.slow import slow_down  # noqa: TID252 - tests are no package

KEYS = st.sampled_from(["a", "a:1", "a:2", "b:1", "b:é", "c" * 600])
VALUES = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3) | st.just("x" * 3000)
TTLS = st.sampled_from([0.4, 1.0, 5.0, 60.0, "never"])
TAGS = st.lists(st.sampled_from(["red", "blue"]), max_size=2, unique=True)
SPACES = st.sampled_from([None, "tenant"])
PATTERNS = {
    "*": lambda key: True,
    "a*": lambda key: key.startswith("a"),
    "a:?": lambda key: len(key) == 3 and key.startswith("a:"),
    "[bc]*": lambda key: key[0] in "bc",
    "*:1": lambda key: key.endswith(":1"),
    "a": lambda key: key == "a",
    "nothing": lambda key: False,
}


@dataclass
class Held:
    """What the model holds for a key."""

    value: Any
    deadline: float
    tags: tuple[str, ...]


class CacheMachine(RuleBasedStateMachine):
    """A cache and its model.  Subclasses say which face and which tiers."""

    face: type = Cache
    tiers: tuple[str, ...] = ("memory", "disk")
    memory_entries = 3  # so that overflowing is common where there is a tier below
    server: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_800_000_000.0
        self.directory = Path(tempfile.mkdtemp(prefix="scoutcache-model-"))
        self.runner = asyncio.Runner()
        self.model: dict[tuple[str | None, str], Held] = {}
        self.open()

    def open(self) -> None:
        def clock() -> float:
            return self.now - 1_700_000_000.0

        clocks = Clocks(lambda: self.now, clock, lambda: int(clock() * 1e9), ticking=False)
        memory = {"max_entries": 1000 if self.tiers == ("memory",) else self.memory_entries}
        config = {"tiers": self.tiers, "directory": self.directory, "memory": memory, "placement": {"demote_after": 3}}
        if "redis" in self.tiers:
            config["redis"] = {"url": self.server, "key_prefix": f"{self.directory.name}:", "timeout": 5.0}
        self.cache = self.face(config, clocks=clocks)
        if "redis" in self.tiers:
            slow_down(self.cache._core.tier("redis"))

    def teardown(self) -> None:
        self.call("close")
        self.runner.close()
        shutil.rmtree(self.directory)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self.cache, name)(*args, **kwargs)
        if inspect.iscoroutine(result):
            return self.runner.run(result)
        return self.runner.run(_listed(result)) if hasattr(result, "__aiter__") else result

    def alive(self, space: str | None) -> dict[str, Held]:
        return {key: held for (one, key), held in self.model.items() if one == space and held.deadline > self.now}

    def keep(self, space: str | None, key: str, value: Any, ttl: Any, tags: Any) -> None:
        deadline = float("inf") if ttl == "never" else self.now + ttl
        self.model[space, key] = Held(value, deadline, tuple(tags))

    # -- writing

    @rule(space=SPACES, key=KEYS, value=VALUES, ttl=TTLS, tags=TAGS)
    def set(self, space, key, value, ttl, tags):
        assert self.call("set", key, value, ttl=ttl, tags=tags, namespace=space) is True
        self.keep(space, key, value, ttl, tags)

    @rule(space=SPACES, values=st.dictionaries(KEYS, VALUES, max_size=4), ttl=TTLS, tags=TAGS)
    def set_many(self, space, values, ttl, tags):
        self.call("set_many", values, ttl=ttl, tags=tags, namespace=space)
        for key, value in values.items():
            self.keep(space, key, value, ttl, tags)

    @rule(space=SPACES, key=KEYS, value=VALUES, ttl=TTLS, tags=TAGS)
    def get_or_compute(self, space, key, value, ttl, tags):
        got = self.call("get_or_compute", key, lambda: value, ttl=ttl, tags=tags, namespace=space)
        held = self.alive(space).get(key)
        if held is None:
            self.keep(space, key, value, ttl, tags)
        assert got == (value if held is None else held.value)

    @rule(space=SPACES, key=KEYS, ttl=TTLS)
    def touch(self, space, key, ttl):
        held = self.alive(space).get(key)
        assert self.call("touch", key, ttl, namespace=space) is (held is not None)
        if held is not None:
            self.keep(space, key, held.value, ttl, held.tags)

    # -- removing

    @rule(space=SPACES, key=KEYS)
    def delete(self, space, key):
        was = self.call("delete", key, namespace=space)
        assert was or key not in self.alive(space)
        self.model.pop((space, key), None)

    @rule(space=SPACES, keys=st.lists(KEYS, max_size=4))
    def delete_many(self, space, keys):
        self.call("delete_many", keys, namespace=space)
        for key in keys:
            self.model.pop((space, key), None)

    @rule(space=SPACES, pattern=st.sampled_from(list(PATTERNS)), dry=st.booleans())
    def invalidate_pattern(self, space, pattern, dry):
        matching = [key for key in self.alive(space) if PATTERNS[pattern](key)]
        result = self.call("invalidate", pattern, namespace=space, dry_run=dry)
        if dry:
            assert result.matched == len(matching)
            assert sorted(result.sample) == sorted(matching)
            return
        assert result.invalidated >= len(matching), "expired ones may be among them"
        self.forget(space, lambda key, held: PATTERNS[pattern](key))

    @rule(space=SPACES, tag=st.sampled_from(["red", "blue"]), count=st.booleans())
    def invalidate_tag(self, space, tag, count):
        matching = [key for key, held in self.alive(space).items() if tag in held.tags]
        result = self.call("invalidate", tags=[tag], namespace=space, count=count)
        assert result.invalidated == (len(matching) if count else None)
        self.forget(space, lambda key, held: tag in held.tags)

    @rule(space=SPACES, tag=st.sampled_from(["red", "blue"]))
    def invalidate_intersection(self, space, tag):
        doomed = [key for key, held in self.alive(space).items() if tag in held.tags and key.startswith("a")]
        assert self.call("invalidate", "a*", tags=[tag], match="all", namespace=space).invalidated == len(doomed)
        self.forget(space, lambda key, held: key in doomed)

    @rule(space=SPACES)
    def clear(self, space):
        self.call("clear", space)
        self.forget(space, lambda key, held: True)

    def forget(self, space, doomed):
        for (one, key), held in list(self.model.items()):
            if one == space and doomed(key, held):
                del self.model[one, key]

    # -- what happens beside the calls

    @rule(seconds=st.sampled_from([0.1, 0.4, 1.0, 4.0, 30.0]))
    def advance(self, seconds):
        self.now += seconds

    @rule()
    def turn(self):
        self.cache._core.background.turn()

    @precondition(lambda self: self.tiers != ("memory",))
    @rule()
    def reopen(self):
        self.call("close")
        self.now += 0.001  # stamps are times: a process that opens in the same moment would write with earlier ones
        self.open()

    # -- what must hold

    @rule(space=SPACES, key=KEYS)
    def get(self, space, key):
        held = self.alive(space).get(key)
        missing = object()
        got = self.call("get", key, missing, namespace=space)
        assert got is missing if held is None else (got == held.value and type(got) is type(held.value))

    @rule(space=SPACES, key=KEYS)
    def look(self, space, key):
        held = self.alive(space).get(key)
        assert self.call("exists", key, namespace=space) is (held is not None)
        ttl = self.call("ttl", key, namespace=space)
        assert ttl == (None if held is None else pytest.approx(held.deadline - self.now, abs=1e-4))
        entry = self.call("get_entry", key, namespace=space)
        assert (entry is None) == (held is None)
        if held is not None:
            assert (entry.value, set(entry.tags)) == (held.value, set(held.tags))

    @rule(space=SPACES, keys=st.lists(KEYS, max_size=6), pattern=st.sampled_from(list(PATTERNS)))
    def many(self, space, keys, pattern):
        alive = self.alive(space)
        assert self.call("get_many", keys, namespace=space) == {key: alive[key].value for key in keys if key in alive}
        listed = list(self.call("keys", pattern, namespace=space))
        assert sorted(listed) == sorted(key for key in alive if PATTERNS[pattern](key))
        by_tag = list(self.call("keys", tag="red", namespace=space))
        assert sorted(by_tag) == sorted(key for key, held in alive.items() if "red" in held.tags)

    @invariant()
    def memory_keeps_its_limit(self):
        memory = self.cache._core.memory
        if memory is not None:
            assert memory.usage().entries <= memory.max_entries


async def _listed(results: Any) -> list[Any]:
    return [result async for result in results]


LOCAL = [("memory",), ("disk",), ("memory", "disk")]
ON_SERVER = [("redis",), ("memory", "redis"), ("memory", "redis", "disk")]


@pytest.mark.parametrize("tiers", LOCAL, ids="+".join)
@pytest.mark.parametrize("face", [Cache, AsyncCache], ids=lambda face: face.__name__)
def test_a_cache_answers_as_a_dict_does(face, tiers):
    run_machine(40 if tiers == ("memory",) else 25, face=face, tiers=tiers)


@pytest.mark.parametrize("tiers", ON_SERVER, ids="+".join)
@pytest.mark.parametrize("face", [Cache, AsyncCache], ids=lambda face: face.__name__)
def test_a_cache_on_a_server_answers_as_a_dict_does(face, tiers, redis_url):
    run_machine(int(os.environ.get("TEST_EXAMPLES", "6")), face=face, tiers=tiers, server=redis_url)


def run_machine(examples, **attributes):
    machine = type("Machine", (CacheMachine,), attributes)
    chosen = settings(
        max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=chosen)
