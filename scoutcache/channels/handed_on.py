"""What the processes of a machine know of their server's versions, for those among them that know less.

Who starts while the server is away could judge nothing that lies on the disk, nor keep there what others could judge.

Rule 1: it is written when the server has gone, and removed when it is back: between the two nobody learns anything new
        of it, and before them it needn't be written.
Rule 2: it is certain as far as its writer had heard, of the stream and of the journal, so it is for who has heard no
        more of the stream: that may have ended what the writer knows.  What neighbours have said since they read
        themselves; where some of that is gone, they take nothing.
Rule 3: it is of one server.  Of another's stream and versions it says nothing, though the directory be the same.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from scoutcache.channels.heard import parts_of
from scoutcache.channels.lately import Told
from scoutcache.channels.locking import held
from scoutcache.oplog.files import replace

__all__ = ["HandedOn", "Knowledge"]

_FORMAT: Final = 2


class Knowledge(msgspec.Struct, frozen=True, array_like=True):
    """What was known."""

    server: str
    stream: bytes
    """Its name."""
    heard: bytes
    """The id there up to which everything had been applied."""
    position: int
    """The same in the machine's journal."""
    answered: float
    """When the server gave its last sign of life; seconds since the epoch."""
    versions: dict[str, dict[str, int]]
    """By namespace and name."""
    token: bytes
    """What stand-ins for unknown ones follow from (`scoutcache.tiers.stand_ins`)."""
    renewed: list[tuple[str, str]]
    """The namespaces and names that were renewed since it was drawn."""
    told: list[Told]
    """What the stream had told last, for who has heard less of it."""
    format: int = _FORMAT


class State(NamedTuple):
    """Tells one state of the file from another."""

    inode: int
    written: int
    """Nanoseconds since the epoch."""


class HandedOn:
    """The file in *directory* in which the processes of one machine hand on what they know of *server*."""

    def __init__(self, directory: Path, server: str) -> None:
        self._path, self.server = directory / "versions", server
        self._decoder = msgspec.msgpack.Decoder(Knowledge)
        self._encoder = msgspec.msgpack.Encoder()

    @property
    def state(self) -> State | None:
        """Which state of it stands there; None where there is none."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return State(status.st_ino, status.st_mtime_ns)

    def age(self, now: float) -> float:
        """Seconds at *now* since it was written; 0 where there is none."""
        state = self.state
        return 0.0 if state is None else now - state.written / 1e9

    def read(self) -> Knowledge | None:
        """What stands there; None where there is nothing, or nothing that this process could use."""
        try:
            known = self._decoder.decode(self._path.read_bytes())
            for identity in (known.heard, *(identity for identity, _, _ in known.told)):
                parts_of(identity)
        except (OSError, msgspec.DecodeError, ValueError):  # which one that is no id is
            return None
        return known if known.format == _FORMAT else None

    def write(self, known: Knowledge) -> None:
        """Put *known* there, in the place of what stands there.  Raises `OSError`."""
        replace(self._path, self._encoder.encode(known))

    def remove(self) -> None:
        """Remove it, if it is there."""
        with suppress(OSError):
            self._path.unlink()

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else writes meanwhile.  Raises `LockTimeout`, soon, or `CacheError`."""
        return held(self._path.with_name("versions.lock"))
