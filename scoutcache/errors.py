"""Everything that scoutcache raises.

::

    CacheError                  the root: catch this to catch all of them
    ├── ConfigError             wrong settings; every one is listed, with its place and the nearest right name
    │   └── InvalidDeclaration  (ValueError) … of a policy, a rule or a task that is made in code
    ├── InvalidKey              (ValueError) a key, namespace, tag or pattern that can't be one
    ├── InvalidTTL              (ValueError) a time to live that is negative, NaN or unreadable
    ├── InvalidSize             (ValueError) a size in bytes that is negative or unreadable
    ├── SerializationError      a value that can't be stored; names the path inside the value
    ├── CorruptEntry            stored bytes that are not a whole entry; counts as a miss, never reaches `get`
    │   └── IntegrityError      … because their checksum or signature is wrong
    ├── TierUnavailable         a tier can't answer: locked, full, gone, refused
    ├── LockTimeout             somebody else holds a lock for longer than we may wait
    ├── FactoryTimeout          a factory took longer than its hard timeout
    ├── FlightCycle             a computation would wait for itself; names both keys
    ├── PolicyError             a policy forbids what was asked
    │   └── Unprotected         (a ConfigError too) … and asks for a protection that the configuration doesn't give
    ├── WarmingError            a warming source or task is unusable
    └── TransferError           an export, import, backup or migration can't go on

Whose fault it is decides who sees it.  Bad arguments (InvalidKey, InvalidTTL, InvalidSize, SerializationError) always
raise.  A tier that is away is a miss, a warning and a counter, and raises only with `raise_errors=True`.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "CacheError", "ConfigError", "CorruptEntry", "FactoryTimeout", "FlightCycle", "IntegrityError",
    "InvalidDeclaration", "InvalidKey", "InvalidSize", "InvalidTTL", "LockTimeout", "PolicyError", "SerializationError",
    "TierUnavailable", "TransferError", "Unprotected", "WarmingError",
]  # fmt: skip


class CacheError(Exception):
    """The root of the tree.  *hint*, when there is one, says what to do about it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(CacheError):
    """Settings that can't be used.  *problems* holds one line for each of them."""

    def __init__(self, message: str, *, problems: Sequence[str] = (), hint: str | None = None) -> None:
        super().__init__("\n".join([message, *(f"  - {problem}" for problem in problems)]), hint=hint)
        self.problems = tuple(problems)


class InvalidDeclaration(ConfigError, ValueError):
    """A policy, a rule or a task, made in code, that can't be one."""


class InvalidKey(CacheError, ValueError):
    """A key, namespace, tag or pattern that can't be one."""


class InvalidTTL(CacheError, ValueError):
    """A time to live that is negative, NaN or unreadable."""


class InvalidSize(CacheError, ValueError):
    """A size in bytes that is negative or unreadable."""


class SerializationError(CacheError):
    """A value that can't be stored.  *path* says where in the value, such as ``value['items'][3]``."""

    def __init__(self, message: str, *, path: str = "value", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path


class CorruptEntry(CacheError):
    """Stored bytes that are not a whole entry of ours."""


class IntegrityError(CorruptEntry):
    """The bytes are well formed, but their checksum or signature is not theirs."""


class TierUnavailable(CacheError):
    """A tier can't answer now.  While it is *uncertain*, what it was asked for may be done, or yet be, all the same."""

    uncertain = True

    def __init__(self, tier: str, reason: str, *, hint: str | None = None) -> None:
        super().__init__(f"the {tier} tier can't answer: {reason}", hint=hint)
        self.tier = tier
        self.reason = reason


class LockTimeout(CacheError):
    """Somebody else holds a lock for longer than we may wait."""


class FactoryTimeout(CacheError):
    """A factory took longer than its hard timeout."""


class FlightCycle(CacheError):
    """A computation would have to wait for itself."""


class PolicyError(CacheError):
    """A policy forbids what was asked."""


class Unprotected(PolicyError, ConfigError):
    """A policy requires encryption, TLS or authentication, and the configuration gives its entries none."""


class WarmingError(CacheError):
    """A warming source or task is unusable."""


class TransferError(CacheError):
    """An export, import, backup or migration can't go on."""
