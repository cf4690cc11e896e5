"""The checks of ``doctor``: each looks at one thing, changes nothing, and says what to do.

A check that can't be made because an earlier one failed is left out: one cause, one line.
"""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Final, Literal

from scoutcache import __version__
from scoutcache.alerts import Level
from scoutcache.calls.listing import forbidden
from scoutcache.cli.checks.available import check_available
from scoutcache.cli.checks.findings import MOST_VERIFIED, Check
from scoutcache.cli.printing.telling import unverified
from scoutcache.cli.printing.text import size
from scoutcache.cli.state import NO_HOME
from scoutcache.errors import CacheError, ConfigError, TierUnavailable
from scoutcache.settings.folders import PARTS
from scoutcache.wire.unknown import Unverified
from scoutcache.wording.nouns import counted
from scoutcache.wording.os_errors import is_read_only
from scoutcache.wording.owners import as_owner

if TYPE_CHECKING:
    from scoutcache.alerts import Alert
    from scoutcache.cli.state import Session
    from scoutcache.config import CacheConfig
    from scoutcache.core.core import Core
    from scoutcache.tiers.base import Tier

# SQLite can corrupt a database in WAL mode when two connections reset the log at the same moment; fixed in 3.51.3.
_WAL_RACE: Final = ((3, 7, 0), (3, 51, 2))
_LEAST_FREE: Final = 100_000_000


def run_checks(session: Session) -> Iterator[Check]:
    """All checks, from what everything rests on to what is built on it."""
    yield _python()
    yield _sqlite()
    try:
        config = session.config
        check_available(session.loaded)
    except ConfigError as error:
        many = f"{len(error.problems)} settings are wrong"
        detail = "\n".join([many, *error.problems] if error.problems[1:] else error.problems) or str(error)
        yield Check("configuration", "fail", detail, error.hint or "correct these settings")
        return
    yield _configuration(session)
    yield from _policies(config)
    if not config.enabled:
        yield Check("switch", "warn", "enabled is false: nothing is stored or read", "set enabled = true")
    place = session.place
    directory = _directory(place)
    if directory.status == "ok" and session.homeless:
        directory = Check("directory", "warn", f"{directory.detail}: {NO_HOME}", "set `directory`")
    yield directory
    if directory.status != "fail":
        yield from _parts(place)
    if "disk" in config.tiers:
        yield _space(place, config.disk.max_bytes)
    failed = set[str]()
    if "redis" in config.tiers:
        session.ask_password()
        for check in _server(session):
            failed |= {" ".join(check.name.split()[:2])} if check.status == "fail" else set()
            yield check
    if directory.status == "fail":
        return
    yield from _store(session, away="redis connection" in failed, lacking="redis rights" in failed)
    yield from _semantic(session)
    yield from _alerts(session)
    if place.exists():
        yield from _damaged(place)  # after the store was opened, which is what sets it aside
        yield from _uncounted(place)
        yield from _queues(place)


def _python() -> Check:
    # Older interpreters can't even import the package, so there is nothing to fail here.
    return Check("python", "ok", f"Python {platform.python_version()}, scoutcache {__version__}")


def _sqlite() -> Check:
    detail = f"SQLite {sqlite3.sqlite_version}"
    if _WAL_RACE[0] <= sqlite3.sqlite_version_info <= _WAL_RACE[1]:
        return Check("sqlite", "warn", f"{detail} has a rare race that can damage a database with several writers",
                     "use a Python with SQLite 3.51.3 or later; a damaged store is set aside")  # fmt: skip
    return Check("sqlite", "ok", detail)


def _configuration(session: Session) -> Check:
    from scoutcache.settings import needs_trust, sources

    running = needs_trust(session.loaded)
    if running:
        return Check("configuration", "warn", f"it runs code: {'; '.join(running)}", "check that you trust these files")
    return Check("configuration", "ok", sources(session.loaded))


def _policies(config: CacheConfig) -> Iterator[Check]:
    if config.policies:
        from scoutcache.policies.checks import conflicts

        for conflict in conflicts(config.policies):
            yield Check("policies", "warn", str(conflict), "give one of them another priority")


def _directory(place: Path) -> Check:
    if not place.exists():
        above = next(folder for folder in place.absolute().parents if folder.exists())
        if _takes_folders(above):
            return Check("directory", "ok", f"{place} will be created at the first write")
        return Check("directory", "fail", f"{place} can't be made: {above} is not writable", "name another --directory")
    return _directory_there(place, place.stat())


