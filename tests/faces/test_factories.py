"""Factories that outlive a call: who is told to refresh asks again, beside everything else."""

from __future__ import annotations

import asyncio
import threading

from scoutcache.coherence.messages import Message
from scoutcache.core.factories import Factories
from scoutcache.entry import Ref

PATIENCE = 10
REFRESH = Message("key", "ns", ("a",), 1, "you", None, "refresh")


def known(*calls):
    factories = Factories(capacity=2)
    for key, call in calls:
        factories.remember(Ref("ns", key), call, tags=["red"])
    return factories


def begin(factories, failed=None):
    if (thread := factories.begin_due(failed or (lambda _: None))) is not None:
        thread.join(PATIENCE)
    return thread


def test_who_is_named_is_asked_once_however_many_messages_name_it():
    asked = []
    factories = known(("a", lambda: asked.append("a")), ("b", lambda: asked.append("b")))
    factories.apply(REFRESH)
    factories.apply(REFRESH)
    begin(factories)
    assert asked == ["a"]
    assert begin(factories) is None


def test_tags_and_patterns_name_as_well_and_a_deletion_asks_nobody():
    asked = []
    factories = known(("a", lambda: asked.append("a")), ("b", lambda: asked.append("b")))
    factories.apply(Message("mark", "ns", ("red",), 1, "you", None, "refresh"))
    begin(factories)
    factories.apply(Message("pattern", "ns", ("b*",), 1, "you", None, "refresh"))
    begin(factories)
    factories.apply(Message("key", "ns", ("a",), 1, "you"))
    assert begin(factories) is None
    assert sorted(asked) == ["a", "b", "b"]


def test_the_oldest_are_forgotten():
    asked = []
    factories = known(*((key, lambda key=key: asked.append(key)) for key in "xya"))
    factories.apply(Message("mark", "ns", ("red",), 1, "you", None, "refresh"))
    begin(factories)
    assert asked == ["y", "a"]


def test_a_factory_that_raises_is_told_and_the_next_is_asked():
    asked, failed = [], []

    def fail():
        raise KeyError("boom")

    factories = known(("a", fail), ("b", lambda: asked.append("b")))
    factories.apply(Message("pattern", "ns", ("*",), 1, "you", None, "refresh"))
    begin(factories, failed.append)
    assert asked == ["b"]
    assert [type(error) for error in failed] == [KeyError]


def test_nobody_waits_for_a_factory_that_hangs(cache):
    """Not the background either, whose ticks tell memory what time it is."""
    go, asked = threading.Event(), threading.Event()

    def hang():
        asked.set()
        return go.wait(PATIENCE)

    core = cache.core
    core.factories.remember(Ref("default", "a"), hang)
    core.factories.apply(Message("key", "default", ("a",), 1, "you", None, "refresh"))
    cache.turn()
    assert asked.wait(PATIENCE)
    go.set()


def test_on_the_loop_that_used_the_cache_coroutines_are_awaited():
    async def main():
        asked = asyncio.Event()

        async def ask():
            asked.set()

        factories = Factories()
        factories.remember(Ref("ns", "a"), ask, loop=asyncio.get_running_loop())
        factories.apply(REFRESH)
        factories.begin_due(lambda _: None)
        await asyncio.wait_for(asked.wait(), PATIENCE)

    asyncio.run(main())
