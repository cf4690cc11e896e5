"""What users declare about their entries: policies, invalidation rules, warming tasks, tiers; and the field's enums.

They stand in configuration files (``[[policies]]``, ``[[rules]]``, ``[[tasks]]``) or are made in code.  All are frozen;
times are UTC, durations seconds, sizes bytes.  Where a duration or size is set, its text is taken too ("2h", "1MB").
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from scoutcache.errors import InvalidDeclaration
from scoutcache.keys import check_name, check_namespace, check_tag
from scoutcache.patterns import Pattern
from scoutcache.patterns.templates import Template
from scoutcache.policies.rule_checks import rule_problems
from scoutcache.schedules import check_schedule
from scoutcache.ttl import parse_duration, parse_size, parse_ttl

__all__ = [
    "CacheBackend",
    "CachePolicy",
    "CacheStrategy",
    "CacheTier",
    "CompressionType",
    "Duration",
    "InvalidationRule",
    "RuleAction",
    "SerializationType",
    "Size",
    "TaskStatus",
    "TriggerType",
    "Ttl",
    "UtcTime",
    "WarmingTask",
    "is_web",
]  # fmt: skip


class CacheBackend(StrEnum):
    """Where an entry lives."""

    MEMORY = "memory"
    REDIS = "redis"
    DISK = "disk"
    HYBRID = "hybrid"


class CacheStrategy(StrEnum):
    """What leaves first when the memory tier is full; `ADAPTIVE` (adaptive S3-FIFO) is the default."""

    ADAPTIVE = "adaptive"
    LRU = "lru"
    LFU = "lfu"
    TTL = "ttl"
    SIEVE = "sieve"
    S3FIFO = "s3fifo"
    TINYLFU = "tinylfu"
    GDSF = "gdsf"
    AUTO = "auto"
    SEMANTIC = "semantic"
    PREDICTIVE = "predictive"


AVAILABLE_STRATEGIES: Final = frozenset({"adaptive", "lru", "lfu", "ttl", "sieve", "s3fifo", "tinylfu", "gdsf", "auto"})
"""The strategies that this version has; the other names are kept for later ones."""


class SerializationType(StrEnum):
    """How a value becomes bytes."""

    JSON = "json"
    MSGPACK = "msgpack"
    PICKLE = "pickle"
    CUSTOM = "custom"


class CompressionType(StrEnum):
    """How bytes become fewer."""

    NONE = "none"
    LZ4 = "lz4"
    ZSTD = "zstd"
    GZIP = "gzip"


class TriggerType(StrEnum):
    """What sets an invalidation rule off."""

    EVENT = "event"
    TIME = "time"
    DEPENDENCY = "dependency"
    MANUAL = "manual"


class RuleAction(StrEnum):
    """What a rule does with what it hits."""

    DELETE = "delete"
    REFRESH = "refresh"
    MARK_STALE = "mark_stale"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """The command line's spelling will do: ``mark-stale``."""
        return cls.MARK_STALE if value == "mark-stale" else None


