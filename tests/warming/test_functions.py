from __future__ import annotations

import pytest

from scoutcache.errors import WarmingError
from scoutcache.warming.functions import named_function


def test_a_function_is_found_in_the_working_directory(module):
    name = module("def double(key):\n    return key * 2\n")
    assert named_function(f"{name}:double")("ab") == "abab"


def test_a_method_of_an_object_is_found_by_its_path(module):
    name = module("class Model:\n    def ask(self, key):\n        return key.upper()\nmodel = Model()\n")
    assert named_function(f"{name}:model.ask")("a") == "A"


@pytest.mark.parametrize("text", ["", "json", "json:", ":dumps", ":"])
def test_what_names_no_function_is_told_the_form(text):
    with pytest.raises(WarmingError, match="module:function"):
        named_function(text)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module_here:f", "no module 'no_such_module_here'"),
        ("json.nothing:f", "no module 'json.nothing'"),
        ("json:nothing", "no 'nothing'"),
        ("json:decoder", "not a function but a module"),
        ("...:f", "importing module"),
    ],
)
def test_what_is_missing_is_named(name, said):
    with pytest.raises(WarmingError, match=said):
        named_function(name)


def test_a_module_that_needs_another_says_which(module):
    name = module("import no_such_dependency\n")
    with pytest.raises(WarmingError, match="needs 'no_such_dependency'"):
        named_function(f"{name}:f")


@pytest.mark.parametrize("source", ["1 / 0", "raise SystemExit(0)", "def"])
def test_a_module_that_fails_is_a_warming_error(module, source):
    name = module(source, name=f"failing_{len(source)}")
    with pytest.raises(WarmingError, match=name):
        named_function(f"{name}:f")
