"""Columns for pyarrow, made of their buffers.

`pyarrow.array` asks whether what it is given is a series of pandas', and imports that to ask where it is installed:
half a second and 53 MB in every application whose log is sealed beside its calls.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["column_of"]

_CODES: Final = {"int64": "q", "double": "d"}


def column_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column of *values*, some of them None perhaps: of text, 64-bit integers or doubles.

    Raises `OverflowError` for a number that is too large for *kind*, `TypeError` for what is of another one.
    """
    import pyarrow as pa

    valid = _validity(values)
    if pa.types.is_string(kind):
        texts = [b"" if text is None else text.encode() for text in values]
        ends = array("i", accumulate(map(len, texts), initial=0))
        buffers = [valid, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    else:
        figures = array(_CODES[str(kind)], [0 if figure is None else figure for figure in values])
        buffers = [valid, pa.py_buffer(figures)]
    return pa.Array.from_buffers(kind, len(values), buffers)


def _validity(values: Sequence[Any]) -> pa.Buffer | None:
    """One bit for each value, the first one lowest; None where all are there."""
    import pyarrow as pa

    if None not in values:
        return None
    bits = "".join(["0" if value is None else "1" for value in reversed(values)])
    return pa.py_buffer(int(bits, 2).to_bytes((len(values) + 7) // 8, "little"))