def _takes_folders(place: Path) -> bool:
    """Whether a folder can be made there; found by making one, since what forbids it is not always the mode."""
    try:
        Path(mkdtemp(prefix=".scoutcache-", dir=place)).rmdir()
    except OSError:
        return False
    return True


def _directory_there(place: Path, status: os.stat_result) -> Check:
    mode, me = stat.S_IMODE(status.st_mode), os.geteuid()
    elsewhere = "remount it writable, or name a --directory elsewhere"
    rules: tuple[tuple[bool, Literal["warn", "fail"], str, str], ...] = (
        (not stat.S_ISDIR(status.st_mode), "fail", "is not a directory", "name another --directory"),
        (status.st_uid != me, "fail", f"belongs to user {status.st_uid}, not to {me}", as_owner(status.st_uid)),
        (is_read_only(place), "fail", "is on a read-only file system", elsewhere),
        (not os.access(place, os.W_OK | os.X_OK), "fail", "is not writable", f"chmod u+wx {place}"),
        (bool(mode & 0o077), "warn", f"is open to others (mode {mode:04o})", f"chmod 700 {place}"),
    )
    wrong = next((rule for rule in rules if rule[0]), None)
    if wrong is None:
        return Check("directory", "ok", str(place))
    return Check("directory", wrong[1], f"{place} {wrong[2]}", wrong[3])


def _parts(place: Path) -> Iterator[Check]:
    """What stands where the cache keeps a folder of its own, and is none or takes nothing."""
    for part in (place / name for name in PARTS):
        name = f"directory {part.name}"
        if part.exists() and not part.is_dir():
            yield Check(name, "fail", f"{part} is not a directory, so nothing is stored there", f"remove {part}")
        elif part.is_dir() and not os.access(part, os.W_OK | os.X_OK):
            yield Check(name, "fail", f"{part} is not writable", f"chmod u+wx {part}")


def _space(place: Path, wanted: int) -> Check:
    there = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    detail = f"{size(free)} free under {there}, the disk tier may take {size(wanted)}"
    if free < _LEAST_FREE:
        return Check("space", "fail", detail, "free some space, or name a --directory elsewhere")
    if free < wanted:
        return Check("space", "warn", detail, "free some space, or lower [disk] max_bytes")
    return Check("space", "ok", detail)


def _damaged(place: Path) -> Iterator[Check]:
    aside = sorted(found.name for found in place.rglob("damaged-*"))
    if aside:
        yield Check("damage", "warn", f"{counted(len(aside), 'file')} set aside as damaged, the last {aside[-1]}",
                    "delete them once you have looked at them; check the disk if they come again")  # fmt: skip


def _uncounted(place: Path) -> Iterator[Check]:
    from scoutcache.oplog.fold import set_aside
    from scoutcache.oplog.ledger import read_counts
    from scoutcache.oplog.process import PROCS

    unread = [*read_counts(place, since=None, now=time.time()).unread, *set_aside(place / PROCS)]
    if unread:
        detail = f"{counted(len(unread), 'file')} of counters can't be read; what was counted there is missing"
        yield Check("counters", "warn", f"{detail}; the last is {unread[-1].relative_to(place)}",
                    "delete them once you have looked at them; check the disk if they come again")  # fmt: skip


def _queues(place: Path) -> Iterator[Check]:
    if any(place.glob("queues/*.db")):
        from scoutcache.cli.checks.queues import queue_checks

        yield from queue_checks(place / "queues")


def _server(session: Session) -> Iterator[Check]:
    from scoutcache.cli.checks.server import server_checks
    from scoutcache.server.breaker import WITHOUT_IT

    for check in server_checks(session.config.redis):
        if check.status == "fail":  # and nobody need warn of it any more
            session.said |= {WITHOUT_IT} if check.fault is None else {WITHOUT_IT, check.fault.reason}
        yield check


def _store(session: Session, *, away: bool, lacking: bool) -> Iterator[Check]:
    """Open the cache as a reader would and ask each tier.

    What was said of the server is not said again: that it is *away*, that rights to it are *lacking*.
    """
    if lacking:
        from scoutcache.server.faults import Kind

        session.said.add(f"{Kind.NOPERM.value}: ")
    try:
        with session.cache(reading=True, told=False) as cache:
            for tier in cache._core.tiers:
                if not (away and tier.name == "redis"):
                    yield from _tier(cache._core, tier, lacking=lacking)
            if cache._core.strangers:
                detail = f"{', '.join(cache._core.strangers)}: another server or prefix than this command uses, or none"
                fix = "use the application's --redis-url or --config: they don't hear each other's changes"
                yield Check("processes", "fail", detail, fix)
            if cache._core.owing():
                detail = "changes made while the server was away have not been sent to it yet"
                yield Check("redis debts", "warn", detail,
                            "when it accepts writes again, run a command that may write, such as scoutcache prune")
    except CacheError as error:
        yield Check("store", "fail", str(error), error.hint)


