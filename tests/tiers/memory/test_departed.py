"""Why an entry is gone that was here lately."""

from __future__ import annotations

from scoutcache import Cache
from scoutcache.entry import Ref
from scoutcache.tiers.memory.departed import Departed


def test_names_are_forgotten_by_generations():
    departed = Departed(capacity=2)
    for name in "abc":
        departed.note(Ref("n", name), "evicted")
    assert [departed.why(Ref("n", name)) for name in "abc"] == ["evicted"] * 3
    for name in "de":
        departed.note(Ref("n", name), "expired")
    assert [departed.why(Ref("n", name)) for name in "abcde"] == [None, None, "evicted", "expired", "expired"]


def test_what_is_back_has_not_departed():
    departed = Departed(capacity=1)
    departed.note(Ref("n", "a"), "evicted")
    departed.note(Ref("n", "b"), "evicted")
    departed.back(Ref("n", "a"))
    departed.back(Ref("n", "b"))
    assert departed.why(Ref("n", "a")) is None
    assert departed.why(Ref("n", "b")) is None


def reasons(cache, *keys):
    """Why *keys* are missed, as a hook is told."""
    heard = []
    cache.on("miss", lambda event: heard.append(event.reason))
    for key in keys:
        assert cache.get(key) is None
    return heard


def test_a_miss_says_what_took_the_entry_away(tmp_path):
    with Cache(directory=tmp_path, tiers=["memory"], memory={"max_entries": 100}) as cache:
        for key in ("p:1", "t", "d", "n"):
            cache.set(key, 1, tags=["T"] if key == "t" else [])
        cache.invalidate("p:*")
        cache.invalidate(tags=["T"])
        cache.delete("d")
        assert reasons(cache, "p:1", "t", "d", "never") == ["invalidated"] * 3 + ["cold"]
        cache.set("p:1", 2)
        assert cache.get("p:1") == 2
        cache.clear()
        assert reasons(cache, "n") == ["invalidated"]
        for number in range(300):
            cache.set(f"many:{number}", number)
        gone = next(f"many:{number}" for number in range(299, 0, -1) if cache.get(f"many:{number}") is None)  # lately
        assert set(reasons(cache, gone)) == {"evicted"}


def test_a_small_tier_remembers_more_names_than_it_has_entries(tmp_path):
    with Cache(directory=tmp_path, tiers=["memory"], memory={"max_entries": 2}) as cache:
        for number in range(40):
            cache.set(f"many:{number}", number)
        gone = [key for key in (f"many:{number}" for number in range(40)) if not cache.exists(key)]
        assert len(gone) == 38
        assert reasons(cache, *gone) == ["evicted"] * 38


def test_so_does_one_that_another_process_took_away(tmp_path):
    with Cache(directory=tmp_path) as mine, Cache(directory=tmp_path) as other:
        mine.set("p:1", 1)
        assert mine.get("p:1") == 1
        other.invalidate("p:*")
        assert reasons(mine, "p:1") == ["invalidated"]


def test_what_was_marked_stale_is_missed_for_that_until_it_is_written_anew(world):
    ref = Ref("default", "k")
    world.put("k", ttl=10, stale=60)
    world.tier.age([ref])
    assert world.tier.why_absent(ref) == "invalidated"
    fresh_until = world.tier.entry(ref).header.fresh_until
    world.clock.advance(5)
    world.tier.age([ref])
    assert world.tier.entry(ref).header.fresh_until == fresh_until, "it was stale since then"
    world.put("k", start=2)
    assert world.tier.why_absent(ref) is None


def test_what_is_too_large_for_memory_has_not_left_for_another_reason(world):
    ref = Ref("default", "k")
    world.put("k")
    world.tier.remove([ref])
    assert world.tier.why_absent(ref) == "invalidated"
    world.sized("k", world.tier.max_bytes + 1)
    assert world.tier.why_absent(ref) is None, "it lives on below"


def test_what_is_here_was_not_ended_below(world):
    ref = Ref("default", "k")
    world.put("k", ttl=10)
    world.tier.note_ended(ref)
    world.clock.advance(11)
    assert world.tier.why_absent(ref) == "expired"


def test_what_others_wrote_anew_has_not_ended(world):
    ref = Ref("default", "k")
    world.put("k")
    world.tier.remove([ref])
    world.tier.remove([ref], superseded=True)
    assert world.tier.why_absent(ref) is None


def test_what_comes_back_as_stale_as_it_was_marked_is_missed_for_that_still(world):
    """It was marked below as well, and has been promoted from there."""
    ref = Ref("default", "k")
    world.put("k", ttl=10, stale=60)
    world.tier.age([ref])
    row = world.tier.look(ref)
    world.tier.discard([row])
    world.tier.write([row], world.clock.wall())
    assert world.tier.why_absent(ref) == "invalidated"
