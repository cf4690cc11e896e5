"""What holds for every tier, whatever it keeps entries in."""

from __future__ import annotations

import threading
from random import Random

import pytest

from scoutcache.entry import Mark, Ref
from scoutcache.patterns import Pattern
from scoutcache.tiers.base import Tier

VALUES = [
    None, "text", "é 語 🎉", b"\x00bytes", 12345678901234567890, 1.5, True, (1, ("a",)), [1, 2], {"a": [1]},
    "x" * 100_000,
]  # fmt: skip


@pytest.fixture
def value_of(tier, codec, fake_clock):
    """The value of an entry as a reader gets it, or MISSING spelt out."""

    def read(key, namespace="default"):
        ref = Ref(namespace, key)
        sealed = tier.read(ref, fake_clock.wall())
        return "absent" if sealed is None else codec.open(ref, sealed).value

    return read


@pytest.fixture
def put(tier, make_row, fake_clock):
    """Write one entry and return how many were taken."""
    return lambda *args, allow=None, **options: tier.write([make_row(*args, **options)], fake_clock.wall(), allow)


@pytest.fixture
def listed(tier):
    """The keys of a listing, sorted."""
    return lambda namespace=None, pattern=None: sorted(
        (item.header.ref.namespace, item.header.ref.key)
        for item in tier.scan(namespace, None if pattern is None else Pattern.parse(pattern))
    )


def test_it_is_a_tier(tier):
    assert isinstance(tier, Tier)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_what_was_written_is_read_with_its_type(put, value_of, value):
    assert put("key", value) == 1
    assert value_of("key") == value
    assert type(value_of("key")) is type(value)


def test_the_header_comes_back_as_it_went_in(tier, make_row, codec, fake_clock):
    marks = (Mark("tag:a", 7), Mark("\0key:other", 9))
    row = make_row("key", marks=marks, stale=5, cost=0.25, start=1_800_000_000_123_456_789)
    tier.write([row], fake_clock.wall())
    assert codec.open(row.header.ref, tier.read(row.header.ref, fake_clock.wall())).header == row.header
    assert [item.header for item in tier.scan(None)] == [row.header]


@pytest.mark.parametrize("key", ["k", "ключ:é:語:🎉", "a" * 5000, "with space", "[*?]\\", "'; --", "%s{}"])
def test_any_key_is_taken_as_it_is(put, value_of, listed, tier, key):
    put(key, "mine")
    assert value_of(key) == "mine"
    assert listed() == [("default", key)]
    assert tier.remove([Ref("default", key)]) == 1
    assert value_of(key) == "absent"


def test_long_keys_that_begin_alike_are_told_apart(put, value_of):
    for end in "ab":
        put("k" * 3000 + end, end)
    assert [value_of("k" * 3000 + end) for end in "abc"] == ["a", "b", "absent"]


def test_nothing_crosses_a_namespace(put, value_of, tier, listed, fake_clock):
    put("key", 1, namespace="a")
    put("key", 2, namespace="b")
    put("key", 3, namespace="a:key")
    assert [value_of("key", namespace) for namespace in ("a", "b", "a:key", "c")] == [1, 2, 3, "absent"]
    assert listed("a") == [("a", "key")]
    assert tier.count("a", None, fake_clock.wall()) == 1
    assert tier.clear("a") == 1
    assert [value_of("key", namespace) for namespace in ("a", "b", "a:key")] == ["absent", 2, 3]


def test_many_are_read_at_once(put, tier, codec, fake_clock):
    for number in range(5):
        put(f"k{number}", number)
    refs = [Ref("default", f"k{number}") for number in (1, 3, 9)]
    found = tier.read_many(refs, fake_clock.wall())
    assert {ref.key: codec.open(ref, sealed).value for ref, sealed in found.items()} == {"k1": 1, "k3": 3}
    assert tier.read_many([], fake_clock.wall()) == {}


def test_many_are_written_at_once(tier, make_row, fake_clock, listed):
    assert tier.write([make_row(f"k{number}") for number in range(10)], fake_clock.wall()) == 10
    assert tier.write([], fake_clock.wall()) == 0
    assert len(listed()) == 10


def test_a_value_is_safe_from_what_the_caller_does_to_it_afterwards(put, value_of):
    value = {"list": [1]}
    put("key", value)
    value["list"].append(2)
    assert value_of("key") == {"list": [1]}
    value_of("key")["list"].append(3)
    assert value_of("key") == {"list": [1]}


