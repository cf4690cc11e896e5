"""What a filling tells of itself: the counts, what failed and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from scoutcache.errors import CacheError, TierUnavailable, WarmingError
from scoutcache.wording.nouns import counted

__all__ = ["NoSource", "NothingTaken", "WarmError", "WarmResult", "said"]

_MOST_ERRORS: Final = 100_000


class NoSource(WarmingError):
    """The file or the function that is named as a source isn't there: a wrong name, not a source that failed."""


class NothingTaken(TierUnavailable):
    """No tier takes what is to be stored, because one can't answer: to go on would be to compute for nothing."""

    def __init__(self, problem: TierUnavailable, warmed: int) -> None:
        before = f"{counted(warmed, 'key')} had been warmed: --resume continues from there" if warmed else None
        super().__init__(problem.tier, problem.reason, hint="; ".join(filter(None, [problem.hint, before])) or None)


@dataclass(frozen=True, slots=True)
class WarmError:
    """Why one line or key failed.  *line* is None for a key that stood in no line."""

    line: int | None
    key: str | None
    error: str


@dataclass(slots=True)
class WarmResult:
    """How a filling went: *requested* = *warmed* + *skipped* + *failed*.

    *skipped* were there already (``only_missing``), done before an interruption (``resume``), *duplicates*, or
    *over_budget*.  *calls* are those of the function, repeated ones included, or what a generator gave,
    *cost_usd* what they cost where prices
    are known.  The first hundred thousand *errors* are kept, *errors_left_out* counts the others.
    """

    requested: int = 0
    warmed: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0.0
    errors: list[WarmError] = field(default_factory=list)
    errors_left_out: int = 0
    duplicates: int = 0
    over_budget: int = 0
    resumed: int = 0
    calls: int = 0
    cost_usd: float | None = None
    partly: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By tier: how many of those that are *warmed* it did not take, though another one did, and why."""
    ended_early: bool = False
    """Was a generator ended where the budget was spent, so that nobody knows what it had left?"""
    unmatched: int = 0
    """Keys of the source that the pattern left out; none of them is *requested*."""
    first_duplicate: WarmError | None = None
    part: float | None = None
    """How much of the source has been read (0-1), where its size is known."""

    def fail(self, line: int | None, key: str | None, error: str) -> None:
        """Count a failure and keep its reason."""
        self.failed += 1
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append(WarmError(line, key, error))
        else:
            self.errors_left_out += 1


def said(problem: BaseException) -> str:
    """What a person reads of an error: ours speak for themselves, of others the kind is part of the news."""
    return str(problem) if isinstance(problem, CacheError) else f"{type(problem).__name__}: {problem}"
