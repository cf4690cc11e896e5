"""``invalidate``: everything that can be named, in every tier and every process.

Rules:

1. Naming what to invalidate never asks; a sweep (``--all``) asks at a terminal and wants ``--yes`` elsewhere.
2. A dry run changes nothing and counts everything.  ``--max`` counts first, by the same scan, and refuses as a whole.
3. What is named one by one (``--keys-from``) goes in pieces, so that a million keys are no one message of a million.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scoutcache.calls.listing import list_entries
from scoutcache.calls.ruling import united
from scoutcache.cli.errors import FAILED, INTERRUPTED, PARTLY, UNREACHABLE, CommandError, Usage, read
from scoutcache.cli.opening import failures
from scoutcache.cli.options import choices, command
from scoutcache.cli.printing.removed import failed, figures
from scoutcache.cli.printing.streams import stdin_bytes
from scoutcache.cli.resuming import UNPACED, Cursor, Interval, check_same, ended, pace, walking
from scoutcache.cli.state import Session
from scoutcache.entry import KEY_MARK, Ref
from scoutcache.keys import asked_for
from scoutcache.patterns import Pattern
from scoutcache.ttl import parse_duration
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from scoutcache.cache import Cache
    from scoutcache.calls.walking import Walk
    from scoutcache.cli.waiting import Waited
    from scoutcache.coherence.messages import Action
    from scoutcache.entry import Header
    from scoutcache.models import InvalidationResult

app = typer.Typer()

SAMPLE: Final = 20
PIECE: Final = 1000

_Tag = Annotated[list[str] | None, typer.Option("--tag", metavar="T", help="Entries with this tag; repeatable.")]
_DependsOn = Annotated[
    list[str] | None, typer.Option("--depends-on", metavar="K", help="Entries that depend on this key; repeatable.")
]
_KeysFrom = Annotated[
    str | None, typer.Option("--keys-from", metavar="FILE|-", help="Exact keys, one per line or separated by NUL.")
]
_Action = Annotated[
    str,
    choices(
        ("delete", "refresh", "mark-stale"),
        "--action",
        help="What to do with the entries. Default: delete.",
        show_default=False,
    ),
]
_Match = Annotated[
    str,
    choices(("any", "all"), "--match", help="Entries that match any target, or all. Default: any.", show_default=False),
]
_Max = Annotated[
    int | None,
    typer.Option("--max", metavar="N", min=0, help="Count first; if more keys match, do nothing and exit 1."),
]
_Wait = Annotated[
    str | None,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        help="Wait until every live process has applied it; exit 3 if one has not, or if that is unknown.",
    ),
]


@command(
    app,
    "invalidate",
    examples="""
    scoutcache invalidate 'llm:*'                      by pattern
    scoutcache invalidate --tag model:gpt-4 --count    by tag, and count the entries
    scoutcache invalidate 'user:7:*' --dry-run         show what would be invalidated
    scoutcache invalidate --event deploy.finished --reason 'release 4.2'
    scoutcache invalidate --tag prices --action mark-stale --wait 5
    scoutcache keys --filter 'age>30d' -0 | scoutcache invalidate --keys-from -
    """,
)
def invalidate(
    session: Session,
    patterns: Annotated[
        list[str] | None, typer.Argument(metavar="PATTERN...", help="Keys that match any of these.")
    ] = None,
    tag: _Tag = None,
    event: Annotated[
        str | None, typer.Option("--event", metavar="E", help="Invalidate what the rules for event E name.")
    ] = None,
    depends_on: _DependsOn = None,
    keys_from: _KeysFrom = None,
    action: _Action = "delete",
    match: _Match = "any",
    no_cascade: Annotated[bool, typer.Option("--no-cascade", help="Keep entries that depend on the keys.")] = False,
    count: Annotated[bool, typer.Option("--count", help="Also count what tags covered, which takes a scan.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and show; change nothing.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Recorded in the log.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything in the namespace.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")] = False,
    most: _Max = None,
    wait: _Wait = None,
    cursor: Cursor = None,
    interval: Interval = UNPACED,
) -> int | None:
    """Invalidate by pattern, tag, key, dependency or event, in every tier and every process.

    Once it has returned, no process of this machine reads the old entries; --wait waits for other machines too. An
    entry is invalidated if any of the targets names it, with --match all only if every target does. Patterns match
    whole keys inside one namespace; the ends of a range may stand in any order. With mark-stale an entry may still be
    served while it is recomputed, until its time is over; refresh also tells the processes that can compute it. An
    event has the actions of its rules; events emit gives it fields. For patterns and keys, matched counts the entries
    in the tiers, including those that had already expired or been invalidated. Ctrl-C during a removal by pattern ends
    it after the current batch, with all processes told; the command prints the --cursor to continue from and exits with
    130.
    """  # fmt: skip
    named = list(patterns or (["*"] if everything else ()))
    _check_sweep(named, everything=everything, wants_yes=not (yes or dry_run or session.can_ask))
    seconds = None if wait is None else read("--wait", parse_duration, wait)
    wanted = Wanted(
        named, _keys(keys_from), list(tag or ()), event, list(depends_on or ()),
        {"cascade": not no_cascade, "action": action.replace("-", "_"), "reason": reason}, every=match == "all",
    )  # fmt: skip
    wanted.check(dry_run=dry_run, wait=seconds)
    resumes = _resumes(wanted, cursor, counts=dry_run or count or most is not None)
    if wanted.is_empty():
        return _nothing(session, keys_from)
    with session.cache(raising=False) as cache:
        with walking(cursor, interval, catching=resumes) as walk:
            check_same(walk, cache.config.namespace, named)
            if everything and not dry_run:
                session.confirm(f"invalidate everything in namespace {cache.config.namespace}", yes=yes)
            _check_most(session, cache, wanted, most)
            pace(cache._core, walk)
            result = _performed(session, cache, wanted, dry_run=dry_run, count=count)
        session.said.update(result.failed.values())  # it is told below
        if event is not None and not _listened(cache, event):
            session.note(f"no rule listens to {event}")
        waited = None if seconds is None or walk.stopped else _wait(session, cache, walk, seconds)
        code = _told(session, result, waited, dry_run=dry_run)  # before it is closed: a signal may break that off
    left = _left(named, walk, cache.config.namespace)
    if left is None:
        return code
    again = {"tag": tag, "depends_on": depends_on, "event": event, "all": everything, "no_cascade": no_cascade,
             "reason": reason, "wait": wait, "keys_from": None if keys_from == "-" else keys_from,
             "interval": interval}  # fmt: skip
    return ended(session, walk, "invalidate", *left, **again)


def _resumes(wanted: Wanted, cursor: str | None, *, counts: bool) -> bool:
    """Can it be interrupted and go on?  Raises `Usage` for a cursor where it can't."""
    resumes = wanted.can_resume and not counts
    if cursor is not None and not resumes:
        raise Usage("--cursor works only when deleting by pattern, without --count, --max and --dry-run")
    return resumes