@pytest.mark.parametrize("ttl", [0.25, 0.1, 0.001, 0.7, 1.5, 2.9, 3600.0])
def test_an_entry_is_there_until_it_expires_and_not_at_that_instant(put, value_of, fake_clock, ttl):
    """Every tier says the same; two microseconds are what times since 1970 are rounded by."""
    put("key", ttl=ttl)
    fake_clock.advance(ttl - 2e-6)
    assert value_of("key") == "value"
    fake_clock.advance(2e-6)
    assert value_of("key") == "absent"


def test_a_stale_entry_is_there_until_it_expires(put, value_of, fake_clock):
    put("key", ttl=1, stale=2)
    fake_clock.advance(2.9)
    assert value_of("key") == "value"
    fake_clock.advance(0.1)
    assert value_of("key") == "absent"


def test_an_entry_without_expiry_never_expires(put, value_of, fake_clock):
    put("key", ttl=None)
    fake_clock.advance(1e9)
    assert value_of("key") == "value"


def test_the_later_start_wins_whoever_comes_last(put, value_of):
    assert put("key", "second", start=20) == 1
    assert put("key", "first", start=10) == 0
    assert value_of("key") == "second"
    assert put("key", "third", start=30) == 1
    assert value_of("key") == "third"


def test_the_later_start_wins_by_a_nanosecond(put, value_of, fake_clock):
    """Seconds since 1970 in a float resolve 240 of them."""
    start = fake_clock.wall_ns()
    assert put("key", "later", start=start + 1) == 1
    assert put("key", "earlier", start=start) == 0
    assert value_of("key") == "later"
    assert put("key", "the same again", start=start + 1) == 1
    assert value_of("key") == "the same again"


def test_a_clock_that_was_set_back_keeps_nobody_from_writing(put, value_of, fake_clock):
    """Starts from before lie in the future, and give way to those that do not."""
    assert put("key", "before", start=fake_clock.wall_ns()) == 1
    fake_clock.step_wall(-3600)
    began = fake_clock.wall_ns()
    fake_clock.advance(1)
    assert put("key", "after", start=fake_clock.wall_ns()) == 1
    assert value_of("key") == "after"
    assert put("key", "slow", start=began) == 0
    assert value_of("key") == "after"


def test_starts_from_before_the_clock_was_set_back_are_told_apart_still(put, value_of, fake_clock):
    start = fake_clock.wall_ns()
    fake_clock.step_wall(-3600)
    assert put("key", "second", start=start + 1) == 1
    assert put("key", "first", start=start) == 0
    assert value_of("key") == "second"


def test_a_clock_that_was_set_forward_loses_to_nobody(put, value_of, fake_clock):
    assert put("key", "before", start=fake_clock.wall_ns(), ttl=None) == 1
    fake_clock.step_wall(3600)
    assert put("key", "after", start=fake_clock.wall_ns(), ttl=None) == 1
    assert put("key", "slow", start=fake_clock.wall_ns() - 1800 * 10**9, ttl=None) == 0
    assert value_of("key") == "after"


def test_what_the_writer_is_not_allowed_is_not_written(put, value_of):
    asked = []
    assert put("key", allow=lambda header: bool(asked.append(header.ref.key))) == 0
    assert asked == ["key"]
    assert value_of("key") == "absent"
    assert put("key", allow=lambda header: True) == 1


def test_a_refused_entry_does_not_keep_the_others_out(tier, make_row, fake_clock, listed):
    rows = [make_row(key) for key in ("good", "bad", "best")]
    assert tier.write(rows, fake_clock.wall(), lambda header: header.ref.key != "bad") == 2
    assert listed() == [("default", "best"), ("default", "good")]


def test_removing_counts_what_was_there(put, tier, listed):
    put("a")
    put("b")
    assert tier.remove([Ref("default", "a"), Ref("default", "zzz"), Ref("other", "b")]) == 1
    assert tier.remove([]) == 0
    assert listed() == [("default", "b")]


PATTERNS = [
    ("llm:*", ["llm:a", "llm:b:c"]),
    ("*", ["[x]", "job:1", "llm:a", "llm:b:c", "x"]),
    ("llm:a", ["llm:a"]),
    ("*:?", ["job:1", "llm:a", "llm:b:c"]),
    ("[jx]*", ["job:1", "x"]),
    ("[^l]*", ["[x]", "job:1", "x"]),
    ("\\[x\\]", ["[x]"]),
    ("nothing*", []),
    ("LLM:*", []),
]


