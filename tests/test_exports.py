"""What users import: all of it is there, and importing costs what is used and no more."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import scoutcache
from scoutcache import errors

CONTRACT = [
    "Cache", "AsyncCache", "CacheConfig", "CacheKey", "CacheEntry", "CacheStatistics", "CacheOperation", "CachePolicy",
    "InvalidationRule", "WarmingTask", "MISSING", "CacheError",
]  # fmt: skip
ALSO = [
    "CacheTier", "SemanticCacheEntry", "CacheBackend", "CacheStrategy", "SerializationType", "CompressionType",
    "InvalidationResult", "Tier", "register_type", "__version__",
]  # fmt: skip


def modules_after(code: str) -> set[str]:
    """What a fresh interpreter has loaded after running *code*."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", CONTRACT + ALSO)
def test_every_name_of_the_contract_can_be_imported(name):
    assert getattr(scoutcache, name) is not None
    assert name.startswith("__") or name in scoutcache.__all__


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_can_be_imported_where_the_cache_is(name):
    assert getattr(scoutcache, name) is getattr(errors, name)
    assert name in scoutcache.__all__


@pytest.mark.parametrize("name", scoutcache.__all__)
def test_every_name_that_is_promised_is_there_and_listed(name):
    getattr(scoutcache, name)
    assert name in dir(scoutcache)


def test_a_star_import_gives_all_of_it():
    names: dict[str, object] = {}
    exec("from scoutcache import *", names)
    assert set(scoutcache.__all__) <= set(names)


def test_what_isnt_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Casche"):
        scoutcache.Casche  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        from scoutcache import nothing  # noqa: F401  # type: ignore[attr-defined]


def test_missing_is_one_and_says_no():
    import copy
    import pickle

    missing = scoutcache.MISSING
    assert not missing
    assert repr(missing) == "MISSING"
    assert pickle.loads(pickle.dumps(missing)) is missing
    assert copy.deepcopy(missing) is missing


def test_importing_the_package_loads_nothing_heavy():
    loaded = modules_after("import scoutcache")
    heavy = {"pydantic", "redis", "pandas", "numpy", "typer", "rich", "sqlite3", "msgspec", "asyncio", "diskcache"}
    assert not loaded & heavy


def test_using_a_cache_loads_neither_redis_nor_pandas_nor_the_command_line(tmp_path):
    code = f"from scoutcache import Cache\nwith Cache(directory={str(tmp_path)!r}) as cache:\n    cache.set('k', [1])"
    loaded = modules_after(code + "\n    assert cache.get('k') == [1]")
    assert not loaded & {"redis", "pandas", "numpy", "typer", "rich", "yaml", "pydantic_settings", "faiss", "torch"}


def test_a_cache_of_memory_alone_loads_no_database(tmp_path):
    code = f"from scoutcache import Cache\ncache = Cache(tiers=['memory'], directory={str(tmp_path)!r})"
    loaded = modules_after(code + "\ncache.set('k', 1)\ncache.close()")
    assert not loaded & {"sqlite3", "diskcache"}


def test_the_version_is_a_version():
    from packaging.version import Version

    assert Version(scoutcache.__version__)


def test_each_extra_can_be_asked_for_and_all_brings_those_of_users():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert {"semantic", "prometheus", "langchain", "top", "all", "test"} <= set(extras)
    users = ",".join(name for name in extras if name not in {"all", "test", "bench"})
    assert extras["all"] == [f"scoutcache[{users}]"]
