from __future__ import annotations

from importlib import resources

import pytest

from scoutcache.bench import demo
from scoutcache.bench.demo import run_demo
from scoutcache.bench.workload import TraceRow, read_trace
from scoutcache.cache import Cache
from scoutcache.errors import CacheError


@pytest.fixture
def short_trace(monkeypatch):
    """Three prompts: blocks 0 1 2, then 0 1 3, then 0 4."""
    rows = [TraceRow(0.0, str(key), 1) for key in (0, 1, 2, 0, 1, 3, 0, 4)]
    monkeypatch.setattr(demo, "read_trace", lambda path: iter(rows))


def test_the_first_pass_computes_each_block_once_and_a_restart_computes_none(short_trace):
    result = run_demo()
    assert (result.first_pass.requests, result.first_pass.calls, result.first_pass.hits) == (8, 5, 3)
    assert (result.second_pass.calls, result.second_pass.hit_rate) == (0, 1.0)
    assert (result.requests, result.hits, result.calls_saved) == (16, 11, 11)
    assert result.hit_rate == pytest.approx(11 / 16)
    assert result.first_pass.prompts == 3


def test_money_is_tokens_times_the_stated_price_and_is_called_a_simulation(short_trace):
    result = run_demo()
    assert result.cost_saved_usd == pytest.approx(11 * 512 * 2.50 / 1_000_000)
    assert result.cost_usd == pytest.approx(5 * 512 * 2.50 / 1_000_000)
    assert result.statistics.estimated_cost_saved == pytest.approx(result.cost_saved_usd)
    assert result.simulated
    for word in ("simulation", "512", "$2.50", "gpt-4o-2024-08-06", "Mooncake"):
        assert word in result.note


def test_a_temporary_cache_is_gone_afterwards_and_a_kept_one_can_be_looked_at(short_trace, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_demo().directory is None
    assert list(tmp_path.iterdir()) == []
    kept = run_demo(keep=True)
    assert kept.directory is not None
    with Cache(directory=kept.directory) as cache:
        assert set(cache.keys("llm:*")) == {f"llm:block:{number}" for number in range(5)}
    assert all(kept.directory in step for step in kept.next_steps)


def test_a_directory_that_holds_something_is_left_alone(short_trace, tmp_path):
    (tmp_path / "precious").write_text("x")
    with pytest.raises(CacheError, match="not empty"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert run_demo(tmp_path / "new").directory == str(tmp_path / "new")


def test_progress_is_told_and_nothing_is_printed(short_trace, capsys):
    steps = []
    run_demo(progress=lambda *step: steps.append(step))
    assert steps == [("first", 0, 3), ("after a restart", 0, 3)]
    assert capsys.readouterr() == ("", "")


def test_a_wrong_answer_would_be_noticed(short_trace, monkeypatch):
    monkeypatch.setattr(demo, "_answer", lambda block, seen=[]: seen.append(block) or len(seen))
    with pytest.raises(CacheError, match="this is a bug"):
        run_demo()


def test_the_shipped_trace_is_whole_and_comes_with_its_licence():
    data = resources.files("scoutcache.bench") / "data"
    with resources.as_file(data / "llm_conversation.csv.gz") as path:
        keys = [row.key for row in read_trace(path)]
    assert (len(keys), len(set(keys))) == (19_975, 16_316)
    assert "Apache License" in (data / "LICENSE-Apache-2.0.txt").read_text()
    assert "Mooncake" in (data / "NOTICE.txt").read_text()


def test_the_shipped_trace_is_the_beginning_of_the_published_one(shared):
    published = read_trace(shared / "data" / "traces" / "llm_mooncake_conv.csv.gz")
    assert all(one == other for one, other in zip(read_trace(demo._TRACE), published, strict=False))


def test_a_file_in_the_place_of_the_directory_is_named_before_anything_is_begun(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="file is not a directory") as raised:
        run_demo(tmp_path / "file")
    assert raised.value.hint == "name a new directory, or none for a temporary one"
    assert not caplog.records
