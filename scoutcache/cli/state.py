"""What one run of the command line works with: the global options, the configuration, the cache, and how to speak."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scoutcache.cli import text
from scoutcache.cli.errors import FAILED, CommandError, Usage
from scoutcache.cli.output import Output

if TYPE_CHECKING:
    from scoutcache.cache import Cache
    from scoutcache.config import CacheConfig


def silence() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not complain about a reader that has gone."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


class Session:
    """One run: holds the global options and makes from them what a command needs, when it needs it."""

    def __init__(self) -> None:
        self.config_file: str | None = None
        self.profile: str | None = None
        self.namespace: str | None = None
        self.directory: str | None = None
        self.redis_url: str | None = None
        self.form = "table"
        self.quiet = False
        self.verbose = False
        self.color = True
        self.may_ask = True
        self._out: Output | None = None
        self._config: CacheConfig | None = None

    def update(self, given: Mapping[str, Any]) -> None:
        """Take over the global options that were given at one place of the command line."""
        self.config_file = given["config"] if given.get("config") is not None else self.config_file
        for name in ("profile", "namespace", "directory", "redis_url", "form"):
            if given.get(name) is not None:
                setattr(self, name, given[name])
        if given.get("json"):
            self.form = "json"
        self.quiet = self.quiet or bool(given.get("quiet"))
        self.verbose = self.verbose or bool(given.get("verbose"))
        self.color = self.color and not given.get("no_color")
        self.may_ask = self.may_ask and not given.get("no_input")
        self._out = None

    @property
    def out(self) -> Output:
        """Where data is printed."""
        if self._out is None:
            self._out = Output(self.form, quiet=self.quiet, color=self.color)
        return self._out

    def note(self, message: str) -> None:
        """A line for people on stderr; ``--quiet`` leaves it out."""
        if not self.quiet:
            sys.stderr.write(f"{text.visible(message)}\n")

    def confirm(self, question: str, *, yes: bool) -> None:
        """Go on only with consent: ``--yes``, or an answer at a terminal.

        Raises `Usage` where nobody can be asked, `CommandError` when the answer is no.
        """
        if yes:
            return
        if not (self.may_ask and sys.stdin is not None and sys.stdin.isatty()):
            raise Usage(f"{question}: nobody can be asked here", hint="pass --yes to go ahead")
        sys.stderr.write(f"{text.visible(question)}? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise CommandError("not confirmed; nothing was changed", code=FAILED)

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings that flags give; they win over every other source."""
        given: dict[str, Any] = {}
        if self.namespace is not None:
            given["namespace"] = self.namespace
        if self.directory is not None:
            given["directory"] = self.directory
        if self.redis_url is not None:
            given["redis"] = {"url": self.redis_url}
        return given

    @property
    def config(self) -> CacheConfig:
        """The configuration, from every source in order.  Raises `ConfigError` naming every problem."""
        if self._config is None:
            from scoutcache.settings import load_config

            self._config = load_config(file=self.config_file, profile=self.profile, overrides=self.overrides)
        return self._config

    @contextmanager
    def cache(self) -> Iterator[Cache]:
        """The cache, closed at the end."""
        from scoutcache.cache import Cache

        cache = Cache(self.config)
        try:
            yield cache
        finally:
            cache.close()
