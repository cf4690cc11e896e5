"""Profiles: those that come with the package are good, and a user may have more."""

from __future__ import annotations

import re

import pytest

from scoutcache.errors import ConfigError
from scoutcache.settings import list_profiles, load_config, read_profile

SHIPPED = ["development", "llm", "production", "testing"]


def test_the_profiles_of_the_contract_are_shipped():
    assert list(list_profiles()) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_is_valid_and_carries_the_ttls(name, load):
    config = load(profile=name).config
    assert config.profile == name
    assert config.ttl.by_prefix == {
        "llm": 7200,
        "job": 86400,
        "profile": 3600,
        "analysis": 1800,
        "short": 300,
        "long": 86400,
    }
    assert config.memory.max_bytes >= config.alerts.memory.critical or name in {"development", "testing"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_says_why(name):
    text = list_profiles()[name].read_text()
    assert text.startswith("# For ")
    assert len(re.findall("#", text)) >= 4


def test_a_users_own_profile_goes_before_a_shipped_one(user_dir, load):
    (user_dir / "profiles").mkdir()
    (user_dir / "profiles" / "testing.toml").write_text('namespace = "mine"')
    assert load(profile="testing").config.namespace == "mine"
    assert (
        load_config(profile="testing", env={}, cwd=user_dir, user_dir=user_dir / "none").config.namespace == "default"
    )


@pytest.mark.parametrize("name", ["", "../testing", "testing.toml", "/etc/passwd", "\x1b[2J", "x" * 1000, "."])
def test_a_name_is_never_a_path(name):
    with pytest.raises(ConfigError, match="there is no profile") as caught:
        read_profile(name)
    assert str(caught.value).isprintable()
