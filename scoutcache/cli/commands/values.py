"""``get``, ``set``, ``delete``: one key's value, in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scoutcache.calls.listing import tiers_with
from scoutcache.cli import filters
from scoutcache.cli.errors import NOT_FOUND, PARTLY, CommandError, Usage, read
from scoutcache.cli.opening import UNCHECKED, check_absence, failures, unasked
from scoutcache.cli.options import choices, command
from scoutcache.cli.printing import removed, text
from scoutcache.cli.printing.streams import stdin_bytes
from scoutcache.cli.printing.writing import print_bytes, write_whole
from scoutcache.cli.state import Session
from scoutcache.entry import MISSING, Ref
from scoutcache.errors import TierUnavailable

if TYPE_CHECKING:
    from scoutcache.cache import Cache
    from scoutcache.events import Unreadable
    from scoutcache.tiers.base import Tier

app = typer.Typer()

Key = Annotated[str, typer.Argument(metavar="KEY", help="The exact key.")]


@command(
    app,
    "get",
    examples="""
    scoutcache get llm:greeting
    scoutcache get report:2026 --raw -o report.pdf
    scoutcache get job:17 --json | jq .value
    """,
)
def get(
    session: Session,
    key: Key,
    raw: Annotated[bool, typer.Option("--raw", help="The value's own bytes, nothing added or escaped.")] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file, completely or not at all.")
    ] = None,
) -> None:
    """Print the value of a key: text as it is, anything else as JSON.

    This counts as a request; inspect looks without counting. Exit code 4 when there is no such key.
    """
    if raw and output in {None, "-"} and session.form != "table":
        raise Usage(f"--raw can't be used with --format {session.form}", hint="leave one out, or name a file: -o FILE")
    with session.cache(reading=True, counting=True, raising=False) as cache, failures(cache._core) as away:
        unread: list[Unreadable] = []
        cache.on("unreadable", unread.append)
        value = cache.get(key, MISSING)
        namespace = cache.config.namespace
        if value is MISSING and unread:
            raise CommandError(
                f"{key} is stored, but can't be read here: {unread[0].problem}",
                hint=f"{unread[0].remedy}; {session.again('inspect', key)} shows the rest",
            )
        if value is MISSING:
            check_absence(f"{key} can't be read now", away or unasked(cache._core, key), UNCHECKED)
    if value is MISSING:
        hint = "the cache is switched off (enabled = false), so every read misses"
        if session.config.enabled:
            hint = f"{session.again('explain', key)} says why"
        raise CommandError(f"no such key: {key}", code=NOT_FOUND, hint=hint)
    if output is not None and output != "-":
        write_whole(Path(output), content := _bytes(session, value))
        if session.form != "table":
            session.out.record({"key": key, "namespace": namespace, "file": output, "size_bytes": len(content)})
    elif session.form != "table":
        session.out.record({"key": key, "namespace": namespace, "value": value})
    elif raw:
        print_bytes(_bytes(session, value))
    else:
        show_value(session, value)


def show_value(session: Session, value: Any) -> None:
    """Print a value for people: text as it is, anything else as JSON."""
    out = session.out
    if not isinstance(value, str):
        out.write(f"{_json(session, value)}\n")
        return
    shown = text.visible_lines(value) if out.on_terminal else value
    out.write(shown if shown.endswith("\n") else f"{shown}\n")


def _json(session: Session, value: Any) -> str:
    try:
        return session.out.encode(value)
    except ValueError as error:  # pydantic's serialisation error among them
        kind = type(value).__name__
        raise CommandError(
            f"a value of type {kind} can't be shown as JSON: {error}", hint="read it in Python"
        ) from error


def _bytes(session: Session, value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return (value if isinstance(value, str) else _json(session, value)).encode("utf-8", "surrogatepass")


@command(
    app,
    "set",
    examples="""
    scoutcache set flag:beta on --ttl 7d
    curl -s https://api.example/rates | scoutcache set rates - --value json --ttl 1h --tag rates
    scoutcache set job:17 '{"state": "done"}' --value json
    """,
)
def set_(
    session: Session,
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE|-", help="The value; - reads it from standard input.")],
    kind: Annotated[
        str, choices(("text", "json", "bytes"), "--value", help="Type of the value. Default: text.", show_default=False)
    ] = "text",
    ttl: Annotated[
        str | None, typer.Option("--ttl", metavar="D", help="90s, 2h, 7d, never; more than 1000 years is never.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="T", help="A tag; repeatable.")] = None,
    depends_on: Annotated[
        list[str] | None,
        typer.Option(
            "--depends-on", metavar="K", help="Drop this entry when key K changes or is invalidated; repeatable."
        ),
    ] = None,
) -> int | None:
    """Store a value under a key in every tier that the configuration allows.

    Exit code 3 when one tier failed and another took the value.
    """
    seconds = ttl_of(session, ttl)
    content = content_of(value, kind)
    failed: TierUnavailable | None = None
    with session.cache() as cache:
        check_lasting(cache)
        before = cache._core.world.now()
        try:
            taken = cache.set(key, content, ttl=seconds, tags=tag or (), depends_on=depends_on or ())
        except TierUnavailable as error:
            if not (taken := bool(tiers_with(cache._core, Ref(cache.config.namespace, key), before, error.tier))):
                raise
            failed = error
        enabled, namespace = cache.config.enabled, cache.config.namespace
        if taken:
            kept = _check_kept(cache, key, before, None if failed is None else failed.tier)
    if not taken:
        why = "a newer value, a policy or a limit prevents it" if enabled else "the cache is switched off"
        raise CommandError(f"not stored: {key}: {'the ttl is 0' if seconds == 0 else why}")
    _tell_stored(session, {"key": key, "namespace": namespace, "stored": True, **kept}, failed)
    return None if failed is None else PARTLY


def _tell_stored(session: Session, stored: dict[str, Any], failed: TierUnavailable | None) -> None:
    if failed is None:
        session.done(f"stored {stored['key']}", stored)
        return
    session.done(f"stored {stored['key']} in {', '.join(stored['tiers'])} only",
                 {**stored, "failed": {failed.tier: failed.reason}})  # fmt: skip
    session.warn(f"the {failed.tier} tier did not store it: {failed.reason}")
    if failed.hint:
        session.say_hint(failed.hint)


def check_lasting(cache: Cache) -> None:
    """Refuse to store where only the memory of this command would keep it."""
    if all(tier is cache._core.memory for tier in cache._core.tiers):
        raise CommandError(
            "nothing would be kept: memory is the only tier, and a command's memory ends with it",
            hint="add the disk tier (tiers, SCOUTCACHE_TIERS), or choose another --profile",
        )


def _lower(cache: Cache, without: str | None = None) -> list[Tier]:
    """The tiers that outlive this command."""
    return [tier for tier in cache._core.tiers if tier is not cache._core.memory and tier.name != without]


def _check_kept(cache: Cache, key: str, now: float, without: str | None = None) -> dict[str, Any]:
    """Make sure that a tier which outlives this command has taken the value; what it is kept as."""
    ref = Ref(cache.config.namespace, key)
    lower = [tier for tier in _lower(cache, without) if _allows(cache, tier, ref)]
    found = {tier.name: sealed for tier in lower if (sealed := tier.read(ref, now)) is not None}
    if found:
        world, sealed = cache._core.world, next(iter(found.values()))
        left = world.codec.open(ref, sealed).header.fresh_until - world.now()
        return {"tiers": list(found), "size_bytes": sealed.size, "ttl_s": filters.finite(left)}
    said = None if cache._core.world.policy is None else cache._core.world.policy(ref)
    if said is not None and not lower:
        raise CommandError(
            f"not stored: {key}: the policy {said.sources['allowed_backends']!r} keeps it in memory, and a command's"
            " memory ends with it",
            hint="set it in the application itself, or name another tier in allowed_backends",
        )
    limits = [f"{tier.name} stores at most {text.size(most)}" for tier in lower if (most := tier.usage().max_bytes)]
    raise CommandError(
        f"not stored: {key}: no tier kept it; {', '.join(limits) or 'each of them refused it'}",
        hint="store a smaller value, or raise the limit (max_bytes of the tier's section)",
    )


def _allows(cache: Cache, tier: Tier, ref: Ref) -> bool:
    return cache._core.world.allows(cache._core.tiers.index(tier), ref)


def ttl_of(session: Session, given: str | None) -> float | None:
    """The seconds of ``--ttl``, which may be a name of ``[ttl]``; None where it was not given.  Raises `InvalidTTL`."""
    return None if given is None else read("--ttl", session.config.ttl.read, given)


def content_of(value: str, kind: str) -> Any:
    given = stdin_bytes("-").read() if value == "-" else value.encode("utf-8", "surrogateescape")
    if kind == "bytes":
        return given
    try:
        decoded = given.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Usage(f"the value is not text: {error}", hint="--value bytes stores it as it is") from error
    if kind == "text":
        return decoded
    from scoutcache.warming.lines import strict_json

    try:
        return strict_json(decoded)
    except (ValueError, RecursionError) as error:
        what = str(error).removeprefix("not JSON: ")
        raise Usage(f"the value is not JSON: {what}", hint="without --value json it is stored as text") from error


@command(
    app,
    "delete",
    examples="""
    scoutcache delete llm:greeting job:17
    scoutcache keys 'tmp:*' -0 | xargs -0 -r scoutcache delete
    """,
)
def delete(
    session: Session,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Exact keys; for patterns use invalidate.")],
) -> int | None:
    """Delete keys by name, and the entries that depend on them, in every tier and every process.

    Exit code 4 when none of the keys existed, 3 when a tier could not be asked, 10 when none could.
    """
    with session.cache(raising=False) as cache, failures(cache._core) as away:
        there = {key: cache.delete(key) for key in dict.fromkeys(keys)}
        session.said.update(away.values())  # it is told below
        asked = [tier.name for tier in cache._core.tiers]
    absent = [key for key, was in there.items() if not was]
    found = len(there) - len(absent)
    if away:
        # What was found nowhere may stand in a tier that did not say.
        fields: dict[str, Any] = {"deleted": found, "absent": None if absent else [], "failed": dict(away)}
        session.done(f"deleted {found} of {len(there)}", fields)
        return removed.failed(session, away, asked)
    session.done(f"deleted {found} of {len(there)}", {"deleted": found, "absent": absent})
    for key in absent[:20]:
        session.note(f"no such key: {key}")
    return None if found else NOT_FOUND
