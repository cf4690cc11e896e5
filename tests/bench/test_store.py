from __future__ import annotations

import os

import pytest

from scoutcache.bench.store import default_folder, load, save, saved_names
from scoutcache.errors import CacheError, ConfigError


def test_a_saved_result_is_found_by_name_and_by_file(make_result, tmp_path):
    result = make_result()
    path = save(result, "before", tmp_path)
    assert load("before", tmp_path).results == load(str(path)).results == result.results
    assert saved_names(tmp_path) == ["before"]


def test_saving_again_replaces_and_leaves_nothing_else_behind(make_result, make_row, tmp_path):
    save(make_result(), "a", tmp_path)
    save(make_result(make_row(tier="disk")), "a", tmp_path)
    assert load("a", tmp_path).results[0].tier == "disk"
    assert os.listdir(tmp_path) == ["a.json"]


def test_without_a_folder_results_go_to_the_user_s_data_folder(make_result, isolated_environment):
    path = save(make_result(), "mine")
    assert path.parent == default_folder()
    assert isolated_environment in path.parents
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "x" * 65, "nul\0"])
def test_a_name_that_could_leave_the_folder_is_refused(make_result, tmp_path, name):
    with pytest.raises(ConfigError, match="can't name a benchmark"):
        save(make_result(), name, tmp_path)


def test_an_unknown_name_says_which_are_known(make_result, tmp_path):
    save(make_result(), "known", tmp_path)
    with pytest.raises(CacheError, match="'nope'") as caught:
        load("nope", tmp_path)
    assert "known" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_file_that_is_no_result_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "odd.json").write_bytes(content)
    with pytest.raises(CacheError, match=r"odd\.json"):
        load("odd", tmp_path)
