"""Keys: what may be one, how `CacheKey` writes one, and what a store keeps it under.

Rules.

- A `str` key is taken as it is.  Refused: empty, over 64 KiB of UTF-8, and what moves terminals or can't be encoded
  (C0 and C1 control codes, DEL, lone surrogates).  Any other Unicode is legal, bidirectional controls too: whoever
  prints a key escapes it.
- A `CacheKey` escapes its parts, so that different parts never meet in one key: ``%``, ``:`` and what a key may not
  hold become ``%XX``.  A part that could be taken for what follows it (a digest, readable parameters) is escaped too.
- A namespace is part of the identity: it stands length-prefixed before the key in every store.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from scoutcache.canonical import canonical, digest, shown
from scoutcache.entry import Ref
from scoutcache.errors import InvalidKey

__all__ = [
    "CacheKey", "asked_for", "check_name", "check_namespace", "check_tag", "digest_of_text", "key_text", "making_us",
    "measure_making", "physical_key", "physical_keys", "physical_prefix", "physical_scan_prefix", "prefix_of",
]  # fmt: skip

MAX_KEY_BYTES: Final = 65536
MAX_NAMESPACE_BYTES: Final = 128
MAX_TAG_BYTES: Final = 1024
MAX_NAME_BYTES: Final = 256

MAX_PHYSICAL_BYTES: Final = 512
HEAD_BYTES: Final = 200
HASHED: Final = "\x1f"
"""Stands before the digest of a key hashed for its length.  No key can hold it, so no key can pass for a hashed one."""

_REFUSED: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def key_text(key: str | CacheKey) -> str:
    """The key as text.  Raises `InvalidKey` for what can't be one."""
    if isinstance(key, str):
        # One pass in C each, for nearly every key there is; 64 Ki ASCII characters are 64 KiB.
        if key.isascii() and key.isprintable() and 0 < len(key) <= MAX_KEY_BYTES:
            return key
        return _checked(key, "key", MAX_KEY_BYTES)
    if type(key) is CacheKey or isinstance(key, CacheKey):  # pydantic's own instance check is slow
        return key.generate()
    raise InvalidKey(f"a key is a str or a CacheKey, not {type(key).__name__}")


_ticks: Callable[[], int] | None = None


def measure_making(ticks: Callable[[], int]) -> None:
    """Let every `CacheKey` that is made from now on know how long that took, by *ticks*, monotonic nanoseconds."""
    global _ticks
    _ticks = ticks


def making_us(key: object) -> float | None:
    """How many microseconds making *key*, a `CacheKey`, took; said once, so that whoever adds them up counts it once.

    None for a text, and where nobody measured.
    """
    if type(key) is str or not isinstance(key, CacheKey) or not (private := key.__pydantic_private__):
        return None
    took: int | None = private.get("_took_ns")
    private["_took_ns"] = None
    return None if took is None else took / 1000


def check_namespace(namespace: str) -> str:
    """The namespace, if it can be one: a str of at most 128 bytes without control codes, not empty."""
    return _checked(namespace, "namespace", MAX_NAMESPACE_BYTES)


def check_tag(tag: str) -> str:
    """The tag, if it can be one: a str of at most 1 KiB without control codes, not empty."""
    return _checked(tag, "tag", MAX_TAG_BYTES)


def check_name(name: str, what: str) -> str:
    """A name of something else, if it can be one: a str of at most 256 bytes without control codes, not empty."""
    return _checked(name, what, MAX_NAME_BYTES)


def prefix_of(key: str) -> str:
    """The text before the first ``:``, by which TTLs, policies and statistics go; empty when there is none."""
    prefix, colon, _ = key.partition(":")
    return prefix if colon else ""


def asked_for(namespace: str | None, pattern: str | None) -> str:
    """What a scan looks for, as a cursor names it: a pattern (None: any key) in a namespace (None: in any)."""
    return f"{'*' if namespace is None else physical_prefix(namespace)}{'*' if pattern is None else pattern}"


def physical_prefix(namespace: str) -> str:
    """What every key of the namespace begins with in a store, and no key of another."""
    return f"{len(namespace)}:{namespace}:"


