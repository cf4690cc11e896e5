"""Which task knows how to compute a key, and what its source means."""

from __future__ import annotations

import pytest

from scoutcache.config import CacheConfig
from scoutcache.errors import ConfigError, WarmingError
from scoutcache.policies import WarmingTask
from scoutcache.warming.loaders import by_task, gives_values, items_of, loader_of


@pytest.mark.parametrize(
    ("source", "gives"),
    [
        ("jobs:load", True), ("a.b.c:Class.method", True), ("https://h/{key}", True), ("HTTP://h/?k={key}", True),
        ("https://h/all.jsonl", False), ("answers.jsonl", False), ("/a/b:c.jsonl", False), ("C:file name", False),
    ],
)  # fmt: skip
def test_functions_and_addresses_with_a_key_give_values(source, gives):
    assert gives_values(WarmingTask(name="t", source=source)) is gives


def test_the_first_task_that_matches_knows_how_and_files_never_do():
    config = CacheConfig(tasks=[
        {"name": "file", "source": "a.jsonl", "pattern": "*"}, {"name": "one", "source": "m:one", "pattern": "llm:*"},
        {"name": "two", "source": "m:two", "pattern": "*:a"},
    ])  # fmt: skip
    known, unknown = by_task(config, ["llm:a", "job:a", "job:b", "llm:c"])
    assert [(task.name, keys) for task, keys in known] == [("one", ["llm:a", "llm:c"]), ("two", ["job:a"])]
    assert unknown == ["job:b"]
    assert by_task(config, []) == ([], [])


def test_what_is_named_must_be_there_and_allowed():
    with pytest.raises(WarmingError, match="no module"):
        loader_of(WarmingTask(name="t", source="no_such_module_here:f"), CacheConfig())
    with pytest.raises(ConfigError, match="is not an allowed host"):
        loader_of(WarmingTask(name="t", source="https://example.com/{key}"), CacheConfig())


def test_keys_of_the_cache_come_with_their_tags_and_dependencies(cache):
    cache.set("llm:a", 1, tags=["t"])
    cache.set("llm:b", 2, depends_on=["llm:a"])
    cache.set("job:c", 3)
    items = {item.key: item.options for item in items_of(cache, WarmingTask(name="t", source="m:f", pattern="llm:*"))}
    assert items == {"llm:a": {"tags": ["t"]}, "llm:b": {"depends_on": ["llm:a"]}}
    [one] = items_of(cache, WarmingTask(name="t", source="m:f", pattern="not:there"))
    assert (one.key, one.options) == ("not:there", {})
