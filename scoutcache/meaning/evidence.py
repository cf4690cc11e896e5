"""What is known of how well one answer serves other queries: observations of similarity and of whether it was right.

Rule 1: evidence belongs to one answer, by its birth: another answer under the same key begins without any.
Rule 2: an observation is counted once, by its mark; at most `MOST` are kept, the latest, and always the nearest that
        were wrong: no praise makes what was wrong be served again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import nlargest
from typing import Any, Final, NamedTuple

__all__ = ["MOST", "SAME", "Evidence", "Observation", "read_evidence"]

MOST: Final = 200
_NEAREST: Final = 3
"""As many wrong ones as make a difference (`scoutcache.meaning.verified.Figures`)."""

SAME: Final = "="
"""Begins the marks of what was seen of the very same query: that an answer is right there says nothing of others."""


class Observation(NamedTuple):
    """A query so near was answered rightly or wrongly; *mark* tells it from others."""

    similarity: float
    right: bool
    mark: str


class Evidence(NamedTuple):
    """The observations of one answer."""

    birth: str
    seen: tuple[Observation, ...] = ()

    def with_(self, observation: Observation) -> Evidence:
        """With one more; a second one with the same mark takes the place of the first."""
        seen = [*(one for one in self.seen if one.mark != observation.mark), observation]
        if len(seen) > MOST:
            nearest = nlargest(_NEAREST, (at for at, one in enumerate(seen) if not one.right), lambda at: seen[at][0])
            del seen[next(at for at in range(len(seen)) if at not in nearest)]
        return self._replace(seen=tuple(seen))

    @property
    def wrong_up_to(self) -> float:
        """The greatest similarity at which it was wrong; below 0 without any."""
        return max((one.similarity for one in self.seen if not one.right), default=-1.0)

    @property
    def wrong_itself(self) -> bool:
        """Was it wrong for its very own query?  Another one may have the same vector."""
        return any(not one.right and one.mark.startswith(SAME) for one in self.seen)

    def written(self) -> dict[str, Any]:
        """As it is stored."""
        return {"v": 1, "birth": self.birth, "seen": [list(one) for one in self.seen]}


def read_evidence(value: Any, birth: str) -> Evidence:
    """The evidence of the answer born *birth* from what is stored; none of it where that is something else."""
    if not isinstance(value, Mapping) or value.get("v") != 1 or value.get("birth") != birth:
        return Evidence(birth)
    rows = value.get("seen")
    seen = [_observation(row) for row in rows] if isinstance(rows, Sequence) and not isinstance(rows, str) else []
    return Evidence(birth, tuple([one for one in seen if one is not None]))


def _observation(row: Any) -> Observation | None:
    if not isinstance(row, Sequence) or isinstance(row, str) or len(row) != 3:
        return None
    similarity, right, mark = row
    sound = isinstance(similarity, float) and 0 <= similarity <= 1 and isinstance(right, bool) and isinstance(mark, str)
    return Observation(similarity, right, mark) if sound else None
