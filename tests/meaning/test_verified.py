"""What is learned from labels: an order, and a cut that keeps the mass of wrong hits under an error."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("numpy", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache.meaning.evidence import MOST, Evidence, Observation, read_evidence
from scoutcache.meaning.verified import (
    LEARNING,
    Figures,
    Label,
    figures,
    learn,
    may_serve,
    pack,
    read_figures,
    unpack,
)


def labels(count, right_if, seed=0):
    dice = random.Random(seed)
    made = []
    for _ in range(count):
        one = Figures(dice.uniform(0.6, 1.0), dice.uniform(0.5, 1.0), 0.0, 1.0, 0.0)
        made.append(Label(one, right_if(one, dice)))
    return made


def test_too_few_labels_serve_nothing():
    assert learn(labels(LEARNING - 1, lambda *_: True), 0.05) is None
    assert may_serve(Figures(1.0, 1.0, 0.0, 3.0, 0.0), None) == "nothing was learned yet"


@pytest.mark.parametrize("error", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_served_stays_under_the_error(error, seed):
    """Right answers become likelier with similarity; on fresh requests the wrong ones served stay under the error."""

    def right(one, dice):
        return dice.random() < (one.similarity - 0.6) / 0.38

    model = learn(labels(2000, right, seed), error)
    fresh = labels(4000, right, seed + 100)
    served = [one for one in fresh if may_serve(one.figures, model) is None]
    assert sum(not one.right for one in served) / len(fresh) <= error
    assert error < 0.02 or served


def test_wording_that_implies_no_answer_serves_nothing():
    model = learn(labels(2000, lambda _, dice: dice.random() < 0.5), 0.02)
    assert model.cut == float("inf")


def test_an_answer_seen_wrong_for_a_query_as_near_never_serves():
    model = learn(labels(2000, lambda *_: True), 0.05)
    assert may_serve(Figures(0.99, 1.0, 0.0, 3.0, 0.0), model) is None
    assert "wrong" in may_serve(Figures(0.99, 1.0, 0.0, 3.0, 1.0), model)


def test_an_answer_that_nobody_confirmed_serves_nobody_else():
    model = learn(labels(2000, lambda *_: True), 0.05)
    for words in (0.1, 0.9, 1.0):
        assert "never right for another query" in may_serve(Figures(1.0, words, 0.0, 0.0, 0.0), model)
        assert may_serve(Figures(1.0, words, 0.0, 1.0, 0.0), model) is None


def test_figures_count_what_was_seen_at_such_distances():
    seen = (Observation(0.8, True, "a"), Observation(0.99, False, "b"), Observation(0.95, True, "c"))
    found = figures("reset my password", "reset the password now", 0.9, Evidence("b", seen))
    assert (found.right, found.wrong) == (1.0, 1.0)
    assert 0 < found.words <= 1


def test_labels_survive_packing_and_strangers_are_none():
    some = labels(3, lambda *_: True)
    assert [one.right for one in unpack(pack(some))] == [True] * 3
    assert unpack(pack(some))[0].figures.similarity == pytest.approx(some[0].figures.similarity, abs=1e-6)
    for stranger in (None, "text", b"short", b"\xff" * 25):
        assert unpack(stranger) == []


def test_figures_are_read_as_they_were_written_and_others_refused():
    some = Figures(0.9, 0.5, 1.0, 3.0, 0.0)
    assert read_figures(list(some)) == some
    strangers = (None, "x", [], [0.9] * 4, [1.1, 0.5, 0.0, 0.0, 0.0], [0.9, 0.5, 0.0, 4.0, 0.0])
    numbers = ([0.9, 0.5, 0.0, 1, 0.0], [0.9, float("nan"), 0.0, 0.0, 0.0], [0.9, 0.5, -1.0, 0.0, 0.0])
    for stranger in (*strangers, *numbers):
        assert read_figures(stranger) is None


def test_evidence_is_of_one_answer_counted_once_and_bounded():
    known = Evidence("b").with_(Observation(0.9, True, "m")).with_(Observation(0.9, False, "m"))
    assert [one.right for one in known.seen] == [False]
    assert known.wrong_up_to == 0.9
    assert read_evidence(known.written(), "b") == known
    assert read_evidence(known.written(), "other").seen == ()
    for _ in range(3):
        for at in range(MOST):
            known = known.with_(Observation(0.5, True, str(at)))
    assert len(known.seen) == MOST
    known = known.with_(Observation(0.9, False, "w"))
    for at in range(2 * MOST):
        known = known.with_(Observation(0.95, True, f"praise {at}")).with_(Observation(0.3, False, f"far {at}"))
    assert (len(known.seen), known.wrong_up_to) == (MOST, 0.9)
    for seen in ("x", 7, [[2.0, True, "m"], 7], [[0.5, "yes", "m"]]):
        assert read_evidence({"v": 1, "birth": "b", "seen": seen}, "b").seen == ()
    for stranger in (None, 3, {"birth": "b"}):
        assert read_evidence(stranger, "b").seen == ()
