"""Words for what of an operation log could not be read: every command that reads one says it alike.

Rule 1: each problem has its file, its line where it is one line's, and what is wrong; on stderr, `SHOWN` at most and
        then how many more there are.
Rule 2: nothing is said twice in one run, however often the log is read.
Rule 3: figures from files that the user named are a part of what was asked for, so the exit code says so.  In the
        cache's own folder a crash may have left anything, and what is whole there is all there is: that is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from scoutcache.cli.errors import PARTLY
from scoutcache.errors import CacheError

if TYPE_CHECKING:
    from scoutcache.cli.state import Session
    from scoutcache.core.core import Core
    from scoutcache.insight.log.uses import Uses
    from scoutcache.oplog.reading import Problems

SHOWN: Final = 20


def tell_unread(session: Session, problems: Problems, *, named: bool) -> int | None:
    """Say what could not be read; the exit code where the user *named* the files."""
    for problem in problems.named[:SHOWN]:
        _warn_once(session, str(problem))
    if problems.count > SHOWN:
        _warn_once(session, f"and {problems.count - SHOWN} more in the log that could not be read")
    tell_ahead(session, problems.ahead)
    return PARTLY if named and problems.count else None


def tell_log_off(session: Session) -> None:
    """Say, once, where this cache keeps no log: what rests on it rests on what was written before, if anything."""
    if not session.config.oplog.enabled and "log off" not in session.said:
        session.said.add("log off")
        session.note("no operation log is kept here: [oplog] enabled is false")


def read_uses(session: Session, core: Core, key: str | None = None) -> Uses:
    """Which keys were asked for, or *key* alone, as this machine's log tells it; what could not be read is said."""
    from scoutcache.entry import Ref
    from scoutcache.insight.log.uses import Uses
    from scoutcache.oplog.reading import Problems

    problems = Problems()
    only = None if key is None else Ref(core.config.namespace, key)
    found = Uses.read(core.directory, redacts=core.config.oplog.redact_keys, problems=problems, only=only)
    tell_unread(session, problems, named=False)
    return found


@contextmanager
def telling_unread(session: Session, problems: Problems) -> Iterator[None]:
    """Around a reading that raises where nothing is left: says what could not be read before the error is told."""
    try:
        yield
    except CacheError:
        tell_unread(session, problems, named=False)
        raise


def tell_ahead(session: Session, ahead: float | None) -> None:
    """Say that what is dated after now, up to *ahead* (seconds since the epoch), was left out of a period."""
    if ahead is None or "ahead" in session.said:
        return
    session.said.add("ahead")
    latest = f"{datetime.fromtimestamp(ahead, UTC):%Y-%m-%d %H:%M:%SZ}"
    session.note(f"not counted: records dated in the future, up to {latest}; a clock was ahead, or has been set back")


def _warn_once(session: Session, message: str) -> None:
    if message not in session.said:
        session.said.add(message)
        session.warn(message)
