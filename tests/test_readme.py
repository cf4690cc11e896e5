"""What the README says works as it stands there: a reader copies it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from scoutcache.settings import load_config

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")

SCOUTCACHE = f'scoutcache() {{ "{sys.executable}" -m scoutcache "$@"; }}'


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def run(command, folder):
    paths = os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])
    return subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=300, check=False)  # fmt: skip


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_examples_run(code, tmp_path):
    done = run([sys.executable, "-W", "error", "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_commands_run_one_after_the_other(tmp_path):
    tour = "".join(block for block in blocks("sh") if not block.startswith("pip "))
    assert tour.count("scoutcache ") > 15
    # Half a second each is what a reader should measure; here it is enough that they run.
    tour = tour.replace("--duration 0.5", "--duration 0.02 --warmup 0 --runs 2 --keys 200")
    done = run(["bash", "-euc", f"{SCOUTCACHE}\n{tour}"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Good morning" in done.stdout


def test_what_the_log_is_asked_for_is_there_after_the_commands_above_it(tmp_path, monkeypatch):
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name)
    (shown,) = [block for block in blocks("sh") if "scoutcache log convert" in block]
    lines = [line for line in shown.splitlines() if line.startswith("scoutcache ") and "--follow" not in line]
    asked = [SCOUTCACHE, "scoutcache set page:a hi", "scoutcache get page:a", *lines]
    done = run(["bash", "-euc", "\n".join(asked)], tmp_path)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    (query,) = blocks("sql")
    assert [row[:2] for row in duckdb.sql(query).fetchall()] == [("hit", 1)]


def test_no_function_makes_the_answers_of_cache_llm_whose_keys_are_digests():
    lines = [line for line in README.splitlines() if "scoutcache warm" in line]
    calls = [line for line in lines if "--call" in line or "--http" in line]
    assert len(calls) > 4
    assert not [line for line in calls if "llm:" in line or ("--frequent" in line and "--pattern" not in line)]


@pytest.mark.parametrize("text", blocks("toml"))
def test_the_configurations_are_valid(text, tmp_path):
    path = tmp_path / "scoutcache.toml"
    path.write_text(text)
    load_config(file=path)


def test_the_two_commands_stand_there_alone():
    assert blocks("sh")[:2] == ["pip install . && scoutcache demo\n", "pip install '.[test]' && pytest\n"]
