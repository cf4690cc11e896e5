"""The standard streams: they are there, take every character, and are read only where there is something to read."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

from scoutcache.cli.errors import Usage

__all__ = ["prepare_streams", "stdin_bytes"]

_closed: list[str] = []
"""The streams that were closed before the start."""


def prepare_streams() -> None:
    """Give a stream that was closed before the start something to read from or write to: nothing.

    What the encoding of an output lacks is written as ``\\u2603``: an answer nobody can print is still an answer.
    """
    _closed.clear()
    # In this order, so that each takes its own number and no file of the cache can come by it.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            _closed.append(name)
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # open until the end
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict":
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # who has such errors is a text stream


def stdin_bytes(what: str) -> BinaryIO:
    """Standard input; *what* reads it.  Raises `Usage` where it is closed."""
    if "stdin" in _closed or sys.stdin.closed:
        raise Usage(f"{what}: standard input is closed", hint="pipe something into it, or name what is meant")
    return sys.stdin.buffer
