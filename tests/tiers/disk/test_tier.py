"""What the disk tier does beyond the contract of every tier."""

from __future__ import annotations

import hashlib
import math
import sqlite3
import threading

import pytest

from scoutcache.entry import Mark, Ref
from scoutcache.errors import TierUnavailable
from scoutcache.patterns import Pattern
from scoutcache.tiers.base import Versions
from scoutcache.tiers.disk import DiskTier


def test_chunks_of_a_50_mb_value_come_back_whole_from_another_tier(open_tier, put, get, codec, raw_sql):
    value = hashlib.shake_256(b"incompressible").digest(50_000_000)
    put(open_tier(), "key", value)
    assert raw_sql("SELECT count(*) FROM Chunks")[0][0] >= 47
    assert get(open_tier(), "key") == value


@pytest.fixture
def large(codec):
    """A value of three chunks, different for each name."""
    return lambda name: hashlib.shake_256(name.encode()).digest(2_500_000)


def test_chunks_go_with_their_row(disk, put, get, large, raw_sql, fake_clock):
    """However a row goes: removed, replaced by a small or a large value, expired, cleared."""
    chunks = lambda: raw_sql("SELECT count(*) FROM Chunks")[0][0]  # noqa: E731
    put(disk, "key", large("a"))
    put(disk, "key", large("b"), start=2)
    assert chunks() == 3
    put(disk, "key", "small", start=3)
    assert chunks() == 0
    put(disk, "key", large("c"), start=4)
    disk.remove([Ref("default", "key")])
    assert chunks() == 0
    put(disk, "key", large("d"), ttl=1)
    fake_clock.advance(2)
    disk.maintain(fake_clock.wall())
    assert chunks() == 0
    put(disk, "key", large("e"))
    disk.clear("default")
    assert chunks() == 0


def test_a_reader_sees_one_large_value_or_the_other_and_never_a_mixture(open_tier, put, get, large, make_row):
    """Two tiers on one directory; one goes on replacing what the other reads."""
    writer, reader = open_tier(), open_tier()
    values = [large("a"), large("b"), "small"]
    put(writer, "key", values[0], start=1)
    ended, seen = threading.Event(), set()

    def read():
        while not ended.is_set():
            seen.add(values.index(get(reader, "key")))

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(2, 40):
        put(writer, "key", values[number % 3], start=number)
    ended.set()
    thread.join()
    assert seen <= {0, 1, 2}
    assert seen


def test_an_older_large_value_leaves_the_chunks_of_the_later_one_alone(disk, put, get, large):
    put(disk, "key", large("later"), start=9)
    assert put(disk, "key", large("older"), start=8) == 0
    assert get(disk, "key") == large("later")


@pytest.mark.parametrize("ttl", [0.001, 0.25, 0.999])
def test_expiry_is_exact_below_a_second(disk, put, get, fake_clock, ttl):
    put(disk, "key", "value", ttl=ttl)
    fake_clock.advance(ttl - 0.0005)
    assert get(disk, "key") == "value"
    fake_clock.advance(0.001)
    assert get(disk, "key") == "absent"
    assert disk.count("default", None, fake_clock.wall()) == 0


def test_starts_of_one_nanosecond_count_are_compared_within_a_microsecond(disk, put, get):
    start = 1_800_000_000_000_000_000
    put(disk, "key", "later", start=start + 1000)
    assert put(disk, "key", "earlier", start=start) == 0
    assert get(disk, "key") == "later"


def test_concurrent_sets_share_commits_and_each_hears_of_its_own(disk, make_row, fake_clock):
    """While one transaction is held open, others queue; they are committed together, refusals and errors apart."""
    inside, go_on, outcomes = threading.Event(), threading.Event(), {}
    commits = []

    def hold(header):
        inside.set()
        go_on.wait(10)
        return True

    def fail(header):
        raise RuntimeError("mine")

    def write(name, allow):
        con = disk._database.link().con
        con.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        try:
            outcomes[name] = disk.write([make_row(name)], fake_clock.wall(), allow)
        except Exception as error:
            outcomes[name] = repr(error)

    first = threading.Thread(target=write, args=("first", hold))
    first.start()
    inside.wait(10)
    allows = {"plain": None, "refused": lambda header: False, "other": None, "more": None}
    threads = [threading.Thread(target=write, args=item) for item in allows.items()]
    for thread in threads:
        thread.start()
    while len(disk._writer._queue) < 4:
        threading.Event().wait(0.001)
    go_on.set()
    for thread in [first, *threads]:
        thread.join()
    assert outcomes == {"first": 1, "plain": 1, "refused": 0, "other": 1, "more": 1}
    assert len(commits) == 2


