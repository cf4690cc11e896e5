"""Cron expressions, in UTC: whether a text is one, and what is due by it.

Rules:

1. Five fields (minute, hour, day of month, month, day of week), or six with the second in front, or one of cron's
   names for the common ones.
2. Something is due when a time of its schedule has passed since it last ran, and at once when it never ran.  Times that
   were missed count once.
3. A last run that lies more than a minute ahead was written by a wrong clock, and counts as none; or nothing would be
   due until then.  The next run takes its place.
4. A window of the day is written ``01:00-05:00``, in UTC; it ends before its end, and may lie across midnight.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from scoutcache.canonical import shown

__all__ = ["Due", "check_schedule", "daily_window", "due_by", "following", "in_window", "is_ahead",
           "later_run"]  # fmt: skip

_LONGEST: Final = 200
_NAMED: Final = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
"""As crontab(5) has them; ``@reboot`` is no time."""
_WINDOW: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_AHEAD: Final = timedelta(minutes=1)


class Due(NamedTuple):
    """Whether something ought to run now, and when it is its turn; None: never again, or without a schedule."""

    now: bool
    next_run: datetime | None


def check_schedule(text: str) -> str:
    """*text* if it is a cron expression; raises ValueError, saying what was expected."""
    following(text, datetime(2000, 1, 1, tzinfo=UTC))
    return text


def due_by(schedule: str | None, last_run: datetime | None, now: datetime) -> Due:
    """What *schedule* says at *now*; both times are aware."""
    if schedule is None:
        return Due(now=False, next_run=None)
    if last_run is None or is_ahead(last_run, now):
        return Due(now=True, next_run=now)
    coming = following(schedule, last_run)
    return Due(now=coming is not None and coming <= now, next_run=coming)


def is_ahead(last_run: datetime, now: datetime) -> bool:
    """Did a wrong clock write *last_run*?"""
    return last_run > now + _AHEAD


def later_run(known: datetime | None, ran: datetime) -> datetime:
    """When it last ran, once it *ran*; *known* is what was known before that (Rule 3)."""
    return ran if known is None or is_ahead(known, ran) else max(known, ran)


def following(schedule: str, after: datetime) -> datetime | None:
    """The first time of *schedule* after *after*, None when none is left; raises ValueError for a wrong expression."""
    from cronsim import CronSim, CronSimError

    if len(schedule) > _LONGEST:
        raise ValueError(f"{shown(schedule)} is longer than any cron expression")
    try:
        found: datetime | None = next(CronSim(_NAMED.get(schedule, schedule), after.astimezone(UTC)), None)
    except (CronSimError, AssertionError) as problem:
        raise ValueError(
            f"{shown(schedule)} is no cron expression ({problem}); expected five fields in UTC, such as '*/15 * * * *',"
            " or a name, such as @daily"
        ) from problem
    return found


def daily_window(text: str) -> tuple[int, int]:
    """The minutes after midnight from and to which *text* means; raises ValueError for what means none."""
    found = _WINDOW.fullmatch(text.strip())
    begin, end = (int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])) if found else (0, 0)
    if begin == end:
        raise ValueError(f"{shown(text)} is no time of the day; expected '01:00-05:00' (UTC), 'always' or 'auto'")
    return begin, end


def in_window(text: str, now: datetime) -> bool:
    """Is *now* within the window of the day *text*?"""
    begin, end = daily_window(text)
    at = now.astimezone(UTC)
    minute = at.hour * 60 + at.minute
    return begin <= minute < end if begin < end else not end <= minute < begin
