"""Dead rows are taken out beside the calls: nothing that lives is lost, whoever writes or dies meanwhile."""

from __future__ import annotations

import threading

import pytest

np = pytest.importorskip("numpy", reason="needs pip install 'scoutcache[test,semantic]'")
pytest.importorskip("faiss", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache import Cache
from scoutcache.semantic import compacting
from scoutcache.semantic.embedding import Encoding
from scoutcache.semantic.index import Index, Place
from scoutcache.semantic.models import Function
from scoutcache.semantic.rows import DEAD, LIVE, PENDING, REMOVING, Rows

from .words import DIM, embed

SCOPE, PROBE = b"s" * 16, [0.0] * DIM


def ident(at):
    return f"{at:016}".encode()


def vector(at):
    return np.full(DIM, at, np.float32)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(compacting, "LEAST", 4)


@pytest.fixture
def rows(tmp_path):
    one = Rows(tmp_path)
    with one.locked():
        one.create("m", PROBE, DIM)
        for at in range(12):
            one.append(SCOPE, ident(at), vector(at), (LIVE, PENDING, REMOVING)[at % 3])
        one.set_state(range(6), DEAD)
    return one


def held(rows):
    rows.refresh()
    return {rows.ident(row): (int(rows.states[row]), float(rows.vectors[row][0])) for row in range(rows.count)
            if rows.states[row] != DEAD}  # fmt: skip


def test_what_lives_keeps_its_state_and_vector(rows, tmp_path):
    before, generation = held(rows), rows.about.generation
    size = (tmp_path / "rows").stat().st_size
    assert compacting.compact(tmp_path) == 6
    assert held(rows) == before
    assert rows.count == 6
    assert rows.about.generation != generation
    assert (tmp_path / "rows").stat().st_size < size
    assert (tmp_path / "rows").stat().st_mode & 0o777 == 0o600
    assert compacting.compact(tmp_path) == 0


def test_what_changes_while_it_is_copied_is_taken_over(rows, tmp_path, monkeypatch):
    raw, done = Rows.raw, []

    def then_change(self, wanted):
        found = raw(self, wanted)
        if not done:
            done.append(True)
            with rows.locked():
                rows.set_state([6, 7], DEAD)
                rows.set_state([8], LIVE)
                rows.append(SCOPE, ident(20), vector(20), LIVE)
        return found

    monkeypatch.setattr(Rows, "raw", then_change)
    compacting.compact(tmp_path)
    found = held(rows)
    assert done
    assert sorted(found) == [ident(at) for at in (8, 9, 10, 11, 20)]
    assert found[ident(8)] == (LIVE, 8.0)
    assert found[ident(20)] == (LIVE, 20.0)


def test_a_file_that_was_replaced_meanwhile_stays(rows, tmp_path, monkeypatch):
    raw, done = Rows.raw, []

    def then_replace(self, wanted):
        found = raw(self, wanted)
        if not done:
            done.append(True)
            with rows.locked():
                rows.rewrite((), "other", PROBE, DIM)
        return found

    monkeypatch.setattr(Rows, "raw", then_replace)
    assert compacting.compact(tmp_path) == 0
    rows.refresh()
    assert (rows.about.model, rows.count) == ("other", 0)
    assert list(tmp_path.glob(".compact.*")) == []


def test_what_killed_processes_left_is_cleared_away(rows, tmp_path):
    (tmp_path / ".compact.dead").write_bytes(b"half")
    for name, text in (("graph-ab", '{"generation": "old", "covered": 1, "file": "graph-ab.1"}'), ("graph-ab.1", "x"),
                       ("graph-ab.lost", "x"), ("graph-ab.lock", "")):  # fmt: skip
        (tmp_path / name).write_text(text)
    compacting.compact(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["compact.lock", "graph-ab.lock", "lock", "rows"]


def index_in(folder, kind="auto"):
    return Index(folder, Encoding(lambda: Function(embed, "words")), kind, lambda: 0.0)


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_an_index_that_wastes_room_is_compacted_of_itself(tmp_path, kind):
    """Two processes' views: one adds and removes, the other goes on finding what lives, and nothing else."""
    index, other = index_in(tmp_path, kind), index_in(tmp_path, kind)
    vectors = embed([f"query number {at}" for at in range(60)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for at in range(60):
        index.adding(Place(SCOPE, ident(at)), vectors[at])
        index.added(Place(SCOPE, ident(at)), vectors[at])
        if at % 3:
            index.removing([Place(SCOPE, ident(at))])
            index.removed([Place(SCOPE, ident(at))])
        if at % 10 == 9:
            index.settle_graphs()
            found = other.near(vectors[at - at % 3], SCOPE, 1)
            assert found[0].place.ident == ident(at - at % 3)
    for one in (index, other, index):  # what died while the file was written anew goes once the new one is seen
        one.settle_compacting()
        one.places()
    for one in (index, other):
        one.settle_compacting()
        one.settle_graphs()
        assert {int(place.ident) for place in one.places()} == set(range(0, 60, 3))
        assert [one.near(vectors[at], SCOPE, 1)[0].place.ident for at in range(0, 60, 3)] == [
            ident(at) for at in range(0, 60, 3)
        ]
    assert index.rows.count < 40


def test_a_candidate_of_an_older_file_hits_no_other_row(tmp_path):
    """It was found before the file was written anew, and turned out to be gone after: its number means another now."""
    index = index_in(tmp_path, "flat")
    vectors = embed([f"query number {at}" for at in range(12)])
    places = [Place(SCOPE, ident(at)) for at in range(12)]
    for place, one in zip(places, vectors, strict=True):
        index.adding(place, one)
        index.added(place, one)
    candidates = {one.place: one for one in index.near(vectors[0], SCOPE, 12)}
    generation, ghosts = index.generation(), {place: row for place, (row, _) in index.places().items()}
    index.removing(places[:6])
    index.removed(places[:6])
    index.settle_compacting()
    assert compacting.compact(tmp_path) or index.generation() != generation
    index.pass_over(candidates[places[0]], gone=True)
    index.pass_over(candidates[places[1]], gone=False)
    index.amend((), ghosts, generation)
    assert sorted(one.place for one in index.near(vectors[6], SCOPE, 12)) == places[6:]


def test_answers_are_served_while_and_after_the_file_is_compacted(tmp_path):
    with Cache(directory=tmp_path) as cache:
        cache.semantic.use(embed, "words")
        stop, wrong = threading.Event(), []
        cache.semantic.add("what is the answer", 42, model="m")

        def ask():
            while not stop.is_set():
                hit = cache.semantic.get("What is the answer?", model="m")
                if hit is None or hit.response != 42:
                    wrong.append(hit)

        asking = threading.Thread(target=ask)
        asking.start()
        for at in range(20):
            cache.semantic.remove(cache.semantic.add(f"some query {at}", at, model="m"))
        stop.set()
        asking.join()
        index = cache.semantic._flows.state.index("default")
        index.settle_compacting()
        assert wrong == []
        assert index.about()["indexed"] == 1
        assert index.rows.count < 21


def test_what_dies_while_the_file_is_written_anew_is_looked_at_after_it(tmp_path, monkeypatch):
    writing, go, times = threading.Event(), threading.Event(), []

    def slow(folder):
        times.append(folder)
        writing.set()
        assert go.wait(10)
        return 0

    index = index_in(tmp_path)
    vector = embed(["a query"])[0]
    for at in range(2 * compacting.LEAST + 2):
        index.added(Place(SCOPE, ident(at)), vector)
    monkeypatch.setattr(compacting, "compact", slow)
    index._compactor.consider()
    assert writing.wait(10)
    index._compactor.consider()
    go.set()
    index.settle_compacting()
    assert len(times) == 2
