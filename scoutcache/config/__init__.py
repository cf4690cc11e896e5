"""The configuration as one immutable model, checked as a whole; `settings` reads it from files and the environment.

Rules.

- Whoever makes a `CacheConfig` gets a usable one or a `ConfigError` that lists every wrong setting.
- ``tiers`` unset means memory and disk, with Redis between them once a server is named.
- The time to live that applies: the prefix's, else the namespace's, else ``default_ttl``.  The prefix says what the
  value is, and so how fast it grows old; the namespace only whose it is.  Policies and callers go before all three.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator

from scoutcache.canonical import shown
from scoutcache.config.problems import Place, nearest, problems_of, wrong_settings
from scoutcache.config.sections import (
    AlertsSection,
    CompressionSection,
    CostsSection,
    DiskSection,
    FreshnessSection,
    LlmSection,
    MemorySection,
    OplogSection,
    PlacementSection,
    RedisSection,
    Section,
    SecuritySection,
    SemanticSection,
    SerializerSection,
    TtlSection,
    WarmingSection,
)
from scoutcache.config.types import split_list
from scoutcache.keys import check_namespace, prefix_of
from scoutcache.policies import CachePolicy, CompressionType, InvalidationRule, SerializationType, Ttl, WarmingTask

__all__ = ["CacheConfig"]

TIERS: Final = ("memory", "redis", "disk")
"""Those that come with the package, from the top down."""
_CUSTOM_TIER: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _tier_names(value: object) -> object:
    if value is None:
        return ()
    names = split_list(value)
    if isinstance(names, list | tuple) and not names:
        raise ValueError("a cache needs at least one tier; leave tiers out for the defaults")
    return names


class CacheConfig(Section):
    """Every setting of a cache.  Takes the names of the file: ``CacheConfig(memory={"max_entries": 1000})``.

    Raises `ConfigError`, listing every wrong setting.

    >>> CacheConfig().tiers
    ('memory', 'disk')
    >>> CacheConfig(default_ttl="2h", ttl={"llm": "30m"}).ttl_for("llm:abc", "default")
    1800.0
    """

    enabled: bool = True
    """False: reads miss, nothing is stored, factories run."""
    tiers: Annotated[tuple[str, ...], BeforeValidator(_tier_names)] = ()
    """Top down: memory, redis, disk, or ``module:Class`` for one of your own."""
    directory: Path | None = None
    """None: the platform's user cache folder."""
    namespace: Annotated[str, AfterValidator(check_namespace)] = "default"
    default_ttl: Ttl = 3600.0
    raise_errors: bool = False
    """True: a tier that is away raises instead of counting as a miss."""
    profile: str | None = None
    """The profile these settings began from."""

    ttl: TtlSection = TtlSection()
    memory: MemorySection = MemorySection()
    disk: DiskSection = DiskSection()
    redis: RedisSection = RedisSection()
    placement: PlacementSection = PlacementSection()
    compression: CompressionSection = CompressionSection()
    serializer: SerializerSection = SerializerSection()
    security: SecuritySection = SecuritySection()
    freshness: FreshnessSection = FreshnessSection()
    semantic: SemanticSection = SemanticSection()
    oplog: OplogSection = OplogSection()
    costs: CostsSection = CostsSection()
    llm: LlmSection = LlmSection()
    warming: WarmingSection = WarmingSection()
    alerts: AlertsSection = AlertsSection()
    policies: tuple[CachePolicy, ...] = Field(default=())
    rules: tuple[InvalidationRule, ...] = Field(default=())
    tasks: tuple[WarmingTask, ...] = Field(default=())

    def __init__(self, /, **settings: Any) -> None:
        self._validate(settings, lambda _: "")

    @classmethod
    def read(cls, settings: Mapping[str, Any], place: Callable[[Place], str]) -> Self:
        """A configuration of *settings*; *place* says of a setting where it was written, for the messages."""
        config = cls.__new__(cls)
        config._validate(settings, place)
        return config

    def _validate(self, settings: Mapping[str, Any], place: Callable[[Place], str]) -> None:
        if self._attempt(settings) is None:
            return
        raise wrong_settings(problems_of(settings, type(self), self._attempt, place))

    def _attempt(self, settings: Mapping[str, Any]) -> ValidationError | None:
        try:
            Section.__init__(self, **settings)
        except ValidationError as error:
            return error
        return None

    def replace(self, **changes: Any) -> Self:
        """This configuration with some settings changed, checked anew."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self)(**{**given, **changes})

    def ttl_for(self, key: str, namespace: str) -> float:
        """The time to live, in seconds, of an entry whose writer named none and that no policy speaks of."""
        by_prefix = self.ttl.by_prefix.get(prefix_of(key))
        return self.ttl.namespace.get(namespace, self.default_ttl) if by_prefix is None else by_prefix

    @field_validator("directory", mode="before")
    @classmethod
    def _directory_named(cls, directory: object) -> object:
        if directory == "":  # an unset variable of a shell's, and pathlib would take it for the working directory
            raise ValueError("an empty name is no folder; leave it out for the default, or write . for the current one")
        return directory

    @field_validator("tiers")
    @classmethod
    def _tiers_possible(cls, tiers: tuple[str, ...]) -> tuple[str, ...]:
        for tier in tiers:
            if tier not in TIERS and not _CUSTOM_TIER.fullmatch(tier):
                meant = nearest(tier, list(TIERS))
                raise ValueError(f"{shown(tier)} is no tier; expected 'memory', 'redis', 'disk' or 'module:Class'"
                                 + (f"; did you mean {meant!r}?" if meant else ""))  # fmt: skip
        if len(set(tiers)) < len(tiers):
            raise ValueError("a tier is named twice")
        if "memory" in tiers[1:]:
            raise ValueError("memory must come first")
        return tiers

    @model_validator(mode="after")
    def _whole(self) -> Self:
        wrong = list(self._contradictions())
        if wrong:
            raise ValueError("\n".join(wrong))
        # Past the freeze: the value belongs to the model's making, and stays "not set" in model_fields_set.
        self.__dict__["tiers"] = self._tiers()
        return self

    def _tiers(self) -> tuple[str, ...]:
        return self.tiers or (TIERS if self.redis.configured else ("memory", "disk"))

    def _contradictions(self) -> list[str]:
        wrong = []
        if "redis" in self.tiers and not self.redis.configured:
            wrong.append("tiers: the redis tier needs redis.url, redis.nodes or redis.sentinel")
        if self.serializer.type is SerializationType.PICKLE and not self.security.signing_keys:
            wrong.append("serializer.type: pickle runs code when it reads, so it needs a key in security.signing_keys")
        if self.compression.dictionary is not None and self.compression.type is not CompressionType.ZSTD:
            wrong.append("compression.dictionary: only compression.type 'zstd' uses one")
        for section, ids in (
            ("policies", [policy.policy_id for policy in self.policies]),
            ("rules", [rule.rule_id for rule in self.rules]),
            ("tasks", [task.task_id for task in self.tasks]),
        ):
            wrong += [f"{section}: {twice!r} is named twice" for twice in sorted({i for i in ids if ids.count(i) > 1})]
        if self.policies:
            from scoutcache.policies.checks import policy_problems  # most commands start without one

            rules = {rule.rule_id for rule in self.rules}
            wrong += policy_problems(
                self.policies, tiers=self._tiers(), rules=rules, compression=self.compression.type.value
            )
        return wrong