def test_an_error_inside_a_shared_commit_reaches_its_own_caller_only(disk, make_row, get, fake_clock):
    inside, go_on, outcomes = threading.Event(), threading.Event(), {}

    def hold(header):
        inside.set()
        go_on.wait(10)
        return True

    def fail(header):
        raise RuntimeError("mine")

    def write(name, allow):
        try:
            outcomes[name] = disk.write([make_row(name), make_row(f"{name}:2")], fake_clock.wall(), allow)
        except RuntimeError as error:
            outcomes[name] = str(error)

    first = threading.Thread(target=write, args=("first", hold))
    first.start()
    inside.wait(10)
    threads = [threading.Thread(target=write, args=item) for item in [("a", None), ("bad", fail), ("b", None)]]
    for thread in threads:
        thread.start()
    while len(disk._writer._queue) < 3:
        threading.Event().wait(0.001)
    go_on.set()
    for thread in [first, *threads]:
        thread.join()
    assert outcomes == {"first": 2, "a": 2, "bad": "mine", "b": 2}
    assert get(disk, "bad") == get(disk, "bad:2") == "absent"
    assert get(disk, "b:2") == "value"


def test_a_write_is_all_or_nothing(disk, make_row, get, fake_clock):
    def fail_on_second(header):
        if header.ref.key == "b":
            raise RuntimeError("no")
        return True

    with pytest.raises(RuntimeError):
        disk.write([make_row("a"), make_row("b")], fake_clock.wall(), fail_on_second)
    assert get(disk, "a") == "absent"
    assert disk.write([make_row("c")], fake_clock.wall()) == 1


