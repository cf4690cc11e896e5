"""The rights that ``doctor --acl`` prints: enough for everything, and none too many."""

from __future__ import annotations

import json

import pytest

from scoutcache.config.sections import RedisSection
from scoutcache.insight.rights import COMMANDS, acl_line, rights_for

from .redis_session import everything

WORD = "a-word-of-the-tests"
OURS = {"config|resetstat", "flushall", "acl|setuser", "acl|log", "acl|deluser", "client|setinfo"}
"""What the tests themselves send, and what redis-py tries and does without."""


@pytest.fixture(scope="module")
def server(start_redis):
    return start_redis()


@pytest.fixture
def section(server):
    server.cli("FLUSHALL")
    return {"url": f"redis://scoutcache@127.0.0.1:{server.port}/0", "password": WORD, "key_prefix": "mine:"}


def allow(server, section, *more):
    """Make the user that doctor prints, with some rules more."""
    line = acl_line(RedisSection(**section), word=WORD).split()
    server.cli(*line, *more)
    server.cli("ACL", "LOG", "RESET")


def lose_position(server):
    return lambda: server.cli("UNLINK", "mine:position")


def log(server, field):
    entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in server.cli("ACL", "LOG", "128")]
    return {entry[field].decode() for entry in entries}


def denied(server):
    return log(server, b"object")


def sent(server):
    return {name.removeprefix("cmdstat_") for name in server.fields("INFO", "commandstats")} - OURS


def test_what_a_session_of_all_calls_sends_is_what_is_listed(server, section, tmp_path):
    allow(server, section)
    server.cli("CONFIG", "RESETSTAT")
    everything(section, tmp_path, lose_position(server))
    found = sent(server) - {"auth", "hello"}  # which everybody may
    assert found == set(COMMANDS)
    assert not {"keys", "flushall", "flushdb", "config"} & found


def test_a_user_with_these_rights_can_do_everything(server, section, tmp_path):
    allow(server, section)
    everything(section, tmp_path, lose_position(server))
    assert denied(server) - OURS == set()


@pytest.mark.parametrize("right", sorted(COMMANDS))
def test_each_of_them_is_needed(right, server, section, tmp_path):
    allow(server, section, f"-{right}")
    everything(section, tmp_path, lose_position(server))
    assert right in denied(server)


def test_keys_of_others_are_out_of_reach(server, section, tmp_path):
    allow(server, section)
    everything({**section, "key_prefix": "other:"}, tmp_path, lambda: None)
    assert "key" in log(server, b"reason")
    assert not server.cli("EXISTS", "other:position")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"url": "redis://host/3"}, {"select"}),
        ({"url": "unix:///run/redis.sock?db=2"}, {"select"}),
        ({"url": "redis://host/0"}, set()),
        ({"nodes": "a:1"}, {"cluster|slots", "cluster|info", "command", "readonly"}),
        ({"url": "redis://host", "publish": True}, {"publish"}),
    ],
)
def test_settings_need_rights_of_their_own(more, expected):
    assert set(rights_for(RedisSection(**more))) - set(COMMANDS) == expected


def test_signs_of_patterns_in_a_prefix_stand_for_themselves():
    assert r" ~app\[1\]\*:* " in acl_line(RedisSection(key_prefix="app[1]*:"))
    assert " ~my?app:* " in acl_line(RedisSection(key_prefix="my app:"))


def test_doctor_prints_the_line(cli):
    ran = cli("doctor", "--acl", "--redis-url", "redis://host/0")
    assert ran.code == 0
    assert ran.out.startswith("ACL SETUSER scoutcache reset on ><password> ~scoutcache:* ")
    assert " -@all +get " in ran.out
    assert json.loads(cli("doctor", "--acl", "--json").out)["acl"] + "\n" == ran.out
