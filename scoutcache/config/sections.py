"""The sections of the configuration: every setting with its type, its default and what it means.

None means "not set", "off" or "no limit".  How a value is written and read its type says (`types`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from scoutcache.config.types import (
    Addresses,
    Count,
    Fraction,
    Names,
    Number,
    OffPeak,
    PathText,
    Room,
    ServerUrl,
    Wait,
    Whole,
    split_list,
)
from scoutcache.policies import CacheStrategy, CompressionType, Duration, PatternText, SerializationType, Size, Ttl
from scoutcache.ttl import parse_ttl


class Section(BaseModel):
    """What all sections are: immutable, and refusing names they don't know."""

    # Values stay out of pydantic's own messages: they may be secrets.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, hide_input_in_errors=True)


class TtlSection(Section):
    """``[ttl]``: times to live by key prefix, which also serve as names (``ttl="short"``); ``[ttl.namespace]``."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Ttl] = Field(init=False)

    namespace: dict[str, Ttl] = Field(default_factory=dict)

    @property
    def by_prefix(self) -> dict[str, float]:
        """Seconds by prefix."""
        return self.__pydantic_extra__

    def read(self, value: object) -> float:
        """The seconds that *value* means: a name of this section, or whatever `parse_ttl` reads."""
        named = self.by_prefix.get(value) if isinstance(value, str) else None
        return parse_ttl(value) if named is None else named


class MemorySection(Section):
    """``[memory]``: the tier inside the process."""

    max_entries: Count = 100_000
    max_bytes: Room = 100 * 10**6
    strategy: CacheStrategy = CacheStrategy.ADAPTIVE


class DiskSection(Section):
    """``[disk]``: the tier in *directory*.  *timeout* is how long a call may wait for another process's write."""

    max_bytes: Room = 10**9
    timeout: Wait = 5.0


PLACES: Final = ("url", "nodes", "sentinel")
"""Where a server is: settings of ``[redis]`` of which there may be one."""
EXCLUSIVE: Final = (PLACES, ("password", "password_file"))


class RedisSection(Section):
    """``[redis]``: the tier on a server, a cluster (*nodes*) or behind sentinels (*sentinel*, *sentinel_service*).

    *username* and *password* (or *password_file*) go before those of the URL, unless a stronger source names that.
    """

    url: ServerUrl | None = None
    nodes: Addresses = ()
    sentinel: Addresses = ()
    sentinel_service: str = Field(default="mymaster", min_length=1)
    read_from: Literal["primary", "replica", "any"] = "primary"
    """Who is asked for entries, of a cluster or behind sentinels; a single server is asked itself."""
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: bool = False
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    tls_verify: bool = True
    timeout: Wait = 0.25
    connect_timeout: Wait = 1.0
    health_check_interval: Duration = 30.0
    """A connection that rested for longer is made anew before it is used, for what lies between may have forgotten it;
    0: never.  Not on a cluster."""
    key_prefix: str = Field(default="scoutcache:", min_length=1)
    max_connections: Count = 50
    max_bytes: Room | None = None
    max_entries: Count | None = None
    max_stale: Wait = 2.0
    """How long memory may answer without a sign of life from a server that can be reached."""
    max_offline: Wait | None = None
    """How long what this machine holds may be served while the server can't be reached; None: as long as it lives."""
    max_events: Count = 200_000
    """Announcements that the server's stream is kept at, a little more at times: some 20 MB."""
    tracking: bool = False
    """True asks the server to tell of foreign writers' changes (client tracking)."""
    publish: bool = False
    """True announces invalidations on ``cache:invalidate`` too, for foreign applications."""

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        for names in EXCLUSIVE:
            if sum(getattr(self, name) not in (None, ()) for name in names) > 1:
                raise ValueError(f"{', '.join(names[:-1])} and {names[-1]} can't be used together")
        return self

    @property
    def configured(self) -> bool:
        """Whether a server is named."""
        return bool(self.url is not None or self.nodes or self.sentinel)

    @property
    def without_effect(self) -> str | None:
        """What is said here in vain, None for nothing."""
        if self.url is None or self.read_from == "primary":
            return None
        return f"redis.read_from: {self.read_from} has no effect with redis.url, which is one server"


class PlacementSection(Section):
    """``[placement]``: when an entry moves up (after so many hits) and down (unasked for so long)."""

    promote_on_hits: Count = 2
    demote_after: Wait = 3600.0


