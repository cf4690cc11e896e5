from __future__ import annotations

import gzip
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoutcache.bench.records import BenchOptions
from scoutcache.bench.workload import TraceRow, Workload, load_values, read_trace
from scoutcache.errors import ConfigError
from scoutcache.insight.simulation.traces import read_requests


def test_the_same_seed_gives_the_same_operations_and_another_seed_others():
    one, same = Workload(BenchOptions(seed=7, clients=20)), Workload(BenchOptions(seed=7, clients=20))
    assert one.plan(0) == same.plan(0)
    assert one.plan(0) != one.plan(1)
    assert one.plan(0) != Workload(BenchOptions(seed=8, clients=20)).plan(0)


def test_the_mixture_of_reads_and_writes_is_the_ratio():
    plan = Workload(BenchOptions(ratio=(3, 1), clients=4)).plan(0)
    assert sum(access.write for access in plan) / len(plan) == pytest.approx(0.25, abs=0.02)
    assert not any(access.write for access in Workload(BenchOptions(ratio=(1, 0), clients=50)).plan(0))
    assert all(access.write for access in Workload(BenchOptions(ratio=(0, 1), clients=50)).plan(0))


def test_zipf_draws_rank_one_as_often_as_the_law_says():
    counts = Counter(access.key for access in Workload(BenchOptions(workload="zipf:1.0", keys=100)).plan(0))
    expected = 1 / sum(1 / rank for rank in range(1, 101))
    assert counts["bench:00000000"] / counts.total() == pytest.approx(expected, rel=0.05)
    assert counts["bench:00000000"] / counts["bench:00000009"] == pytest.approx(10, rel=0.2)


def test_uniform_draws_every_key_about_equally_often():
    counts = Counter(access.key for access in Workload(BenchOptions(workload="uniform", keys=10)).plan(0))
    assert len(counts) == 10
    assert min(counts.values()) > 0.9 * max(counts.values())


@settings(max_examples=25)
@given(size=st.integers(1, 5000), seed=st.integers())
def test_generated_values_have_exactly_the_size_asked_for(size, seed):
    workload = Workload(BenchOptions(value_size=size, seed=seed, keys=3))
    assert [len(value) for _, value in workload.preload()] == [size] * 3
    assert all(workload.value(key) is value for key, value in workload.preload())


def test_clients_share_out_the_rows_of_a_trace(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("timestamp,key,size\n0,a,1\n1,b,1\n2,c,1\n3,a,1\n4,e,1\n")
    workload = Workload(BenchOptions(workload=f"trace:{path}", clients=2))
    assert [[access.key for access in workload.plan(client)] for client in (0, 1)] == [
        ["bench:a", "bench:c", "bench:e"], ["bench:b", "bench:a"]]  # fmt: skip
    assert workload.distinct == 4
    assert list(workload.preload()) == []


def test_traces_are_read_plain_and_compressed(tmp_path):
    text = "timestamp,key,size\n0.5,k,10\n"
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert list(read_trace(tmp_path / "t.csv")) == list(read_trace(tmp_path / "t.csv.gz")) == [TraceRow(0.5, "k", 10)]


@pytest.mark.parametrize("header", [b"\xef\xbb\xbftimestamp,key,size\r\n", b"timestamp, key, size\n"])
def test_what_simulate_reads_can_be_replayed_too(tmp_path, header):
    path = tmp_path / "t.csv"
    path.write_bytes(header + b"0.5,k,10\n")
    assert read_requests(path).keys == [0]
    assert list(read_trace(path)) == [TraceRow(0.5, "k", 10)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a,b\n1,2\n", "timestamp,key,size"),
        (b"", "timestamp,key,size"),
        (b"timestamp,key,size\n1,k,1\nsoon,k,1\n", "line 3"),
        (b"timestamp,key,size\n1,k\n", "line 2"),
        (b"timestamp,key,size\n\xff\xfe,k,1\n", "expected"),
    ],
)
def test_a_bad_trace_is_refused_with_its_file_and_line(tmp_path, content, said):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"bad\.csv.*{said}"):
        list(read_trace(path))


def test_a_trace_cut_short_or_absent_is_refused(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"timestamp,key,size\n" + b"1,k,1\n" * 1000)[:-30])
    with pytest.raises(ConfigError, match="can't be read"):
        list(read_trace(path))
    with pytest.raises(ConfigError, match=r"none\.csv: can't be read: No such file or directory$"):
        list(read_trace(tmp_path / "none.csv"))


@pytest.mark.parametrize("workload", ["zipf:x", "zipf:-1", "zipf:99", "trace:", "random", "", "uniform:3"])
def test_an_unknown_workload_is_refused_with_what_was_expected(workload):
    with pytest.raises(ConfigError, match="expected"):
        Workload(BenchOptions(workload=workload))


def test_values_of_ones_own_are_lines_of_jsonl_or_whole_files(tmp_path):
    (tmp_path / "v.jsonl").write_text('{"a": 1}\n\n"text"\n')
    (tmp_path / "page.html").write_text("<p>é</p>")
    (tmp_path / "raw.bin").write_bytes(b"\xff\x00")
    assert load_values(tmp_path / "v.jsonl") == [{"a": 1}, "text"]
    assert load_values(tmp_path / "page.html") == ["<p>é</p>"]
    assert load_values(tmp_path / "raw.bin") == [b"\xff\x00"]


def test_a_bad_line_of_values_is_named(tmp_path):
    (tmp_path / "v.jsonl").write_text('1\n{"a":\n')
    with pytest.raises(ConfigError, match=r"v\.jsonl, line 2"):
        load_values(tmp_path / "v.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ConfigError, match="no values"):
        load_values(tmp_path / "empty.jsonl")
