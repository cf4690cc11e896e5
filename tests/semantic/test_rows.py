"""Rows on disk: shared, torn, replaced, foreign."""

from __future__ import annotations

import os

import pytest

np = pytest.importorskip("numpy", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache.errors import CacheError
from scoutcache.semantic.rows import DEAD, LIVE, PENDING, Rows

SCOPE, OTHER = b"s" * 16, b"o" * 16


@pytest.fixture
def rows(tmp_path):
    one = Rows(tmp_path / "index")
    with one.locked():
        one.create("words", [0.5], 4)
    return one


def ident(number):
    return number.to_bytes(16, "big")


def fill(rows, count, scope=SCOPE):
    with rows.locked():
        return [rows.append(scope, ident(at), np.full(4, at, np.float32), LIVE) for at in range(count)]


def test_what_one_process_appends_another_sees(rows, tmp_path):
    fill(rows, 3)
    other = Rows(tmp_path / "index")
    other.refresh()
    assert other.count == 3
    assert other.about.model == "words"
    assert [other.ident(row) for row in range(3)] == [ident(at) for at in range(3)]
    fill(rows, 2, OTHER)
    other.refresh()
    assert other.of_scope(OTHER).tolist() == [3, 4]
    with rows.locked():
        rows.set_state([0], DEAD)
    assert other.of_scope(SCOPE).tolist() == [1, 2]  # the same page


def test_a_torn_append_is_written_over(rows, tmp_path):
    fill(rows, 2)
    with open(tmp_path / "index" / "rows", "ab") as file:
        file.write(b"half of a row")
    other = Rows(tmp_path / "index")
    other.refresh()
    assert other.count == 2
    with other.locked():
        assert other.append(SCOPE, ident(9), np.ones(4, np.float32), PENDING) == 2
    rows.refresh()
    assert rows.ident(2) == ident(9)
    assert rows.unsettled() == [2]


def test_a_rewritten_file_is_another_generation_for_everybody(rows, tmp_path):
    fill(rows, 4)
    other = Rows(tmp_path / "index")
    other.refresh()
    before = other.about.generation
    with rows.locked():
        rows.set_state([1, 2], DEAD)
        rows.rewrite(rows.alive(), "words", [0.5], 4)
    other.refresh()
    assert other.count == 2
    assert other.about.generation != before
    assert [other.ident(row) for row in range(2)] == [ident(0), ident(3)]


def test_a_foreign_file_is_refused_with_the_remedy(rows, tmp_path):
    (tmp_path / "index" / "rows").write_bytes(b"x" * 9000)
    with pytest.raises(CacheError, match="can't be read") as raised:
        Rows(tmp_path / "index").refresh()
    assert "rebuild" in raised.value.hint


def test_files_are_the_users_own(rows, tmp_path):
    fill(rows, 1)
    assert (tmp_path / "index").stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "index").iterdir()} == {0o600}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_file_that_may_only_be_read_is_read(rows, tmp_path):
    fill(rows, 2)
    (tmp_path / "index" / "rows").chmod(0o400)
    other = Rows(tmp_path / "index")
    other.refresh()
    assert other.count == 2


@pytest.mark.parametrize("holds", [b"", b"x" * 9000, b"[" * 8192, b'{"format": 1, "model": "m", "dim": 9e9}'])
def test_a_damaged_file_is_replaced(rows, tmp_path, holds):
    fill(rows, 2)
    (tmp_path / "index" / "rows").write_bytes(holds)
    for one in (rows, Rows(tmp_path / "index")):
        with one.locked(anew=True):
            one.rewrite((), "words", [0.5], 4, one.table([(SCOPE, ident(7), np.ones(4, np.float32))], 4))
        one.refresh()
        assert (one.count, one.ident(0)) == (1, ident(7))


def test_a_file_that_lost_its_header_while_it_was_open_is_refused(rows, tmp_path):
    os.truncate(tmp_path / "index" / "rows", 0)
    with pytest.raises(CacheError, match="can't be read"), rows.locked():
        pass