def test_allow_is_asked_with_the_write_lock_held(disk, make_row, raw_sql, fake_clock, folder):
    refused = []

    def allow(header):
        con = sqlite3.connect(folder / "cache.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            con.execute("BEGIN IMMEDIATE")
        con.close()
        refused.append(header.ref.key)
        return True

    assert disk.write([make_row("key")], fake_clock.wall(), allow) == 1
    assert refused == ["key"]


def test_a_value_larger_than_the_whole_limit_is_not_taken(open_tier, put, get):
    tier = open_tier(max_bytes=1_000_000)
    put(tier, "small", "value")
    assert put(tier, "large", bytes(range(256)) * 8000, ttl=None) in {0, 1}  # it compresses well
    assert put(tier, "larger", hashlib.shake_256(b"x").digest(1_100_000)) == 0
    assert get(tier, "small") == "value"


@pytest.mark.parametrize("key", ["x" * 511, "x" * 60_000, "é" * 30_000, "語:" * 20_000])
def test_keys_hashed_for_their_length_are_listed_and_matched_by_what_the_user_wrote(disk, put, get, key):
    put(disk, key, "value")
    put(disk, "y", "other")
    assert get(disk, key) == "value"
    assert [item.header.ref.key for item in disk.scan("default", Pattern.parse(key[:3] + "*"))] == [key]
    assert disk.remove_matching("default", Pattern.parse("*" + key[-5:])) == 1
    assert get(disk, key) == "absent"
    assert get(disk, "y") == "other"


def test_removing_a_pattern_in_one_namespace_leaves_its_neighbours_alone(disk, put, fake_clock):
    for namespace in ("a", "a:", "b", "1:a"):
        for number in range(5):
            put(disk, f"k:{number}", namespace=namespace)
    assert disk.remove_matching("a", Pattern.parse("k:*")) == 5
    assert disk.clear("b") == 5
    assert sorted({item.header.ref.namespace for item in disk.scan(None)}) == ["1:a", "a:"]


def test_a_listing_of_many_streams_and_may_be_left_early(disk, make_row, fake_clock):
    disk.write([make_row(f"k:{n:05}", marks=(Mark("tag", 3),)) for n in range(2345)], fake_clock.wall())
    disk.write([make_row(f"k:{n:05}", namespace="other") for n in range(500)], fake_clock.wall())
    assert len(list(disk.scan("default"))) == 2345
    assert [one.header.ref.key for one in disk.scan("other")] == [f"k:{n:05}" for n in range(500)]
    listing = disk.scan("default", Pattern.parse("k:01*"))
    first = next(listing)
    assert first.header.marks == (Mark("tag", 3),)
    listing.close()
    assert disk.clear("default") == 2345


def test_prune_counts_what_it_does_and_a_dry_run_does_nothing(disk, put, fake_clock, raw_sql):
    put(disk, "old", "x", ttl=None)
    fake_clock.advance(100)
    put(disk, "expired", "x", ttl=1)
    put(disk, "first", "x" * 500, ttl=None, start=2)
    put(disk, "second", "x" * 500, ttl=None, start=3)
    raw_sql("INSERT INTO Cache (key, raw, mode) VALUES ('theirs', 0, 4)", "INSERT INTO Chunks VALUES (999, 0, x'00')")
    fake_clock.advance(2)
    now = fake_clock.wall()
    counts = {"expired": 1, "older": 1, "oversize": 1, "orphaned": 2}
    assert disk.prune(now, older_than=50, max_bytes=700, dry_run=True) == counts
    assert disk.usage().entries == 5
    assert disk.prune(now, older_than=50, max_bytes=700) == counts
    assert [one.header.ref.key for one in disk.scan(None)] == ["second"]


def test_verify_finds_and_repairs_what_was_changed_behind_its_back(disk, put, get, large, raw_sql):
    for key in ("good", "flipped", "moved", "extended", "foreign"):
        put(disk, key, key)
    put(disk, "large", large("x"))
    put(disk, "torn", large("y"))
    assert disk.verify() == {"integrity": "ok", "entries": 7, "corrupt": [], "foreign": 0, "orphaned": 0,
                             "unverified": 0, "removed": 0}  # fmt: skip
    raw_sql(
        "UPDATE Cache SET value = substr(value, 1, length(value) - 3) || x'010203' WHERE key = '7:default:flipped'",
        "UPDATE Cache SET key = '7:default:elsewhere' WHERE key = '7:default:moved'",
        "UPDATE Cache SET expire_time = expire_time + 1000 WHERE key = '7:default:extended'",
        "UPDATE Cache SET mode = 4 WHERE key = '7:default:foreign'",
        "DELETE FROM Chunks WHERE n = 1 AND owner = (SELECT rowid FROM Cache WHERE key = '7:default:torn')",
    )
    found = disk.verify()
    assert sorted(found["corrupt"]) == ["extended", "flipped", "moved", "torn"]
    assert (found["foreign"], found["removed"]) == (1, 0)
    assert disk.verify(repair=True)["removed"] == 5
    assert disk.verify() == {"integrity": "ok", "entries": 2, "corrupt": [], "foreign": 0, "orphaned": 0,
                             "unverified": 0, "removed": 0}  # fmt: skip
    assert get(disk, "good") == "good"


def test_versions_are_made_once_and_shared_by_every_tier_on_the_directory(open_tier):
    one, other = open_tier(), open_tier()
    assert isinstance(one, Versions)
    assert one.current("ns", ["a", "b"]) == {}
    made = one.current("ns", ["a", "\0key:b"], create=True)
    assert other.current("ns", ["a", "\0key:b", "c"]) == made
    assert other.current("ns", ["a", "c"], create=True)["a"] == made["a"]
    assert other.current("elsewhere", ["a"]) == {}
    assert all(0 <= version < 1 << 63 for version in made.values())


def test_a_renewed_version_is_another_one_everywhere(open_tier):
    one, other = open_tier(), open_tier()
    before = one.current("ns", ["a", "b"], create=True)
    other.renew("ns", ["a", "new"])
    after = one.current("ns", ["a", "b", "new"])
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]
    assert "new" in after