class TaskStatus(StrEnum):
    """How far a warming task is."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


def _json_seconds(seconds: float) -> float | str:
    return "never" if seconds == math.inf else seconds  # JSON has no infinity


def _pattern_text(text: str) -> str:
    return Pattern.parse(text).text


def _with_prefix(text: str) -> Iterator[Pattern]:
    pattern = Pattern.parse(text)
    yield pattern
    if pattern.literal is not None and ":" not in pattern.literal:
        yield Pattern.parse(f"{text}:*")


def _template_pattern(text: str) -> str:
    Template.pattern(text)
    return text


def _template_tag(text: str) -> str:
    Template.parse(check_tag(text))
    return text


def _rule_name(text: str) -> str:
    return check_name(text, "name of a rule")


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""A finite duration in seconds."""
Ttl = Annotated[float, BeforeValidator(parse_ttl), PlainSerializer(_json_seconds, when_used="json")]
"""A time to live in seconds; infinite for "never", 0 for "do not store"."""
Size = Annotated[int, BeforeValidator(parse_size)]
"""A size in bytes."""
UtcTime = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]
"""A moment; what comes in another time zone is turned into UTC, what comes without one is refused."""
PatternText = Annotated[str, AfterValidator(_pattern_text)]
"""A pattern that compiles."""
NamespaceText = Annotated[str, AfterValidator(check_namespace)]
PatternTemplate = Annotated[str, AfterValidator(_template_pattern)]
"""A pattern that compiles whatever its fields are filled with."""
TagTemplate = Annotated[str, AfterValidator(_template_tag)]
"""A tag that may hold fields."""
Schedule = Annotated[str, AfterValidator(check_schedule)]
"""A cron expression, in UTC."""
Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""Several texts; one alone needs no list."""

DECLARED: Final = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=True)


class _Declaring(type(BaseModel)):  # type: ignore[misc]  # pydantic's own metaclass has no public name
    """Says in our words what is wrong with what is declared in code; what stands in a file `CacheConfig` speaks of."""

    if not TYPE_CHECKING:  # what a model takes are its fields

        def __call__(cls, /, **fields: Any) -> Any:
            try:
                return super().__call__(**fields)
            except ValidationError:
                from scoutcache.config.problems import problems_of

                raise InvalidDeclaration(f"this is no {cls.__name__}:", problems=problems_of(
                    fields, cls, cls._attempt, lambda _: ""
                )) from None  # fmt: skip

        def _attempt(cls, fields: Mapping[str, Any]) -> ValidationError | None:
            try:
                super().__call__(**fields)
            except ValidationError as error:
                return error
            return None


class CachePolicy(BaseModel, metaclass=_Declaring):
    """How entries of *namespaces* whose keys match one of *applies_to* are kept.

    Only what is set says anything.  Where several policies say something of the same setting, the one of the highest
    *priority* wins, and of equal ones the first.  A time to live that the writer names goes before *ttl_seconds*, and
    that before the ``[ttl]`` section.
    """

    model_config = DECLARED

    policy_id: str = Field(min_length=1)
    """What it is called by; where only a name is given, the name."""
    name: str = ""
    applies_to: Annotated[tuple[PatternText, ...], BeforeValidator(_listed)] = ("*",)
    """Patterns of keys.  A plain name without a colon is a prefix as well: "llm" is the key llm and all of llm:*."""
    namespaces: Annotated[tuple[NamespaceText, ...], BeforeValidator(_listed)] = ()
    """None named is all of them."""
    priority: int = 0
    ttl_seconds: Ttl | None = None
    refresh_on_access: bool = False
    """True renews the time to live at each hit, at most once in each tenth of it.

    It renews to *ttl_seconds*, or what ``[ttl]`` says.  An entry that was given a shorter life of its own keeps to it.
    """
    max_entry_size: Size | None = None
    """A value that takes more bytes, as serialized and before compression, is not stored."""
    compression_required: bool = False
    """True compresses in the tiers below memory whatever the size, and whether it pays or not."""
    allowed_backends: Annotated[tuple[CacheBackend, ...], BeforeValidator(_listed)] | None = None
    """None allows every tier, and so does "hybrid".  Those not allowed are neither written nor read."""
    preferred_backend: CacheBackend | None = None
    """Where a write begins; tiers above it get the entry by promotion only."""
    strategy: Literal["predictive", "semantic"] | None = None
    """"predictive": what the operation log says will be asked for is computed ahead of need, in ``[warming] off_peak``.

    It needs to know how: the function is under ``@cache.cached`` in this process, or the source of a task.

    "semantic": keys are questions; `Cache.get` and `Cache.get_or_compute` also take the answer to one that means the
    same, and so does `cache.llm`.  It needs ``scoutcache[semantic]``.
    """
    invalidation_rules: Texts = ()
    """Ids of rules, which must be among the configuration's.  What they hit, and when, the rules say themselves."""
    encrypt_at_rest: bool = False
    """Only memory may hold such entries as long as entries can't be encrypted: otherwise opening is refused."""
    require_authentication: bool = False
    """Refuses to open with a Redis tier that has neither a password nor a client certificate."""
    require_tls: bool = False
    """Refuses to open with a Redis tier whose connections are not encrypted."""

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """What *applies_to* means."""
        return tuple(pattern for text in self.applies_to for pattern in _with_prefix(text))

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        return _with_id(data, "policy_id")

    @model_validator(mode="after")
    def _consistent(self) -> CachePolicy:
        allowed, preferred = self.allowed_backends, self.preferred_backend
        if allowed is None or preferred is None or CacheBackend.HYBRID in (*allowed, preferred):
            return self
        if preferred not in allowed:
            raise ValueError(f"preferred_backend {preferred.value!r} is not among allowed_backends")
        return self


