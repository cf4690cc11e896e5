"""Trust in configuration files that were found, not named: what in them runs code is asked about once.

Rules:

1. A file that was named (``--config``, ``SCOUTCACHE_CONFIG``) is the user's word.  One that was found by searching
   upwards may be anybody's: a tier or a task of ``module:name``, or pickle, in it runs only with consent.
2. Consent is to the content: it is recorded with the file's digest, and a changed file is asked about again.
3. Where nobody can be asked the command refuses and says how to name the file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from scoutcache.cli.errors import Usage

if TYPE_CHECKING:
    from scoutcache.cli.state import Session
    from scoutcache.settings import Loaded

_RECORD = "trusted"


def check_trust(session: Session, loaded: Loaded) -> None:
    """Ask for consent where it is needed and not recorded.  Raises `Usage` or `CommandError` without it."""
    from scoutcache.settings import needs_trust

    running = needs_trust(loaded)
    if not running:
        return
    files = sorted(loaded.searched)
    marks = {f"{_digest(file)} {file}" for file in files}
    record = _record()
    if marks <= _recorded(record):
        return
    if not session.can_ask:
        raise Usage(f"{', '.join(files)} was found by searching and would run code: {'; '.join(running)}",
                    hint=f"if you trust it, name it: --config {files[0]}")  # fmt: skip
    for line in running:
        session.warn(f"this configuration would run code: {line}")
    session.confirm(f"trust {', '.join(files)} as it is now", yes=False)
    if record is not None:
        record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with record.open("a", encoding="utf-8") as file:
            file.writelines(f"{mark}\n" for mark in sorted(marks))


def _digest(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _record() -> Path | None:
    from scoutcache.settings import user_folder

    folder = user_folder()
    return None if folder is None else folder / _RECORD


def _recorded(record: Path | None) -> set[str]:
    if record is None or not record.is_file():
        return set()
    return set(record.read_text(encoding="utf-8", errors="replace").splitlines())
