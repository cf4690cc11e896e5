"""The one way in which a generator that decides is driven by what carries out its steps: blocking, or awaited.

An error of a step is thrown into the generator, which decides what to do about it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

__all__ = ["astep_through", "step_through"]

S = TypeVar("S")
T = TypeVar("T")


def step_through(steps: Generator[S, Any, T], do: Callable[[S], Any]) -> T:
    """Carry each step out with *do*, blocking; what *steps* returns.  Raises what *steps* raises."""
    try:
        step = next(steps)
        while True:
            try:
                answer = do(step)
            except Exception as error:  # noqa: BLE001  # the generator decides what to do about it
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # the generator's own return type
    finally:
        steps.close()


async def astep_through(steps: Generator[S, Any, T], do: Callable[[S], Awaitable[Any]]) -> T:
    """The same on the running event loop."""
    try:
        step = next(steps)
        while True:
            try:
                answer = await do(step)
            except Exception as error:  # noqa: BLE001  # the generator decides what to do about it
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]  # the generator's own return type
    finally:
        steps.close()
