"""The nearest rows: exact, and by a graph that is built beside the calls."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy", reason="needs pip install 'scoutcache[test,semantic]'")
pytest.importorskip("faiss", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache.semantic import nearest
from scoutcache.semantic.nearest import FEW, Scope
from scoutcache.semantic.rows import DEAD, LIVE, Rows

SCOPE = b"s" * 16


def unit(count, seed=0, dim=16):
    found = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def rows(tmp_path):
    one = Rows(tmp_path)
    with one.locked():
        one.create("words", [0.5], 16)
    return one


def fill(rows, vectors):
    with rows.locked():
        for at, vector in enumerate(vectors):
            rows.append(SCOPE, at.to_bytes(16, "big"), vector, LIVE)


def nobody(_):
    return False


def test_it_finds_what_comparing_all_would_find(rows, tmp_path):
    vectors = unit(300)
    fill(rows, vectors)
    scope = Scope(rows, SCOPE, tmp_path, "auto")
    for query in unit(20, seed=1):
        best = np.argsort(-(vectors @ query))[:5]
        assert [one.row for one in scope.search(query, 5, nobody)] == best.tolist()


def test_few_rows_need_no_faiss_and_many_are_found_as_well(rows, tmp_path, monkeypatch):
    vectors = unit(FEW + 40)
    fill(rows, vectors[: FEW - 40])
    with monkeypatch.context() as patch:
        patch.setattr(nearest, "load_faiss", lambda: pytest.fail("few rows are compared without it"))
        scope = Scope(rows, SCOPE, tmp_path, "auto")
        assert [one.row for one in scope.search(vectors[5], 1, nobody)] == [5]
    for begin in (FEW - 40, FEW + 20):  # past the limit, and beyond
        fill(rows, vectors[begin : begin + 60])
        scope.follow()
        known = vectors[: begin + 60]
        assert len(scope) == len(known)
        for query in (known[-1], *unit(10, seed=begin)):
            similar = known @ query
            found = scope.search(query, 5, nobody)
            assert [one.row for one in found] == np.argsort(-similar)[:5].tolist()
            assert [one.similarity for one in found] == pytest.approx(np.sort(similar)[::-1][:5].tolist(), abs=1e-6)


def test_dead_rows_and_those_passed_over_are_not_found(rows, tmp_path):
    vectors = unit(50)
    fill(rows, vectors)
    scope = Scope(rows, SCOPE, tmp_path, "auto")
    with rows.locked():
        rows.set_state(range(49), DEAD)
    assert [one.row for one in scope.search(vectors[0], 3, nobody)] == [49]
    assert scope.search(vectors[0], 3, lambda row: row == 49) == []


def test_a_graph_is_built_mapped_and_followed(rows, tmp_path):
    vectors = unit(400)
    fill(rows, vectors)
    scope = Scope(rows, SCOPE, tmp_path, "hnsw")
    assert scope.wants_graph
    scope.build_graph()
    scope.load_graph()
    assert not scope.wants_graph
    assert len(scope) == 400
    other = Scope(rows, SCOPE, tmp_path, "hnsw")  # of another process
    fill(rows, unit(3, seed=5))
    other.follow()
    assert len(other) == 403
    right = [other.search(query, 1, nobody)[0].row == int(np.argmax(vectors @ query)) for query in vectors[:50]]
    assert sum(right) >= 49
    assert other.search(unit(3, seed=5)[1], 1, nobody)[0].row == 401
    assert len(list(tmp_path.glob("graph-*"))) == 3  # the graph, what it is of, and the lock


def test_a_graph_of_other_rows_is_not_used(rows, tmp_path):
    fill(rows, unit(30))
    scope = Scope(rows, SCOPE, tmp_path, "hnsw")
    scope.build_graph()
    with rows.locked():
        rows.rewrite(rows.alive()[:10], "words", [0.5], 16)
    assert len(Scope(rows, SCOPE, tmp_path, "hnsw")) == 10
    assert Scope(rows, SCOPE, tmp_path, "flat").wants_graph is False


def test_a_damaged_graph_is_built_anew(rows, tmp_path):
    fill(rows, unit(30))
    Scope(rows, SCOPE, tmp_path, "hnsw").build_graph()
    for file in tmp_path.glob("graph-*.*"):
        file.write_bytes(b"nothing")
    scope = Scope(rows, SCOPE, tmp_path, "hnsw")
    assert scope.wants_graph
    assert scope.search(unit(30)[3], 1, nobody)[0].row == 3


def test_who_finds_that_another_process_has_built_it_builds_no_other(rows, tmp_path):
    fill(rows, unit(50))
    one, other = (Scope(rows, SCOPE, tmp_path, "hnsw") for _ in range(2))
    one.build_graph()
    built = list(tmp_path.glob("graph-*"))
    other.build_graph()
    assert list(tmp_path.glob("graph-*")) == built
    other.load_graph()
    assert not other.wants_graph