def physical_key(ref: Ref) -> str:
    """What a store keeps the entry under: the namespace with its length, then the key.

    Over 512 bytes of UTF-8, the first 200 bytes' worth of the key's characters and a digest of it all.
    """
    namespace, key = ref
    text = f"{len(namespace)}:{namespace}:{key}"  # `physical_prefix` in place: this is asked on every read
    if len(text) * 4 <= MAX_PHYSICAL_BYTES or len(text.encode()) <= MAX_PHYSICAL_BYTES:
        return text
    return f"{physical_scan_prefix(namespace, key)}{HASHED}{hashlib.sha256(text.encode()).hexdigest()}"


def physical_keys(refs: Sequence[Ref]) -> list[str]:
    """The `physical_key` of each: short ones of one namespace, as most are, cost a fifth of that."""
    if not refs:
        return []
    namespace = refs[0][0]
    head = physical_prefix(namespace)
    return [head + ref[1] if ref[0] == namespace and len(ref[1]) <= _SHORT else physical_key(ref) for ref in refs]


_SHORT: Final = 64
"""Characters of a key that is never hashed: with four bytes for each, and the longest namespace, it fits."""


def physical_scan_prefix(namespace: str, prefix: str) -> str:
    """What the physical key of every key that begins with *prefix* begins with, hashed ones too."""
    head = prefix if len(prefix) * 4 <= HEAD_BYTES else prefix.encode()[:HEAD_BYTES].decode(errors="ignore")
    return physical_prefix(namespace) + head


def digest_of_text(chunks: str | bytes | Iterable[str | bytes]) -> str:
    """SHA-256, in hex, of a text given whole or in chunks of any size; str counts as its UTF-8.

    For texts too large to hold: ``CacheKey("summary", digest_of_text(open_file))``.

    >>> digest_of_text("a long text") == digest_of_text(["a lo", "ng ", "text"])
    True
    """
    sha = hashlib.sha256()
    for chunk in (chunks,) if isinstance(chunks, str | bytes) else chunks:
        sha.update(chunk.encode(errors="surrogatepass") if isinstance(chunk, str) else chunk)
    return sha.hexdigest()


class CacheKey(BaseModel):
    """A key made of parts: ``prefix:identifier[:version][:hash of the parameters]``.

    *parameters* may nest what functions take: None, bool, numbers, str, bytes, dates and times, Decimal, UUID, Enum,
    paths, lists, tuples, sets, mappings, dataclasses, pydantic models.  Neither the order of a mapping nor that of a
    set matters; 1, 1.0, True and "1" are told apart.  Anything else raises `InvalidKey` with its place.  Two keys are
    equal when they generate the same text.

    >>> CacheKey("user", "42", include_version=False).generate()
    'user:42'
    >>> CacheKey("llm", "summarize", {"model": "m", "temperature": 0.5}).generate()
    'llm:summarize:v1:aae3949fa87b41d99822'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)  # lax reading would make "x" of b"x"

    prefix: str
    identifier: str | tuple[str, ...]
    """One part, or several that become parts of the key."""
    parameters: Mapping[str, Any] = Field(default_factory=dict, repr=False)  # texts don't belong in logs
    include_version: bool = True
    version: str = "v1"
    hash_parameters: bool = True
    """False writes the parameters readably: for short ones without secrets only."""
    _text: str = PrivateAttr(default="")
    _took_ns: int | None = PrivateAttr(default=None)

    def __init__(self, /, prefix: str, identifier: str | tuple[str, ...], parameters: Mapping[str, Any] | None = None,
                 include_version: bool = True, version: str = "v1", hash_parameters: bool = True) -> None:  # fmt: skip
        ticks = _ticks
        began = 0 if ticks is None else ticks()
        try:
            super().__init__(
                prefix=prefix, identifier=identifier, parameters={} if parameters is None else parameters,
                include_version=include_version, version=version, hash_parameters=hash_parameters,
            )  # fmt: skip
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc'][:1]))}: {e['msg']}" for e in error.errors())
            raise InvalidKey(f"no CacheKey can be made of that: {wrong}") from None
        # Now, so that what can't be a key fails where it is made, and a later change of the mapping changes nothing.
        self._text = self._generate()
        if ticks is not None:
            self._took_ns = ticks() - began

    @classmethod
    def build(cls, *parts: str | int | UUID) -> Self:
        """The key of exactly these parts, without version or hash; numbers and UUIDs count as their text.

        >>> CacheKey.build("user", 42, "a:b").generate()
        'user:42:a%3Ab'
        """
        texts = [_part_text(part) for part in parts]
        if not texts:
            raise InvalidKey("a key needs one part at least")
        return cls(texts[0], texts[1] if len(texts) == 2 else tuple(texts[1:]), include_version=False)

    def generate(self) -> str:
        """The key as text."""
        # A private attribute read as one goes through pydantic's __getattr__, at ten times the price.
        private = self.__pydantic_private__
        return str(private["_text"]) if private else ""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:  # noqa: ARG002
        """A key with some fields replaced, checked and written anew."""
        return type(self)(**{**dict(self), **(update or {})})

    def _generate(self) -> str:
        named = (self.identifier,) if isinstance(self.identifier, str) else self.identifier
        parts = [_escaped(part) for part in (self.prefix, *named)]
        if self.include_version:
            parts.append(_escaped(self.version))
        if self.parameters:
            parts.append(self._parameters_text())
        return _checked(":".join(parts), "key", MAX_KEY_BYTES)

    def _parameters_text(self) -> str:
        if self.hash_parameters:
            return digest(self.parameters, "parameters")[:DIGITS]
        return "{" + _percent(canonical(self.parameters, "parameters")[1:])

    def __str__(self) -> str:
        return self.generate()

    def __eq__(self, other: object) -> bool:
        return self.generate() == other.generate() if isinstance(other, CacheKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.generate())


DIGITS: Final = 20
"""Hex digits of a parameters' digest: 80 bits.  Not 16, 24, 32 or 64, which identifiers of other systems often have."""

