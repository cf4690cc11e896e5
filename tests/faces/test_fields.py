"""Field access: a change of one field leaves the others, whoever changes them at the same time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache import AsyncCache, Cache
from scoutcache.calls.calls import Options
from scoutcache.errors import CacheError, InvalidKey, SerializationError
from scoutcache.idioms.alone import _table_of

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cart(cache: Any) -> Any:
    return cache.hash("cart:1", ttl=60, tags=["carts"])


def test_fields_are_set_read_and_removed(cart, cache):
    assert (cart.get_field("apples"), cart.get_field("apples", 0), cart.get_all()) == (None, 0, {})
    assert cart.set_field("apples", 3) is True
    assert cart.set_fields({"pears": [1], "plums": None}) is True
    assert cart.get_all() == cache.get("cart:1") == {"apples": 3, "pears": [1], "plums": None}
    assert cart.get_field("plums", "none") is None
    assert cart.delete_field("pears", "kiwis") == 1
    assert cart.get_all() == {"apples": 3, "plums": None}


def test_the_entry_goes_with_its_last_field(cart, cache):
    cart.set_fields({"a": 1, "b": 2})
    assert cart.delete_field("a", "b") == 2
    assert cache.exists("cart:1") is False
    assert cart.delete_field("a") == 0


def test_a_change_gives_no_new_life_and_keeps_tags_cost_and_dependencies(open_cache, tiers, fake_clock):
    cache = open_cache(tiers)
    cache.set("user:1", {"name": "x"}, ttl=60, stale_ttl=30, tags=["users"], depends_on=["team:1"], cost=0.5)
    user = cache.hash("user:1", ttl=1000, tags=["other"])
    for step in range(5):
        fake_clock.advance(10)
        assert user.set_field("step", step)
    entry = cache.get_entry("user:1")
    assert cache.ttl("user:1") == pytest.approx(10)
    assert (entry.tags, entry.depends_on, entry.cost) == (("users",), ("team:1",), 0.5)
    assert (entry.expires_at - entry.fresh_until).total_seconds() == pytest.approx(30)
    cache.delete("team:1")
    assert user.get_all() == {}


def test_an_entry_that_isnt_there_begins_with_the_options_given(cart, cache, fake_clock):
    cart.set_field("a", 1)
    assert cache.ttl("cart:1") == pytest.approx(60)
    assert cache.keys(tag="carts") == ["cart:1"]
    fake_clock.advance(61)
    assert cart.get_all() == {}
    cart.set_field("b", 2)
    assert cart.get_all() == {"b": 2}


def test_where_there_is_no_mapping_nothing_is_changed(cache):
    cache.set("list", [1])
    fields = cache.hash("list")
    for call in (lambda: fields.get_field("a"), fields.get_all, lambda: fields.set_field("a", 1),
                 lambda: fields.delete_field("a")):  # fmt: skip
        with pytest.raises(CacheError, match="'list' holds a list, which has no fields"):
            call()
    assert cache.get("list") == [1]


def test_wrong_names_and_values_change_nothing(cart):
    cart.set_field("a", 1)
    with pytest.raises(InvalidKey, match="a str, not int"):
        cart.set_field(1, 1)
    with pytest.raises(SerializationError):
        cart.set_field("b", object())
    with pytest.raises(CacheError, match="takes a mapping"):
        cart.set_fields([("a", 1)])
    assert cart.set_fields({}) is False
    assert cart.get_all() == {"a": 1}


def test_what_depends_on_the_key_dies_when_a_field_changes(cache):
    fields = cache.hash("user:1")
    fields.set_field("name", "x")
    cache.set("page:1", "Hello x", depends_on=["user:1"])
    fields.set_field("name", "y")
    assert cache.get("page:1") is None


def test_an_invalidated_tag_takes_all_fields(cart, cache):
    cart.set_field("a", 1)
    cache.invalidate(tags=["carts"])
    assert cart.get_all() == {}
    cart.set_field("b", 2)
    assert cart.get_all() == {"b": 2}


def test_fields_live_in_their_namespace(cache):
    cache.namespace("tenant").hash("k").set_field("a", 1)
    cache.hash("k", namespace="other").set_field("b", 2)
    assert cache.hash("k").get_all() == {}
    assert cache.get("k", namespace="tenant") == {"a": 1}
    assert cache.get("k", namespace="other") == {"b": 2}


def test_with_the_cache_off_nothing_is_kept(open_cache):
    fields = open_cache(enabled=False).hash("k")
    assert fields.set_field("a", 1) is False
    assert fields.get_all() == {}


NAMES = st.sampled_from("abc")
STEPS = st.lists(st.one_of(
    st.tuples(st.just("set"), NAMES, st.integers()), st.tuples(st.just("drop"), NAMES, NAMES),
    st.tuples(st.just("many"), st.dictionaries(NAMES, st.integers()), st.none()),
), max_size=12)  # fmt: skip


@settings(max_examples=30)
@given(STEPS)
def test_it_is_a_dict(tmp_path_factory, steps):
    model: dict[str, Any] = {}
    with Cache(directory=tmp_path_factory.mktemp("fields")) as cache:
        fields = cache.hash("k")
        for what, one, two in steps:
            if what == "set":
                fields.set_field(one, two)
                model[one] = two
            elif what == "many":
                fields.set_fields(one)
                model.update(one)
            else:
                assert fields.delete_field(one, two) == len({one, two} & model.keys())
                model = {name: value for name, value in model.items() if name not in (one, two)}
            assert fields.get_all() == model


@pytest.mark.parametrize("tiers", [["memory"], ["disk"], ["memory", "disk"]])
def test_threads_dont_lose_each_others_fields(tmp_path, tiers):
    start = threading.Barrier(8)
    with Cache(directory=tmp_path, tiers=tiers) as cache, Cache(directory=tmp_path, tiers=tiers) as second:

        def fill(number):
            fields = (second if number % 2 and "disk" in tiers else cache).hash("k")
            start.wait()
            for step in range(5):
                assert fields.set_field(f"{number}:{step}", step)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(fill, range(8)))
        assert len(cache.hash("k").get_all()) == 40


def test_tasks_dont_lose_each_others_fields(tmp_path):
    async def main():
        async with AsyncCache(directory=tmp_path) as cache:
            fields = cache.hash("k")
            await asyncio.gather(*(fields.set_field(str(number), number) for number in range(30)))
            assert len(await fields.get_all()) == 30

    asyncio.run(main())


FILL = """
import sys
from scoutcache import Cache
with Cache(directory=sys.argv[1]) as cache:
    fields = cache.hash("k", ttl="never")
    print("ready", flush=True)
    sys.stdin.readline()
    for step in range(25):
        assert fields.set_field(f"{sys.argv[2]}:{step}", step)