class CompressionSection(Section):
    """``[compression]``: payloads of *threshold* bytes and more; kept only where it pays."""

    type: CompressionType = CompressionType.LZ4
    threshold: Size = 1024
    level: Whole | None = None
    """None: the codec's own default."""
    dictionary: PathText | None = None
    """A file with a zstd dictionary.  Entries that were written with another one are misses."""


class SerializerSection(Section):
    """``[serializer]``.  ``pickle`` runs code when it reads, so it needs a signing key as well."""

    type: SerializationType = SerializationType.MSGPACK


class SecuritySection(Section):
    """``[security]``: keys by id.  Entries are signed with the active one and read with any."""

    signing_keys: dict[str, Annotated[SecretStr, Field(min_length=16)]] = Field(default_factory=dict)
    active_key: str | None = None
    """The id of the key to sign with; needless where there is only one."""
    encryption: Literal["none", "aes-256-gcm"] = "none"

    @model_validator(mode="after")
    def _one_active(self) -> Self:
        if self.active_key is not None and self.active_key not in self.signing_keys:
            raise ValueError(f"active_key names no key of signing_keys; expected one of {sorted(self.signing_keys)}")
        if self.active_key is None and len(self.signing_keys) > 1:
            raise ValueError(f"with several signing_keys active_key must name one of {sorted(self.signing_keys)}")
        if self.encryption != "none" and not self.signing_keys:
            raise ValueError("encryption needs a key in signing_keys")
        return self


class FreshnessSection(Section):
    """``[freshness]``: defaults of `get_or_compute`."""

    stale_ttl: Ttl = 0.0
    """How long after its ttl an entry may still be served while it is refreshed, or when refreshing fails."""
    refresh_ahead: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """The fraction of the ttl after which one reader refreshes early."""
    soft_timeout: Annotated[Ttl, Field(gt=0)] | None = None
    """How long to wait for a fresh value before a stale one is served; "never" waits until it comes or fails."""
    hard_timeout: Wait | None = None
    throttle: Wait = 30.0
    """Seconds for which a factory that failed isn't asked again while a stale value can be served."""
    negative_ttl: Ttl | None = None
    """How long "nothing" is kept, which is then never served stale; None: like any value."""
    jitter: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """The part of each ttl that is left to chance, so that entries don't all expire at once."""

    @model_validator(mode="after")
    def _soft_before_hard(self) -> Self:
        if self.soft_timeout not in {None, math.inf} and (self.hard_timeout or math.inf) < (self.soft_timeout or 0):
            raise ValueError("soft_timeout is longer than hard_timeout")
        return self


GateName = Literal[
    "numbers", "negation", "antonyms", "entities", "order", "slots", "language", "characters", "passages"
]
"""What must agree between two queries besides vectors (`scoutcache.meaning.gates`)."""

Gates = Annotated[tuple[GateName, ...], BeforeValidator(split_list)]


class SemanticSection(Section):
    """``[semantic]``: answers for queries close enough in meaning."""

    enabled: bool = False
    """`cache.llm` asks by meaning in every namespace, unless a call says ``semantic=False``."""
    model: Annotated[PathText, Field(min_length=1)] = "all-MiniLM-L6-v2"
    preset: Literal["strict", "balanced", "recall"] = "strict"
    threshold: Fraction | None = None
    """Cosine similarity; overrides the preset's."""
    gates: Gates | None = None
    """The gates that decide; overrides the preset's.  An empty list switches all of them off."""
    without_gates: Gates = ()
    """Gates that are switched off, whoever named them."""
    policy: Literal["threshold", "verified"] = "threshold"
    max_error: Annotated[Number, Field(gt=0, lt=1)] = 0.01
    """What wrong hits of other queries stay under with the verified policy, as a part of requests that no exact answer
    was there for; the very same query again is an ordinary hit."""
    check_share: Fraction = 0.0
    """The part of near hits that is left to the caller to compute, and compared with what would have been served, so
    that the rate of wrong ones is known (``semantic stats``).  The verified policy checks one in twenty by itself."""
    index: Literal["auto", "flat", "hnsw"] = "auto"