def _left(named: list[str], walk: Walk, namespace: str) -> list[str] | None:
    """The patterns that an interrupted walk has not ended with; None where it came to its end."""
    if walk.place is None:
        return None
    return named[[asked_for(namespace, Pattern.parse(one).text) for one in named].index(walk.place.what) :]


def _nothing(session: Session, keys_from: str | None) -> int | None:
    """A list without keys is no mistake; that nothing was named is."""
    if keys_from is None:
        known = "name a PATTERN, --tag, --event, --keys-from, --depends-on or --all"
        raise Usage("nothing to invalidate was named", hint=known)
    session.note("no keys were given")
    session.out.record({"matched": 0, "invalidated": 0, "by_tier": {}, "sample": []})
    return None


def _listened(cache: Cache, event: str) -> bool:
    from scoutcache.rules.planning import by_event

    return bool(by_event(cache._core.rulebook.ruleset, event, {}))


def _check_sweep(patterns: Sequence[str], *, everything: bool, wants_yes: bool) -> None:
    """Refuse a sweep that isn't called one, and what is called one and isn't; *wants_yes*: nobody can be asked."""
    for pattern in patterns:
        whole = Pattern.parse(pattern).matches_all
        # What is made of wildcards alone names nothing: it is a sweep too, though it may spare the shortest keys.
        sweeps = not pattern.replace("[^]", "?").strip("*?")
        if sweeps and not everything:
            what = "matches everything in the namespace" if whole else "has only wildcards and may match everything"
            raise Usage(f"{pattern} {what}", hint=f"pass --all{' --yes' if wants_yes else ''} if you mean that")
        if everything and not sweeps:
            raise Usage(f"--all matches everything in the namespace, and {pattern} is less", hint="use one of them")


