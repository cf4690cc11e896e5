"""Finding files by searching upwards, and saying where a broken one is wrong."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoutcache.errors import ConfigError
from scoutcache.settings import unused
from scoutcache.settings.files import find_project_file, read_settings


def test_the_nearest_file_above_is_the_projects(project):
    below = project / "a" / "b"
    below.mkdir(parents=True)
    (project / "scoutcache.toml").write_text("")
    assert find_project_file(below) == project / "scoutcache.toml"
    (below.parent / "scoutcache.yaml").write_text("")
    assert find_project_file(below) == below.parent / "scoutcache.yaml"


def test_a_pyproject_counts_only_with_our_table(project, load):
    (project.parent / "scoutcache.toml").write_text('namespace = "outer"')
    pyproject = project / "pyproject.toml"
    pyproject.write_text('[project]\nname = "scoutcache-user"\n[tool.ruff]\n')
    assert load().config.namespace == "outer"
    pyproject.write_text('[tool.scoutcache]\nnamespace = "inner"\n[tool.ruff]\nx = 1\n')
    assert load().config.namespace == "inner"
    pyproject.write_text("[tool.scoutcache.memory]\nmax_entries = 7\n")
    assert load().config.memory.max_entries == 7


def test_somebody_elses_broken_pyproject_is_not_our_business(project, load):
    (project / "pyproject.toml").write_text("[tool.other\nbroken")
    assert load().files == []


def test_the_search_ends_at_home(home, project):
    (home.parent / "scoutcache.toml").write_text("")
    try:
        assert find_project_file(project) is None
        (home / "scoutcache.toml").write_text("")
        assert find_project_file(project) == home / "scoutcache.toml"
    finally:
        (home.parent / "scoutcache.toml").unlink()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", ["scoutcache.toml", ".env"])
def test_a_strangers_file_is_refused_unless_named(name, project, problems, load):
    path = project / name
    path.write_text("SCOUTCACHE_NAMESPACE=x" if name == ".env" else 'namespace = "x"')
    os.chown(path, 54321, 54321)
    assert f"{path} belongs to another user (uid 54321)" in problems()[0]
    if name != ".env":
        assert load(file=path).config.namespace == "x"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_under_sudo_the_files_of_who_called_it_are_fine(project, load, monkeypatch):
    (project / "scoutcache.toml").write_text('namespace = "x"')
    os.chown(project / "scoutcache.toml", 54321, 54321)
    monkeypatch.setenv("SUDO_UID", "54321")
    assert load().config.namespace == "x"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.toml", "[memory]\nmax_entries = 7\n"),
        ("c.json", '{"memory": {"max_entries": 7}}'),
        ("c.yaml", "memory:\n  max_entries: 7\n"),
        ("c.yml", "memory: {max_entries: 7}"),
        ("c.toml", "\ufeff[memory]\nmax_entries = 7\n"),
    ],
)
def test_toml_json_and_yaml_say_the_same(name, text, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_settings(tmp_path / name) == {"memory": {"max_entries": 7}}


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("c.toml", "a = 1\nb = what\n", "c.toml:2:5: this is not TOML"),
        ("c.toml", 'a = "x', "c.toml:1:"),
        ("c.toml", "[a\n", "c.toml:1:"),
        ("c.json", '{"a": 1,\n "b": }', "c.json:2:7: this is not JSON"),
        ("c.yaml", "a: 1\nb: [\n", "c.yaml:3:1: this is not YAML"),
        ("c.yaml", "a: 2026-13-45\n", "this is not YAML"),
        ("c.yaml", "!!python/object/apply:os.system ['true']", "this is not YAML"),
        ("c.json", "[1]", "must hold a table"),
        ("c.yaml", "1: 2", "the name 1 must be text"),
        ("c.ini", "", "is no configuration file"),
        ("c.json", "[" * 100_000, "too deeply"),
        ("c.json", '{"a":' * 900 + "1" + "}" * 900, "too"),
        ("c.toml", b"a = '\xff'", "not UTF-8"),
        ("c.toml", "#" * 2_000_000, "1 MiB"),
        (
            "c.yaml",
            "a: &a [1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"{n}: &{n} [{', '.join([f'*{p}'] * 9)}]\n" for p, n in zip("abcdefg", "bcdefgh", strict=True)),
            "too many",
        ),
        ("c.yaml", "a: &a [*a]", "too many"),
    ],
)
def test_a_broken_file_is_told_with_its_place(name, text, place, tmp_path):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        read_settings(path)
    assert place in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_broken_file_is_told_with_what_to_do(tmp_path):
    (tmp_path / "c.toml").write_text("name = value")
    with pytest.raises(ConfigError) as caught:
        read_settings(tmp_path / "c.toml")
    assert caught.value.hint == "text needs quotes, as in name = 'value'"


@pytest.mark.parametrize("ending", ["toml", "json", "yaml"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_whatever_a_file_holds_settings_or_config_error(ending, tmp_path, data):
    path = tmp_path / f"c.{ending}"
    path.write_bytes(data)
    message = ""
    try:
        assert isinstance(read_settings(path), dict)
    except ConfigError as error:
        message = str(error)
    assert message.isprintable()


def test_a_file_that_may_not_be_read_is_an_error(tmp_path):
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match="can't be read"):
        read_settings(tmp_path / "folder.toml")


FILES = {"redis": "tls_ca_file", "compression": "dictionary"}


@pytest.mark.parametrize(
    ("named", "meant"), [("here", "{folder}/here"), ("../there", "{folder}/../there"), ("/far", "/far"), ("~/x", "~/x")]
)
def test_a_relative_path_is_below_the_folder_of_the_file(named, meant, tmp_path):
    path, meant = tmp_path / "c.toml", meant.format(folder=tmp_path)
    sections = "".join(f'[{section}]\n{name} = "{named}"\n' for section, name in FILES.items())
    path.write_text(f'directory = "{named}"\n{sections}')
    found = read_settings(path)
    assert found == {"directory": meant, **{section: {name: meant} for section, name in FILES.items()}}


def test_of_several_files_in_a_folder_the_first_is_used_and_the_others_are_told(project, user_dir, load):
    for name in ("scoutcache.yaml", "scoutcache.json", "scoutcache.toml"):
        (project / name).write_text("{}" if name.endswith("json") else "")
    (project / "pyproject.toml").write_text("[tool.scoutcache]\n")
    for name in ("scoutcache.toml", "config.toml"):
        (user_dir / name).write_text("")
    (project.parent / "scoutcache.toml").write_text("")
    others = "scoutcache.json or scoutcache.yaml or pyproject.toml"
    assert unused(load()) == [
        f"{user_dir / 'config.toml'} is used, not scoutcache.toml beside it",
        f"{project / 'scoutcache.toml'} is used, not {others} beside it",
    ]


def test_one_file_a_folder_or_one_that_was_named_leaves_nothing_to_tell(project, user_dir, load):
    (project / "scoutcache.yaml").write_text("")
    (project / "pyproject.toml").write_text("[tool.other]\n")
    (user_dir / "config.json").write_text("{}")
    assert unused(load()) == []
    (project / "scoutcache.json").write_text("{}")
    assert unused(load(file=project / "scoutcache.yaml")) == []
    assert unused(load(cwd=user_dir)) == []


def test_a_folder_that_is_the_users_and_the_projects_has_two_that_are_used(user_dir, load):
    (user_dir / "config.toml").write_text("")
    (user_dir / "scoutcache.toml").write_text("")
    assert unused(load(cwd=user_dir)) == []
