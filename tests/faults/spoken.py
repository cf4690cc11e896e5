"""A process of a campaign: it says on its standard output what it does, a line each, until it is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable


class Spoken:
    """The script *file* at work with *arguments*; *hear* gets the words of each line that it wrote whole.

    It has begun once it said ``ready``.
    """

    def __init__(self, hear: Callable[[list[str]], None], file: str, *arguments: object) -> None:
        self._hear = hear
        command = [sys.executable, file, *map(str, arguments)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                self._hear(line.split())

    def kill(self) -> None:
        """``kill -9``; what it said before is heard until `end` returns."""
        self._process.kill()

    def end(self) -> int:
        """Wait until it has ended and all is heard; its exit code."""
        code = self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code
