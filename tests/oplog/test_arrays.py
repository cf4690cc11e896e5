"""Columns for pyarrow: those that it would make of the same lists itself."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

pa = pytest.importorskip("pyarrow")

from scoutcache.oplog.arrays import column_of

INT64 = st.integers(-(2**63), 2**63 - 1)
KINDS = {"string": st.text(), "int64": INT64, "double": st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)}
WITH_NULLS = st.sampled_from(list(KINDS)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.lists(st.none() | KINDS[kind], max_size=40))
)


@given(WITH_NULLS)
def test_it_is_the_column_that_pyarrow_makes(drawn):
    kind, values = drawn
    column = column_of(values, pa.type_for_alias(kind))
    column.validate(full=True)
    assert column.equals(pa.array(values, pa.type_for_alias(kind)))
    assert column.null_count == values.count(None)


@pytest.mark.parametrize(("value", "kind"), [(2**63, "int64"), (10**400, "double")])
def test_a_number_that_is_too_large_is_no_other(value, kind):
    with pytest.raises(OverflowError):
        column_of([value], pa.type_for_alias(kind))


def test_a_log_is_sealed_without_pandas(tmp_path):
    """It is half of what an application would grow by."""
    code = (
        "import sys, time\n"
        "from scoutcache.oplog.columns import table_of, writer\n"
        "from scoutcache.oplog.records import Line\n"
        "lines = [Line(1.8e9 + at, 'get', 'a:1', more_ns=[1, 2], tags=('t',), size=at) for at in range(10)]\n"
        "with writer(sys.argv[1]) as out: out.write_table(table_of(lines))\n"
        "print('pandas' in sys.modules, table_of(lines).num_rows)\n"
    )
    told = subprocess.check_output([sys.executable, "-c", code, str(tmp_path / "a.parquet")], text=True)
    assert told.strip() == "False 30"
