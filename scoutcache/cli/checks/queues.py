"""The checks of ``doctor`` on write-behind: what was acknowledged to a caller and has not reached its source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from scoutcache.cli.checks.findings import Check
from scoutcache.insight.units import duration
from scoutcache.queues.backlog import Backlog, backlogs
from scoutcache.wording.nouns import counted

_START = "start the application that opens this queue with cache.behind()"
_MEND = "repair what it writes to: writes are retried automatically"
_DEAD = "once the source accepts them, call .retry_dead() on the queue in the application, or .discard_dead()"


def queue_checks(folder: Path) -> Iterator[Check]:
    """One for each queue below *folder*."""
    try:
        for one in backlogs(folder):
            yield _check(one, time.time())
    except OSError as error:
        yield Check("write-behind", "fail", f"{error.filename} can't be read: {error.strerror}",
                    "move it away after a look: the writes that it acknowledged are only in it")  # fmt: skip


def _check(one: Backlog, now: float) -> Check:
    name = f"write-behind {one.queue}"
    age = "" if one.since is None else f", the oldest for {duration(max(0.0, now - one.since))}"
    detail = f"{counted(one.waiting, 'write')} waiting{age}" if one.waiting else "nothing is waiting"
    if one.dead:
        dead = f"{counted(one.dead, 'dead letter')}, the last: {one.error}"
        return Check(name, "warn", f"{dead}; {detail}", _DEAD)
    if one.waiting and not one.is_delivered:
        return Check(name, "warn", f"{detail}, but no process delivers", _START)
    if one.tried:
        return Check(name, "warn", f"{detail}; {one.tried} of them failed before", _MEND)
    return Check(name, "ok", detail)
