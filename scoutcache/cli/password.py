"""The password of a server: never asked for on a command line, asked for on a terminal where the server wants one.

Rules: one that stands in the configuration (environment, file, URL) is used without a word.  A terminal is asked when
there is none and a user is named, or the server lets nobody in without.  What was typed is kept for this run alone.
"""

from __future__ import annotations

import sys
from getpass import getpass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from pydantic import SecretStr

if TYPE_CHECKING:
    from scoutcache.cli.state import Session
    from scoutcache.config import CacheConfig
    from scoutcache.server.connecting import Source

__all__ = ["asked", "in_url", "warn_of", "without_password"]

_VISIBLE: Final = (
    "the password in --redis-url can be read by every user of this machine (ps); "
    "use SCOUTCACHE_REDIS__PASSWORD or redis.password_file"
)


def in_url(url: str) -> bool:
    """Does a password stand in it?"""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "@" in url
    return bool(parts.password) or any(name == "password" for name, _ in parse_qsl(parts.query))


def without_password(url: str) -> str:
    """The URL for a command line that is shown: without its password, and without a query that may hold one."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    return urlunsplit((parts.scheme, user + parts.netloc.rpartition("@")[2], parts.path, "", ""))


def warn_of(session: Session, url: str) -> None:
    """Say that a password on a command line is no secret."""
    if in_url(url):
        session.warn(_VISIBLE)


def asked(session: Session, config: CacheConfig) -> SecretStr | None:
    """The password that somebody typed on the terminal, None where none is needed or nobody can be asked."""
    if "redis" not in config.tiers or not session.can_ask or not _is_wanted(config):
        return None
    from scoutcache.server.connecting import server_name

    typed = getpass(f"password for {server_name(config.redis)}: ", stream=sys.stderr)
    return SecretStr(typed) if typed else None


def _is_wanted(config: CacheConfig) -> bool:
    from scoutcache.server.connecting import Source

    source, url = Source(config.redis), config.redis.url
    if source.authenticates:
        return False
    named = config.redis.username or (url is not None and urlsplit(url.get_secret_value()).username)
    return bool(named) or _refuses(source, config)


def _refuses(source: Source, config: CacheConfig) -> bool:
    """Does the server answer nobody who doesn't say who he is?"""
    from scoutcache.cli.checks.server import meet
    from scoutcache.server.faults import Kind

    if config.redis.nodes or config.redis.sentinel:
        return False  # with several servers the first error says so
    fault = meet(source, config.redis.timeout)
    return fault is not None and fault.kind is Kind.NOAUTH
