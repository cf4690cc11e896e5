from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache.oplog.tally import MAX_EVENTS, MAX_PAIRS, OTHER, Counted, Tally, check_rows

events = st.lists(
    st.tuples(
        st.integers(0, 500), st.sampled_from(["a", "b"]), st.sampled_from(["", "llm"]), st.sampled_from(["", "disk"]),
        st.sampled_from(["hit", "miss"]), st.integers(1, 5),
    ),
    max_size=60,
)  # fmt: skip


def filled(rows: list[Any]) -> Tally:
    tally = Tally()
    for minute, namespace, prefix, tier, outcome, times in rows:
        tally.add(minute, namespace, prefix, tier, "get", outcome, times=times, size=times, cost=0.5)
        tally.spread(minute, namespace, tier, outcome).add(1000 * times)
    return tally


def total(tally: Tally) -> tuple[int, int, float, int]:
    rows = tally.counted()
    return (
        sum(row.count for row in rows), sum(row.size for row in rows), sum(row.cost for row in rows),
        sum(histogram.count for histogram in tally.spreads.values()),
    )  # fmt: skip


@given(events, events)
@settings(max_examples=50)
def test_tallies_sum_to_the_same_in_any_order_and_through_files(one: list[Any], other: list[Any]) -> None:
    forth, back = Tally(), Tally()
    for into, parts in ((forth, (one, other)), (back, (other, one))):
        for part in parts:
            tally = filled(part)
            rows = msgspec.json.decode(msgspec.json.encode(tally.counted()), type=list[Counted])
            into.merge(rows, tally.spread_rows())
    assert {row.name: row for row in forth.counted()} == {row.name: row for row in back.counted()}
    assert total(forth) == total(filled(one + other))


@given(events)
@settings(max_examples=50)
def test_summing_minutes_into_hours_loses_no_count(rows: list[Any]) -> None:
    tally = filled(rows)
    assert total(tally.coarsened()) == total(tally)
    assert all(row.minute % 60 == 0 for row in tally.coarsened().counted())
    assert all(row.minute % 60 == 0 or row.minute >= 240 for row in tally.coarsened(240).counted())


def test_more_prefixes_than_there_is_room_for_are_counted_together() -> None:
    tally = Tally()
    for number in range(MAX_PAIRS + 50):
        tally.add(1, "n", f"user{number}", "", "get", "miss")
    others = [row for row in tally.counted() if row.prefix == OTHER]
    assert (len(tally.counters), sum(row.count for row in others)) == (MAX_PAIRS + 1, 50)


def test_more_namespaces_than_there_is_room_for_keep_the_count_and_not_the_memory() -> None:
    tally = Tally()
    for number in range(8 * MAX_PAIRS):
        tally.add(1, f"tenant{number}", "llm", "", "get", "miss")
        tally.spread(1, f"tenant{number}", "", "miss").add(5)
    assert len(tally.counters) <= 6 * MAX_PAIRS
    assert total(tally)[0] == 8 * MAX_PAIRS == total(tally)[3]


def test_keeping_the_busiest_prefixes_loses_no_count() -> None:
    tally = Tally()
    tally.merge([Counted(1, "n", f"p{at}", "", "get", "miss", "", at + 1) for at in range(2 * MAX_PAIRS)], [])
    kept = tally.without_rare_prefixes()
    assert total(kept) == total(tally)
    assert {f"p{2 * MAX_PAIRS - 1}", OTHER} <= {row.prefix for row in kept.counted()}
    assert len(kept.counters) == MAX_PAIRS + 1


def test_reasons_in_anybodys_words_keep_the_count_and_not_the_memory() -> None:
    tally = Tally()
    for number in range(3 * MAX_EVENTS):
        tally.add(1, "n", "p", "", "get", "miss", f"because {number} \ud800")
    assert len(tally.counters) == MAX_EVENTS + 1
    assert total(tally)[0] == 3 * MAX_EVENTS
    assert msgspec.json.encode(tally.counted())


@pytest.mark.parametrize("wrong", [{"count": -1}, {"size": -1}, {"cost": float("nan")}, {"seconds": float("inf")}])
def test_figures_that_nothing_can_have_counted_are_refused(wrong: dict[str, Any]) -> None:
    row = msgspec.structs.replace(Counted(1, "n", "p", "", "get", "hit", "", 1), **wrong)
    with pytest.raises(ValueError, match="not a counter"):
        check_rows([row], [])


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_cost_that_is_no_number_is_unknown_and_spoils_nothing(figure: float) -> None:
    tally = Tally()
    tally.add(1, "n", "p", "", "get", "hit", cost=figure, seconds=figure)
    tally.add(1, "n", "p", "", "get", "hit", cost=0.5)
    (row,) = msgspec.json.decode(msgspec.json.encode(tally.counted()), type=list[Counted])
    assert (row.count, row.cost, row.costed, row.seconds) == (2, 0.5, 1, 0.0)


def test_a_name_that_no_file_can_hold_is_counted_all_the_same() -> None:
    tally = Tally()
    tally.add(1, "n", "\ud800", "", "get", "miss")
    assert msgspec.json.encode(tally.counted())
