"""Words for what ended an entry, and for who did it; and for what can't be checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from scoutcache.cli.printing import text
from scoutcache.entry import KEY_MARK, NAMESPACE_MARK, Mark, same_life
from scoutcache.wording.nouns import counted

if TYPE_CHECKING:
    from scoutcache.core.core import Core
    from scoutcache.entry import Header

_DID: Final = {"invalidate": "invalidated", "delete": "deleted", "set": "written"}


def unverified(count: int) -> str:
    """Entries that no key of this process can tell."""
    return f"{counted(count, 'entry')}, signed with a key that isn't configured here or unsigned where one is"


def act(by: Mapping[str, Any]) -> str:
    """Who took a key away: ``invalidate llm:* by root, process 4711 (scoutcache): release 4.2``."""
    return f"{by['op']} {by['what']}{_signature(by)}"


def _signature(by: Mapping[str, Any]) -> str:
    command = f" ({by['command']})" if by["command"] else ""
    who = [*([by["user"]] if by["user"] else []), *([f"process {by['pid']}{command}"] if by["pid"] is not None else [])]
    return (f" by {', '.join(who)}" if who else "") + (f": {by['reason']}" if by["reason"] else "")


def reasons(core: Core, header: Header, now: float) -> list[dict[str, Any]]:
    """Why an entry is not fresh: one for each cause, with what the log knows of it; nothing for a fresh one.

    *cause* is ``expired``, ``key`` (marked by its name or a pattern), ``tag``, ``dependency`` or ``namespace``, *name*
    the tag, key or pattern, *stale* whether it was only marked stale, *by* who did it when (see
    `scoutcache.insight.reasons.who_ended`), *told* all of it in words.
    """
    found = [_marked(core, header, now) or lapsed for lapsed in _lapsed(header, now)]
    versions = core.ports.versions.current(header.ref.namespace, [mark.name for mark in header.marks])
    changed = [mark for mark in header.marks if versions.get(mark.name) != mark.version]
    if changed:
        from scoutcache.insight.reasons import who_ended

        ended = who_ended(core.directory, header.ref.namespace, [mark.name for mark in changed], header.created)
        found += [_ended(mark, versions.get(mark.name), ended[mark.name], now) for mark in changed]
    return found


def _lapsed(header: Header, now: float) -> Iterator[dict[str, Any]]:
    until, stale = (header.expires, False) if header.expires <= now else (header.fresh_until, True)
    if until <= now:
        told = f"its time to live ended {text.duration(now - until)} ago{'; it may be served stale' if stale else ''}"
        yield {"cause": "expired", "name": None, "stale": stale, "by": None, "told": told}


def _marked(core: Core, header: Header, now: float) -> dict[str, Any] | None:
    """Who cut its fresh time short by its name or a pattern, as far as the log knows."""
    if header.expires <= now:
        return None
    from scoutcache.coherence.opened import PATIENCE
    from scoutcache.insight.reasons import Story
    from scoutcache.oplog.records import tag_of

    by = Story.of(core.directory, *header.ref).by
    if by is None or by["op"] != "invalidate" or tag_of(by["what"]) is not None:
        return None
    at = datetime.fromisoformat(by["at"]).timestamp()
    if not header.created <= at <= header.fresh_until <= at + PATIENCE:
        return None
    told = f"it was marked stale by {by['what']} {_ago(by['at'], now)}{_signature(by)}; it may be served stale"
    return {"cause": "key", "name": by["what"], "stale": True, "by": by, "told": told}


def _ended(mark: Mark, current: int | None, by: dict[str, Any] | None, now: float) -> dict[str, Any]:
    stale = current is not None and same_life(mark.version, current)
    cause, name, called = _named(mark.name)
    if cause == "dependency" and by is not None and not stale:
        what = _DID[by["op"]]
    else:
        what = "cleared" if cause == "namespace" else "marked stale" if stale else "invalidated"
    when = "; the log does not say by whom" if by is None else f" {_ago(by['at'], now)}{_signature(by)}"
    return {"cause": cause, "name": name, "stale": stale, "by": by, "told": f"{called} was {what}{when}"}


def _named(mark: str) -> tuple[str, str | None, str]:
    if mark == NAMESPACE_MARK:
        return "namespace", None, "its namespace"
    if mark.startswith(KEY_MARK):
        key = mark[len(KEY_MARK) :]
        return "dependency", key, f"{key}, which it depends on,"
    return "tag", mark, f"tag {mark}"


def _ago(at: str, now: float) -> str:
    return f"{text.duration(max(0.0, now - datetime.fromisoformat(at).astimezone(UTC).timestamp()))} ago"
