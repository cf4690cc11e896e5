"""Machines that share a server: entries are shared, each keeps an index of its own and hears of what others write."""

from __future__ import annotations

import pytest

pytest.importorskip("faiss", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache import Cache
from scoutcache.answers import state
from scoutcache.answers.agreement import Agreement
from scoutcache.meaning.scopes import places_of
from scoutcache.semantic.index import Place

from .words import embed


@pytest.fixture
def machine(redis_url, tmp_path):
    opened = []

    def make(name):
        settings = {"directory": tmp_path / name, "tiers": ["memory", "redis", "disk"],
                    "redis": {"url": redis_url, "timeout": 5.0}}  # fmt: skip
        cache = Cache(settings)
        cache.semantic.use(embed, "words")
        opened.append(cache)
        return cache

    yield make
    for cache in opened:
        cache.close()


def test_an_answer_of_one_machine_serves_another(machine, until):
    one, other = machine("one"), machine("other")
    assert other.semantic.get("what is the answer", model="m") is None
    key = one.semantic.add("what is the answer", 42, model="m")
    until(lambda: (hit := other.semantic.get("What is the answer?", model="m")) is not None and hit.response == 42)
    third = machine("third")  # which wasn't there when it was announced
    assert third.semantic.get("What is the answer?", model="m").response == 42
    one.semantic.remove(key)
    until(lambda: other.semantic.get("What is the answer?", model="m") is None)
    until(lambda: third.semantic.get("What is the answer?", model="m") is None)


@pytest.mark.parametrize("middle", ["adding", "removing"])
def test_what_a_process_died_over_is_not_taken_for_gone_while_the_server_is_away(start_redis, tmp_path, until, middle):
    server, text = start_redis(), "what is the answer"

    def opened():
        cache = Cache(directory=tmp_path, tiers=["memory", "redis"], redis={"url": server.url, "timeout": 1.0})
        cache.semantic.use(embed, "words")
        return cache

    with opened() as cache:
        key = cache.semantic.add(text, 42, model="m")
        index, place = cache.semantic._flows.state.index("default"), Place(*places_of(key))
        if middle == "adding":
            index.adding(place, cache.semantic._flows.state.encoding.one(text))
        else:
            index.removing([place])
    server.pause()
    with opened() as cache:
        assert cache.semantic.get("What is the answer?", model="m") is None
        server.resume()
        until(lambda: cache.health()["healthy"], "the server is back")
        assert cache.semantic.get("What is the answer?", model="m").response == 42


def noted(cache):
    return cache.semantic._flows.state._heard._keys


def test_what_nobody_asks_for_is_not_noted(machine, until):
    """A process may never ask for what others answer in a namespace of theirs."""
    one, other = machine("one"), machine("other")
    assert other.semantic.get("what is the answer", model="m") is None
    one.semantic.add("what is the answer", 42, model="m", namespace="theirs")
    one.semantic.add("what is the answer", 42, model="m")
    until(lambda: noted(other).get("default"), "it has heard")
    assert "theirs" not in noted(other)
    assert other.semantic.get("What is the answer?", model="m", namespace="theirs").response == 42
    assert other.semantic.get("What is the answer?", model="m").response == 42


def test_of_much_that_nobody_asked_for_the_names_are_not_kept(machine, until, monkeypatch):
    monkeypatch.setattr(state, "_MANY", 2)
    one, other = machine("one"), machine("other")
    assert other.semantic.get("what is the answer", model="m") is None
    for number in range(3):
        one.semantic.add(f"what is the answer {number}", number, model="m")
    until(lambda: other._core.journal.heard() == one._core.journal.heard(), "it has heard")
    until(lambda: noted(other) == {"default": []}, "and forgotten")
    assert other.semantic.get("What is the answer 1", model="m").response == 1


def test_what_can_be_looked_at_in_part_is_not_looked_at_by_each_call(start_redis, tmp_path, until, monkeypatch):
    """Entries can be read and not listed, as when of a cluster one node is away."""
    server, compared = start_redis(), []
    server.cli("ACL", "SETUSER", "u", "on", ">p", "~*", "&*", "+@all", "-scan")
    compare = Agreement.compare
    monkeypatch.setattr(Agreement, "compare", lambda *given: compared.append(given) or compare(*given))

    def opened(name, **redis):
        cache = Cache(directory=tmp_path / name, tiers=["memory", "redis"], redis={"url": server.url, **redis})
        cache.semantic.use(embed, "words")
        return cache

    with opened("one") as one, opened("other", username="u", password="p") as other:
        one.semantic.add("what is the answer", 42, model="m")
        compared.clear()
        for _ in range(5):
            assert other.semantic.get("What is the answer?", model="m") is None
        assert len(compared) <= 2
        server.cli("ACL", "SETUSER", "u", "+scan")
        until(lambda: other.semantic.get("What is the answer?", model="m") is not None, "it is looked at again")


def test_after_a_gap_it_is_compared_until_all_could_be_asked(start_redis, tmp_path, until):
    server = start_redis()
    server.cli("ACL", "SETUSER", "u", "on", ">p", "~*", "&*", "+@all")

    def opened(name, **redis):
        cache = Cache(directory=tmp_path / name, tiers=["memory", "redis"], redis={"url": server.url, **redis})
        cache.semantic.use(embed, "words")
        return cache

    with opened("one") as one, opened("other", username="u", password="p") as other:
        assert other.semantic.get("what is the answer", model="m") is None
        server.cli("ACL", "SETUSER", "u", "-scan")
        one.semantic.add("what is the answer", 42, model="m")
        until(lambda: noted(other).get("default"), "it has heard")
        other.semantic._flows.state._heard.drop()
        for _ in range(3):
            assert other.semantic.get("What is the answer?", model="m") is None
        server.cli("ACL", "SETUSER", "u", "+scan")
        until(lambda: other.semantic.get("What is the answer?", model="m") is not None, "it is looked at again")
