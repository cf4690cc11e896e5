"""The seal at the end of every head and chunk: a checksum, or a signature when keys are configured.

Rules:
- The algorithm is this module's, never the entry's: xxh3-64 without keys, HMAC-SHA256 with.
- With keys, what is unsigned is refused; without, what is signed is refused, for nobody here can check it.  Neither is
  damage: another process, upgraded sooner or later, may have the key or need none (`Unverified`).
- Several keys may be configured, one is active: all are tried by id for reading, the active one signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import xxhash

from scoutcache.errors import ConfigError, IntegrityError
from scoutcache.wire.envelope import SIGNED
from scoutcache.wire.unknown import Unverified

__all__ = ["SIGNATURE", "Keyring"]

_CHECKSUM: Final = 8
SIGNATURE: Final = 32
_SHORTEST_KEY: Final = 16


class Keyring:
    """The configured keys; none means checksums only.

    *active* is the id of the key that signs (empty for none), *flag* what an entry written here says of it, *size* the
    bytes of the integrity field.
    """

    def __init__(self, keys: Mapping[str, bytes], active: str | None) -> None:
        problems = _problems(keys, active)
        if problems:
            raise ConfigError("the signing keys can't be used", problems=problems)
        self._keys = {name.encode(): bytes(key) for name, key in keys.items()}
        self.active = (active or next(iter(keys), "")).encode()
        self.flag = SIGNED if keys else 0
        self.size = SIGNATURE if keys else _CHECKSUM
        if keys:
            import hmac  # hashlib behind it costs start-up time, and only signed caches need it

            self._hmac = hmac.digest
            self._equal = hmac.compare_digest

    def tag(self, covered: bytes) -> bytes:
        """The integrity field for these bytes."""
        if self.flag:
            return self._hmac(self._keys[self.active], covered, "sha256")
        return xxhash.xxh3_64_digest(covered)

    def verify(self, data: bytes, signer: bytes | None) -> None:
        """Check the integrity field at the end of *data*; *signer* None: it says it is unsigned.

        Raises `IntegrityError`, and `Unverified` for what no key of these can tell.
        """
        if signer is not None or self.flag:
            self._verify_signature(data, signer)
        elif xxhash.xxh3_64_digest(data[:-_CHECKSUM]) != data[-_CHECKSUM:]:
            raise IntegrityError("the entry's checksum is wrong")

    def _verify_signature(self, data: bytes, signer: bytes | None) -> None:
        if signer is None:
            raise Unverified("it is unsigned, and a signing key is configured")
        if not self.flag:
            raise Unverified("it is signed, and no signing key is configured")
        key = self._keys.get(signer)
        if key is None:
            raise Unverified(f"it is signed with a key that isn't configured: {signer.decode(errors='replace')!a:.80}")
        if not self._equal(self._hmac(key, memoryview(data)[:-SIGNATURE], "sha256"), data[-SIGNATURE:]):
            raise IntegrityError("the entry's signature is wrong")


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
