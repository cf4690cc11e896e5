"""Settings from SCOUTCACHE_* variables and .env files."""

from __future__ import annotations

import pytest

from scoutcache.settings.environment import read_dotenv, settings_from


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("SCOUTCACHE_ENABLED", "false", ("enabled",), "false"),
        ("SCOUTCACHE_REDIS__URL", "redis://h", ("redis", "url"), "redis://h"),
        ("SCOUTCACHE_TTL__LLM", "2h", ("ttl", "llm"), "2h"),
        ("SCOUTCACHE_TTL__NAMESPACE__A", "2h", ("ttl", "namespace", "a"), "2h"),
        ("SCOUTCACHE_TIERS", '["disk"]', ("tiers",), ["disk"]),
        ("SCOUTCACHE_RULES", "[{}]", ("rules",), [{}]),
        ("SCOUTCACHE_SECURITY__SIGNING_KEYS__K1", "x", ("security", "signing_keys", "k1"), "x"),
        ("SCOUTCACHE_ALERTS__MEMORY__WARN", "5MB", ("alerts", "memory", "warn"), "5MB"),
    ],
)
def test_two_underscores_go_one_level_down(name, text, path, value):
    assert settings_from({name: text}) == ([(path, name, value)], [])


def test_empty_and_foreign_variables_are_nothing_to_us():
    assert settings_from(
        {"SCOUTCACHE_REDIS__URL": "", "PATH": "/bin", "SCOUTCACHE_CONFIG": "x.toml", "scoutcache_x": "1"}
    ) == ([], [])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SCOUTCACHE_REDIS_URL", "SCOUTCACHE_REDIS__URL"),
        ("SCOUTCACHE_NAMSPACE", "SCOUTCACHE_NAMESPACE"),
        ("SCOUTCACHE_ALERTS__ERRORS", "SCOUTCACHE_ALERTS__ERRORS_PER_HOUR"),
        ("SCOUTCACHE_MEMORY__MAX_ENTRY", "SCOUTCACHE_MEMORY__MAX_ENTRIES"),
    ],
)
def test_an_unknown_variable_is_told_with_the_nearest(name, meant):
    assert settings_from({name: "1"}) == ([], [f"{name}: no such setting; did you mean {meant}?"])


def test_broken_json_is_told_without_its_text():
    told = "SCOUTCACHE_TIERS: begins like JSON, but is not valid"
    assert settings_from({"SCOUTCACHE_TIERS": "[secret"}) == ([], [told])


def test_values_become_what_the_setting_is(load):
    config = load(
        env={
            "SCOUTCACHE_ENABLED": "false",
            "SCOUTCACHE_TIERS": "memory,disk",
            "SCOUTCACHE_MEMORY__MAX_ENTRIES": "7",
            "SCOUTCACHE_FRESHNESS__JITTER": "0.5",
            "SCOUTCACHE_LLM__TEXT_TIERS": "1,2",
            "SCOUTCACHE_WARMING__PATTERNS": "a:*, b:*",
        }
    ).config
    assert (config.enabled, config.tiers, config.memory.max_entries, config.freshness.jitter) == (
        False,
        ("memory", "disk"),
        7,
        0.5,
    )
    assert (config.llm.text_tiers, config.warming.patterns) == ((1, 2), ("a:*", "b:*"))


def test_a_dotenv_is_read_as_people_write_it(tmp_path):
    path = tmp_path / ".env"
    path.write_text("""
# a comment
OTHER = not ours
SCOUTCACHE_NAMESPACE=plain # a comment
export SCOUTCACHE_DIRECTORY = "with # hash"
SCOUTCACHE_PROFILE='llm'  # why
SCOUTCACHE_REDIS__URL=redis://h/0?a=b#c
this line is nothing
""")
    assert read_dotenv(path) == {
        "SCOUTCACHE_NAMESPACE": "plain",
        "SCOUTCACHE_DIRECTORY": "with # hash",
        "SCOUTCACHE_PROFILE": "llm",
        "SCOUTCACHE_REDIS__URL": "redis://h/0?a=b#c",
    }


def test_a_dotenv_line_of_ours_that_says_nothing_is_told(problems, project):
    (project / ".env").write_text("\nSCOUTCACHE_NAMESPACE: x\n")
    assert problems() == (f"{project}/.env:2: expected NAME=value",)


def test_a_dotenv_beside_the_project_file_is_read_from_below(load, project):
    (project / "scoutcache.toml").write_text("")
    (project / ".env").write_text("SCOUTCACHE_NAMESPACE=beside")
    below = project / "below"
    below.mkdir()
    assert load(cwd=below).config.namespace == "beside"


def test_a_dotenv_cannot_name_the_file_that_it_lies_by(load, problems, project):
    (project / "other.toml").write_text('namespace = "other"')
    (project / ".env").write_text("SCOUTCACHE_CONFIG=other.toml\n")
    assert problems() == (
        (f"{project}/.env SCOUTCACHE_CONFIG: names no configuration file from here; "
        "set it in the environment, or use --config"),
    )
    told = {"SCOUTCACHE_CONFIG": str(project / "other.toml")}
    (project / ".env").write_text(f"SCOUTCACHE_CONFIG={told['SCOUTCACHE_CONFIG']}\n")
    assert load(env=told).config.namespace == "other", "a shell that exports its .env says it twice"


def test_a_deployments_name_may_stand_in_a_variable(load):
    config = load(env={"SCOUTCACHE_LLM__MODEL_ALIASES__MINE": "gpt-4o"}).config
    assert config.llm.model_aliases == {"mine": "gpt-4o"}


def test_a_variable_that_is_like_no_setting_is_not_said_to_be_like_one(problems):
    assert problems(env={"SCOUTCACHE_FOO": "1"}) == ("environment SCOUTCACHE_FOO: no such setting",)
