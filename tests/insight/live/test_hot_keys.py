"""The newest lines of the log are read once each, and what is remembered of them is bounded in time and number."""

from __future__ import annotations

from scoutcache.insight.live import hot_keys
from scoutcache.insight.live.hot_keys import HotKeys


def keys(following, **more):
    return [(row["key"], row["requests"]) for row in following.hottest(5, **more)]


def test_what_is_asked_for_most_comes_first_and_counts_once(recorder, say, directory, fake_clock):
    following = HotKeys(directory)
    following.turn(fake_clock.wall())
    assert keys(following) == []
    for key in ("a", "b", "b"):
        say("get", "hit", key, tier="disk")
    say("compute", "miss", "a", reason="cold")
    say("compute", "miss", "a", reason="corrupt", tier="disk")  # that tier's share of it
    say("set", "stored", "a")
    recorder.publish({})
    for _ in range(3):
        following.turn(fake_clock.wall())
    assert following.hottest(5) == [{"key": "a", "namespace": "default", "requests": 2, "hit_rate": 0.5},
                                    {"key": "b", "namespace": "default", "requests": 2, "hit_rate": 1.0}]  # fmt: skip
    say("get", "hit", "b", tier="disk")
    recorder.publish({})
    following.turn(fake_clock.wall())
    assert keys(following) == [("b", 3), ("a", 2)]
    assert keys(following, namespace="other") == []


def test_hits_of_memory_that_share_a_line_all_count(recorder, directory, fake_clock):
    now = fake_clock.monotonic_ns()
    for at in range(3):
        recorder.hit_log((now + at, now + at + 5, "default", "hot", 10))
    recorder.publish({})
    following = HotKeys(directory)
    following.turn(fake_clock.wall())
    assert keys(following) == [("hot", 3)]


def test_after_a_minute_it_is_forgotten(recorder, say, directory, fake_clock):
    say("get", "hit", "a", tier="disk")
    recorder.publish({})
    following = HotKeys(directory)
    following.turn(fake_clock.wall())
    assert keys(following) == [("a", 1)]
    fake_clock.advance(61)
    following.turn(fake_clock.wall())
    assert keys(following) == []


def test_who_writes_a_file_is_known(recorder, say, directory, fake_clock):
    import os

    say("get", "hit", "a", tier="disk")
    recorder.publish({})
    following = HotKeys(directory)
    following.turn(fake_clock.wall())
    ((process, writer),) = following.writers.items()
    assert process == recorder._process
    assert writer.pid == os.getpid()


def test_torn_foreign_and_hostile_lines_harm_nothing(recorder, say, directory, fake_clock, hostile, monkeypatch):
    for key in hostile:
        say("get", "hit", key, tier="disk")
    recorder.publish({})
    (path,) = (directory / hot_keys.FOLDER).glob("*.jsonl")
    (path.parent / "foreign.jsonl").write_bytes(b"\xff\xfe{nothing\n" * 3 + b"[1]\n")
    following = HotKeys(directory)
    following.turn(fake_clock.wall())
    assert sum(row["requests"] for row in following.hottest(100)) == len(hostile)
    with path.open("ab") as file:
        file.write(b'{"time": 1, "op": "ge')
    following.turn(fake_clock.wall())
    assert following._places[path.name] == path.stat().st_size - 21
    path.write_bytes(b"")  # shorter than it was
    following.turn(fake_clock.wall())
    path.unlink()
    following.turn(fake_clock.wall())
    assert path.name not in following._places


def test_a_burst_is_read_from_its_end(recorder, say, directory, fake_clock, monkeypatch):
    following = HotKeys(directory)
    say("get", "hit", "first", tier="disk")
    recorder.publish({})
    following.turn(fake_clock.wall())
    monkeypatch.setattr(hot_keys, "AT_ONCE", 300)
    for number in range(20):
        say("get", "hit", f"k{number}", tier="disk")
    recorder.publish({})
    following.turn(fake_clock.wall())
    found = {key for key, _ in keys(following)}
    assert "k19" in found
    assert "k1" not in found


def test_many_short_turns_are_remembered_as_one(recorder, say, directory, fake_clock):
    following = HotKeys(directory)
    for number in range(50):
        say("get", "hit", f"k{number % 2}", tier="disk")
        recorder.publish({})
        fake_clock.advance(-0.99)
        following.turn(fake_clock.wall())
    assert keys(following) == [("k0", 25), ("k1", 25)]
    assert len(following._turns) == 1
