"""The operation log as a pandas table.

One row is one operation.  Empty cells mean that a record doesn't say.

Rule 1: no step here is done row by row, or group by group: ten million rows are a matter of seconds.
Rule 2: texts are categories (numbers into a list of the different ones), so that a row of all columns takes a hundred
        bytes.  ``tags`` are JSON lists as text; `scoutcache.oplog.columns.names_in` reads one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from scoutcache.insight.log.operations import Operations
from scoutcache.oplog.records import HIT_OUTCOMES, REQUESTS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from scoutcache.insight.log.loading import Columns

    Mask = npt.NDArray[np.bool_]

__all__ = ["COLUMNS", "as_frame"]

COLUMNS: Final = (
    "time", "op", "key", "namespace", "tier", "outcome", "reason", "latency_us", "size", "stored", "codec", "codec_us",
    "keygen_us", "wait_us", "factory_s", "cost", "error", "ttl", "tags", "prefix", "request", "hit",
)  # fmt: skip
_MADE_OF: Final = {"prefix": {"key"}, "request": {"op", "outcome", "tier"}, "hit": {"op", "outcome", "tier"}}


def as_frame(
    operations: Operations, namespace: str | None = None, columns: Iterable[str] = COLUMNS
) -> pd.DataFrame:
    """The operations (of *namespace*), with ``prefix``, ``request`` and ``hit`` beside the fields of the log.

    Only *columns*, a choice of `COLUMNS`, are read and given.  ``time`` is in seconds since the epoch.
    """
    import pandas as pd

    from scoutcache.insight.log.loading import load

    wanted = [name for name in COLUMNS if name in set(columns)]
    needed = {name for one in wanted for name in _MADE_OF.get(one, {one})}
    found = load(operations, sorted(needed), namespace)
    texts: dict[str, Any] = {name: _category(found, name) for name in list(found.texts)}
    made: dict[str, Any] = {}
    for name in wanted:
        if name in texts:
            made[name] = texts[name]
        elif name == "prefix":
            made[name] = _prefixes(texts["key"])
        elif name in _MADE_OF:
            made[name] = _requests(texts, hits=name == "hit")
        else:
            made[name] = found.figures.pop(name).result()
    return pd.DataFrame(made, index=pd.RangeIndex(found.rows), columns=wanted, copy=False)


def _category(found: Columns, name: str) -> Any:
    import pandas as pd

    codes, texts = found.texts.pop(name).result()
    # From pyarrow's strings, where it read them, without making one of Python's of each.
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Index(pd.array(texts, dtype="str"))))


def _prefixes(keys: Any) -> Any:
    """The text before the first colon, found once for each different key."""
    import numpy as np
    import pandas as pd

    codes, names = pd.factorize(_heads(keys.categories))
    found = codes.astype(np.min_scalar_type(-max(len(names), 1)))[keys.codes]
    return pd.Categorical.from_codes(found, dtype=pd.CategoricalDtype(pd.Index(names, dtype="str")))


def _heads(keys: pd.Index[str]) -> npt.NDArray[np.object_]:
    import numpy as np

    parted = (key.partition(":") for key in np.asarray(keys, dtype=object).tolist())
    return np.array([head if colon else "" for head, colon, _ in parted], dtype=object)


def _one_of(texts: Any, names: Iterable[str]) -> Mask:
    import numpy as np

    wanted = set(names)
    table = np.array([name in wanted for name in texts.categories] + [False])  # -1, for none, takes the last
    found: Mask = table[texts.codes]
    return found


def _requests(texts: Mapping[str, Any], *, hits: bool) -> Mask:
    """Which rows are requests: a hit, or a miss without a tier; or with *hits* those that were answered."""
    asked = _one_of(texts["op"], REQUESTS)
    answered = _one_of(texts["outcome"], HIT_OUTCOMES)
    whole: Mask = answered if hits else answered | (texts["tier"].codes == -1)
    return asked & whole
