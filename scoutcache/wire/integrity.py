"""The seal at the end of every head and chunk: a checksum, or a signature when keys are configured.

Rules:
- The algorithm is this module's, never the entry's: xxh3-64 without keys, HMAC-SHA256 with.
- With keys, what is unsigned is refused; without, what is signed is refused, for nobody here can check it.
- Several keys may be configured, one is active: all are tried by id for reading, the active one signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import xxhash

from scoutcache.errors import ConfigError, IntegrityError

__all__ = ["Keyring"]

_CHECKSUM: Final = 8
_SIGNATURE: Final = 32
_SHORTEST_KEY: Final = 16


class Keyring:
    """The configured keys; none means checksums only."""

    def __init__(self, keys: Mapping[str, bytes], active: str | None) -> None:
        problems = _problems(keys, active)
        if problems:
            raise ConfigError("the signing keys can't be used", problems=problems)
        self._keys = {name: bytes(key) for name, key in keys.items()}
        self.active: str | None = active or next(iter(self._keys), None)
        self.signs = bool(self._keys)
        self.size = _SIGNATURE if self.signs else _CHECKSUM

    def tag(self, covered: bytes) -> bytes:
        """The integrity field for these bytes."""
        if self.active is None:
            return xxhash.xxh3_64_digest(covered)
        return _sign(self._keys[self.active], covered)

    def verify(self, data: bytes, *, signed: bool, key_id: str) -> None:
        """Check the integrity field at the end of *data*.  Raises `IntegrityError`."""
        if signed is not self.signs:
            raise IntegrityError(
                "the entry is unsigned, and a signing key is configured" if self.signs
                else "the entry is signed, and no signing key is configured"
            )  # fmt: skip
        if len(data) < self.size:
            raise IntegrityError("the entry is cut off")
        covered, field = memoryview(data)[: -self.size], data[-self.size :]
        if not self.signs:
            if xxhash.xxh3_64_digest(covered) != field:
                raise IntegrityError("the entry's checksum is wrong")
            return
        key = self._keys.get(key_id)
        if key is None:
            raise IntegrityError(f"the entry is signed with a key that isn't configured: {key_id!r:.80}")
        _compare(_sign(key, covered), field)


def _problems(keys: Mapping[str, bytes], active: str | None) -> list[str]:
    problems = [
        f"signing_keys.{name}: {_SHORTEST_KEY} bytes or more are needed, these are {len(key)}"
        for name, key in keys.items()
        if len(key) < _SHORTEST_KEY
    ]
    problems += [
        f"signing_keys: the name {name!r:.40} must have 1 to 255 bytes"
        for name in keys
        if not 0 < len(name.encode()) < 256
    ]
    if active is not None and active not in keys:
        problems.append(f"active_key: {active!r:.40} is none of the signing_keys")
    if active is None and len(keys) > 1:
        problems.append("active_key: say which of the signing_keys signs")
    return problems


def _sign(key: bytes, covered: bytes | memoryview) -> bytes:
    import hmac  # hashlib behind it costs start-up time, and only signed caches need it

    return hmac.digest(key, covered, "sha256")


def _compare(expected: bytes, field: bytes) -> None:
    import hmac

    if not hmac.compare_digest(expected, field):
        raise IntegrityError("the entry's signature is wrong")
