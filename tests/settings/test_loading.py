"""Where settings come from, which source wins, and how all their mistakes are told at once."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from scoutcache.errors import ConfigError
from scoutcache.settings import load_config

SOURCES = ["profile", "user", "project", "dotenv", "environment", "option"]


@pytest.fixture
def setting(project, user_dir):
    """Write `namespace` into one source; what `load_config` needs for it is returned."""

    def write(source: str) -> dict:
        text = f'namespace = "{source}"\n'
        if source == "profile":
            (user_dir / "profiles").mkdir()
            (user_dir / "profiles" / "mine.toml").write_text(text)
            return {"profile": "mine"}
        if source == "user":
            (user_dir / "config.toml").write_text(text)
        elif source == "project":
            (project / "scoutcache.toml").write_text(text)
        elif source == "dotenv":
            (project / ".env").write_text("OTHER=1\nSCOUTCACHE_NAMESPACE=dotenv\n")
        elif source == "environment":
            return {"env": {"SCOUTCACHE_NAMESPACE": "environment"}}
        else:
            return {"overrides": {"namespace": "option"}}
        return {}

    return write


@pytest.mark.parametrize(("weaker", "stronger"), list(itertools.combinations(SOURCES, 2)))
def test_the_later_source_wins(weaker, stronger, setting, load):
    loaded = load(**setting(weaker), **setting(stronger))
    assert loaded.config.namespace == stronger


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ("profile", "profile mine ({user}/profiles/mine.toml)"),
        ("user", "{user}/config.toml"),
        ("project", "{project}/scoutcache.toml"),
        ("dotenv", "{project}/.env SCOUTCACHE_NAMESPACE"),
        ("environment", "environment SCOUTCACHE_NAMESPACE"),
        ("option", "option"),
    ],
)
def test_every_setting_knows_where_it_came_from(source, origin, setting, load, project, user_dir):
    loaded = load(**setting(source))
    assert loaded.origins["namespace"] == origin.format(user=user_dir, project=project)
    assert loaded.origins["memory.max_entries"] == "built-in"


def test_without_any_source_the_built_in_settings_hold(load):
    loaded = load()
    assert loaded.config.tiers == ("memory", "disk")
    assert set(loaded.origins.values()) == {"built-in"}
    assert loaded.files == []


def test_tables_are_merged_and_lists_replaced(load, project):
    (project / "scoutcache.toml").write_text(
        'tiers = ["memory"]\n[ttl]\nllm = "1h"\njob = "2h"\n[redis]\nurl = "redis://h"\n'
    )
    loaded = load(
        env={"SCOUTCACHE_TTL__JOB": "5s", "SCOUTCACHE_REDIS": '{"timeout": "1s"}'}, overrides={"tiers": ["disk"]}
    )
    assert loaded.config.ttl.by_prefix == {"llm": 3600.0, "job": 5.0}
    assert (loaded.config.redis.timeout, loaded.config.redis.url is None) == (1.0, False)
    assert loaded.config.tiers == ("disk",)
    assert loaded.origins["ttl.llm"].endswith("scoutcache.toml")
    assert loaded.origins["ttl.job"] == "environment SCOUTCACHE_TTL__JOB"


def test_a_named_file_takes_the_projects_place(load, project):
    (project / "scoutcache.toml").write_text('namespace = "project"')
    (project / "other.json").write_text('{"namespace": "named"}')
    assert load(file=project / "other.json").config.namespace == "named"
    assert load(file=str(project / "other.json")).config.namespace == "named"
    assert load(env={"SCOUTCACHE_CONFIG": str(project / "other.json")}).config.namespace == "named"


def test_a_named_file_that_is_not_there_is_an_error(problems, project):
    assert problems(file=project / "gone.toml") == (f"there is no file {project / 'gone.toml'}",)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({"profile": "testing", "env": {"SCOUTCACHE_PROFILE": "llm"}}, "testing"),
        ({"env": {"SCOUTCACHE_PROFILE": "llm"}}, "llm"),
        ({}, "development"),
    ],
)
def test_the_strongest_source_that_names_a_profile_chooses_it(options, chosen, load, project):
    (project / "scoutcache.toml").write_text('profile = "development"')
    assert load(**options).config.profile == chosen


def test_the_users_file_may_be_called_as_a_projects_is(load, user_dir):
    (user_dir / "scoutcache.toml").write_text('namespace = "mine"\n')
    assert load().config.namespace == "mine"
    (user_dir / "config.json").write_text('{"namespace": "first"}')
    assert load().config.namespace == "first"


def test_an_unknown_profile_is_told_with_the_others_and_the_nearest(problems):
    (problem,) = problems(profile="prodction")
    assert "there are: development, llm, production, testing" in problem
    assert "did you mean 'production'?" in problem


def test_mistakes_of_all_sources_are_told_at_once_with_their_places(problems, project, user_dir):
    (user_dir / "config.toml").write_text("[memory]\nmax_entires = 3\n")
    (project / "scoutcache.toml").write_text('[disk]\nmax_bytes = "big"\n[[rules]]\nname = "r"\nschedul = "x"\n')
    (project / ".env").write_text("SCOUTCACHE_OPLOG__SAMPLE_RATE=2\n")
    told = problems(
        env={"SCOUTCACHE_REDIS_URL": "x", "SCOUTCACHE_REDIS__TIMEOUT": "soon"},
        profile="testin",
        overrides={"default_ttl": -1},
    )
    for begun in (
        f"{user_dir}/config.toml: memory.max_entires: unknown setting; did you mean 'max_entries'?",
        f"{project}/scoutcache.toml: disk.max_bytes: 'big' is no size",
        f"{project}/scoutcache.toml: rules[0].schedul: unknown setting; did you mean 'schedule'?",
        f"{project}/.env SCOUTCACHE_OPLOG__SAMPLE_RATE: oplog.sample_rate: expected at most 1",
        "environment SCOUTCACHE_REDIS_URL: no such setting; did you mean SCOUTCACHE_REDIS__URL?",
        "environment SCOUTCACHE_REDIS__TIMEOUT: redis.timeout: 'soon' is no duration",
        "profile: there is no profile 'testin'; there are: development, llm, ",
        "option: default_ttl: -1 is no time to live",
    ):
        assert any(problem.startswith(begun) for problem in told), begun
    assert len(told) == 8


def test_a_contradiction_names_the_places_of_its_settings(problems, project):
    (project / "scoutcache.toml").write_text("[freshness]\nsoft_timeout = 5\nhard_timeout = 1\n")
    assert problems() == (f"{project}/scoutcache.toml: freshness: soft_timeout is longer than hard_timeout",)


def test_a_process_without_home_or_working_directory_has_the_built_in_settings(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does where nobody knows a home
    assert load_config(env={}).config.tiers == ("memory", "disk")


def test_an_environment_variable_of_a_secret_is_not_shown_by_its_error(load):
    with pytest.raises(ConfigError) as caught:
        load(
            env={
                "SCOUTCACHE_REDIS__URL": "http://:hunter2@h",
                "SCOUTCACHE_REDIS__PASWORD": "hunter2",
                "SCOUTCACHE_TIERS": "[hunter2",
            }
        )
    assert "hunter2" not in str(caught.value)


def test_the_header_of_an_empty_table_takes_nothing_away_and_is_no_origin(load, project, user_dir):
    (user_dir / "config.toml").write_text("[memory]\nmax_entries = 7\n[disk]\n")
    (project / "scoutcache.toml").write_text("[memory]\n[disk]\n[redis]\n[costs.models]\n")
    loaded = load()
    assert loaded.config.memory.max_entries == 7
    assert loaded.origins["memory.max_entries"] == str(user_dir / "config.toml")
    others = {origin for setting, origin in loaded.origins.items() if setting != "memory.max_entries"}
    assert others == {"built-in"}


def test_an_empty_table_where_a_value_belongs_is_told_with_its_file(problems, project):
    (project / "scoutcache.toml").write_text("[default_ttl]\n")
    (problem,) = problems()
    assert problem.startswith(f"{project / 'scoutcache.toml'}: default_ttl")


class TestExclusive:
    """Of settings that exclude each other the stronger source's stands alone; in one they are refused."""

    def test_a_named_server_stands_for_a_weaker_sources_cluster(self, load, project):
        (project / "scoutcache.toml").write_text('[redis]\nnodes = ["h:1"]\n')
        loaded = load(overrides={"redis": {"url": "redis://other"}})
        assert loaded.config.redis.nodes == ()
        assert loaded.config.tiers == ("memory", "redis", "disk")
        assert loaded.origins["redis.nodes"] == "built-in"

    @pytest.mark.parametrize(("weaker", "stronger"), [("password", "password_file"), ("password_file", "password")])
    def test_the_stronger_sources_password_is_used(self, weaker, stronger, load, project):
        (project / "scoutcache.toml").write_text(f'[redis]\nurl = "redis://h"\n{weaker} = "weak"\n')
        redis = load(env={f"SCOUTCACHE_REDIS__{stronger.upper()}": "strong"}).config.redis
        assert getattr(redis, weaker) is None
        assert getattr(redis, stronger) is not None

    def test_both_in_one_source_are_refused(self, load, problems, project):
        variables = {"SCOUTCACHE_REDIS__PASSWORD": "p", "SCOUTCACHE_REDIS__PASSWORD_FILE": "f"}
        assert "can't be used together" in "".join(problems(env=variables))
        (project / "scoutcache.toml").write_text('[redis]\nurl = "redis://h"\nnodes = ["h:1"]\n')
        assert "can't be used together" in "".join(problems())

    def test_a_password_in_a_url_goes_before_a_weaker_sources(self, load):
        weaker = {"SCOUTCACHE_REDIS__PASSWORD": "weak", "SCOUTCACHE_REDIS__URL": "redis://h"}
        redis = load(env=weaker, overrides={"redis": {"url": "redis://:strong@other"}}).config.redis
        assert redis.password is None
        weaker["SCOUTCACHE_REDIS__USERNAME"] = "weak"
        assert load(env=weaker, overrides={"redis": {"url": "redis://u:p@other"}}).config.redis.username is None
        assert load(env=weaker, overrides={"redis": {"url": "redis://other"}}).config.redis.password is not None

    def test_what_a_stronger_source_leaves_empty_takes_nothing_away(self, load, project):
        (project / "scoutcache.toml").write_text('[redis]\nurl = "redis://h"\n')
        assert load(overrides={"redis": {"nodes": []}}).config.redis.url is not None


def test_a_projects_directory_is_the_same_from_each_of_its_folders(project, load):
    (project / "scoutcache.toml").write_text('directory = "cache"\n')
    (project / "deep").mkdir()
    assert load(cwd=project).config.directory == load(cwd=project / "deep").config.directory == project / "cache"


def test_a_relative_directory_in_dotenv_is_below_its_folder_and_in_the_environment_as_it_is(project, load):
    (project / ".env").write_text("SCOUTCACHE_DIRECTORY=cache\n")
    assert load().config.directory == project / "cache"
    assert load(env={"SCOUTCACHE_DIRECTORY": "cache"}).config.directory == Path("cache")
