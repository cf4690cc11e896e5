"""The examples in the docstrings run as they stand there."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name",
    ["llm.face", "llm.async_face", "chat.texts", "chat.answers", "chat.defaults", "chat.prices",
     "integrations.langchain"],
)  # fmt: skip
def test_examples_run(name):
    if name.startswith("integrations"):
        pytest.importorskip("langchain_core", reason="needs langchain-core")
    ran = doctest.testmod(import_module(f"scoutcache.{name}"))
    assert ran.failed == 0
    assert ran.attempted > 0
