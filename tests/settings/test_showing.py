"""Showing the configuration: origins, the template, and what needs trust."""

from __future__ import annotations

import json
import tomllib

import pytest
from pydantic import BaseModel

from scoutcache.config import CacheConfig
from scoutcache.config.problems import setting_names
from scoutcache.settings import explain, needs_trust, sources, template


def test_every_setting_is_explained_with_its_origin(load):
    rows = {row.setting: row for row in explain(load(overrides={"memory": {"max_entries": 5}}))}
    assert rows["memory.max_entries"][1:] == (5, "option")
    assert rows["disk.max_bytes"][1:] == (10**9, "built-in")
    assert {".".join(names) for names in setting_names(CacheConfig) if not issubclass(_kind(names), BaseModel)} - set(
        rows
    ) <= {"llm.operation_ttls", "ttl"}
    json.dumps([row.value for row in rows.values()], allow_nan=False)


def _kind(names: tuple[str, ...]) -> type:
    kind: type = CacheConfig
    for name in names:
        annotation = kind.model_fields[name].annotation
        kind = annotation if isinstance(annotation, type) else object
    return kind


def test_secrets_are_masked_in_what_is_explained(load):
    loaded = load(
        overrides={
            "redis": {"url": "redis://:hunter2@h", "password": "hunter2"},
            "security": {"signing_keys": {"a": "hunter2hunter2hunter2"}},
        }
    )
    assert "hunter2" not in repr(explain(loaded))


def uncommented(text: str) -> str:
    """The template with every setting set: comments have a space after their sign, settings have none."""
    return "\n".join(
        line[1:] if line.startswith("#") and line[1:2] not in {" ", ""} else line for line in text.splitlines()
    )


def test_the_template_as_it_stands_changes_nothing(load, project):
    (project / "scoutcache.toml").write_text(template())
    assert load().config == CacheConfig()


def test_the_template_holds_every_setting_and_only_such(load, project):
    data = tomllib.loads(uncommented(template()))
    for names in setting_names(CacheConfig):
        place = data
        for name in names:
            assert name in place, ".".join(names)
            place = place[name]
    # Settings that exclude each other stand there side by side.
    del data["redis"]["nodes"], data["redis"]["sentinel"], data["redis"]["password_file"]
    data["compression"]["type"] = "zstd"
    data["security"]["active_key"] = "k1"
    CacheConfig(**data)


def test_the_template_shows_the_defaults():
    shown = CacheConfig(
        **{
            name: value
            for name, value in tomllib.loads(uncommented(template())).items()
            if name
            in {
                "memory",
                "disk",
                "placement",
                "oplog",
                "alerts",
                "warming",
                "llm",
                "enabled",
                "default_ttl",
                "namespace",
                "raise_errors",
            }
        }
    )
    # Names of one's own have no default, only an example.
    assert shown.replace(llm={**shown.llm.model_dump(), "model_aliases": {}}) == CacheConfig()


@pytest.mark.parametrize(
    "text",
    [
        'tiers = ["memory", "evil:Tier"]',
        '[[tasks]]\nname = "t"\nsource = "evil.module:load"',
        '[[tasks]]\nname = "t"\nsource = "evil.module:Loader.load"',
        '[serializer]\ntype = "pickle"\n[security.signing_keys]\nk = "0123456789abcdef"',
    ],
)
def test_what_would_run_code_of_a_found_file_needs_trust_and_of_a_named_one_does_not(text, load, project):
    path = project / "scoutcache.toml"
    path.write_text(text)
    (needed,) = needs_trust(load())
    assert str(path) in needed
    assert needs_trust(load(file=path)) == []


def test_a_dotenv_found_by_searching_needs_trust_too(load, project):
    (project / ".env").write_text("SCOUTCACHE_TIERS=evil:Tier")
    assert len(needs_trust(load())) == 1
    assert needs_trust(load(overrides={"tiers": ["good:Tier"]})) == []


def test_ordinary_settings_need_no_trust(load, project):
    (project / "scoutcache.toml").write_text('tiers = ["memory"]\n[[tasks]]\nname = "t"\nsource = "keys.jsonl"')
    assert needs_trust(load()) == []


def test_where_settings_come_from_is_told_in_a_line(load, project):
    assert sources(load()) == "no files, built-in settings"
    (project / "scoutcache.toml").write_text('namespace = "x"')
    loaded = load(env={"SCOUTCACHE_ENABLED": "false"}, overrides={"directory": "d"}, profile="llm")
    file, profile, *rest = sources(loaded).split(", ")
    assert file == str(project / "scoutcache.toml")
    assert profile.startswith("profile llm ")
    assert rest == ["the environment", "options"]