@pytest.mark.parametrize(("pattern", "keys"), PATTERNS)
def test_a_pattern_lists_counts_and_removes_the_same_keys(put, tier, listed, fake_clock, pattern, keys):
    everything = ["[x]", "job:1", "llm:a", "llm:b:c", "x"]
    for key in everything:
        put(key)
        put(key, namespace="other")
    assert listed("default", pattern) == [("default", key) for key in keys]
    assert tier.count("default", Pattern.parse(pattern), fake_clock.wall()) == len(keys)
    assert tier.remove_matching("default", Pattern.parse(pattern)) == len(keys)
    assert listed("default") == [("default", key) for key in everything if key not in keys]
    assert len(listed("other")) == len(everything)


def test_removing_several_may_say_which_were_there(put, tier, listed):
    for key in ("a", "b", "c", "é" * 300):
        put(key)
    put("a", namespace="other")
    wanted = [Ref("default", key) for key in ("c", "gone", "a", "é" * 300, "a")]
    assert tier.remove_each(wanted) == {wanted[0], wanted[2], wanted[3]}
    assert tier.remove_each(wanted) == tier.remove_each([]) == set()
    assert listed() == [("default", "b"), ("other", "a")]


def test_clearing_everything_clears_every_namespace(put, tier, listed):
    for namespace in "abc":
        put("key", namespace=namespace)
    assert tier.clear(None) == 3
    assert listed() == []
    assert put("key", namespace="a") == 1


@pytest.mark.usefixtures("own_clock")
def test_counting_leaves_expired_entries_out_and_listing_does_not(put, tier, listed, fake_clock):
    put("short", ttl=1)
    put("long", ttl=100)
    fake_clock.advance(2)
    assert tier.count(None, None, fake_clock.wall()) == 1
    assert listed() == [("default", "long"), ("default", "short")]


@pytest.mark.usefixtures("own_clock")
def test_pruning_removes_what_is_expired(put, tier, listed, fake_clock):
    put("short", ttl=1)
    put("long", ttl=100)
    fake_clock.advance(2)
    assert tier.prune(fake_clock.wall(), dry_run=True)["expired"] == 1
    assert len(listed()) == 2
    assert tier.prune(fake_clock.wall())["expired"] == 1
    assert listed() == [("default", "long")]


def test_pruning_removes_what_is_older_than_told(put, tier, listed, fake_clock):
    put("old")
    fake_clock.advance(10)
    put("new")
    assert tier.prune(fake_clock.wall(), older_than=5, dry_run=True)["older"] == 1
    assert tier.prune(fake_clock.wall(), older_than=5)["older"] == 1
    assert listed() == [("default", "new")]


def test_pruning_to_a_size_leaves_no_more_than_that(put, tier, listed, fake_clock):
    random = Random(1)
    for number in range(20):
        put(f"k{number}", random.randbytes(10_000))
    would = tier.prune(fake_clock.wall(), max_bytes=50_000, dry_run=True)["oversize"]
    assert len(listed()) == 20
    assert tier.prune(fake_clock.wall(), max_bytes=50_000)["oversize"] == would > 0
    assert len(listed()) == 20 - would
    assert sum(item.size for item in tier.scan(None)) <= 50_000


def test_usage_knows_how_many_there_are_and_the_limit(put, tier):
    put("a")
    put("b", namespace="other")
    usage = tier.usage()
    assert usage.entries == 2
    assert usage.size_bytes > 0
    assert usage.max_bytes == 100_000_000


def test_listings_say_which_tier_they_come_from(put, tier):
    put("a")
    (item,) = tier.scan(None)
    assert item.tier == tier.name
    assert item.size > 0


def test_closing_twice_is_closing_once(tier):
    tier.close()
    tier.close()


def test_threads_write_and_read_together(tier, make_row, codec, fake_clock):
    """Each entry read is one that somebody wrote, whole."""
    wrong = []

    def work(seed):
        for number in range(40):
            key = f"k{(seed + number) % 5}"
            tier.write([make_row(key, f"{key} " * 50, start=number)], fake_clock.wall())
            sealed = tier.read(Ref("default", key), fake_clock.wall())
            if sealed is None or codec.open(Ref("default", key), sealed).value != f"{key} " * 50:
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
