"""`cache.llm` of both faces behind one, over the caches of the faces' tests."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from ..faces.conftest import (  # noqa: F401, TID252 - tests are no package; pytest finds fixtures where they are known
    Driven,
    _listed,
    clocks,
    face,
    in_threads,
    no_hang,
    open_cache,
    runner,
)


class Asked:
    """`cache.llm` whose calls all block; streams are read by `read`."""

    def __init__(self, driven: Driven) -> None:
        self.driven, self.is_async = driven, driven.is_async

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.driven.cache.llm, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = found(*args, **kwargs)
            return self.driven.runner.run(result) if inspect.iscoroutine(result) else result

        return call

    def read(self, stream: Any) -> list[Any]:
        """All its chunks."""
        return self.driven.runner.run(_listed(stream)) if self.is_async else list(stream)

    def next(self, stream: Any) -> Any:
        """One chunk."""
        return self.driven.runner.run(stream.__anext__()) if self.is_async else next(stream)

    def close(self, stream: Any) -> None:
        """Stop reading."""
        self.driven.runner.run(stream.aclose()) if self.is_async else stream.close()

    def cached(self, function: Any = None, **how: Any) -> Any:
        wrapped = self.driven.cache.llm.cached(function, **how)
        return self._cached(wrapped) if function is not None else lambda named: self._cached(wrapped(named))

    def _cached(self, wrapped: Any) -> Any:
        def driven(one: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                result = one(*args, **kwargs)
                return self.driven.runner.run(result) if inspect.iscoroutine(result) else result

            return call

        call = driven(wrapped)
        call.key, call.invalidate, call.wrapped = wrapped.key, driven(wrapped.invalidate), wrapped
        return call


@pytest.fixture
def open_llm(open_cache: Any) -> Any:  # noqa: F811 - a fixture asks for another by its name
    """Open caches of the test's face, over its directory, and give their `llm`."""
    return lambda tiers=None, **settings: Asked(open_cache(tiers, **settings))


@pytest.fixture
def llm(open_llm: Any) -> Asked:
    """`cache.llm` of each face, over memory and disk, with a price for one model."""
    asked: Asked = open_llm(costs={"models": {"gpt-4o": {"input": 2, "output": 10}}})
    return asked
