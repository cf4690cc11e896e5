"""The examples in the docstrings of the faces run as they stand there."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["cache", "async_cache", "idioms.fields", "idioms.versioned"])
def test_examples_run(name):
    ran = doctest.testmod(import_module(f"scoutcache.{name}"))
    assert ran.failed == 0
    assert ran.attempted > 0
