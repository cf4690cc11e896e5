"""What will be asked for next: each reading of the log finds what it is for, and takes nothing else for it."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from scoutcache.oplog.records import Line
from scoutcache.warming import predict_history
from scoutcache.warming.predict import Life, predict
from scoutcache.warming.predict_history import History, Name, counts

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
MONDAY = datetime(2026, 3, 2, tzinfo=UTC).timestamp()


def history(*requests):
    """Of (time, key), in any order."""
    made = History()
    for time, key in sorted(requests):
        made.request(Name("ns", key), MONDAY + time, "p")
    return made


def foreseen(made, now, horizon=10 * MINUTE, **options):
    return {one.key: one for one in predict(made, MONDAY + now, horizon, **options)}


def every(key, period, until, begin=0.0, jitter=0.0, seed=1):
    dice = random.Random(seed)
    count = int((until - begin) / period) + 1
    return [(begin + n * period + dice.gauss(0, jitter), key) for n in range(count)]


def test_a_key_that_comes_every_two_hours_is_foreseen_when_its_time_is_near_and_not_before():
    made = history(*every("job", 2 * HOUR, 20 * HOUR, jitter=60))
    assert foreseen(made, 21 * HOUR) == {}
    found = foreseen(made, 22 * HOUR - 5 * MINUTE)["job"]
    assert found.reason == "periodic"
    assert found.probability > 0.7
    assert found.because == "requested every 2 h"
    assert abs(found.expected_at - (MONDAY + 22 * HOUR)) < 3 * MINUTE


def test_what_was_asked_for_once_or_for_seconds_only_has_no_rate_yet():
    made = history((0.0, "old"), (0.5, "twice"), (2.0, "twice"), (3.0, "once"))
    assert foreseen(made, 4.0) == {}
    found = foreseen(made, 4.0, horizon=HOUR)
    assert list(found) == ["twice"]
    assert 0.8 < found["twice"].probability < 0.9
    assert found["twice"].because == "requested 2.1 times an hour lately"


def test_a_key_that_has_died_is_left_alone():
    """Each time that passed without it halves the chance, so nothing is warmed for ever."""
    made = history(*every("job", 2 * HOUR, 20 * HOUR))
    chances = [foreseen(made, at * HOUR - MINUTE, least=0.0)["job"].probability for at in (22, 24, 26)]
    assert chances[0] > 1.8 * chances[1] > 3.2 * chances[2]
    assert foreseen(made, 40 * HOUR - MINUTE) == {}


def test_one_visit_missed_is_no_other_rhythm():
    made = history(*(one for n, one in enumerate(every("job", 2 * HOUR, 40 * HOUR)) if n != 7))
    assert foreseen(made, 42 * HOUR - MINUTE)["job"].because == "requested every 2 h"


def test_a_burst_is_one_visit():
    made = history(*((at + n, "job") for at, _ in every("", 2 * HOUR, 20 * HOUR) for n in range(5)))
    assert foreseen(made, 22 * HOUR - MINUTE)["job"].because == "requested every 2 h"


def test_what_a_clock_starts_is_foreseen_by_the_clock_and_not_by_when_it_came_last():
    late = [*every("job", 2 * HOUR, 58 * HOUR, jitter=2 * MINUTE), (60 * HOUR + 8 * MINUTE, "job")]
    found = foreseen(history(*late), 62 * HOUR - 5 * MINUTE)
    assert abs(found["job"].expected_at - (MONDAY + 62 * HOUR)) < 3 * MINUTE


def test_a_key_of_a_time_of_the_day_is_foreseen_at_that_time():
    dice = random.Random(2)
    visits = [(day * DAY + 9 * HOUR + dice.uniform(-120, 120), "report") for day in range(6)]
    noise = [(n * 61.0, f"noise:{n}") for n in range(int(6 * DAY / 61))]
    made = history(*visits, *noise)
    found = foreseen(made, 6 * DAY + 9 * HOUR - 5 * MINUTE)["report"]
    assert found.reason in {"daily", "periodic"}
    assert "report" not in foreseen(made, 6 * DAY + 15 * HOUR)


def test_times_of_the_day_that_are_irregular_otherwise_are_found_by_the_clock():
    """Some days twice, some not at all: no rhythm, but a time."""
    visits = [(day * DAY + hour * HOUR, "a") for day in range(9) for hour in ((9, 17) if day % 3 else (9, 11, 13))]
    made = history(*visits, (0.0, "first"))
    found = foreseen(made, 9 * DAY + 9 * HOUR - 5 * MINUTE)["a"]
    assert (found.reason, found.because) == ("daily", "requested about this time on 9 of 9 days")


def test_a_weekday_is_told_from_the_others():
    visits = [(7 * week * DAY + 8 * HOUR, "weekly") for week in range(4)]
    more = [(7 * week * DAY + hour * HOUR, "weekly") for week in range(4) for hour in (30, 61, 63)]
    made = history(*visits, *more)
    found = foreseen(made, 28 * DAY + 8 * HOUR - 5 * MINUTE)["weekly"]
    assert found.because == "requested about this time on 4 of 4 Mondays"
    assert "weekly" not in foreseen(made, 29 * DAY + 8 * HOUR - 5 * MINUTE)


def test_midnight_may_lie_within_the_horizon():
    visits = [(day * DAY + 60, "a") for day in range(1, 7)] + [(day * DAY + 5 * HOUR, "a") for day in (1, 2, 4)]
    assert "a" in foreseen(history(*visits, (0, "b")), 7 * DAY - 4 * MINUTE)


def test_what_follows_is_foreseen_once_the_other_has_come():
    dice = random.Random(3)
    times = sorted(dice.uniform(0, 10 * DAY) for _ in range(40))
    pairs = [one for at in times for one in ((at, "login:7"), (at + 240, "profile:7"))]
    now = 10 * DAY + HOUR
    assert "profile:7" not in foreseen(history(*pairs, (now - 2 * HOUR, "x")), now)
    found = foreseen(history(*pairs, (now - MINUTE, "login:7")), now)["profile:7"]
    assert found.reason == "sequence"
    assert found.because.startswith("follows login:7 in ")


def test_what_has_followed_already_is_not_expected_again():
    times = [n * 7.3 * HOUR for n in range(30)]
    pairs = [one for at in times for one in ((at, "a"), (at + 60, "b"))]
    now = times[-1] + 2 * MINUTE
    assert foreseen(history(*pairs), now, least=0.0).get("b") is None or (
        foreseen(history(*pairs), now, least=0.0)["b"].reason != "sequence"
    )


def test_what_is_asked_for_all_the_time_is_foreseen_whenever():
    made = history(*((n * 47.0, "hot") for n in range(200)), (0, "once"))
    assert foreseen(made, 200 * 47.0)["hot"].probability > 0.9
    assert "once" not in foreseen(made, 200 * 47.0)


def test_what_comes_by_chance_is_hardly_ever_taken_for_regular():
    dice = random.Random(4)
    requests = [(dice.uniform(0, 6 * DAY), f"k:{dice.randrange(500)}") for _ in range(8000)]
    found = foreseen(history(*requests), 6 * DAY)
    assert len(found) <= 10  # of 500 keys


def test_what_the_cache_has_for_long_enough_is_no_work():
    made = history(*every("job", 2 * HOUR, 20 * HOUR))
    now = 22 * HOUR - MINUTE

    def life(until, ttl=HOUR):
        return lambda name: Life(MONDAY + until, ttl)

    assert "job" not in foreseen(made, now, life=life(23 * HOUR))
    assert "job" in foreseen(made, now, life=life(now + 1))
    assert "job" not in foreseen(made, now, life=life(22 * HOUR + 8 * MINUTE))  # it will still be there


def test_what_would_not_live_until_it_is_asked_for_is_no_work():
    made = history(*every("job", 2 * HOUR, 20 * HOUR))
    now = 22 * HOUR - 8 * MINUTE
    assert "job" not in foreseen(made, now, life=lambda name: Life(0.0, 60.0))
    assert "job" in foreseen(made, now, life=lambda name: Life(0.0, 15 * MINUTE))


def test_the_best_come_first_and_no_more_than_asked_for():
    made = history(*every("job", 2 * HOUR, 20 * HOUR), *((n * 61.0, "hot") for n in range(1200)))
    found = predict(made, MONDAY + 22 * HOUR - MINUTE, 600, 1)
    assert len(found) == 1
    everything = predict(made, MONDAY + 22 * HOUR - MINUTE, 600)
    assert found == everything[:1]
    assert [one.probability for one in everything] == sorted((one.probability for one in everything), reverse=True)


def test_an_empty_log_foresees_nothing():
    assert predict(History(), MONDAY, 600) == []


def test_what_was_computed_beside_the_calls_or_bypassed_is_no_request():
    """A warming that counted as a request would foresee itself for ever."""
    made = History()
    for op, reason in (("refresh", None), ("set", None), ("get", "bypassed"), ("compute", "bypassed")):
        made.observe(Line(MONDAY, op, "a", "ns", reason=reason))
    assert made.keys == {}
    assert counts(Line(MONDAY, "get", "a", "ns", outcome="miss", reason="cold"))


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(predict_history, "MOST_KEYS", 50)
    made = history(*((n * 700.0, f"k:{n % 300}") for n in range(3000)))
    assert len(made.keys) <= 101
    assert all(len(one.before) <= predict_history.PREDECESSORS for one in made.keys.values())


@given(
    requests=st.lists(st.tuples(st.floats(0, 30 * DAY), st.sampled_from("abcde")), max_size=200),
    now=st.floats(0, 60 * DAY), horizon=st.floats(1, 2 * DAY), ttl=st.floats(0.1, 1e6),
)  # fmt: skip
def test_whatever_the_log_a_chance_is_one_and_lies_ahead(requests, now, horizon, ttl):
    made = history(*requests)
    last = max((time for time, _ in requests), default=0.0)
    now = max(now, last)
    for one in predict(made, MONDAY + now, horizon, life=lambda name: Life(0.0, ttl), least=0.0):
        assert 0 <= one.probability <= 1
        assert one.because
        assert one.expected_at is None or one.expected_at >= MONDAY + now
