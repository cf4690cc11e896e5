"""Reading traces: fast, slowly, and not at all."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoutcache.errors import ConfigError
from scoutcache.insight.simulation import traces
from scoutcache.insight.simulation.traces import read_requests


@pytest.fixture
def write(tmp_path):
    def to(text: str, name: str = "trace.csv"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return to


@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz"])
def test_keys_become_numbers_and_keep_the_size_they_were_first_seen_with(write, name):
    found = read_requests(write("timestamp,key,size\n0,a,5\n1.5,b,7\n2,a,9\n3,c,0\n", name))
    assert (found.keys, found.sizes, found.rate) == ([0, 1, 0, 2], [5, 7, 1], 1.0)
    assert (found.count, found.distinct, found.distinct_bytes, found.requested_bytes) == (4, 3, 13, 18)


@pytest.mark.parametrize(
    "text",
    [
        "timestamp,key,size\r\n0,a,5\r\n1,b,7\r\n0,a,5\r\n",
        'timestamp,key,size\n0,"a",5\n1,b,7\n0,a,5\n',
        "size,timestamp,more,key\n5,0,x,a\n7,1,x,b\n5,0,x,a\n",
        "timestamp,key,size\n0,a,5\n1,b,7\n0,a,5",
        "\ufefftimestamp,key,size\n0,a,5\n1,b,7\n\n0,a,5\n",
    ],
)
def test_other_forms_of_csv_say_the_same(write, text):
    found = read_requests(write(text))
    assert (found.keys, found.sizes) == ([0, 1, 0], [5, 7])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a trace: it is empty$"),
        ("0,a,5\n1,b,5\n", r"first line is b'0,a,5\\n'"),
        ("timestamp,key,size\n", "has no rows"),
        ("timestamp,key,size\n0,a,5\n1,b\n", "line 3: 2 columns, expected 3"),
        ("timestamp,key,size\n0,a,5\n1,b,7,8\n2,c\n", "line 3: 4 columns, expected 3"),
        ("timestamp,key,size\n0,a,5\nsoon,b,5\n", "line 3: 'soon' is no time"),
        ("timestamp,key,size\n0,a,5\nnan,b,5\n", "line 3: 'nan' is no time"),
        ("timestamp,key,size\n0,a,5\n1,b,5\n2,c,-5\n", "line 4: '-5' is no size"),
        ("timestamp,key,size\n0,a,5\n1,b,big\n", "line 3: 'big' is no size"),
        ("timestamp,key,size\n0,a,5\n1,,5\n", "line 3: the key is empty"),
        ("timestamp,key,size\n0,a,5\n1,b,1_0\n", "line 3: '1_0' is no size"),
        ("timestamp,key,size\n0,a,5\n1,b,+10\n", r"line 3: '\+10' is no size"),
        ("timestamp,key,size\n0,a,5\n1_0,b,5\n", "line 3: '1_0' is no time"),
    ],
)
def test_what_is_no_row_is_named_with_its_line(write, text, said):
    path = write(text)
    with pytest.raises(ConfigError, match=said) as error:
        read_requests(path)
    assert str(path) in str(error.value)
    assert error.value.hint


def test_lines_are_counted_across_blocks(write, monkeypatch):
    monkeypatch.setattr(traces, "_BLOCK", 64)
    rows = "".join(f"{number},k{number},1\n" for number in range(50))
    with pytest.raises(ConfigError, match="line 52: 'x' is no time"):
        read_requests(write(f"timestamp,key,size\n{rows}x,k,1\n"))
    assert read_requests(write(f"timestamp,key,size\n{rows}")).count == 50


def test_what_can_t_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.csv: can't be read: No such file"):
        read_requests(tmp_path / "gone.csv")
    (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(b"timestamp,key,size\n0,a,1\n" * 100)[:60])
    with pytest.raises(ConfigError, match=r"torn\.csv\.gz: can't be read"):
        read_requests(tmp_path / "torn.csv.gz")


def test_beyond_the_limit_whole_keys_are_left_out(write):
    rows = "".join(f"{number},k{number % 100},{number % 100 + 1}\n" for number in range(2000))
    found = read_requests(write(f"timestamp,key,size\n{rows}"), limit=600)
    assert found.rate in {0.25, 0.125, 0.5}
    assert 0 < found.count <= 600
    counts = [found.keys.count(key) for key in range(found.distinct)]
    assert set(counts) == {20}, "all requests of a key stay, or none"
    assert sorted(set(found.keys)) == list(range(found.distinct))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 9), st.text("ab,\"' é\n", min_size=1, max_size=4), st.integers(0, 10**6)), min_size=1
    )
)
def test_whatever_the_keys_they_are_told_apart(tmp_path, rows):
    import csv

    path = tmp_path / "any.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "key", "size"])
        writer.writerows(rows)
    found = read_requests(path)
    names = list(dict.fromkeys(key for _, key, _ in rows))
    assert found.keys == [names.index(key) for _, key, _ in rows]
