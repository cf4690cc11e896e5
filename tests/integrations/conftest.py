"""Coroutine functions are tests here: suites of others bring them, and no plugin is asked to run them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The loop in which a test's coroutines run."""
    with asyncio.Runner() as one:
        yield one


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> bool | None:
    """Run a test that is a coroutine function, in the test's loop where it has one."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    if (one := pyfuncitem.funcargs.get("runner")) is not None:
        one.run(pyfuncitem.obj(**given))
    else:
        asyncio.run(pyfuncitem.obj(**given))
    return True
