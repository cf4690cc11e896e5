"""Which embedder made a vector: its name, and what it makes of a fixed text.

Rule 1: a name says too little: other weights may bear the same one (a model that was trained on, a function that was
        changed).  So components of the vector of `PROBE` stand behind it.
Rule 2: they are compared with a tolerance and not digested: two builds of one model differ by some 1e-5, and a digest
        of rounded numbers would, once in a while, differ too.
Rule 3: what doesn't say it is nobody's: its vectors are made anew.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

__all__ = ["PROBE", "SAME", "identity_of", "is_same", "name_in"]

PROBE: Final = "What does this embedder make of these words?"

SAME: Final = 1e-3
"""By how much components of one model's vectors may differ; weights that were trained on move some by 1e-2 and more."""

_COMPONENTS: Final = 24
_STEP: Final = 1e-4
_MARK: Final = "#"


def identity_of(name: str, probe: Sequence[float]) -> str:
    """The embedder called *name* that makes *probe* of `PROBE`, as a text."""
    steps = [round(max(-1.0, min(1.0, float(one))) / _STEP) for one in probe[:_COMPONENTS]]
    return f"{name}{_MARK}{base64.b64encode(struct.pack(f'<{len(steps)}h', *steps)).decode()}"


def name_in(identity: str) -> str:
    """The name in an identity, for people."""
    return identity.rpartition(_MARK)[0] or identity


@lru_cache(maxsize=256)
def is_same(one: str, other: str) -> bool:
    """Do two identities mean one embedder?

    >>> is_same(identity_of("m", [0.25, -0.5]), identity_of("m", [0.25001, -0.5]))
    True
    >>> is_same(identity_of("m", [0.25, -0.5]), identity_of("m", [0.27, -0.5]))
    False
    """
    if one == other:
        return _steps(one) is not None
    mine, yours = _steps(one), _steps(other)
    if mine is None or yours is None or len(mine) != len(yours) or name_in(one) != name_in(other):
        return False
    return all(abs(here - there) <= SAME / _STEP for here, there in zip(mine, yours, strict=True))


def _steps(identity: str) -> tuple[int, ...] | None:
    data = identity.rpartition(_MARK)
    try:
        packed = base64.b64decode(data[2], validate=True) if data[1] else b""
        return struct.unpack(f"<{len(packed) // 2}h", packed) or None
    except (binascii.Error, struct.error, ValueError):
        return None