def _semantic(session: Session) -> Iterator[Check]:
    """Only where answers are found by meaning, or were."""
    config = session.config
    asks = config.semantic.enabled or any(policy.strategy == "semantic" for policy in config.policies)
    if config.enabled and (asks or any(session.place.glob("semantic/*/rows"))):
        from scoutcache.cli.checks.semantic import semantic_checks

        yield from semantic_checks(session)


def _alerts(session: Session) -> Iterator[Check]:
    """The levels of the alerts section that this machine's counters of the last hour pass; tiers were asked above."""
    from scoutcache.alerts import alerts
    from scoutcache.core.alarms import HOUR, LEAST, figures_of
    from scoutcache.oplog.totals import collect_stats

    if not session.place.is_dir():
        return
    hour = collect_stats(session.place, now=time.time(), period_s=HOUR)
    found = alerts(figures_of(hour, hour, away={}, least=LEAST), session.config.alerts)
    for alert in found:
        now = f"the other checks show what is wrong now, {_shows(alert)} what was before"
        fix = now if alert.for_doctor else alert.remedy
        yield Check("alerts", "warn" if alert.level > Level.INFO else "ok", alert.detail, fix)
    if not found:
        yield Check("alerts", "ok", "no level was passed in the last hour")


def _shows(alert: Alert) -> str:
    """The command that knows the cause of *alert* when it is over."""
    return "scoutcache log tail --op error" if alert.name == "errors_per_hour" else "scoutcache report"


def _tier(core: Core, tier: Tier, *, lacking: bool) -> Iterator[Check]:
    try:
        usage = tier.usage()
    except TierUnavailable as error:
        if not (lacking and _lacks_right(error)):
            yield Check(tier.name, "fail", error.reason, error.hint)
        return
    if tier is core.memory:
        room = f"room for {counted(usage.max_entries or 0, 'entry')}, {size(usage.max_bytes or 0)} per process"
        yield Check(tier.name, "ok", room)
        return
    used, limit = usage.size_bytes, usage.max_bytes
    detail = "- entries" if usage.entries is None else counted(usage.entries, "entry")
    detail += f", {'-' if used is None else size(used)}"
    yield Check(tier.name, "ok", f"{detail} of {size(limit)}" if limit is not None else detail)
    for difference in getattr(tier, "differences", ()):
        yield Check(f"{tier.name} limits", "warn", difference, "scoutcache prune --apply-limit")
    if hasattr(tier, "verify"):
        yield _integrity(tier, usage.entries)
    if core.world.policy is not None and (usage.entries or 0) <= MOST_VERIFIED:
        yield from _forbidden(core, tier)


def _forbidden(core: Core, tier: Tier) -> Iterator[Check]:
    found = list(forbidden(core, tier))
    if found:
        what = f"{counted(len(found), 'entry')} that a policy now excludes from this tier, such as {found[0].key}"
        yield Check(f"{tier.name} policies", "warn", f"stored before: {what}", "scoutcache prune removes them")


def _lacks_right(error: TierUnavailable) -> bool:
    from scoutcache.server.faults import Kind, refusal

    return refusal(error.reason) is Kind.NOPERM


def _integrity(tier: Any, entries: int | None) -> Check:
    name = f"{tier.name} integrity"
    if (entries or 0) > MOST_VERIFIED:
        return Check(name, "ok", f"not checked, because it holds {counted(entries or 0, 'entry')}",
                     "scoutcache verify checks them all")  # fmt: skip
    found = tier.verify()
    damaged = len(found["corrupt"])
    if found["integrity"] != "ok":
        return Check(name, "fail", found["integrity"], "the next use sets the store aside and begins a new one")
    if damaged:
        what = f"damaged: {damaged:,} of {counted(entries or 0, 'entry')}"
        return Check(name, "fail", what, "scoutcache verify --repair")
    if kept := found.get("unverified", 0):
        return Check(name, "warn", f"not checked: {unverified(kept)}", Unverified.remedy)
    return Check(name, "ok", f"{counted(found['entries'], 'whole entry')}")
