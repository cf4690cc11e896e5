"""A function named as ``module:function``, its module found as ``python -m`` would: the working directory first."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from scoutcache.errors import WarmingError

__all__ = ["named_function"]


def named_function(name: str) -> Callable[..., Any]:
    """The function.  Raises `WarmingError` that names what is missing, or what importing the module raised.

    Importing runs the module's code: the caller vouches for whoever wrote *name*.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise WarmingError(f"{name!r:.200} names no function: expected module:function, such as jobs.answers:compute")
    found: Any = _module(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            raise WarmingError(f"module {module_name!r} has no {path!r}")
        found = getattr(found, part)
    if not callable(found):
        raise WarmingError(f"{name} is not a function but a {type(found).__name__}")
    return found  # type: ignore[no-any-return]  # callable() can't tell mypy more


def _module(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as problem:
        missing = problem.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise WarmingError(f"there is no module {missing!r} in {here} or among the installed packages") from problem
        raise WarmingError(f"module {name!r} can't be imported: it needs {missing!r}, which isn't there") from problem
    except (Exception, SystemExit) as problem:
        raise WarmingError(f"importing module {name!r} raised {type(problem).__name__}: {problem}") from problem