def _keys(source: str | None) -> list[str]:
    if source is None:
        return []
    try:
        given = stdin_bytes("--keys-from -").read() if source == "-" else Path(source).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise Usage(f"--keys-from: {source}: {error.strerror}") from error
    try:
        content = given.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Usage(f"the keys from {source} are not text: {error}") from error
    # No key holds a carriage return: one before the end of a line belongs to that.
    keys = content.split("\0") if "\0" in content else content.replace("\r\n", "\n").split("\n")
    return [key for key in keys if key]


class Wanted:
    """What is to be invalidated, and how."""

    def __init__(
        self, patterns: list[str], keys: list[str], tags: list[str], event: str | None, depends_on: list[str],
        how: dict[str, Any], *, every: bool,
    ) -> None:  # fmt: skip
        self._patterns, self._keys, self._tags, self._event = patterns, keys, tags, event
        self._depends_on, self._every, self._how = depends_on, every, how

    @property
    def can_resume(self) -> bool:
        """Whether it removes by patterns, step by step."""
        return bool(self._patterns) and not self._every and self._how["action"] == "delete"

    def is_empty(self) -> bool:
        """Whether nothing was named."""
        return not (self._patterns or self._keys or self._tags or self._event or self._depends_on)

    def check(self, *, dry_run: bool, wait: float | None) -> None:
        """Refuse what does not go together."""
        from scoutcache.keys import check_tag, key_text

        if self._event is not None and self._every:
            raise Usage("--event can't be used with --match all", hint="an event names rules, not entries")
        if dry_run and wait is not None:
            raise Usage("--wait can't be used with --dry-run", hint="a dry run changes nothing that could be applied")
        for key in [*self._keys, *self._depends_on]:
            key_text(key)
        for tag in self._tags:
            check_tag(tag)

    def run(self, cache: Cache, *, dry_run: bool, count: bool) -> Iterator[InvalidationResult]:
        """Do it part by part, or with *dry_run* say what it would be."""
        how: dict[str, Any] = {**self._how, "dry_run": dry_run, "count": count}
        if self._every:
            yield from self._intersected(cache, how)
            return
        if self._patterns or self._tags or self._event is not None:
            yield cache.invalidate(*self._patterns, tags=self._tags, event=self._event, **how)
        for piece in _pieces(self._keys):
            yield cache.invalidate(keys=piece, **how)
        if self._depends_on:
            yield from _dependents(cache, self._depends_on, how)

    def _intersected(self, cache: Cache, how: dict[str, Any]) -> Iterator[InvalidationResult]:
        if not self._depends_on:
            yield cache.invalidate(*self._patterns, keys=self._keys, tags=self._tags, match="all", **how)
            return
        from scoutcache.calls.targets import target_of

        target = None
        if self._patterns or self._keys or self._tags:
            target = target_of(cache._calls, self._patterns, self._keys, self._tags, "all")
        found = (
            header.ref.key
            for header in _depending(cache, self._depends_on, every=True)
            if target is None or target.takes(header)
        )
        with failures(cache._core) as away:
            for piece in _pieces(found):
                yield cache.invalidate(keys=piece, **how)
            yield _result(0, [], (), away)


def _pieces(keys: Iterable[str]) -> Iterator[list[str]]:
    waiting = iter(keys)
    while piece := list(islice(waiting, PIECE)):
        yield piece


def _depending(cache: Cache, keys: Sequence[str], *, every: bool = False) -> Iterator[Header]:
    """The entries that depend on one of *keys*, or on *every* one."""
    wanted = set(keys)
    for entry in list_entries(cache._core, cache.config.namespace, stale=True):
        found = wanted & set(entry.header.depends_on)
        if found == wanted if every else found:
            yield entry.header


def _result(
    matched: int | None, sample: Sequence[str], tiers: Iterable[str], away: dict[str, str], *, dry_run: bool = False
) -> InvalidationResult:
    """Counted in all, if at all, and not by *tiers*."""
    from scoutcache.models import InvalidationResult

    invalidated = 0 if dry_run else matched
    return InvalidationResult(
        matched=matched, invalidated=invalidated, by_tier=dict.fromkeys(tiers), sample=tuple(sample), failed=away
    )


