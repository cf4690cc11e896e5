"""What a cache is opened on: its directory, its journal, how its entries are written, tiers of one's own."""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path

from scoutcache.channels.follower import Channel
from scoutcache.channels.journal import Journal
from scoutcache.channels.private import PrivateJournal
from scoutcache.config import CacheConfig
from scoutcache.errors import ConfigError, TierUnavailable
from scoutcache.eviction import make_policy
from scoutcache.settings import Loaded, unused
from scoutcache.tiers.base import Tier
from scoutcache.wire.codec import CodecSettings
from scoutcache.wording.owners import check_owner

__all__ = ["claim", "codec_settings", "custom_tier", "open_journal", "refuse_encryption", "refuse_unbuilt",
           "warn_of_unused"]  # fmt: skip

_log = logging.getLogger("scoutcache")


_told: set[str] = set()


def warn_of_unused(loaded: Loaded) -> None:
    """Say, once a process, which configuration files are passed over."""
    for line in set(unused(loaded)) - _told:
        _told.add(line)
        _log.warning("%s", line)


def refuse_unbuilt(config: CacheConfig) -> None:
    """What protects data must not be accepted and then not be done; of the rest a warning is enough."""
    refuse_encryption(config)
    try:
        make_policy(config.memory.strategy.value, config.memory.max_entries, config.memory.max_bytes)
    except ConfigError as error:
        raise ConfigError(
            f"memory.strategy: {error}", hint=f"{error.hint}; 'semantic' and 'predictive' are strategies of policies"
        ) from error


def refuse_encryption(config: CacheConfig) -> None:
    """Raise `ConfigError` where entries are to be encrypted."""
    if config.security.encryption != "none":
        raise ConfigError("security.encryption is not available in this version", hint='set it to "none"')


def open_journal(directory: Path, *, beside_server: bool) -> Channel:
    """The directory's journal; where there can be none, a warning, and what its processes do others don't see.

    With a server, which tells them, they see it a little later.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Journal(directory / "journal")
    except (OSError, TierUnavailable) as error:
        problem = str(error)
    told = "this process hears and announces invalidations through the server only" if beside_server else (
        "this process neither hears nor announces invalidations")  # fmt: skip
    _log.warning("nothing can be written in %s, so %s: %s", directory, told, problem)
    return PrivateJournal()


def claim(directory: Path) -> None:
    """Make the cache's directory, where that can be.  Raises `CacheError` for another user's."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = directory.stat().st_uid
    except OSError:
        return  # whoever needs it says what is wrong
    check_owner(directory, owner)


def codec_settings(config: CacheConfig) -> CodecSettings:
    """How this cache writes its entries.  Raises `ConfigError` for a dictionary that can't be read."""
    compression, security = config.compression, config.security
    dictionary = None if compression.dictionary is None else _dictionary(compression.dictionary)
    return CodecSettings(
        serializer=config.serializer.type, compression=compression.type, threshold=compression.threshold,
        level=compression.level, dictionary=dictionary, active_key=security.active_key,
        signing_keys={name: key.get_secret_value().encode() for name, key in security.signing_keys.items()},
        allow_pickle=config.serializer.type == "pickle",
    )  # fmt: skip


def _dictionary(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"compression.dictionary: {path}: {error.strerror}",
                          hint="zstd --train makes such a file of samples") from error  # fmt: skip


def custom_tier(name: str) -> Tier:
    """The tier that `module:Class` names.  Raises `ConfigError`."""
    module, _, cls = name.partition(":")
    try:
        tier: Tier = getattr(import_module(module), cls)()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"tiers: {name!r} can't be used: {error}") from error
    if not isinstance(tier, Tier):
        raise ConfigError(f"tiers: {name!r} is not a tier", hint="it needs the methods of scoutcache.tiers.base.Tier")
    return tier
