"""What a configuration asks for and can't have: settings that are well formed, but that nothing here understands.

Reading a configuration does not find them, for the models stand below the policies of eviction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from scoutcache.config.problems import wrong_settings
from scoutcache.errors import ConfigError
from scoutcache.policies import CacheStrategy

if TYPE_CHECKING:
    from scoutcache.settings import Loaded


def check_strategy(loaded: Loaded) -> None:
    """Raise `ConfigError` for a strategy that isn't one of eviction."""
    _refuse(_strategy(loaded))


def check_available(loaded: Loaded) -> None:
    """Raise `ConfigError` that lists every setting that can't be had."""
    _refuse([*_strategy(loaded), *_protection(loaded), *_codec(loaded), *_server(loaded), *_tasks(loaded)])


def strategies() -> list[str]:
    """The eviction strategies that can be configured and are there."""
    from scoutcache.eviction import STRATEGIES

    return [strategy.value for strategy in CacheStrategy if strategy.value in STRATEGIES]


_Problem = tuple[str, str | None]
"""What is wrong, and what to do about it."""


def _refuse(problems: Iterable[_Problem]) -> None:
    if found := list(problems):
        hints = {hint for _, hint in found}
        raise wrong_settings([line for line, _ in found], hints.pop() if len(hints) == 1 else None)


def _protection(loaded: Loaded) -> Iterator[_Problem]:
    from scoutcache.core.keeping import check_protection

    try:
        check_protection(loaded.config)
    except ConfigError as error:
        yield f"{loaded.origins['policies']}: policies: {error}", error.hint


def _codec(loaded: Loaded) -> Iterator[_Problem]:
    """What entries can't be written with; a serializer of one's own is an application's to register."""
    from scoutcache.assembly.local import codec_settings, refuse_encryption
    from scoutcache.policies import SerializationType
    from scoutcache.wire.codec import Codec

    config = loaded.config
    if config.serializer.type is SerializationType.CUSTOM:
        config = config.replace(serializer={})
    for check in (refuse_encryption, lambda config: Codec(codec_settings(config))):
        try:
            check(config)
        except ConfigError as error:
            yield _placed(loaded, error)


def _server(loaded: Loaded) -> Iterator[_Problem]:
    """The files that a connection needs."""
    if not loaded.config.redis.configured:
        return
    from scoutcache.server.connecting import Source

    try:
        Source(loaded.config.redis).options(None)
    except ConfigError as error:
        yield _placed(loaded, error)


def _tasks(loaded: Loaded) -> Iterator[_Problem]:
    """Files of tasks that aren't there."""
    for task in loaded.config.tasks:
        if task.file is not None and not task.file.exists():
            told = f"{loaded.origins['tasks']}: tasks: {task.task_id}: source: there is no file {task.file}"
            yield told, "a relative path starts at the folder of the file that names it"


def _placed(loaded: Loaded, error: ConfigError) -> _Problem:
    """What *error* says, behind where its setting stands; of a section, where something of it does."""
    name = str(error).split(maxsplit=1)[0].rstrip(":")
    origins = [origin for setting, origin in loaded.origins.items() if f"{setting}.".startswith(f"{name}.")]
    place = next((origin for origin in origins if origin != "built-in"), "")
    return f"{place}: {error}" if place else str(error), error.hint


def _strategy(loaded: Loaded) -> Iterator[_Problem]:
    wanted, there = loaded.config.memory.strategy.value, strategies()
    if wanted not in there:
        told = (
            f"{loaded.origins['memory.strategy']}: memory.strategy: {wanted} is a strategy of policies "
            f"([[policies]] strategy), not of eviction; expected one of {', '.join(there)}"
        )
        yield told, None
