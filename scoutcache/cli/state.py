"""What one run of the command line works with: the global options, the configuration, the cache, and how to speak."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scoutcache.cli.errors import FAILED, UNREACHABLE, CommandError, Usage
from scoutcache.cli.printing import text
from scoutcache.cli.printing.output import Output, is_terminal
from scoutcache.cli.trust import check_trust

if TYPE_CHECKING:
    from pydantic import SecretStr

    from scoutcache.cache import Cache
    from scoutcache.config import CacheConfig
    from scoutcache.core.core import Core
    from scoutcache.settings import Loaded


def silence() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not complain about a reader that has gone."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


WORKING_EVERY = 0.5
"""Seconds between two lines of `Session.working`."""

NO_HOME: Final = "there is no writable home folder, and a temporary folder may be emptied at any time"


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
        self._shown: str | None = None
        self._loaded: Loaded | None = None
        self._said_where = False
        self._password: SecretStr | None = None
        self._asked = False
        self._trusted = False
        self.said: set[str] = set()
        """Warnings that were given, and reasons that were named: nothing is said twice."""

        self.is_unheard = False
        """Is there a process in the directory that doesn't hear of what was changed?"""

    def update(self, given: Mapping[str, Any]) -> None:
        """Take over the global options that were given at one place of the command line."""
        self.config_file = given["config"] if given.get("config") is not None else self.config_file
        for name in ("profile", "namespace", "directory", "redis_url", "form"):
            if given.get(name) is not None:
                setattr(self, name, given[name])
        if given.get("json"):
            if given.get("form") not in {None, "json"}:
                raise Usage(f"--json and --format {given['form']} can't be used together")
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

    @property
    def watched(self) -> bool:
        """Whether somebody looks at how it goes; a command that cron runs says nothing when all is well."""
        return self.out.on_terminal or self.verbose

    def done(self, message: str, fields: Mapping[str, Any]) -> None:
        """What a command did, which is not what it was asked to show: a `note` for people, *fields* as data."""
        if self.form == "table":
            self.note(message)
        else:
            self.out.record(fields)

    def warn(self, message: str, *, level: str = "warning") -> None:
        """A line on stderr that ``--quiet`` does not leave out: something failed."""
        sys.stderr.write(f"{level}: {text.visible(message)}\n")

    def say_hint(self, message: str) -> None:
        """A line on stderr that says what to do next; ``--quiet`` does not leave it out."""
        sys.stderr.write(f"hint: {text.visible(message)}\n")

    def progress(self, what: str, done: int | None = None, of: int = 0) -> None:
        """A line on stderr that says how far the work is; only on a terminal, and only when it has changed."""
        if self.quiet or not is_terminal(sys.stderr):
            return
        shown = text.visible(what) if done is None else f"{text.visible(what)} {100 * done // max(of, 1):3} %"
        if shown != self._shown:
            self._shown = shown
            sys.stderr.write(f"\r\x1b[K{shown}")
            sys.stderr.flush()

    def progress_done(self) -> None:
        """Take the line of `progress` away."""
        if self._shown is not None:
            self._shown = None
            sys.stderr.write("\r\x1b[K")

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Say on a terminal what takes long, and for how long it has taken, once it does."""
        if self.quiet or not is_terminal(sys.stderr):
            yield
            return
        import threading
        import time

        done, began = threading.Event(), time.monotonic()

        def tell() -> None:
            while not done.wait(WORKING_EVERY):
                self.progress(f"{what}: {text.duration(time.monotonic() - began)}")

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            done.set()
            teller.join()
            self.progress_done()

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there to answer."""
        return self.may_ask and sys.stdin is not None and sys.stdin.isatty()

    def trust(self) -> None:
        """Once: ask for consent to code that a configuration names which was found, not named (`trust`)."""
        if not self._trusted:
            check_trust(self, self.loaded)
            self._trusted = True

    def confirm(self, question: str, *, yes: bool) -> None:
        """Go on only with consent: ``--yes``, or an answer at a terminal.

        Raises `Usage` where nobody can be asked, `CommandError` when the answer is no.
        """
        if yes:
            return
        if not self.can_ask:
            raise Usage(f"{question}: not confirmed, and there is no terminal to ask on", hint="pass --yes to confirm")
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

    def again(self, command: str, *words: str, **options: str | bool | Sequence[str] | None) -> str:
        """A command line for a hint: *command* on the same cache, with *words* quoted for the shell.

        *options* are the command's own, by their names; the values of a list each stand after the name.
        """
        import shlex

        given = {**options, "config": self.config_file, "profile": self.profile, "directory": self.directory,
                 "namespace": self.namespace, "redis_url": self._shown_url}  # fmt: skip
        line = ["scoutcache", command]
        for name, value in given.items():
            several = [value] if isinstance(value, str | bool) else value or ()
            for one in several:
                if one is not False:
                    line += [f"--{name.replace('_', '-')}", *([one] if isinstance(one, str) else [])]
        return shlex.join([*line, *(["--"] if any(word.startswith("-") for word in words) else []), *words])

    @property
    def _shown_url(self) -> str | None:
        from scoutcache.cli.password import without_password

        return None if self.redis_url is None else without_password(self.redis_url)

    @property
    def loaded(self) -> Loaded:
        """The configuration from every source in order, and where each value came from.

        Raises `ConfigError` naming every problem.
        """
        if self._loaded is None:
            from scoutcache.settings import load_config, unused

            file = Path(self.config_file) if self.config_file is not None else None
            self._loaded = load_config(file=file, profile=self.profile, overrides=self.overrides)
            for line in unused(self._loaded):
                self.warn(line)
            if self.redis_url is not None:
                from scoutcache.cli.password import warn_of

                warn_of(self, self.redis_url)
        return self._loaded

    @property
    def config(self) -> CacheConfig:
        """The configuration in force, with a password that was typed."""
        config = self.loaded.config
        if self._password is None:
            return config
        return config.replace(redis=config.redis.model_copy(update={"password": self._password}))

    def ask_password(self) -> None:
        """On a terminal, once: ask for the server's password if it wants one and none is configured."""
        if not self._asked:
            self._asked = True
            from scoutcache.cli.password import asked

            self._password = asked(self, self.loaded.config)

    @property
    def place(self) -> Path:
        """The cache's directory, which may not be there yet."""
        from scoutcache.settings import directory_of

        return directory_of(self.config)

    def own_place(self) -> Path:
        """`place`, for what is written there without the cache.  Raises `CommandError` where it is another user's."""
        from scoutcache.cli.opening import unusable
        from scoutcache.wording.owners import check_owner

        place = self.place
        with unusable():
            if place.exists():
                check_owner(place, place.stat().st_uid)
        return place

    @property
    def homeless(self) -> bool:
        """Whether the cache is in the temporary folder because this user has no other."""
        from scoutcache.settings.folders import temporary_directory

        return self.config.directory is None and self.place == temporary_directory()

    def look_for_cache(self, *, told: bool = True) -> bool:
        """Whether a cache has been in the directory; if not, that is *told*, for the name may be misspelt.

        Raises `CommandError` where no cache can be.
        """
        from scoutcache.settings.folders import holds_cache

        place = self.place
        try:
            if place.exists() and not place.is_dir():
                raise CommandError(f"{place} is not a directory", code=UNREACHABLE, hint="name another --directory")
            there = holds_cache(place)
        except PermissionError as error:
            raise CommandError(f"{place} can't be read: {error.strerror}", code=UNREACHABLE,
                               hint="name another --directory") from error  # fmt: skip
        if not there and told and set(self.config.tiers) <= {"memory", "disk"}:
            self.note(f"there is no cache in {place} yet")
        return there

    @contextmanager
    def cache(
        self, *, reading: bool = False, counting: bool = False, raising: bool = True, told: bool = True
    ) -> Iterator[Cache]:
        """The cache, closed at the end.  A tier that can't answer raises `TierUnavailable`, unless not *raising*.

        With *reading* no directory is made, and nothing of this process is left behind, except, with *counting*, what
        it asked for: a request is one whoever makes it.  Where there is no cache yet that is *told*.
        """
        from scoutcache.cli.checks.available import check_strategy
        from scoutcache.cli.opening import observed, opened

        self.trust()
        check_strategy(self.loaded)
        self._say_where()
        if "redis" in self.config.tiers:
            self.ask_password()
        speaks: dict[str, Any] = {"verbose": self.verbose, "raising": raising, "said": self.said}
        counts = counting and "redis" in self.config.tiers  # a request to a server counts wherever it is made
        if not reading:
            with opened(self.config, **speaks) as cache:
                self.is_unheard = bool(cache._core.strangers)
                yield cache
        elif self.look_for_cache(told=told) or counts:
            with observed(self.config, counting=counting, **speaks) as cache:
                yield cache
        else:
            # Where no cache has been yet, an empty one elsewhere answers as it would.
            with _empty_folder() as empty, observed(
                self.config if empty is None else self.config.replace(directory=empty), **speaks
            ) as cache:
                yield cache

    def _say_where(self) -> None:
        """With ``--verbose``, once: where the cache is when it is nowhere one would look for it."""
        if self.verbose and not self._said_where and self.homeless:
            self._said_where = True
            self.note(f"the cache is in {self.place}: {NO_HOME}")

    @contextmanager
    def core(self, *, reading: bool = True, raising: bool = True) -> Iterator[Core]:
        """What the cache is made of, for the commands that look at tiers one by one."""
        with self.cache(reading=reading, raising=raising) as cache:
            yield cache._core


@contextmanager
def _empty_folder() -> Iterator[str | None]:
    """A folder for as long as it is needed; None where none can be made, so that a cache will make nothing either."""
    from tempfile import TemporaryDirectory

    with ExitStack() as stack:
        try:
            folder = stack.enter_context(TemporaryDirectory(prefix="scoutcache-"))
        except OSError:
            folder = None
        yield folder
