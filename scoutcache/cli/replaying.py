"""Which log ``simulate`` and ``advise`` replay, this cache's own or one that was named, and what is known of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from scoutcache.cli.errors import Usage
from scoutcache.cli.printing.streams import file_named
from scoutcache.cli.printing.unread import tell_log_off
from scoutcache.cli.state import Session
from scoutcache.wording.nouns import counted
from scoutcache.wording.omitted import cause_of, omitted, remedy_of

__all__ = ["assumed_rate", "counted_in", "log_at", "tell_left_out"]


def log_at(session: Session, source: str | None) -> Path:
    """Where the log is; *source* None is this cache's own.  Raises `Usage` for a *source* that isn't there."""
    if source is None:
        session.look_for_cache(told=False)  # where there is none, that is the error
        tell_log_off(session)
        return session.place
    path = file_named(source, "LOG")
    if not path.exists():
        raise Usage(f"{source}: there is no such directory or file")
    return path


def assumed_rate(session: Session, path: Path) -> float:
    """The share of keys in the log at *path* where it doesn't say: the configured one, if it is this cache's own."""
    from scoutcache.oplog.filing import FOLDER

    return session.config.oplog.sample_rate or 1.0 if _is_own(session, path, FOLDER) else 1.0


def counted_in(session: Session, path: Path) -> Callable[[float], int] | None:
    """How many requests the counters know of since a time; None where the log isn't the whole of this cache's own."""
    from scoutcache.oplog.filing import FOLDER
    from scoutcache.oplog.totals import collect_stats

    if not path.is_dir() or not _is_own(session, path, FOLDER):
        return None

    def counted(since: float) -> int:
        now = time.time()
        found = collect_stats(session.place, now=now, period_s=max(0.0, now - since), namespace=session.namespace)
        return 0 if set(found.left_out) - {"sampled"} else found.total.requests

    return counted


def _is_own(session: Session, path: Path, folder: str) -> bool:
    own, asked = session.place.resolve(), path.resolve()
    return asked == own or own / folder in {asked, asked.parent}


def tell_left_out(session: Session, left_out: Mapping[str, int]) -> None:
    """Say what the log lacks beyond what it was told to leave out, for figures from it lack that too."""
    for reason, count in omitted(left_out).items():
        remedy = remedy_of(reason)
        more = "" if remedy is None else f": {remedy} for better figures"
        session.note(f"the log lacks {counted(count, 'record')} ({cause_of({reason: count})}){more}")
