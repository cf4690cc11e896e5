"""``rules``: the invalidation rules, what they would hit, and running them, from cron if need be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from scoutcache.cli.errors import FAILED, PARTLY, UNREACHABLE, Usage, did_you_mean, read
from scoutcache.cli.options import command, group
from scoutcache.cli.printing.removed import warn_of
from scoutcache.cli.state import Session

if TYPE_CHECKING:
    from scoutcache.models import EmitResult, RuleResult
    from scoutcache.policies import InvalidationRule
    from scoutcache.schedules import Due

app = group(
    "rules",
    examples="""
    scoutcache rules list
    scoutcache rules run --due                              the time rules that are due, for cron
    scoutcache rules test db.users.updated id=7             see what an event would invalidate
    """,
)

_LISTED: Final = (
    "rule_id", "trigger_type", "on", "target", "action", "priority", "due", "next_run", "last_run", "runs",
    "total_invalidations",
)  # fmt: skip
_RAN: Final = ("rule_id", "action", "target", "matched", "invalidated")
_NONE: Final = "no rules are configured: add [[rules]] to scoutcache.toml, as scoutcache config init shows"

EventName = Annotated[str, typer.Argument(metavar="EVENT", help="The event, such as db.users.updated.")]
Fields = Annotated[
    list[str] | None, typer.Argument(metavar="FIELD=VALUE...", help="The event's fields, which rules may need.")
]
Count = Annotated[bool, typer.Option("--count", help="Also count what tags covered, which takes a scan.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Recorded in the log.")]


@command(
    app,
    "list",
    short="List the rules, what triggers them, and how often they ran.",
    examples="""
    scoutcache rules list
    scoutcache rules list --json | jq '.rules[] | select(.due)'
    """,
)
def list_(session: Session) -> None:
    """List the rules of the configuration: what triggers them, what they invalidate, and how often they ran.

    Statistics are of all processes, in this namespace. Time rules run only when scoutcache rules run is called.
    """
    rows = []
    for rule, due in _standing(session):
        told = {"on": _on(rule), "target": _target(rule.target_pattern, rule.target_tags)}
        rows.append({**rule.model_dump(), **told, "due": due.now, "next_run": due.next_run})
    session.out.rows("rules", rows, () if session.form == "json" else _LISTED)
    if not rows:
        session.note("no rules are configured")


@command(
    app,
    "run",
    short="Run the time rules that are due, or rules by their id.",
    examples="""
    scoutcache rules run --due              the time rules that are due, for cron
    scoutcache rules run nightly            this one, due or not
    scoutcache rules run nightly --dry-run  see what it would invalidate
    """,
)
def run(
    session: Session,
    names: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Run these rules, due or not.")] = None,
    due: Annotated[bool, typer.Option("--due", help="Run the time rules that are due, as run alone does.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and show; change nothing.")] = False,
    reason: Reason = None,
    lock_timeout: Annotated[
        str, typer.Option("--lock-timeout", metavar="S", help="How long to wait for another run to end.")
    ] = "0",
) -> int | None:
    """Run the time rules that are due, or the rules that are named.

    A due rule runs once, however many of its times were missed. One run works at a time in a cache's directory; exit
    code 11 when another run has the lock. Off a terminal a run of due rules without problems prints nothing.
    """
    from scoutcache.ttl import parse_duration

    if due and names:
        raise Usage("--due and rules by their id can't be used together")
    _check_names(session, names or ())
    wait, results = read("--lock-timeout", parse_duration, lock_timeout), []
    chosen = names or [rule.rule_id for rule, at in _standing(session) if at.now]
    if chosen:
        with session.cache(reading=dry_run, raising=False) as cache:
            if names or dry_run:
                results = cache.rules.run(*chosen, reason=reason, dry_run=dry_run, lock_timeout=wait)
            else:
                results = cache.rules.run_due(reason=reason, lock_timeout=wait)
            note_told(session, results)
    elif not any(rule.schedule for rule in session.config.rules):
        session.note("no time rules are configured: nothing to do")
    elif session.watched:
        session.note("no rule is due")
    quiet = not (names or dry_run or session.watched)
    return told(session, results, quiet=quiet)


def _check_names(session: Session, names: Sequence[str]) -> None:
    """Refuse names that no rule has, before anything is opened."""
    known = [name for rule in session.config.rules for name in (rule.rule_id, rule.name)]
    for name in names:
        if name not in known:
            rules = f"the rules are {', '.join(rule.rule_id for rule in session.config.rules)}"
            raise Usage(f"there is no rule {name!r:.200}", hint=did_you_mean(name, known, rules if known else _NONE))


@command(
    app,
    "test",
    short="Show what an event would invalidate.",
    examples="""
    scoutcache rules test db.users.updated id=7
    """,
)
def try_(session: Session, event: EventName, fields: Fields = None) -> int | None:
    """Show which rules an event triggers and what they would invalidate; change nothing.

    Entries that tags and patterns cover are counted, which takes a scan. Rules that need a missing field are named.
    """
    with session.cache(reading=True) as cache:
        result = cache.rules.emit(event, fields_of(fields or ()), dry_run=True)
    return told_event(session, result)


def fields_of(words: Sequence[str]) -> dict[str, str]:
    """The fields that ``name=value`` words give."""
    fields: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise Usage(f"{word!r} is no field", hint="write it as FIELD=VALUE, such as id=7")
        if name in fields:
            raise Usage(f"the field {name!r} is given twice")
        fields[name] = value
    return fields


def note_told(session: Session, results: Sequence[RuleResult]) -> None:
    """Why tiers failed is told with the rules, and need not be said by the library too."""
    session.said.update(why for result in results for why in result.failed.values())


def told_event(session: Session, result: EmitResult) -> int | None:
    """Print what an event set off."""
    if not result.rules:
        session.note(f"no rule listens to {result.event}")
    counts = {"event": result.event, "matched": result.matched, "invalidated": result.invalidated}
    return told(session, result.rules, also=counts)


def told(
    session: Session, results: Sequence[RuleResult], *, also: Mapping[str, Any] | None = None, quiet: bool = False
) -> int | None:
    """Print what rules did, and give the exit code."""
    rows = [_row(result) for result in results]
    if session.form != "table" or (rows and not quiet):
        main = {"rules": rows} if session.form == "json" else {"rules": [_shown(row) for row in rows]}
        alone = {**(also or {}), **main} if session.form == "json" else main
        session.out.record(alone, main="rules", columns=() if session.form == "json" else _RAN)
    _warn_of(session, results)
    wrong = sum(result.error is not None or _all_failed(result) for result in results)
    if wrong and wrong == len(results):
        return FAILED if any(result.error for result in results) else UNREACHABLE
    return PARTLY if wrong or any(result.failed for result in results) else None


def _row(result: RuleResult) -> dict[str, Any]:
    row = result.model_dump()
    left_out = [name for name in ("failed", "error") if not row[name]]
    return {"rule_id": row.pop("rule_id"), **{name: value for name, value in row.items() if name not in left_out}}


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "target": _target(row["target_pattern"], row["target_tags"])}


def _warn_of(session: Session, results: Sequence[RuleResult]) -> None:
    for result in results:
        if result.error is not None:
            session.warn(f"rule {result.rule_id}: {result.error}")
        for tier, why in result.failed.items():
            warn_of(session, tier, why, what=f"rule {result.rule_id}: ")


def _all_failed(result: RuleResult) -> bool:
    """Whether no tier could be asked; this process's own memory is none that counts."""
    return bool(result.failed) and not set(result.by_tier) - set(result.failed) - {"memory"}


def _standing(session: Session) -> list[tuple[InvalidationRule, Due]]:
    """The rules with their statistics, and whether they are due: known without opening the cache."""
    from scoutcache.core.rulebook import RuleBook
    from scoutcache.schedules import due_by

    session.look_for_cache(told=False)
    now = datetime.now(UTC)
    book = RuleBook(session.config.rules, session.place / "rules", lambda *_: None)
    return [(rule, due_by(rule.schedule, rule.last_run, now)) for rule in book.told(session.config.namespace)]


def _target(pattern: str | None, tags: Sequence[str]) -> str:
    return " ".join([*([pattern] if pattern is not None else []), *(f"tag:{tag}" for tag in tags)])


def _on(rule: InvalidationRule) -> str:
    """What sets the rule off, in one line."""
    from scoutcache.policies.rule_checks import texts_of

    watched = [*texts_of(rule, "keys"), *(f"tag:{tag}" for tag in texts_of(rule, "tags"))]
    return rule.schedule or ", ".join([*rule.event_types, *watched]) or "by hand"
