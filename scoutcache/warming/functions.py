"""A function named as ``module:function``, and what is done when it ends more than itself.

- Its module is found as ``python -m`` would: the working directory first, and before it the *folder* of whoever names
  it, so that a task means the same wherever one works.
- ``sys.exit()`` and a cancellation of its own making are failures of the call, like any other exception.
- An interrupt, and a cancellation of the task or loop that it was called in, are none: they pass.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from traceback import walk_tb
from typing import Any

from scoutcache.errors import WarmingError
from scoutcache.warming.records import NoSource, said

__all__ = ["asked", "named_function"]


def named_function(name: str, folder: str = "") -> Callable[..., Any]:
    """The function.  Raises `NoSource` that names what is missing, `WarmingError` for what importing the module raised.

    Importing runs the module's code: the caller vouches for whoever wrote *name*.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise NoSource(f"{name!r:.200} names no function: expected module:function, such as jobs.answers:compute")
    found: Any = _module(module_name, folder)
    for part in path.split("."):
        if not hasattr(found, part):
            raise NoSource(f"module {module_name!r} has no {path!r}")
        found = getattr(found, part)
    if not callable(found):
        raise NoSource(f"{name} is not a function but a {type(found).__name__}")
    return found  # type: ignore[no-any-return]  # callable() can't tell mypy more


def _module(name: str, folder: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    first = str(Path(folder).absolute()) if folder else here
    if folder and sys.path[0] != first:
        sys.path.insert(0, first)
    try:
        return import_module(name)
    except ModuleNotFoundError as problem:
        missing = problem.name or name
        if name == missing or name.startswith(f"{missing}."):
            looked = ", ".join(dict.fromkeys([first, here]))
            raise NoSource(f"there is no module {missing!r} in {looked} or among the installed packages") from problem
        raise NoSource(f"module {name!r} can't be imported: it needs {missing!r}, which isn't there") from problem
    except (Exception, SystemExit) as problem:
        raise WarmingError(f"importing module {name!r} raised {type(problem).__name__}: {problem}") from problem


@contextmanager
def asked() -> Iterator[None]:
    """Around a call of the user's function: raises `WarmingError` for what it raises to end more than itself."""
    try:
        yield
    except SystemExit as problem:
        if not isinstance(problem.__context__, Exception | None):
            raise  # its answer to an interrupt
        raise WarmingError(said(problem)) from problem
    except asyncio.CancelledError as problem:
        if _comes_from_outside(problem):
            raise
        raise WarmingError(said(problem)) from problem


def _comes_from_outside(problem: asyncio.CancelledError) -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is not None:
        return task.cancelling() > 0
    # In the main thread a signal cancels whatever a loop of the function's own was at.
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(problem.__traceback__)]
    in_loop = any(name.startswith("asyncio.") for name in modules)
    return in_loop and threading.current_thread() is threading.main_thread()