def _dependents(cache: Cache, keys: Sequence[str], how: dict[str, Any]) -> Iterator[InvalidationResult]:
    """Invalidate what depends on *keys* and leave the keys themselves.

    One write, whatever the number of entries; how many they are is known only with a count or a dry run, which scan.
    """
    matched, sample = None, []
    with failures(cache._core) as away:
        if how["dry_run"] or how["count"]:
            found = [header.ref.key for header in _depending(cache, keys)]
            matched, sample = len(found), found[:SAMPLE]
        if not how["dry_run"]:
            _end_dependents(cache, keys, how["action"], how["reason"])
    yield _result(matched, sample, [tier.name for tier in cache._core.tiers], away, dry_run=how["dry_run"])


def _end_dependents(cache: Cache, keys: Sequence[str], action: Action, reason: str | None) -> None:
    from scoutcache.drive.blocking import run
    from scoutcache.oplog.records import dependents_target

    core, space, began = cache._core, cache.config.namespace, cache._core.clocks.monotonic_ns()
    if action == "delete":
        # Not in a cascade: what depends on a key says so of every key behind it too.
        run(core.removing.tags(space, [KEY_MARK + key for key in keys], cascade=False, reason=reason), core.ports)
    else:
        run(core.staling.dependents(space, keys, action, reason), core.ports)
    for key in keys:
        name = Ref(space, dependents_target(key))
        cache._calls.recording.done("invalidate", name, began, outcome="invalidated", reason=reason)


def _performed(session: Session, cache: Cache, wanted: Wanted, *, dry_run: bool, count: bool) -> InvalidationResult:
    """Do what is wanted, or with *dry_run* count what it would be."""
    with session.working(f"{'counting' if dry_run else 'invalidating'} in {_size_of(cache)}"):
        return united([*wanted.run(cache, dry_run=dry_run, count=count)])


def _check_most(session: Session, cache: Cache, wanted: Wanted, most: int | None) -> None:
    """Refuse when more than *most* keys match now; what others write meanwhile is not counted."""
    if most is None:
        return
    found = _performed(session, cache, wanted, dry_run=True, count=False)
    if found.failed:
        raise CommandError(f"matching keys can't be counted: {'; '.join(found.failed.values())}", code=UNREACHABLE)
    if found.matched is None or found.matched > most:
        told = f"{counted(found.matched or 0, 'matching key')}, more than --max {most}; nothing was invalidated"
        raise CommandError(told, code=FAILED)


def _size_of(cache: Cache) -> str:
    """How much there is to look through, for people who wait for it."""
    from scoutcache.errors import TierUnavailable

    try:
        # What is paced has to be scanned to be counted.
        cheap = [tier for tier in cache._core.tiers if tier is not cache._core.memory and not hasattr(tier, "pace")]
        entries = [tier.usage().entries for tier in cheap]
    except TierUnavailable:
        return "the store"
    known = max((number for number in entries if number is not None), default=None)
    return "the store" if known is None else counted(known, "entry")


def _wait(session: Session, cache: Cache, walk: Walk, seconds: float) -> Waited:
    """An interrupt in the last step of *walk*, which had come to its end, breaks off the waiting."""
    from scoutcache.cli.waiting import wait_for_all

    with session.working("waiting for other processes"):
        waited = wait_for_all(cache._core, 0.0 if walk.stopping else seconds)
    return waited._replace(broken_off=True) if walk.stopping and waited.behind else waited


def _told(session: Session, result: InvalidationResult, waited: Waited | None, *, dry_run: bool) -> int | None:
    session.out.record(figures(result, dry_run=dry_run) | ({} if waited is None else waited.as_dict()))
    code = failed(session, result.failed, result.by_tier)
    if waited is not None and waited.broken_off:
        session.warn(_broken_off(waited))
        return INTERRUPTED
    if waited is None or not (waited.behind or waited.unknown):
        return code
    from scoutcache.cli.waiting import named

    if waited.unknown is not None:
        session.warn(f"can't wait for the other processes: {waited.unknown}")

    for member in waited.behind:
        session.warn(f"{named(member)} has not applied it after {waited.seconds:.1f} s")
    return code or PARTLY


def _broken_off(waited: Waited) -> str:
    """It was done all the same; who has not applied it, as far as that is known."""
    from scoutcache.cli.waiting import named

    told = f"it was invalidated; the wait was interrupted after {waited.seconds:.1f} s"
    if waited.unknown is not None:
        return f"{told}, before it was known which processes have not applied it"
    names = ", ".join(named(member) for member in waited.behind)
    return f"{told}, and {names} {'has' if len(waited.behind) == 1 else 'have'} not applied it" if names else told
