"""What policies come to: nothing where there are none, a time to live by its order, protection or a refusal."""

from __future__ import annotations

import logging

import pytest

from scoutcache.config import CacheConfig
from scoutcache.core.keeping import Keeping, check_protection, default_ttl, keeping_of
from scoutcache.entry import Header, Ref
from scoutcache.errors import PolicyError
from scoutcache.policies.book import Effective

REF = Ref("default", "llm:a")


def config(*policies, **settings):
    return CacheConfig(policies=[{"policy_id": f"p{at}", **said} for at, said in enumerate(policies)], **settings)


def test_without_policies_there_is_nothing_to_ask():
    assert keeping_of(config()) == Keeping(None, None, None, None)


def test_what_no_policy_asks_for_need_not_be_asked_of_each_entry():
    keeping = keeping_of(config({"ttl_seconds": 5}))
    assert keeping.policy is not None
    assert (keeping.sliding, keeping.told_from, keeping.compresses) == (None, None, None)


def test_each_entry_is_asked_for_by_itself():
    keeping = keeping_of(
        config(
            {"applies_to": "llm:*", "refresh_on_access": True},
            {"applies_to": "job:*", "refresh_on_access": True, "ttl_seconds": 9, "compression_required": True},
            ttl={"llm": 7},
        )
    )
    refs = [Ref("default", key) for key in ("llm:a", "job:a", "other")]
    assert [keeping.sliding(ref) for ref in refs] == [7, 9, None]
    headers = [Header(ref, start=1, created=100.0, fresh_until=110.0, expires=110.0) for ref in refs]
    assert [keeping.told_from(header) for header in headers] == pytest.approx([103.7, 101.9, None])
    assert [keeping.compresses(ref) for ref in refs] == [False, True, False]


def test_the_policy_goes_before_prefix_namespace_and_default():
    settings = CacheConfig(default_ttl=1, ttl={"namespace": {"tenant": 2}, "llm": 3})
    assert default_ttl(settings, None, Ref("default", "a")) == 1
    assert default_ttl(settings, None, Ref("tenant", "a")) == 2
    assert default_ttl(settings, Effective(), Ref("tenant", "llm:a")) == 3
    assert default_ttl(settings, Effective(ttl_seconds=4), Ref("tenant", "llm:a")) == 4


def test_conflicts_are_one_warning(caplog):
    with caplog.at_level(logging.WARNING, "scoutcache"):
        assert keeping_of(config({"ttl_seconds": 1}, {"ttl_seconds": 2})).policy(REF).ttl_seconds == 1
    assert len(caplog.records) == 1
    assert "more" not in caplog.records[0].message


@pytest.mark.parametrize(
    ("redis", "protected"),
    [
        ({"url": "redis://server"}, False),
        ({"url": "redis://user@server"}, False),
        ({"url": "redis://user:@server"}, False),
        ({"url": "redis://:word@server"}, True),
        ({"url": "rediss://user:word@server/1"}, True),
        ({"url": "unix:///run/redis.sock"}, False),
        ({"nodes": "a:1,b:2"}, False),
        ({"nodes": "a:1,b:2", "password": "word"}, True),
        ({"url": "redis://server", "password_file": "/run/word"}, True),
        ({"url": "rediss://server", "tls_cert_file": "/run/cert"}, True),
    ],
)
def test_authentication_is_a_password_or_a_certificate(redis, protected):
    wanted = config({"require_authentication": True}, redis=redis)
    if protected:
        check_protection(wanted)
    else:
        with pytest.raises(PolicyError, match="'p0' requires authentication"):
            check_protection(wanted)
    check_protection(config({"require_authentication": True, "allowed_backends": ["memory", "disk"]}, redis=redis))


def test_encryption_is_refused_unless_memory_is_all_there_is():
    check_protection(config({"encrypt_at_rest": True}, tiers=["memory"]))
    with pytest.raises(PolicyError, match="stored unencrypted in redis and disk"):
        check_protection(config({"encrypt_at_rest": True}, redis={"url": "redis://server"}))
