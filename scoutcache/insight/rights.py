"""The least that a server must let a cache's user do: for ``doctor --acl``.

Rule 1: what is listed is what the code sends, scripts included, and nothing else: a test records a session of all calls
        and commands, and another one takes each right away and sees what breaks.
Rule 2: no KEYS, no FLUSHALL, no FLUSHDB, no CONFIG, ever; keys of the cache's prefix only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from scoutcache.coherence.foreign import CHANNEL
from scoutcache.config_sections import RedisSection

__all__ = ["COMMANDS", "Right", "acl_line", "rights_for"]

Right = str
"""A command as ACL rules name it: ``get``, ``client|setname``."""

COMMANDS: Final[dict[Right, str]] = {
    "get": "entries, positions", "mget": "many entries", "set": "entries, positions, leases", "getrange": "listings",
    "strlen": "sizes", "object|idletime": "keystats", "unlink": "removals",
    "exists": "a lost position", "scan": "listings, removals by pattern",
    "eval": "scripts that a server doesn't know yet", "evalsha": "scripts",
    "hmget": "versions of tags", "hget": "versions", "hset": "versions", "hsetnx": "versions", "hdel": "versions",
    "hscan": "versions", "hexists": "leases", "hgetall": "leases, living processes", "del": "leases",
    "pexpire": "leases, living processes", "pttl": "leases", "xadd": "announcements",
    "xrange": "announcements", "xrevrange": "announcements", "xread": "announcements",
    "zadd": "counters of machines", "zremrangebyscore": "counters of machines",
    "zrevrangebyscore": "counters of machines",
    "client|setname": "the name of a connection", "subscribe": "what others publish",
    "ping": "doctor", "info": "stats, doctor", "time": "doctor",
}  # fmt: skip
"""The rights that every cache needs, and what for."""

_SETINFO: Final = "client|setinfo"  # redis-py says its version, and does without where that is refused
_CLUSTER: Final = ("cluster|slots", "cluster|info", "command", "readonly")
_TRACKING: Final = ("client|tracking",)


def rights_for(section: RedisSection) -> list[Right]:
    """The rights that a cache with these settings needs."""
    return [*COMMANDS, *_more(section)]


def _more(section: RedisSection) -> Iterator[Right]:
    if _database(section):
        yield "select"
    if section.nodes:
        yield from _CLUSTER
    if section.publish:
        yield "publish"
    if section.tracking:
        yield from _TRACKING


def _database(section: RedisSection) -> bool:
    """Is it another database than the first?"""
    from urllib.parse import parse_qs, urlsplit

    if section.url is None:
        return False
    parts = urlsplit(section.url.get_secret_value())
    named = parse_qs(parts.query).get("db", [""])[0] or (parts.path.strip("/") if parts.scheme != "unix" else "")
    return named not in {"", "0"}


def acl_line(section: RedisSection, *, user: str = "scoutcache", word: str = "<password>") -> str:
    """The command that makes such a user; *word* is for the tests, nobody else has a password to show."""
    keys = f"~{_escaped(section.key_prefix)}*"
    rights = " ".join(f"+{right}" for right in rights_for(section))
    return " ".join(["ACL SETUSER", user, "reset on", f">{word}", keys, f"&{CHANNEL}", "-@all", rights])


def _escaped(prefix: str) -> str:
    """The prefix as itself in the server's patterns, which can't hold white space: there any sign is allowed."""
    return "".join("?" if sign.isspace() else f"\\{sign}" if sign in "*?[]\\^" else sign for sign in prefix)