"""


def run_all(code: str, count: int, *arguments: object) -> None:
    """Run that many processes, which begin together, to their end."""
    command: Callable[[int], list[str]] = lambda number: [  # noqa: E731
        sys.executable, "-W", "error", "-c", code, *map(str, arguments), str(number)
    ]  # fmt: skip
    running = [
        subprocess.Popen(command(number), cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for number in range(count)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_processes_dont_lose_each_others_fields(tmp_path):
    run_all(FILL, 4, tmp_path)
    with Cache(directory=tmp_path) as cache:
        assert len(cache.hash("k").get_all()) == 100
        assert cache.ttl("k") == float("inf")


def test_a_policy_that_forbids_the_size_ends_the_entry(open_cache, tiers):
    policy = {"policy_id": "small", "name": "small", "applies_to": ["*"], "max_entry_size": 200}
    cache = open_cache(tiers, policies=[policy])
    fields = cache.hash("k")
    assert fields.set_field("a", "x" * 50) is True
    assert fields.set_field("b", "x" * 500) is False
    assert fields.get_all() == {}


@pytest.fixture
def meanwhile() -> Any:
    """Lets another caller's change of the key happen once, between the reading of the fields and their writing."""

    def intrude(fields: Any, change: Callable[[Any], Any]) -> None:
        flows = fields.cache._fields
        found, todo = flows._found, [change]

        def read() -> Any:
            read = yield from found()
            if todo:
                yield from todo.pop()(flows._calls)
            return read

        flows._found = read

    return intrude


def test_of_a_set_and_a_change_of_fields_at_once_the_one_that_began_later_stands(cart, cache, meanwhile):
    meanwhile(cart, lambda calls: calls.set("cart:1", {"b": 2}, Options()))
    assert cart.set_field("a", 1) is True
    assert cache.get("cart:1") == {"a": 1, "b": 2}
    meanwhile(cart, lambda calls: calls.set("cart:1", {"c": 3}, Options()))
    assert cart.delete_field("a", "b") == 0
    assert cache.get("cart:1") == {"c": 3}


def test_a_deletion_in_between_doesnt_hinder_the_first_field(cart, cache, meanwhile):
    meanwhile(cart, lambda calls: calls.delete("cart:1"))
    assert cart.set_field("a", 1) is True
    assert cache.get("cart:1") == {"a": 1}


def test_hooks_and_rules_hear_of_a_change(open_cache):
    cache = open_cache()
    told = []
    cache.on("stored", lambda record: told.append((record.key, record.tiers)))
    cache.hash("k").set_field("a", 1)
    cache.hash("k").set_field("b", 1)
    assert told == [("k", ("memory", "disk"))] * 2


def test_nothing_is_left_over_of_waiting(tmp_path):
    with Cache(directory=tmp_path) as cache:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: cache.hash("k").set_field(str(number), number), range(20)))
        assert len(_table_of(cache._core)) == 0
        assert list((tmp_path / "leases").iterdir()) == []