def test_twenty_threads_make_one_version(open_tier):
    tiers, found, barrier = [open_tier(timeout=10.0) for _ in range(2)], [], threading.Barrier(20)

    def make(tier):
        barrier.wait()
        found.append(tier.current("ns", ["tag"], create=True)["tag"])

    threads = [threading.Thread(target=make, args=(tiers[n % 2],)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_many_names_at_once(disk):
    names = [f"tag:{n}" for n in range(1700)]
    made = disk.current("ns", names, create=True)
    assert len(set(made.values())) == 1700
    assert disk.current("ns", names) == made


def test_the_tier_says_what_it_is(disk: DiskTier):
    assert (disk.name, disk.blocking) == ("disk", True)


def test_reading_never_waits_for_a_writer(disk, put, get, raw_sql, folder):
    put(disk, "key", "value")
    con = sqlite3.connect(folder / "cache.db", isolation_level=None)
    try:
        con.execute("BEGIN IMMEDIATE")
        con.execute("DELETE FROM Cache")
        assert get(disk, "key") == "value"
    finally:
        con.close()


def test_no_expiry_is_kept_apart_from_every_time(disk, put, get, fake_clock):
    put(disk, "key", "value", ttl=None)
    assert disk.count("default", None, math.inf) == 1
    assert disk.prune(1e300)["expired"] == 0
    assert get(disk, "key") == "value"


def test_a_lock_that_another_process_holds_is_a_tier_away_after_the_timeout(disk, put, get, folder):
    put(disk, "key", "value")
    con = sqlite3.connect(folder / "cache.db", isolation_level=None)
    try:
        con.execute("BEGIN IMMEDIATE")
        for work in (lambda: put(disk, "other", "x"), lambda: disk.renew("ns", ["a"]), lambda: disk.clear(None)):
            with pytest.raises(TierUnavailable, match="write lock"):
                work()
        assert disk.maintain(2e9) == {"expired": 0, "oversize": 0}
        assert get(disk, "key") == "value"
    finally:
        con.close()
    assert put(disk, "other", "x") == 1


@pytest.mark.parametrize("letter", ["p", "ü", "🎉"])
@pytest.mark.parametrize("length", [1, 49, 50, 51, 99, 100, 101, 199, 200, 201, 400])
def test_a_prefix_removes_what_begins_with_it_and_nothing_else(letter, length, disk, put):
    """Keys hashed for their length are found by their first 200 bytes only, and told apart by their headers."""
    others = "q*[\\"
    keys = {letter * n + other + "z" * rest for n in (1, 50, 100, 200, 400) for other in others for rest in (0, 600)}
    keys |= {letter * 700, letter * 700 + "q"}
    for key in keys:
        put(disk, key)
        put(disk, key, namespace="another")
    pattern = Pattern.parse(letter * length + "*")
    gone = {key for key in keys if key.startswith(letter * length)}
    assert disk.remove_matching("default", pattern) == len(gone)
    assert {one.header.ref.key for one in disk.scan("default")} == keys - gone
    assert disk.count("another", None, 0.0) == len(keys)


@pytest.mark.parametrize("text", ["a\\*", "a\\**", "a[*]*", "a**", "a*?", "a\\b*", "a?*"])
def test_a_pattern_that_only_looks_like_a_prefix_removes_what_it_matches(text, disk, put):
    keys = ["a", "a*", "a*x", "ab", "abc", "b*", "a\\*", "a\\b"]
    for key in keys:
        put(disk, key)
    pattern = Pattern.parse(text)
    gone = {key for key in keys if pattern.matches(key)}
    assert disk.remove_matching("default", pattern) == len(gone)
    assert {one.header.ref.key for one in disk.scan("default")} == set(keys) - gone


def test_it_knows_of_what_it_did_not_find_that_it_had_expired(disk, put, get, fake_clock):
    put(disk, "late", "value", ttl=1)
    put(disk, "fresh", "value", ttl=9)
    late, fresh, absent = refs = [Ref("default", key) for key in ("late", "fresh", "absent")]
    fake_clock.advance(2)
    assert [disk.read(ref, fake_clock.wall()) is None for ref in refs] == [True, False, True]
    assert [disk.why_absent(ref) for ref in refs] == ["expired", None, None]
    assert list(disk.read_many([absent, late, fresh], fake_clock.wall())) == [fresh]
    assert [disk.why_absent(ref) for ref in refs] == ["expired", None, None]
    put(disk, "late", "value", ttl=1, start=2)
    assert get(disk, "late") == "value"
    disk.remove([late])
    disk.read(late, fake_clock.wall())
    assert disk.why_absent(late) is None


def test_what_it_knows_of_expired_entries_is_bounded(disk, make_row, fake_clock):
    disk.write([make_row(f"key:{number}", "v", ttl=1) for number in range(2500)], fake_clock.wall())
    fake_clock.advance(2)
    refs = [Ref("default", f"key:{number}") for number in range(2500)]
    assert disk.read_many(refs, fake_clock.wall()) == {}
    assert sum(disk.why_absent(ref) is not None for ref in refs) <= 1000
    assert disk.why_absent(refs[-1]) == "expired"
