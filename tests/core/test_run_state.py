"""What became of runs is kept in one file, and a damaged one counts as empty."""

from __future__ import annotations

import pytest

from scoutcache.core.run_state import change_runs, read_runs


def test_what_is_written_is_read_and_belongs_to_the_owner_alone(tmp_path):
    path = tmp_path / "new" / "runs.json"
    assert read_runs(path) == {}
    change_runs(path, lambda state: {**state, "a": {"n": 1}})
    change_runs(path, lambda state: {**state, "b": {"n": state["a"]["n"] + 1}})
    assert read_runs(path) == {"a": {"n": 1}, "b": {"n": 2}}
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{", b"[" * 100_000, b'{"a": 3, "b": {}}'])
def test_a_damaged_file_counts_as_empty(tmp_path, content):
    path = tmp_path / "runs.json"
    path.write_bytes(content)
    assert read_runs(path) in ({}, {"b": {}})


def test_an_edit_that_raises_leaves_the_file_as_it_is(tmp_path):
    path = tmp_path / "runs.json"
    change_runs(path, lambda _: {"a": {}})
    with pytest.raises(ZeroDivisionError):
        change_runs(path, lambda _: 1 / 0)
    assert read_runs(path) == {"a": {}}
    assert [one.name for one in tmp_path.iterdir()] == ["runs.json"]