class InvalidationRule(BaseModel, metaclass=_Declaring):
    """What becomes invalid when something happens: an event, a time of a schedule, or a change of other keys.

    >>> InvalidationRule(rule_id="users", event_types=["db.users.*"], target_pattern="user:{id}:*").priority
    0
    """

    model_config = DECLARED

    rule_id: Annotated[str, AfterValidator(_rule_name)]
    """What it is called by; where only a name is given, the name."""
    name: str = ""
    trigger_type: TriggerType = TriggerType.EVENT
    trigger_config: Mapping[str, Any] = Field(default_factory=dict)
    """``keys`` (patterns) and ``tags`` whose change sets off a rule of type dependency; ``all = true`` allows a target
    that is everything."""
    target_pattern: PatternTemplate | None = None
    """May hold fields of the event in braces: ``user:{id}:*``.  What stands for a field is never a wildcard; braces
    themselves are written twice."""
    target_tags: Annotated[tuple[TagTemplate, ...], BeforeValidator(_listed)] = ()
    """May hold fields too.  Pattern and tags unite."""
    cascade: bool = True
    """Take what depends on the target along."""
    action: RuleAction = RuleAction.DELETE
    priority: int = 0
    """Of several rules that one event sets off, the highest runs first; among equals, the one that was named first."""
    schedule: Schedule | None = None
    """A cron expression, in UTC.  Such rules run with ``scoutcache rules run`` only."""
    last_run: UtcTime | None = None
    event_types: Annotated[tuple[PatternText, ...], BeforeValidator(_listed)] = ()
    """Names of events, or patterns of them: ``db.users.*``."""
    total_invalidations: int = Field(default=0, ge=0)
    """Entries that are known to have been hit.  What a tag covered is not counted, for that would take a scan."""
    runs: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        return _with_id(data, "rule_id")

    @model_validator(mode="after")
    def _consistent(self) -> InvalidationRule:
        if problems := list(rule_problems(self)):
            raise ValueError("; ".join(problems))
        return self


def is_web(source: str) -> bool:
    """Does *source* name something on a web server?"""
    return source.lower().startswith(("http://", "https://"))


_FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class WarmingTask(BaseModel, metaclass=_Declaring):
    """A filling of the cache ahead of need, by schedule, at start-up, or by hand; and how its last run went."""

    model_config = DECLARED

    task_id: str = Field(min_length=1)
    """What it is called by; where only a name is given, the name."""
    name: str = ""
    pattern: PatternText = "*"
    source: str = Field(min_length=1)
    """A file of JSON Lines or its web address; or what gives the value of a key: ``module:function``, or a web address
    with ``{key}``."""
    folder: Annotated[str, AfterValidator(os.path.expanduser)] = ""
    """Where a file that *source* names lies, or first of all a module: of a task in a file, that file's folder."""
    run_at_startup: bool = False
    """Run it, beside the calls, when an application opens the cache."""
    schedule: Schedule | None = None
    """A cron expression, in UTC."""
    status: TaskStatus = TaskStatus.PENDING
    started_at: UtcTime | None = None
    completed_at: UtcTime | None = None
    keys_warmed: int = Field(default=0, ge=0)
    errors: Texts = ()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        return _with_id(data, "task_id")

    @property
    def runs_code(self) -> bool:
        """Is *source* a function, ``module:function``?"""
        return _FUNCTION.fullmatch(self.source) is not None

    @property
    def file(self) -> Path | None:
        """The file that *source* names, None where it names something else."""
        if self.runs_code or is_web(self.source):
            return None
        return Path(self.folder, os.path.expanduser(self.source))  # noqa: PTH111  # Path's raises where there is no home


class CacheTier(BaseModel):
    """One tier's place, limits and fill.  *tier_level* 1 is asked first; None means no limit."""

    model_config = DECLARED

    tier_level: int = Field(ge=0)
    backend: CacheBackend
    max_size_bytes: Size | None = None
    max_entries: int | None = Field(default=None, ge=0)
    promote_on_hits: int = Field(default=2, ge=1)
    demote_after_seconds: Duration = 3600.0
    current_size_bytes: Size = 0
    current_entries: int = Field(default=0, ge=0)

    def has_capacity(self, size: int = 0) -> bool:
        """Whether one more entry of *size* bytes fits, with nothing evicted for it."""
        if self.max_entries is not None and self.current_entries >= self.max_entries:
            return False
        return self.max_size_bytes is None or self.current_size_bytes + size <= self.max_size_bytes


def _with_id(data: Any, field: str) -> Any:
    """The data with an id where only a name was given, and the other way round."""
    if not isinstance(data, Mapping):
        return data
    known = data.get(field) or data.get("name")
    return {**data, **({field: known, "name": data.get("name") or known} if known else {})}


def utc_now() -> datetime:
    """The present.  The one clock of this floor: for questions that users ask of a model without giving a time."""
    return datetime.now(UTC)
