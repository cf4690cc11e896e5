"""How near is near enough, learned: hits whose rate of wrong ones stays under a given error, among all that are judged.

The very same query again isn't judged: it is an ordinary hit.

What is known of a candidate is a handful of figures (`Figures`): similarity, words in common, closed gates, and what
its own answer was seen to be right and wrong for.  A logistic model over all that was labelled (`fit`) orders them by
how probably they are right.  It only orders: whether its probabilities are true doesn't matter.  A cut in that order is
chosen (`cut_of`) such that the mass of what would have been wrong above it, by the labels themselves, stays under the
error, with a margin for how few they are.  So wording that implies no answer moves the cut up until nothing is served.

Rule 1: a request that isn't served is computed by the caller, and what it stores then labels the candidate that it was
        not served (`add`).  A part of what could be served (`AUDIT`) is not, so labels go on coming from above the cut;
        they count for more, as fewer of them are drawn.  What is reported of a hit labels it too.
Rule 2: an answer that was seen wrong for a query as near serves no such query, whatever the cut.
Rule 3: an answer serves another query only where it was seen right for one as far away or farther.  One that nobody has
        confirmed serves nobody else, whatever words and vector it shares: it may have been planted.  That it was
        right for the very same query confirms nothing.
Rule 4: fewer than `LEARNING` labels serve nothing.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scoutcache.meaning.evidence import SAME, Evidence, Observation
from scoutcache.meaning.gates import GATES, closed_by
from scoutcache.meaning.wording import read

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]
else:
    Numbers = Any

__all__ = [
    "AUDIT", "LEARNING", "WINDOW", "Figures", "Label", "Model", "figures", "learn", "may_serve", "pack", "read_figures",
    "unpack",
]  # fmt: skip

AUDIT: Final = 0.05
LEARNING: Final = 60
WINDOW: Final = 2000
"""The latest labels that are learned from."""

_MARGIN: Final = 1.2
"""Standard errors that the estimated mass of wrong ones stays away from the error."""

_HEADROOM: Final = 0.92
"""The part of the error that is spent: the cut is chosen by the same labels that it is judged by."""

_UNSEEN: Final = 0.7
"""Wrong ones that are taken to have been there unseen, among all above the cut."""

_STEP: Final = 20
_WORTH: Final = 0.5
"""Where so many are wrong nothing is gained by serving."""


class Figures(NamedTuple):
    """What is known of a candidate."""

    similarity: float
    words: float
    """The part of the words of both that they have in common."""
    closed: float
    """How many gates are closed."""
    right: float
    """How often its answer was right for a query as far away or farther."""
    wrong: float
    """How often it was wrong for a query as near or nearer."""


def read_figures(value: Any) -> Figures | None:
    """The figures that were written as a list; None for what is something else."""
    if not isinstance(value, list) or len(value) != len(Figures._fields):
        return None
    if not all(isinstance(one, float) and 0 <= one <= len(GATES) for one in value):
        return None
    found = Figures(*value)
    return found if max(found.similarity, found.words) <= 1 and max(found.right, found.wrong) <= _MOST else None


class Label(NamedTuple):
    """A candidate, whether it was right, and how many requests it stands for."""

    figures: Figures
    right: bool
    weight: float = 1.0


_LABEL: Final = struct.Struct("<5fBf")


def pack(labels: Sequence[Label]) -> bytes:
    """The latest labels as bytes."""
    return b"".join(_LABEL.pack(*one.figures, one.right, one.weight) for one in labels[-WINDOW:])


def unpack(data: Any) -> list[Label]:
    """The labels that were packed; none of what is something else."""
    if not isinstance(data, bytes) or len(data) % _LABEL.size:
        return []
    rows = [Label(Figures(*row[:5]), bool(row[5]), row[6]) for row in _LABEL.iter_unpack(data)]
    return [one for one in rows if all(map(math.isfinite, one.figures)) and 0 < one.weight <= 1 / AUDIT + 1]


class Model(NamedTuple):
    """An order of candidates, and the cut in it; infinite while nothing may be served."""

    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    cut: float

    def score(self, one: Figures) -> float:
        """Greater is more probably right."""
        return sum(
            weight * (figure - mean) / scale
            for figure, mean, scale, weight in zip(one, self.means, self.scales, self.weights, strict=True)
        )


def figures(
    query: str, other: str, similarity: float, known: Evidence, gates: Sequence[str] = tuple(GATES)
) -> Figures:
    """What is known of the answer to *other* for *query*; of *gates* the closed ones are counted."""
    mine, yours = set(read(query).content), set(read(other).content)
    either = mine | yours
    return Figures(
        round(similarity, 4),
        round(len(mine & yours) / len(either), 3) if either else 1.0,
        float(len(closed_by(query, other, gates))),
        float(min(sum(_confirms(one, similarity) for one in known.seen), _MOST)),
        float(min(sum(not one.right and one.similarity >= similarity - _NEAR for one in known.seen), _MOST)),
    )


def _confirms(seen: Observation, similarity: float) -> bool:
    return seen.right and not seen.mark.startswith(SAME) and seen.similarity <= similarity + _NEAR


_NEAR: Final = 0.02
_MOST: Final = 3
"""More that was seen than this makes no difference."""


def may_serve(one: Figures, model: Model | None) -> str | None:
    """None when it may be served, else why not."""
    if model is None:
        return "nothing was learned yet"
    if one.wrong:
        return "its answer was wrong for a query of the same or lower similarity"
    if not one.right:
        return "its answer was never right for another query of the same or lower similarity"
    score = model.score(one)
    return None if score >= model.cut else f"its score {score:.2f} is below the cut {model.cut:.2f}"


def learn(labels: Sequence[Label], error: float) -> Model | None:
    """The order and the cut for *error* from the latest labels; None while there are too few."""
    labels = labels[-WINDOW:]
    if len(labels) < LEARNING:
        return None
    import numpy as np

    x = np.array([one.figures for one in labels], float)
    right = np.array([one.right for one in labels], float)
    weight = np.array([one.weight for one in labels], float)
    means, scales = x.mean(axis=0), x.std(axis=0) + 1e-6
    weights = _fit((x - means) / scales, right, weight)
    scores = ((x - means) / scales) @ weights
    eligible = np.array([may_serve(one.figures, _ANY) is None for one in labels])
    cut = _cut(scores, right, weight, eligible, error)
    return Model(tuple(means.tolist()), tuple(scales.tolist()), tuple(weights.tolist()), cut)


_SIGNS: Final = (1.0, 1.0, -1.0, 1.0, -1.0)
_NOISE: Final = 1e-9
"""A weight of less is what rounding left of none, and would part equals."""
_ANY: Final = Model((0.0,) * 5, (1.0,) * 5, (0.0,) * 5, -1.0)


def _fit(x: Numbers, right: Numbers, weight: Numbers) -> Numbers:
    """Weights of a logistic model, by Newton's method with a ridge; one that points the wrong way is left out."""
    import numpy as np

    ones = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    ridge = np.diag([1.0] * x.shape[1] + [1e-3])
    beta = np.zeros(ones.shape[1])
    for _ in range(12):
        p = 1 / (1 + np.exp(-np.clip(ones @ beta, -30, 30)))
        gradient = ones.T @ (weight * (right - p)) - ridge @ beta
        curvature = (ones * (weight * p * (1 - p) + 1e-9)[:, None]).T @ ones + ridge
        step = np.linalg.solve(curvature, gradient)
        beta += step
        if np.abs(step).max() < 1e-4:
            break
    found: Numbers = np.where(beta[:-1] * np.array(_SIGNS) > _NOISE, beta[:-1], 0.0)
    return found


