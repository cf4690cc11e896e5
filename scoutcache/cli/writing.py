"""Files that a command was asked to write: whole or not at all, with the rights that any file of the user's gets."""

from __future__ import annotations

from pathlib import Path

from scoutcache.cli.errors import CommandError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it, and a failure leaves what was there before.

    Links are followed, and a device or a FIFO is written into.  Raises `CommandError`.
    """
    from scoutcache.oplog.files import put

    try:
        put(path, content, durable=True, mode=None)
    except OSError as error:
        raise CommandError(f"can't write {path}: {error.strerror}") from error
