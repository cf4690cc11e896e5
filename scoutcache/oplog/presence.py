"""Which processes live with a cache, and up to where each has applied what was announced.

A process owns ``present/<name>``, drawn at random: claimed while it lives, and one page long, which it maps.  Its words
are what the file is and the *position* up to which everything in the journal was applied to what the process holds;
behind them stand who it is and its *place*, the server and the prefix by which it hears of other machines (both in
JSON).  Saying a position costs a store into memory, so it is said whenever it moves, and whoever
waits for it (``invalidate --wait``) needn't ask the process.  A process that does nothing applies twice a second.

Rule 1: the page is written whole, not sparse: a full disk is an error here and not a SIGBUS at a store.  (To have it
        allocated instead takes four times as long, and at times milliseconds, of which opening a cache has few.)
Rule 2: a file that nobody claims was left by a process that died; the next one to come removes it.
Rule 3: a forked child has a file of its own and lets go of its parent's, or a dead parent would seem to live on in it.
Rule 4: a file that is claimed but can't be read counts as one that has applied nothing.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from scoutcache.oplog.files import Claim, is_claimed, make_folder, open_private
from scoutcache.oplog.who import Who, this_process

__all__ = ["Member", "Presence", "members"]

FOLDER: Final = "present"
ATTEMPTS: Final = 4
_FORMAT: Final = 0x53434F5554505231
_MAGIC, _POSITION = range(2)
_WHO: Final = 64
"""Where the words end and the text begins."""


class Member(NamedTuple):
    """A living process.  *position* is up to where it applied the journal; *who* is None where that is unreadable.

    So is *place*: the server and the prefix, empty where it has none.
    """

    path: Path
    position: int
    who: Who | None
    place: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """The name of its file, which is the one that a server knows it by, where there is one."""
        return self.path.name

    def again(self) -> Member | None:
        """The same process now; None when it has gone."""
        return _member(self.path)


class Presence:
    """This process's own file, with its *place*.  `say` may be called from any thread, the rest from one at a time."""

    def __init__(self, directory: Path, token: Callable[[], str], place: tuple[str, ...] = ()) -> None:
        self._folder, self._token, self._place = directory / FOLDER, token, place
        self._claim: Claim | None = None
        self._path: Path | None = None
        self._words = _nowhere()

    @property
    def name(self) -> str | None:
        """The name of our file, None while there is none."""
        return None if self._path is None else self._path.name

    def begin(self, position: int) -> None:
        """Be there, unless we are.  Raises OSError where nothing can be written; then nobody waits for us."""
        if self._claim is not None and self._claim.still_there():
            return
        self.end()
        make_folder(self._folder)
        for path in self._folder.iterdir():
            if not is_claimed(path):
                path.unlink(missing_ok=True)
        claim, path = self._claimed()
        try:
            words = _map(path, self._place)
        except BaseException:
            path.unlink(missing_ok=True)
            claim.release()
            raise
        words[_POSITION] = position
        words[_MAGIC] = _FORMAT
        self._claim, self._path, self._words = claim, path, words

    def _claimed(self) -> tuple[Claim, Path]:
        for left in reversed(range(ATTEMPTS)):
            path = self._folder / self._token()
            try:
                return Claim(path), path
            except (FileExistsError, FileNotFoundError, BlockingIOError):
                if not left:  # else a process that came at the same moment took our file for one left behind
                    raise
        raise AssertionError("unreachable")

    def say(self, position: int) -> None:
        """Everything up to *position* has been applied here."""
        self._words[_POSITION] = position

    def forget(self) -> None:
        """In a forked child: file and page are the parent's."""
        self._words = _nowhere()
        if self._claim is not None:
            self._claim.forget()
        self._claim = self._path = None

    def end(self) -> None:
        """Be there no more; idempotent."""
        self._words = _nowhere()
        claim, path, self._claim, self._path = self._claim, self._path, None, None
        if claim is not None and path is not None:
            with contextlib.suppress(OSError):
                if claim.still_there():
                    path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                claim.release()


def _nowhere() -> memoryview:
    return memoryview(bytearray(_WHO)).cast("Q")


def _map(path: Path, place: tuple[str, ...]) -> memoryview:
    said = b"".join(msgspec.json.encode(one) + b"\n" for one in (this_process(), place))
    page = (bytes(_WHO) + said)[: mmap.PAGESIZE].ljust(mmap.PAGESIZE, b"\0")
    fd = open_private(path, os.O_RDWR)
    try:
        if os.pwrite(fd, page, 0) != mmap.PAGESIZE:  # Rule 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return memoryview(mmap.mmap(fd, mmap.PAGESIZE)).cast("Q")
    finally:
        os.close(fd)


def members(directory: Path) -> Iterator[Member]:
    """The processes that live with the cache in *directory* now, this one among them."""
    folder = directory / FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        member = _member(path)
        if member is not None:
            yield member


def _member(path: Path) -> Member | None:
    if not is_claimed(path):
        return None
    try:
        fd = open_private(path, os.O_RDONLY)
        try:
            page = os.read(fd, mmap.PAGESIZE)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return None
    except OSError:
        return Member(path, 0, None)
    words = memoryview(page[:_WHO].ljust(_WHO, b"\0")).cast("Q")
    if words[_MAGIC] != _FORMAT:
        return Member(path, 0, None)
    who, place, *_ = [*page[_WHO:].split(b"\n", 2), b""]
    return Member(path, words[_POSITION], _read(who, Who), _read(place, tuple[str, ...]))


def _read(text: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, ValueError):
        return None
