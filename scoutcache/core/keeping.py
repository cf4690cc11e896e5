"""What the policies of a configuration come to, in the form that the engine and the tiers ask for.

Rule 1: the time to live of an entry is what its writer says, else what its policy says, else what ``[ttl]`` says by
        prefix and by namespace, else ``default_ttl``.
Rule 2: what protects data must not be accepted and then not be done: a policy whose entries could reach a tier that
        can't protect them as it requires is refused when the cache is opened.
Rule 3: conflicts between policies are warned of, and the first one wins.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from scoutcache.config import CacheConfig
from scoutcache.config.sections import RedisSection
from scoutcache.engine.renewing import due_from
from scoutcache.entry import Header, Ref
from scoutcache.errors import Unprotected

if TYPE_CHECKING:
    from scoutcache.policies.book import Effective

__all__ = ["Keeping", "check_protection", "default_ttl", "is_by_meaning", "keeping_of"]

POLICY_LOG = "scoutcache.policies"
"""Its warnings repeat what ``config validate`` and ``doctor`` list, so that other commands may keep quiet about it."""

_log = logging.getLogger(POLICY_LOG)


class Keeping(NamedTuple):
    """Questions about entries; each is None where no policy makes a difference, so that nobody need ask."""

    policy: Callable[[Ref], Effective | None] | None = None
    sliding: Callable[[Ref], float | None] | None = None
    """The seconds that each hit renews the life to."""
    told_from: Callable[[Header], float | None] | None = None
    """The time from which the next hit in memory is to renew it."""
    compresses: Callable[[Ref], bool] | None = None
    """Is compression required?"""


def default_ttl(config: CacheConfig, said: Effective | None, ref: Ref) -> float:
    """The seconds that an entry lives whose writer named none, of which the policies say *said*."""
    if said is None or said.ttl_seconds is None:
        return config.ttl_for(ref.key, ref.namespace)
    return said.ttl_seconds


def is_by_meaning(policy: Callable[[Ref], Effective | None] | None, ref: Ref) -> bool:
    """Does a policy say that the key of *ref* is a question?"""
    said = None if policy is None else policy(ref)
    return said is not None and said.strategy == "semantic"


def keeping_of(config: CacheConfig) -> Keeping:
    """What holds for a cache of *config*.  Raises `Unprotected` for protection that can't be given."""
    if not config.policies:
        return Keeping()
    from scoutcache.policies.book import PolicyBook
    from scoutcache.policies.checks import conflicts

    check_protection(config)
    found = conflicts(config.policies)
    if found:
        more = f" (and {len(found) - 1} more; `scoutcache config validate` lists them)" if len(found) > 1 else ""
        _log.warning("%s%s", found[0], more)
    of = PolicyBook(config.policies).of

    def sliding(ref: Ref) -> float | None:
        said = of(ref)
        return default_ttl(config, said, ref) if said is not None and said.refresh_on_access else None

    slides = any(policy.refresh_on_access for policy in config.policies)
    compresses = any(policy.compression_required for policy in config.policies)
    return Keeping(
        of,
        sliding if slides else None,
        (lambda header: None if (ttl := sliding(header.ref)) is None else due_from(header, ttl)) if slides else None,
        (lambda ref: (said := of(ref)) is not None and said.compression_required) if compresses else None,
    )


def check_protection(config: CacheConfig) -> None:
    """Raise `Unprotected` for a policy that requires a protection which its entries might not get (rule 2)."""
    from scoutcache.policies.checks import unprotected

    lasting = [tier for tier in config.tiers if tier != "memory"]
    if plain := unprotected(config.policies, "encrypt_at_rest", lasting):
        raise Unprotected(
            f"the policy {plain[0]!r} requires encryption at rest, which is not available in this version; "
            f"its entries could be stored unencrypted in {' and '.join(lasting)}",
            hint='set allowed_backends = ["memory"] in it',
        )
    server = ["redis"] if "redis" in config.tiers else []
    open_servers = [] if _authenticated(config.redis) else server
    if exposed := unprotected(config.policies, "require_authentication", open_servers):
        raise Unprotected(
            f"the policy {exposed[0]!r} requires authentication, and the Redis tier is configured without",
            hint="set redis.password_file, or a client certificate in redis.tls_cert_file",
        )
    if exposed := unprotected(config.policies, "require_tls", [] if _encrypted(config.redis) else server):
        raise Unprotected(
            f"the policy {exposed[0]!r} requires TLS, and the Redis tier is configured without",
            hint='set redis.tls = true, or a redis.url of rediss://…; or keep its entries elsewhere: allowed_backends',
        )


def _authenticated(redis: RedisSection) -> bool:
    url = urlsplit(redis.url.get_secret_value() if redis.url is not None else "")
    in_url = bool(url.password or any(value for _, value in _named(url.query, "password")))
    certificate = redis.tls_cert_file is not None and _encrypted(redis)
    return in_url or redis.password is not None or redis.password_file is not None or certificate


def _named(query: str, name: str) -> list[tuple[str, str]]:
    return [pair for pair in parse_qsl(query) if pair[0] == name]


def _encrypted(redis: RedisSection) -> bool:
    return redis.tls or (redis.url is not None and redis.url.get_secret_value().startswith("rediss://"))
