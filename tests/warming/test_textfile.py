"""The file for Prometheus is whole, readable, and remembers the last success."""

from __future__ import annotations

from pathlib import Path

import pytest

from scoutcache.errors import CacheError
from scoutcache.warming.textfile import write_textfile

FIGURES = {"requested": 3, "warmed": 2, "skipped": 0, "failed": 1, "seconds": 0.25}


def values(path):
    lines = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_it_holds_every_figure_with_its_type(tmp_path):
    path = tmp_path / "warm.prom"
    write_textfile(path, FIGURES, 1000.5, success=True)
    found = values(path)
    assert {name: found[f"scoutcache_warm_{name}"] for name in FIGURES} == FIGURES
    assert found["scoutcache_warm_last_success_timestamp_seconds"] == 1000.5
    assert path.read_text().count("# TYPE") == len(found)
    assert path.read_text().endswith("\n")
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_prometheus_s_own_parser_reads_it(tmp_path):
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is not installed")
    write_textfile(tmp_path / "warm.prom", FIGURES, 1000.5, success=True)
    families = list(parser.text_string_to_metric_families((tmp_path / "warm.prom").read_text()))
    assert len(families) == 7


def test_a_failure_keeps_the_time_of_the_last_success(tmp_path):
    path = tmp_path / "warm.prom"
    write_textfile(path, FIGURES, 1000, success=False)
    assert "scoutcache_warm_last_success_timestamp_seconds" not in values(path)
    write_textfile(path, FIGURES, 1795919654.25, success=True)
    write_textfile(path, FIGURES, 1795919999, success=False)
    assert values(path)["scoutcache_warm_last_success_timestamp_seconds"] == 1795919654.25
    assert values(path)["scoutcache_warm_last_run_timestamp_seconds"] == 1795919999


@pytest.mark.parametrize("content", [b"\xff\xfe", b"scoutcache_warm_last_success_timestamp_seconds 1.2.3\n"])
def test_a_damaged_file_is_replaced(tmp_path, content):
    path = tmp_path / "warm.prom"
    path.write_bytes(content)
    write_textfile(path, FIGURES, 1000, success=False)
    assert values(path)["scoutcache_warm_failed"] == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(CacheError, match=r"--prom-textfile: .*nowhere.*: can't be written"):
        write_textfile(tmp_path / "nowhere" / "warm.prom", FIGURES, 1.0, success=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("success", [True, False])
def test_a_device_is_written_into_and_links_are_followed(tmp_path, success):
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    write_textfile(null, FIGURES, 1000, success=success)
    assert null.is_symlink()
    assert Path("/dev/null").is_char_device()
    with pytest.raises(CacheError, match="No space left"):
        write_textfile(Path("/dev/full"), FIGURES, 1000, success=success)
    assert Path("/dev/full").is_char_device()
