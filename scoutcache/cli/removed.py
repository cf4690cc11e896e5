"""How an invalidation is told: its figures, and the tiers that could not be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scoutcache.cli.errors import PARTLY, UNREACHABLE
from scoutcache.cli.state import Session

if TYPE_CHECKING:
    from scoutcache.models import InvalidationResult

__all__ = ["failed", "figures"]


def figures(result: InvalidationResult, *, dry_run: bool) -> dict[str, Any]:
    """What was done, or with *dry_run* would be, as data."""
    found: dict[str, Any] = {"matched": result.matched, "invalidated": result.invalidated,
                             "by_tier": dict(result.by_tier), "sample": list(result.sample)}  # fmt: skip
    if dry_run:
        found["dry_run"] = True
    if result.failed:
        found["failed"] = dict(result.failed)
    return found


def failed(session: Session, result: InvalidationResult) -> int | None:
    """The exit code when tiers could not be asked; this process's own memory is no tier that counts."""
    for tier, reason in result.failed.items():
        session.warn(f"the {tier} tier could not be asked: {reason}; run this again when it answers")
    if not result.failed:
        return None
    return PARTLY if set(result.by_tier) - set(result.failed) - {"memory"} else UNREACHABLE
