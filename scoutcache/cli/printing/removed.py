"""How a removal is told: its figures, and the tiers that could not be asked, or refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from scoutcache.cli.errors import PARTLY, UNREACHABLE
from scoutcache.cli.state import Session

if TYPE_CHECKING:
    from scoutcache.models import InvalidationResult

__all__ = ["failed", "figures", "warn_of"]


def figures(result: InvalidationResult, *, dry_run: bool) -> dict[str, Any]:
    """What was done, or with *dry_run* would be, as data."""
    found: dict[str, Any] = {"matched": result.matched, "invalidated": result.invalidated,
                             "by_tier": dict(result.by_tier), "sample": list(result.sample)}  # fmt: skip
    if dry_run:
        found["dry_run"] = True
    if result.failed:
        found["failed"] = dict(result.failed)
    return found


def failed(session: Session, away: Mapping[str, str], asked: Iterable[str]) -> int | None:
    """Tell of the tiers that failed among those that were *asked*; the exit code.

    This process's own memory is no tier that counts.
    """
    for tier, reason in away.items():
        warn_of(session, tier, reason, again="; run this again when it answers")
    if not away:
        return None
    return PARTLY if set(asked) - set(away) - {"memory"} else UNREACHABLE


def warn_of(session: Session, tier: str, reason: str, *, what: str = "", again: str = "") -> None:
    """Tell that *tier* could not be asked, or that it answered and refused, and then what helps."""
    from scoutcache.server.faults import remedy

    helps = remedy(reason)
    if helps is None:
        session.warn(f"{what}the {tier} tier could not be asked: {reason}{again}")
        session.say_hint("scoutcache doctor says what is wrong with it")
        return
    session.warn(f"{what}the {tier} tier refused it: {reason}")
    session.say_hint(f"{helps}; then run this again")
