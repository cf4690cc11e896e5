"""The standard streams: they are there, take every character, fail no command by its messages, and are read only
where there is something to read.

Rule: a dash in the place of a file that is read is standard input, once in a command (`file_named`).
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import select
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

from scoutcache.cli.errors import Usage

__all__ = ["STDIN", "fifo_woken", "file_named", "prepare_streams", "shown_name", "stdin_bytes", "woken"]

STDIN: Final = "-"
_SHOWN: Final = "standard input"
_OUTPUT: Final = "standard output"

_closed: list[str] = []
"""The streams that were closed before the start."""
_spooled: dict[str, str] = {}
"""The file that holds all of standard input, once that was read, and what it was read for."""

_ENDINGS: Final = {b"\x1f\x8b": ".csv.gz", b"PAR1": ".parquet", b"\x28\xb5\x2f\xfd": ".jsonl.zst", b"{": ".jsonl"}
"""Files are known by their endings; standard input by what it begins with, and else it is a table."""


def prepare_streams() -> None:
    """Give a stream that was closed before the start something to read from or write messages to: nothing.

    Standard output refuses what is written (`_Refusing`): an answer that goes nowhere must not end as success.
    What the encoding of an output lacks is written as ``\\u2603``: an answer nobody can print is still an answer.
    """
    _closed.clear()
    _spooled.clear()
    # In this order, so that each takes its own number and no file of the cache can come by it.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            _closed.append(name)
            nothing = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115  # open until the end
            setattr(sys, name, _Refusing.instead_of(nothing) if name == "stdout" else nothing)
    for stream in (sys.stdout, sys.stderr):
        # Who takes surrogates for bytes has no place for the other half of them.
        if getattr(stream, "errors", None) in {"strict", "surrogateescape"} or stream.encoding == "ascii":
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # who has such errors is a text stream
    if not isinstance(sys.stderr, _Messages):
        sys.stderr = _Messages(sys.stderr)


class _Refusing(io.RawIOBase):
    """Standard output that is closed: what is written fails, once, for the interpreter's last flush tries it again."""

    def __init__(self, nothing: IO[Any]) -> None:
        self._nothing = nothing
        self._told = False

    @classmethod
    def instead_of(cls, nothing: IO[Any]) -> TextIO:
        """A stream that keeps *nothing* open, so that no file of the cache comes by its number."""
        return io.TextIOWrapper(io.BufferedWriter(cls(nothing)), encoding="utf-8")

    def fileno(self) -> int:
        return self._nothing.fileno()

    def writable(self) -> bool:
        return True

    def write(self, content: ReadableBuffer) -> int:
        if not self._told:
            self._told = True
            raise OSError(errno.EBADF, "it is closed", _OUTPUT)
        return memoryview(content).nbytes


def shown_name(file: str) -> str:
    """What *file* is called in a message."""
    return _SHOWN if file == STDIN else file


class _Messages:
    """Standard error where a message that it can't take, for its disk is full, is nobody's failure.

    Where something is wrong with standard input it says so, and not where that was spooled.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, shown: str) -> int:
        told = shown
        for file in _spooled:
            told = told.replace(file, _SHOWN)
        with suppress(OSError):
            self._stream.write(told)
        return len(shown)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def stdin_bytes(what: str) -> BinaryIO:
    """Standard input; *what* reads it.  Raises `Usage` where it is closed."""
    if _spooled:
        before = next(iter(_spooled.values()))
        raise Usage(f"{what}: standard input was read already, for {before}", hint="name a file in one of the places")
    if "stdin" in _closed or sys.stdin.closed:
        raise Usage(f"{what}: standard input is closed", hint="pipe something into it, or name a file")
    return sys.stdin.buffer


def file_named(source: str | Path, what: str, ending: str | None = None) -> Path:
    """The file *source* that *what* reads; for a dash one with all of standard input, which is gone with the process.

    It ends in *ending*, or else in what a log or a trace of such a content does.  Raises `Usage` where standard input
    is closed or was read already.
    """
    if str(source) != STDIN:
        return Path(source)
    stream = stdin_bytes(f"{what} {STDIN}")
    folder = Path(tempfile.mkdtemp(prefix="scoutcache-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    spooled = folder / "standard-input"
    with spooled.open("wb") as file:
        shutil.copyfileobj(stream, file)
    named = spooled.rename(spooled.with_name(spooled.name + (_ending_of(spooled) if ending is None else ending)))
    _spooled[str(named)] = what
    return named


def _ending_of(file: Path) -> str:
    with file.open("rb") as content:
        begin = content.read(4)
    return next((ending for magic, ending in _ENDINGS.items() if begin.startswith(magic)), ".csv")


@contextmanager
def fifo_woken(path: Path) -> Iterator[BinaryIO]:
    """A FIFO, or a device, as `woken`.  Raises `OSError`."""
    with path.open("rb", buffering=0) as stream, woken(stream) as lines:
        yield lines


@contextmanager
def woken(stream: BinaryIO | FileIO) -> Iterator[BinaryIO]:
    """*stream* for readers in other threads: a signal that ends the command ends their waiting for it too.

    An interrupt comes to the main thread alone.  Whoever is reading then gets a `KeyboardInterrupt` of his own, for
    what arrived so far may end in the middle of a line.
    """
    try:
        number = stream.fileno()
    except (AttributeError, OSError):
        yield stream
        return
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    before = signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    try:
        yield io.BufferedReader(_Woken(number, woken))
    finally:
        signal.set_wakeup_fd(before)
        os.close(woken)
        os.close(waking)


class _Woken(io.RawIOBase):
    """What can be read from a file's number until something comes from another one."""

    def __init__(self, number: int, woken: int) -> None:
        self._number = number
        self._woken = woken

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        ready, _, _ = select.select([self._number, self._woken], [], [])
        if self._woken in ready:
            raise KeyboardInterrupt
        return os.readv(self._number, [buffer])