_LONG_PART: Final = 1024
_LOOKS_LIKE_DIGEST: Final = re.compile(rf"[0-9a-f]{{{DIGITS}}}")
_ESCAPED: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff:%]")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./@-]*")


def _escaped(part: str) -> str:
    """The part as it stands in a key.  Whatever the part, no other gives the same."""
    if len(part) > _LONG_PART:
        return f"{_percent(part[:64])}%~{digest_of_text(part)}"  # escaping never writes "%~"
    if part.startswith("{") or _LOOKS_LIKE_DIGEST.fullmatch(part):
        return f"%{ord(part[0]):02X}{_percent(part[1:])}"
    return part if _PLAIN.fullmatch(part) else _percent(part)


def _percent(text: str) -> str:
    return _ESCAPED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode(errors="surrogatepass")), text)


def _part_text(part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, UUID) or (isinstance(part, int) and not isinstance(part, bool)):
        return str(part)
    raise InvalidKey(f"a part of a key is a str, an int or a UUID, not {type(part).__name__}",
                     hint="write it as text, or give it to CacheKey as a parameter")  # fmt: skip


def _hint_of(refused: str, what: str) -> str | None:
    if "\udc80" <= refused <= "\udcff":  # PEP 383
        byte = f"0x{ord(refused) - 0xDC00:02x}"
        return (f"it stands for a byte {byte} that could not be read as text; where the locale is not UTF-8, "
                "set LC_ALL=C.UTF-8 or PYTHONUTF8=1")  # fmt: skip
    return "CacheKey escapes them" if what == "key" else None


def _checked(text: object, what: str, most: int) -> str:
    if not isinstance(text, str):
        raise InvalidKey(f"a {what} is a str, not {type(text).__name__}")
    if not text:
        raise InvalidKey(f"a {what} can't be empty")
    refused = _REFUSED.search(text)
    if refused is not None:
        raise InvalidKey(f"the {what} {shown(text)} holds U+{ord(refused[0]):04X} at character {refused.start() + 1}: "
                         "control codes and lone surrogates are refused",
                         hint=_hint_of(refused[0], what))  # fmt: skip
    size = len(text.encode())
    if size > most:
        raise InvalidKey(f"the {what} {shown(text)} has {size:,} bytes; at most {most:,} are allowed",
                         hint="CacheKey hashes long parameters" if what == "key" else None)  # fmt: skip
    return text
