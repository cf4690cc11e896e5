"""Cached functions: called once for the same arguments, through both faces."""

from __future__ import annotations

import asyncio

import pytest

from scoutcache import AsyncCache, Cache, CacheError
from scoutcache.errors import ConfigError
from scoutcache.settings import load_config


def test_a_cached_function_is_called_once_for_the_same_arguments(cache):
    calls = []

    @cache.cached(ttl=60)
    def add(a, b=2, *more, c=3):
        calls.append((a, b))
        return a + b + c

    assert add(1) == add(1, 2) == add(a=1, c=3) == 6
    assert calls == [(1, 2)]
    assert add(1, 3) == 7
    assert add.key(1) == add.key(1, b=2) != add.key(1, 3)
    assert add.__name__ == "add"


def test_arguments_are_told_apart_by_type(cache):
    @cache.cached()
    def name(value):
        return type(value).__name__

    assert [name(value) for value in (1, "1", True, 1.0, None, "None", (1,), [1])] == [
        "int", "str", "bool", "float", "NoneType", "str", "tuple", "list",
    ]  # fmt: skip


def test_invalidate_and_refresh_take_the_same_arguments(cache):
    calls = []

    @cache.cached()
    def count(name):
        calls.append(name)
        return len(calls)

    assert (count("a"), count("b"), count("a")) == (1, 2, 1)
    assert count.invalidate("a") is True
    assert count.invalidate("a") is False
    assert (count("a"), count("b")) == (3, 2)
    assert count.refresh("b") == 4
    assert count("b") == 4


def test_key_tags_condition_and_namespace_may_follow_from_the_arguments(cache):
    @cache.cached(
        key=lambda user, **_: f"user:{user}", tags=lambda user, **_: [f"u{user}"], namespace="people", ttl=60,
        condition=lambda user, fresh=False: not fresh,
    )  # fmt: skip
    def profile(user, fresh=False):
        return [user, fresh]

    assert profile(1) == [1, False]
    assert cache.keys(namespace="people", tag="u1") == ["user:1"]
    assert profile(1, fresh=True) == [1, True]
    assert cache.get("user:1", namespace="people") == [1, False]


@pytest.mark.parametrize("tags", [None, lambda n: None])
def test_no_tags_may_be_none(cache, tags):
    double = cache.cached(key="double", tags=tags, depends_on=None)(lambda n: 2 * n)
    assert double(2) == 4
    assert list(cache.get_entry("double").tags) == []


def test_methods_leave_out_self(cache):
    wrap = cache.cached()

    class Service:
        @wrap
        def answer(self, n):
            return n * 2

    method = Service.answer
    assert method(Service(), 2) == method(Service(), 2) == 4
    assert len(cache.keys()) == 1


def test_coroutines_are_cached_on_a_loop(make_async):
    async def main():
        async with make_async() as cache:
            calls = []

            @cache.cached(ttl="1h")
            async def slow(n):
                calls.append(n)
                return n

            assert await asyncio.gather(*(slow(n % 3) for n in range(30))) == [n % 3 for n in range(30)]
            assert sorted(calls) == [0, 1, 2]
            assert await slow.invalidate(0)

    asyncio.run(main())


def test_a_generator_has_no_result_to_cache(cache):
    def numbers():
        yield 1

    with pytest.raises(CacheError, match="generator"):
        cache.cached()(numbers)


@pytest.mark.parametrize("face", [Cache, AsyncCache])
def test_a_decorator_without_parentheses_says_what_to_write(face, tmp_path):
    cache = face(directory=tmp_path / "cache")
    with pytest.raises(CacheError, match=r"write @cache\.cached\(\)"):
        cache.cached(len)


@pytest.mark.parametrize("face", [Cache, AsyncCache])
def test_a_path_given_as_configuration_says_how_a_file_is_read(face, tmp_path):
    (tmp_path / "mine.toml").write_text("namespace = 'mine'")
    with pytest.raises(ConfigError, match="takes a CacheConfig or a mapping") as caught:
        face(config=str(tmp_path / "mine.toml"))
    assert "load_config(file=" in (caught.value.hint or "")
    with Cache(load_config(file=tmp_path / "mine.toml").config, directory=tmp_path / "cache") as cache:
        assert cache.config.namespace == "mine"
