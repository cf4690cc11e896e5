"""The tree of errors in the docstring is the tree of classes."""

from __future__ import annotations

import inspect
import re

import pytest

from scoutcache import errors
from scoutcache.errors import CacheError, ConfigError, SerializationError, TierUnavailable


def classes() -> dict[str, type[Exception]]:
    return {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}


def documented_tree() -> list[tuple[int, str]]:
    """(depth, name) of each line of the tree."""
    lines = re.findall(r"^    ([ │├└─]*)([A-Z]\w+)\s", (errors.__doc__ or "").split("::", 1)[1], re.MULTILINE)
    return [(len(stem) // 4, name) for stem, name in lines]


def test_the_documented_tree_is_the_tree_of_classes():
    parents: list[str] = []
    for depth, name in documented_tree():
        parents[depth:] = [name]
        if depth:
            assert classes()[name].__mro__[1].__name__ == parents[depth - 1], name
    assert [name for _, name in documented_tree()] == list(classes())


def test_all_errors_are_exported_and_nothing_else():
    assert sorted(errors.__all__) == sorted(classes())


def test_bad_arguments_are_value_errors_too():
    documented = {
        name
        for name in classes()
        if f"{name} " in (errors.__doc__ or "") and re.search(rf"{name} +\(ValueError\)", errors.__doc__ or "")
    }
    assert documented == {name for name, kind in classes().items() if issubclass(kind, ValueError)}
    assert {"InvalidKey", "InvalidTTL"} <= documented


def test_a_config_error_lists_every_problem():
    error = ConfigError("2 settings are wrong:", problems=["a: no", "b: no"])
    assert str(error) == "2 settings are wrong:\n  - a: no\n  - b: no"
    assert error.problems == ("a: no", "b: no")


def test_errors_carry_what_programs_need():
    assert CacheError("x", hint="do y").hint == "do y"
    assert SerializationError("x", path="value[0]").path == "value[0]"
    away = TierUnavailable("disk", "full")
    assert (away.tier, away.reason, str(away)) == ("disk", "full", "the disk tier can't answer: full")


@pytest.mark.parametrize("kind", classes().values(), ids=lambda kind: kind.__name__)
def test_every_error_is_a_cache_error_and_says_when_it_is_raised(kind):
    assert issubclass(kind, CacheError)
    assert inspect.getdoc(kind)
