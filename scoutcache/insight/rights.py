"""The least that a server must let a cache's user do: for ``doctor --acl``.

Rule 1: what is listed is what the code sends, scripts included, and nothing else: a test records a session of all calls
        and commands, and another one takes each right away and sees what breaks.
Rule 2: no KEYS, no FLUSHALL, no FLUSHDB, no CONFIG, ever; keys of the cache's prefix only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from scoutcache.coherence.foreign import CHANNEL
from scoutcache.config.sections import RedisSection

__all__ = ["COMMANDS", "Right", "acl_line", "command_of", "rights_for", "why_of"]

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
    # Not client|setinfo: redis-py says its version, and does without where that is refused.
    "client|setname": "the name of a connection", "subscribe": "what others publish",
    "ping": "doctor", "info": "stats, doctor", "time": "doctor",
}  # fmt: skip
"""The rights that every cache needs, and what for."""

_CLUSTER: Final = ("cluster|slots", "cluster|info", "command", "readonly")
_TRACKING: Final = ("client|tracking",)


_MORE: Final[dict[Right, str]] = {
    "select": "another database", "publish": "publish = true", "client|tracking": "tracking = true",
    **dict.fromkeys(_CLUSTER, "a cluster"),
}  # fmt: skip
_WITHOUT_KEYS: Final[dict[Right, tuple[str, ...]]] = {
    "ping": (), "info": (), "time": (), "scan": ("0",), "command": (), "readonly": (), "select": ("0",),
    "eval": ("return 1", "0"), "evalsha": ("0" * 40, "0"), "subscribe": (CHANNEL,), "publish": (CHANNEL, ""),
    "client|setname": ("scoutcache",), "client|tracking": ("off",), "cluster|slots": (), "cluster|info": (),
}  # fmt: skip


def why_of(right: Right) -> str:
    """What a right is needed for."""
    return {**COMMANDS, **_MORE}[right]


def command_of(right: Right, section: RedisSection) -> list[str]:
    """A command that takes *right*, as a server's rules look at it: with a key of the cache's, where it takes one."""
    words = right.split("|")
    if right in _WITHOUT_KEYS:
        return [*words, *_WITHOUT_KEYS[right]]
    key = f"{section.key_prefix}doctor"
    if right == "xread":
        return [*words, "streams", key, "0"]
    return [*words, key, *_REST.get(right, ())]


_REST: Final[dict[Right, tuple[str, ...]]] = {
    "set": ("1",), "getrange": ("0", "1"), "hmget": ("f",), "hget": ("f",), "hset": ("f", "v"), "hsetnx": ("f", "v"),
    "hdel": ("f",), "hscan": ("0",), "hexists": ("f",), "pexpire": ("1",), "xadd": ("*", "f", "v"),
    "xrange": ("-", "+"), "xrevrange": ("+", "-"), "zadd": ("1", "m"), "zremrangebyscore": ("0", "1"),
    "zrevrangebyscore": ("1", "0"),
}  # fmt: skip


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
