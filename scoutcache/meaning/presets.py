"""How near is near enough: the presets, and what is decided of a candidate.

Rule 1: similarity is the cosine of two unit vectors, cut to 0–1; 1 is the same text to the model.  There is no other
        scale, and no distance.  Texts of the same words in the same order have 0.95 at least: the vector of a short
        text moves as far for a question mark as for another word (`lifted`).
Rule 2: a candidate serves when its similarity reaches the threshold and every gate of the preset is open.  A threshold
        of 1 lets only what the model can't tell apart pass, one of 0 whatever is nearest.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from scoutcache.errors import CacheError
from scoutcache.meaning.gates import GATES, Closed, closed_by
from scoutcache.meaning.wording import read, same_words

if TYPE_CHECKING:
    from scoutcache.meaning.verified import Figures

__all__ = ["LONGEST", "PRESETS", "Preset", "Verdict", "check_gates", "chosen", "judge", "lifted", "rank"]

EPSILON: Final = 1e-5
"""What the arithmetic of unit vectors may lose."""

LONGEST: Final = 20_000
"""Characters of a query; longer ones are answered by themselves alone, for nobody could look at all of them."""


class Preset(NamedTuple):
    """A threshold and the gates that must be open."""

    threshold: float
    gates: tuple[str, ...]


PRESETS: Final = {
    "strict": Preset(0.95, tuple(GATES)),
    "balanced": Preset(0.88, tuple(GATES)),
    "recall": Preset(0.80, ("numbers", "entities", "language", "characters", "passages")),
}
"""Measured in the README."""


class Verdict(NamedTuple):
    """What is decided of a candidate, and why."""

    serves: bool
    similarity: float
    reason: str
    closed: tuple[Closed, ...] = ()
    figures: Figures | None = None
    """What the policy ``verified`` decided by."""


SAME_WORDS: Final = 0.95
"""What `strict` asks for; who asks for more is not content with the same words."""


def lifted(query: str, other: str, similarity: float) -> float:
    """The similarity of two texts, which is no less than `SAME_WORDS` where their words are the same (rule 1).

    >>> lifted("Tell me a joke", "tell me a joke!", 0.91), lifted("Tell me a joke", "Tell me a story", 0.7)
    (0.95, 0.7)
    """
    return SAME_WORDS if similarity < SAME_WORDS and same_words(query, other) else similarity


def judge(query: str, other: str, similarity: float, preset: Preset) -> Verdict:
    """May the answer to *other* serve *query*?"""
    if similarity < preset.threshold - EPSILON:
        return Verdict(False, similarity, f"similarity {similarity:.3f} is below {preset.threshold:g}")
    closed = tuple(closed_by(query, other, preset.gates))
    if closed:
        return Verdict(False, similarity, f"{closed[0].gate}: {closed[0].why}", closed)
    return Verdict(True, similarity, f"similarity {similarity:.3f} reaches {preset.threshold:g}, and no gate is closed")


def chosen(
    preset: str, threshold: float | None, gates: Sequence[str] | None = None, without: Collection[str] = ()
) -> Preset:
    """The preset of that name, with another threshold or other gates if they are given, and *without* some."""
    found = PRESETS[preset]
    wanted = found.gates if gates is None else gates
    decide = tuple([name for name in GATES if name in wanted and name not in without])
    return Preset(found.threshold if threshold is None else threshold, decide)


def check_gates(names: Collection[str], call: str) -> None:
    """Raise `CacheError` for what is no name of a gate, naming the nearest."""
    if isinstance(names, str):
        raise CacheError(f"{call} takes a list of names of gates, not {names!r:.80}", hint=f"such as [{names!r:.80}]")
    for name in names:
        if name not in GATES:
            close = difflib.get_close_matches(str(name).casefold(), GATES, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else ""
            raise CacheError(f"{call}: there is no gate {name!r:.80}{meant}", hint=f"gates: {', '.join(GATES)}")


_WORDS: Final = 0.1
"""What having all words in common adds to the similarity when candidates are ordered: on GPTCache's benchmark the
right one comes first 7 times more of 999."""


def rank(query: str, other: str, similarity: float) -> float:
    """By what candidates that are near enough are ordered, the greatest first."""
    mine, yours = set(read(query).content), set(read(other).content)
    either = mine | yours
    return similarity + (_WORDS * len(mine & yours) / len(either) if either else 0.0)
