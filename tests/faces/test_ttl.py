"""Times to live through both faces: how they are written, when they end, what is refused."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from scoutcache import Cache
from scoutcache.errors import InvalidTTL


@pytest.mark.parametrize(
    ("ttl", "seconds"),
    [(90, 90), (0.25, 0.25), ("90s", 90), ("2h", 7200), ("7d", 604800), ("500ms", 0.5), (timedelta(minutes=3), 180),
     ("1h30m", 5400)],
)  # fmt: skip
def test_a_ttl_is_seconds_a_timedelta_or_text(cache, fake_clock, ttl, seconds):
    cache.set("k", 1, ttl=ttl)
    assert cache.ttl("k") == pytest.approx(seconds, abs=1e-5)
    fake_clock.advance(seconds - 0.001)
    assert cache.get("k") == 1
    fake_clock.advance(0.002)
    assert cache.get("k") is None
    assert cache.ttl("k") is None


def test_no_ttl_is_the_default_of_the_prefix_the_namespace_or_the_configuration(open_cache, tiers):
    cache = open_cache(tiers, default_ttl="10s", ttl={"llm": "20s", "namespace": {"tenant": "30s"}})
    for key, namespace, seconds in (("a", None, 10), ("llm:a", None, 20), ("a", "tenant", 30), ("llm:a", "tenant", 20)):
        cache.set(key, 1, namespace=namespace)
        assert cache.ttl(key, namespace=namespace) == pytest.approx(seconds, abs=1e-5)


def test_a_ttl_may_be_one_of_the_configurations_names(open_cache, tiers):
    cache = open_cache(tiers, ttl={"short": "5m"})
    cache.set("k", 1, ttl="short")
    assert cache.ttl("k") == pytest.approx(300, abs=1e-5)


def test_never_is_never(cache, fake_clock):
    cache.set("k", 1, ttl="never")
    assert cache.ttl("k") == math.inf
    fake_clock.advance(10 * 365 * 86400)
    assert cache.get("k") == 1


def test_a_ttl_of_zero_is_not_stored(cache):
    assert cache.set("k", 1, ttl=0) is False
    assert cache.get("k") is None
    assert cache.get_or_compute("k", lambda: 2, ttl=0) == 2
    assert cache.keys() == []


def test_an_old_value_ends_with_one_that_is_over_at_once(cache):
    cache.set_many({"a": "old", "b": "old", "c": "old"})
    cache.set("d", 1, depends_on=["a"])
    assert cache.set("a", "new", ttl=0) is False
    cache.set_many({"b": "new", "missing": "new"}, ttl="0s")
    assert cache.get_many(["a", "b", "c", "d", "missing"]) == {"c": "old"}


def test_a_value_that_began_after_one_that_is_over_at_once_stays(cache):
    since = cache.position()
    cache.set("k", "later")
    assert cache.set("k", "earlier", ttl=0, since=since) is False
    assert cache.get("k") == "later"


@pytest.mark.parametrize("ttl", [-1, math.nan, "soon", "", "-5s", True, timedelta(seconds=-1), [], "5 parsecs"])
def test_a_ttl_that_is_none_is_refused(cache, ttl):
    for call in (
        lambda: cache.set("k", 1, ttl=ttl),
        lambda: cache.set_many({"k": 1}, ttl=ttl),
        lambda: cache.get_or_compute("k", pytest.fail, ttl=ttl),
        lambda: cache.touch("k", ttl),
        lambda: cache.set("k", 1, stale_ttl=ttl),
    ):
        with pytest.raises(InvalidTTL):
            call()
    assert cache.keys() == []


def test_entries_expire_within_a_second(cache, fake_clock):
    cache.set("k", 1, ttl=0.050)
    fake_clock.advance(0.049)
    assert cache.get("k") == 1
    assert cache.exists("k")
    fake_clock.advance(0.001)
    assert cache.get("k") is None
    assert not cache.exists("k")
    assert cache.keys() == []


def test_touch_lets_it_live_from_now(cache, fake_clock):
    cache.set("k", [1], ttl=10)
    fake_clock.advance(6)
    assert cache.touch("k", 10)
    assert cache.ttl("k") == pytest.approx(10, abs=1e-5)
    fake_clock.advance(8)
    assert cache.get("k") == [1]
    assert cache.touch("missing", 10) is False
    assert cache.touch("k", "never")
    assert cache.ttl("k") == math.inf
    fake_clock.advance(100)
    cache.touch("k", 0)
    assert not cache.exists("k")


def test_what_is_stale_is_not_fresh_and_not_revived(cache, fake_clock):
    cache.set("k", "old", ttl=10, stale_ttl=100)
    fake_clock.advance(11)
    assert cache.get("k") is None
    assert not cache.exists("k")
    assert cache.ttl("k") is None
    assert cache.keys() == []
    assert cache.get_many(["k"]) == {}
    assert cache.touch("k", 10) is False
    assert cache.get_entry("k").value == "old"
    assert cache.get_or_compute("k", lambda: "new", soft_timeout="never") == "new"
    assert cache.get("k") == "new"


def test_a_stale_ttl_that_is_none_is_named(tmp_path):
    with Cache(directory=tmp_path) as cache, pytest.raises(InvalidTTL, match=r"^stale_ttl: 'soon'"):
        cache.set("k", 1, stale_ttl="soon")