def _cut(scores: Numbers, right: Numbers, weight: Numbers, eligible: Any, error: float) -> float:
    """The lowest score above which the mass of wrong ones stays under *error* (all labels are all requests).

    The order is gone down in steps of as many labels, none of which parts equal scores.  In each the part of wrong ones
    is what was seen; to their mass a margin is added for how few labels there are, as if one more had been wrong.
    """
    import numpy as np

    total = weight.sum()
    order = np.argsort(-scores[eligible], kind="stable")
    scores, wrong, weight = scores[eligible][order], 1 - right[eligible][order], weight[eligible][order]
    best, spent, variance, seen, mass = float("inf"), 0.0, 0.0, 0, 0.0
    for begin, end in _steps(scores.tolist()):
        count, bad, part = end - begin, float(wrong[begin:end].sum()), float(weight[begin:end].sum() / total)
        if bad > _WORTH * count:
            break
        rate = (bad + 0.5) / (count + 1)
        spent, variance = spent + part * bad / count, variance + part * part * rate * (1 - rate) / count
        seen, mass = seen + count, mass + part
        if spent + _UNSEEN * mass / (seen + 1) + _MARGIN * variance**0.5 <= _HEADROOM * error:
            best = float(scores[end - 1])
    return best


def _steps(scores: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Begin and end of runs of `_STEP` of falling *scores* and more, as far as the last is equal to the next."""
    begin = 0
    for end in range(1, len(scores) + 1):
        if end == len(scores) or (end - begin >= _STEP and scores[end] < scores[end - 1]):
            yield begin, end
            begin = end
