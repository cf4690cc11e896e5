"""What a caller gave, a configuration, a mapping, single settings or nothing, as one configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scoutcache.assembly.local import warn_of_unused
from scoutcache.config import CacheConfig
from scoutcache.config.sections import PLACES, RedisSection
from scoutcache.errors import ConfigError
from scoutcache.settings import load_config, needs_trust

__all__ = ["configuration_of"]


def configuration_of(
    config: CacheConfig | Mapping[str, Any] | None, profile: str | None, overrides: Mapping[str, Any]
) -> CacheConfig:
    """The configuration that is meant: what was given, over what files and the environment say where nothing was.

    Raises `ConfigError`.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    if (url := given.pop("redis_url", None)) is not None:
        given["redis"] = {**_other_than_place(config), **given.get("redis", {}), "url": url}
    if config is None:
        loaded = load_config(profile=profile, overrides=given)
        warn_of_unused(loaded)
        if code := needs_trust(loaded):
            raise ConfigError(
                "a configuration that was found by searching would run code:", problems=code,
                hint="if it is yours, name it: Cache(load_config(file=…).config)",
            )  # fmt: skip
        return loaded.config
    if profile is not None:
        raise ConfigError("config and profile were both given", hint="load_config(profile=…) starts from a profile")
    if isinstance(config, CacheConfig):
        return config.replace(**given) if given else config
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"config takes a CacheConfig or a mapping of settings, not {config!r:.200}",
            hint='a file is read by load_config: Cache(load_config(file="scoutcache.toml").config)',
        )
    return CacheConfig(**{**config, **given})


def _other_than_place(config: object) -> dict[str, Any]:
    """What *config* says of a server besides where it is."""
    section: object = config.redis if isinstance(config, CacheConfig) else None
    section = config.get("redis") if isinstance(config, Mapping) else section
    if isinstance(section, RedisSection):
        section = {name: getattr(section, name) for name in section.model_fields_set}
    return {name: section[name] for name in section if name not in PLACES} if isinstance(section, Mapping) else {}
