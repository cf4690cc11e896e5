"""A filling that was broken off goes on where it stopped."""

from __future__ import annotations

import pytest

from scoutcache.warming.fill import state_folder, warm_from


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "keys.txt"
    path.write_text("a\nb\nc\nd\n")
    return path


def records(cache):
    return list((state_folder(cache.config) / "resume").iterdir())


class Broken(BaseException):
    pass


def breaking_at(key):
    def load(one):
        if one == key:
            raise Broken
        return one

    return load


def test_what_was_done_before_the_interruption_is_left_out(cache, source):
    with pytest.raises(Broken):
        warm_from(cache, source, call=breaking_at("c"), resume=False, concurrency=1)
    asked = []

    def load(key):
        asked.append(key)
        return key

    load.__qualname__ = breaking_at("c").__qualname__
    result = warm_from(cache, source, call=load, resume=True, concurrency=1)
    assert (asked, result.resumed, result.warmed) == (["c", "d"], 2, 2)
    assert records(cache) == []


def test_without_resuming_it_begins_anew(cache, source):
    with pytest.raises(Broken):
        warm_from(cache, source, call=breaking_at("c"), resume=False, concurrency=1)
    assert warm_from(cache, source, call=breaking_at("none"), resume=False, concurrency=1).warmed == 4
    assert records(cache) == []


def test_what_failed_is_asked_for_again_and_nothing_else(cache, source):
    def load(key):
        if key in bad:
            raise ValueError(key)
        return key

    bad = {"b"}
    assert warm_from(cache, source, call=load, resume=False).failed == 1
    bad.clear()
    result = warm_from(cache, source, call=load, resume=True)
    assert (result.resumed, result.warmed, result.failed) == (3, 1, 0)


def test_a_line_that_has_changed_since_is_done_again(cache, tmp_path):
    path = tmp_path / "values.jsonl"
    path.write_text('{"key": "a", "value": 1}\n{"key": "b", "value": 2}\n{\n')
    assert warm_from(cache, path, resume=False).failed == 1
    path.write_text('{"key": "a", "value": 9}\n{"key": "b", "value": 2}\n')
    result = warm_from(cache, path, resume=True)
    assert (result.warmed, result.resumed, cache.get("a")) == (1, 1, 9)


def test_a_record_that_is_torn_or_damaged_only_costs_doing_it_again(cache, source):
    with pytest.raises(Broken):
        warm_from(cache, source, call=breaking_at("c"), resume=False, concurrency=1)
    [record] = records(cache)
    record.write_bytes(record.read_bytes()[:-9] + b"\xff\x00")
    load = breaking_at("none")
    result = warm_from(cache, source, call=load, resume=True, concurrency=1)
    assert (result.resumed, result.warmed) == (1, 3)


def test_no_key_and_no_value_stands_in_the_record(cache, tmp_path):
    path = tmp_path / "values.jsonl"
    path.write_text('{"key": "secret-key", "value": "secret-value"}\n{\n')
    warm_from(cache, path, resume=False)
    [record] = records(cache)
    assert b"secret" not in record.read_bytes()
    assert record.stat().st_mode & 0o777 == 0o600


def test_another_function_has_a_record_of_its_own(cache, source):
    with pytest.raises(Broken):
        warm_from(cache, source, call=breaking_at("c"), resume=False, concurrency=1)
    assert warm_from(cache, source, call=str.upper, resume=True).resumed == 0
