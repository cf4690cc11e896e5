"""Caches as commands open them: to change something, or only to look; and what the library says meanwhile."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

from scoutcache.cache import Cache
from scoutcache.cli.errors import PARTLY, UNREACHABLE, CommandError
from scoutcache.cli.printing import text
from scoutcache.config import CacheConfig
from scoutcache.core.core import Clocks, harvest
from scoutcache.core.keeping import POLICY_LOG
from scoutcache.engine.entrusted import GRACE
from scoutcache.entry import Ref
from scoutcache.errors import CacheError, TierUnavailable

if TYPE_CHECKING:
    from scoutcache.core.core import Core

_PATIENCE: Final = 2 * GRACE
_POLL: Final = 0.05


def _open(config: CacheConfig, *, raise_errors: bool, clocks: Clocks | None = None) -> Cache:
    with unusable():
        # A command does what it was asked; what an application does beside its calls is none of its business.
        return Cache(config, raise_errors=raise_errors, clocks=clocks, attended=False)


@contextmanager
def unusable() -> Iterator[None]:
    """A directory that can't be used is a store that can't be reached, to whoever reads exit codes."""
    try:
        yield
    except CacheError as error:
        if type(error) is CacheError:
            raise CommandError(str(error), code=UNREACHABLE, hint=error.hint) from error
        raise


@contextmanager
def opened(config: CacheConfig, *, verbose: bool, raising: bool, said: set[str]) -> Iterator[Cache]:
    """A cache to change, closed at the end."""
    with speaking(verbose=verbose, said=said), closing(_open(config, raise_errors=raising)) as cache:
        _await_debts(cache._core)
        yield cache


def _await_debts(core: Core) -> None:
    """Let what ended processes of this machine owe a server be made good, some two seconds after an outage.

    A command would fail of it, and where only commands run nobody else would ever do so.
    """
    until = time.monotonic() + _PATIENCE
    if core.owing() and core.world.takes_writes():
        while core.owing() and time.monotonic() < until:
            time.sleep(_POLL)


@contextmanager
def observed(
    config: CacheConfig, *, verbose: bool, raising: bool, said: set[str], counting: bool = False
) -> Iterator[Cache]:
    """A cache to look into: nothing runs beside it, and it publishes nothing of itself but what *counting* asks for."""
    clocks = Clocks(time.time, time.monotonic, time.monotonic_ns, ticking=False, looking=True)
    with speaking(verbose=verbose, said=said):
        core = _open(config, raise_errors=raising, clocks=clocks)._core
        try:
            yield Cache(_core=core)
        finally:
            # Not `core.close()`, which publishes this process's counters: an observer has none, unless it asked.
            if counting and (os.access(core.directory, os.W_OK) or not core.directory.exists()):
                core.recorder.close(harvest(core.recorder, core.tiers))
            core.ports.threads.shutdown(wait=True)
            for tier in core.tiers:
                tier.close()
            core.journal.close()


@contextmanager
def failures(core: Core) -> Iterator[dict[str, str]]:
    """The tiers that could not be asked meanwhile, and why."""
    away: dict[str, str] = {}
    take_off = core.hooks.add("tier_down", lambda record: away.setdefault(record.tier, record.reason))
    try:
        yield away
    finally:
        take_off()


def unasked(core: Core, key: str) -> dict[str, str]:
    """The tiers that are not asked for *key*, for what was changed while they were away is not known to them yet."""
    ref = Ref(core.config.namespace, key)
    levels = [level for level, doubt in enumerate(core.world.doubts) if doubt and doubt.may_have(ref)]
    return {core.world.names[level]: "changes made while it was away have not been sent to it yet" for level in levels}


def part(away: Mapping[str, str]) -> int | None:
    """The exit code where tiers could not be asked: what was printed is a part, whatever was asked of them."""
    return PARTLY if away else None


def check_absence(what: str, away: Mapping[str, str], why: str = "") -> None:
    """Raise `CommandError` where something was found nowhere, and somebody could not be asked: it may well be there.

    *why* begins the hint.
    """
    if away:
        told = "; ".join(str(TierUnavailable(tier, reason)) for tier, reason in away.items())
        raise CommandError(f"{what}: {told}", code=UNREACHABLE,
                           hint=f"{why}scoutcache doctor says what is wrong")  # fmt: skip


UNCHECKED: Final = "a value that can't be checked for invalidations isn't returned; "


def answered(core: Core, away: Mapping[str, str], tier: str | None = None) -> int | None:
    """`part`.  Raises `CommandError` where no tier that was asked, *tier* or all, could; memory here knows nothing."""
    asked = [one.name for one in core.tiers if one is not core.memory and tier in {None, one.name}]
    if asked and all(name in away for name in asked):
        told = str(TierUnavailable(asked[0], away[asked[0]]))
        raise CommandError(told, code=UNREACHABLE, hint="scoutcache doctor says what is wrong with it")
    return part(away)


class _Heard(logging.Handler):
    """What the library warns of, kept until it is clear whether an error says it better."""

    def __init__(self, *, at_once: bool) -> None:
        super().__init__(logging.INFO if at_once else logging.WARNING)
        self.at_once = at_once
        self.kept: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{record.levelname.lower()}: {text.visible(record.getMessage())}\n"
        if self.at_once:
            sys.stderr.write(line)
        else:
            self.kept.append(line)


@contextmanager
def speaking(*, verbose: bool, said: set[str]) -> Iterator[None]:
    """Show the library's warnings on stderr: at the end, unless an error ended it all; at once with ``--verbose``.

    Conflicts of policies only with ``--verbose``: they are no news of this run, and cron would mail them each time.
    What was *said* already, the line itself or the reason in it, is not said again.
    """
    logger, handler = logging.getLogger("scoutcache"), _Heard(at_once=verbose)
    handler.addFilter(lambda record: verbose or record.name != POLICY_LOG)
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    except CacheError:
        handler.kept.clear()
        raise
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
        for line in dict.fromkeys(handler.kept):
            if not any(one in line for one in said):
                sys.stderr.write(line)
                said.add(line)