class OplogSection(Section):
    """``[oplog]``: the record of operations.  Counters are exact whatever *sample_rate* says."""

    enabled: bool = True
    sample_rate: Fraction = 1.0
    max_records_per_s: Count = 5000
    max_bytes: Room = 100 * 10**6
    max_age: Wait = 7 * 86400.0
    redact_keys: bool = False


class ModelPrice(Section):
    """Prices of a model, in USD per million tokens."""

    input: Annotated[Number, Field(ge=0)]
    output: Annotated[Number, Field(ge=0)] = 0.0


class CostsSection(Section):
    """``[costs]``: what a call costs.  Without a price money is unknown, never guessed."""

    default_call_usd: Annotated[Number, Field(ge=0)] | None = None
    models: dict[str, ModelPrice] = Field(default_factory=dict)


_HOUR: Final = 3600.0
_OPERATIONS: Final = {
    "summarize": 2 * _HOUR, "key_points": 2 * _HOUR, "sentiment": 24 * _HOUR, "questions": _HOUR, "qa": _HOUR / 2,
}  # fmt: skip


def _with_operations(value: Any) -> Any:
    return {**_OPERATIONS, **value} if isinstance(value, dict) else value


class LlmSection(Section):
    """``[llm]``: how answers of models are kept."""

    operation_ttls: Annotated[dict[str, Ttl], BeforeValidator(_with_operations)] = Field(
        default_factory=lambda: dict(_OPERATIONS)
    )
    """What is set here adds to the built-in ones."""
    text_tiers: Annotated[tuple[Count, ...], BeforeValidator(split_list)] = (500, 5000, 50_000)
    """Lengths in characters that tell small, medium and large texts apart."""
    hash_above: Whole = Field(default=1000, ge=0)
    """Texts of more characters stand in keys as digests, also with *plain_texts*."""
    plain_texts: bool = False
    """True: shorter texts stand in keys as they are, for who wants to read them there."""
    metrics_ttl: Ttl = 86400.0
    """How long the counts of requests are kept."""
    keep_truncated: bool = False
    """True: answers that ended at a limit of tokens are kept too."""
    model_aliases: dict[str, str] = Field(default_factory=dict)
    """The model that answers to a name of one's own, such as a deployment's."""
    ignored_fields: Names = (
        "user", "safety_identifier", "metadata", "store", "service_tier", "prompt_cache_key", "prompt_cache_retention",
        "prompt_cache_options", "timeout",
    )  # fmt: skip
    """What is sent with a request and has no part in its answer."""

    @field_validator("text_tiers")
    @classmethod
    def _rising(cls, tiers: tuple[int, ...]) -> tuple[int, ...]:
        if list(tiers) != sorted(set(tiers)):
            raise ValueError("expected rising lengths")
        return tiers


class WarmingSection(Section):
    """``[warming]``: filling ahead of need."""

    on_start: bool = False
    """True: opening a cache begins, beside the calls, the tasks that are due and a first look at *patterns*."""
    patterns: Annotated[tuple[PatternText, ...], BeforeValidator(split_list)] = ()
    """Keys to renew before they end, as long as they are asked for; see `scoutcache.warming.attendant`."""
    interval: Wait = 300.0
    """Seconds between two looks at them."""
    allow_hosts: Names = ()
    """Hosts that a warming source may be fetched from."""
    budget: Count = 100
    """How many keys one look may renew or foresee."""
    horizon: Wait = 3600.0
    """How far ahead policies with ``strategy = "predictive"`` look."""
    off_peak: OffPeak = "always"
    """When they do: ``"always"``, ``"01:00-05:00"`` (UTC), ``"auto"`` for the hours in which the log is quiet."""


class MemoryLevels(Section):
    """Bytes of the memory tier at which to warn, and to call for help."""

    warn: Size = 50 * 10**6
    critical: Size = 100 * 10**6


class RateLevels(Section):
    """Counts per hour at which to warn, and to call for help."""

    warn: Whole = Field(default=50, ge=0)
    critical: Whole = Field(default=100, ge=0)


class AlertsSection(Section):
    """``[alerts]``: from where on something is worth a warning."""

    memory: MemoryLevels = MemoryLevels()
    operation: Wait = 0.05
    key_generation: Wait = 0.1
    invalidations_per_hour: RateLevels = RateLevels()
    hit_rate: Fraction = 0.5
    """A lower one warns."""
    errors_per_hour: Whole = Field(default=10, ge=0)
