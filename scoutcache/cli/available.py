"""What a configuration asks for and can't have: settings that are well formed, but that nothing here understands.

Reading a configuration does not find them, for the models stand below the policies of eviction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from scoutcache.config_problems import wrong_settings
from scoutcache.errors import PolicyError
from scoutcache.policies import CacheStrategy

if TYPE_CHECKING:
    from scoutcache.settings import Loaded


def check_strategy(loaded: Loaded) -> None:
    """Raise `ConfigError` for an eviction strategy that no policy implements yet."""
    _refuse(_strategy(loaded))


def check_available(loaded: Loaded) -> None:
    """Raise `ConfigError` that lists every setting that can't be had."""
    _refuse([*_strategy(loaded), *_protection(loaded)])


def strategies() -> list[str]:
    """The eviction strategies that can be configured and are there."""
    from scoutcache.eviction import STRATEGIES

    return [strategy.value for strategy in CacheStrategy if strategy.value in STRATEGIES]


def _refuse(problems: Iterable[str]) -> None:
    if found := list(problems):
        raise wrong_settings(found)


def _protection(loaded: Loaded) -> Iterator[str]:
    from scoutcache.keeping import check_protection

    try:
        check_protection(loaded.config)
    except PolicyError as error:
        yield f"{loaded.origins['policies']}: policies: {error}"


def _strategy(loaded: Loaded) -> Iterator[str]:
    wanted, there = loaded.config.memory.strategy.value, strategies()
    if wanted not in there:
        yield (
            f"{loaded.origins['memory.strategy']}: memory.strategy: {wanted} is not available yet; "
            f"expected one of {', '.join(there)}"
        )
