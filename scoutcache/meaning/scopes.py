"""What must match exactly for one answer to serve another query: the scope, and the keys that are made of it.

Rule 1: the namespace is the tenant, and part of every key's identity.  The scope is everything else that must match:
        model, system prompt, tools, parameters.  The query is what may differ, and never part of it.
Rule 2: a scope names a model.  Without one an answer of any model would serve, so that is refused.
Rule 3: equal scopes have equal digests, and different ones different: 0.5 and "0.5" are told apart, as 1 and True
        are; the order of parameters is not, nor 1 and 1.0.
Rule 4: a key holds both digests, 128 bits each.  What is stored says both again, and is checked against its key.
Rule 5: a name that is an option's, or nearly one, is none of a scope: what was meant as a time to live or a tag would
        silently keep answers apart (`check_names`).
"""

from __future__ import annotations

import difflib
import hashlib
import re
import unicodedata
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from scoutcache.canonical import canonical
from scoutcache.errors import CacheError, InvalidKey

__all__ = [
    "CHECKS", "KEYS", "Answer", "Asked", "asked", "check_names", "evidence_key", "is_here", "key_of", "places_of",
    "read_answer", "written_answer",
]  # fmt: skip

PREFIX: Final = "semantic"
NO_MODEL: Final = "-"
"""Names the model of who says that answers depend on none."""

KEYS: Final = f"{PREFIX}:[0-9a-f]*"
"""The pattern of the keys of answers, and of what is known of them (`places_of` tells them apart)."""

POOL: Final = f"{PREFIX}:labels"
"""What the key of the labels of a namespace begins with."""

CHECKS: Final = f"{PREFIX}:observed"
"""The key of the counts of shadow checks."""

_KEY: Final = re.compile(rf"{PREFIX}:([0-9a-f]{{32}}):([0-9a-f]{{32}})")
_HERE: Final = "here:"
"""Behind the prefix: it leads to an entry that may not stand everywhere, and stays in memory (`policies.book`)."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_OPTIONS: Final = {"query": ("get", "add"), "namespace": ("get", "add"), "threshold": ("get",),
                   "without_gates": ("get",), "response": ("add",),
                   "ttl": ("add",), "stale_ttl": ("add",), "tags": ("add",), "depends_on": ("add",),
                   "cost": ("add",)}  # fmt: skip
"""What the calls take besides a scope, and which do."""
_NEAR: Final = 0.8
_DEEPEST: Final = 100
_WHOLE: Final = 2**53
"""Below it each whole number is a float too."""
_TEXTS: Final = frozenset({"prompt", "messages", "input", "question", "text", "content"})


class Asked(NamedTuple):
    """A query in its scope."""

    query: str
    scope: dict[str, Any]
    digest: bytes
    ident: bytes

    @property
    def key(self) -> str:
        """The key of an answer to exactly this."""
        return key_of(self.digest, self.ident)

    @property
    def here_key(self) -> str:
        """The same, of what must stay in memory."""
        return key_of(self.digest, self.ident, here=True)


def asked(query: str, scope: Mapping[str, Any]) -> Asked:
    """*query* in *scope*.

    Raises `InvalidKey` for a query that is no text, and for a scope that names no model; `CacheError` for one that
    can't be compared.
    """
    if not isinstance(query, str) or not query.strip():
        raise InvalidKey(f"a query is a text that isn't empty, not {query!r:.80}")
    if not query.isascii() and (lone := _SURROGATE.search(query)) is not None:
        raise InvalidKey(f"the query holds the lone surrogate U+{ord(lone[0]):04X} at character {lone.start() + 1}",
                         hint="decode its bytes as UTF-8 with errors='replace'")  # fmt: skip
    _check_model(scope.get("model"))
    for name in _TEXTS & scope.keys():
        if scope[name] == query:
            raise CacheError(f"the scope holds the query itself as {name}, so no other query could be answered by it",
                             hint=f"leave {name} out; the scope is what must match exactly")  # fmt: skip
    given = {name: value for name, value in scope.items() if value is not None}
    try:
        digest = hashlib.sha256(canonical(_plain(given), "scope").encode(errors="surrogatepass")).digest()[:16]
    except InvalidKey as error:
        raise CacheError(f"the scope can't be compared: {error}", hint=error.hint) from error
    text = unicodedata.normalize("NFC", query.strip())
    ident = hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:16]
    return Asked(query, given, digest, ident)


def _check_model(model: object) -> None:
    if model is not None and not isinstance(model, str):
        raise InvalidKey(f"model is a text, not {type(model).__name__} {model!r:.80}", hint='such as model="gpt-4o"')
    if model is None or not model.strip():
        raise InvalidKey(
            "the scope names no model, so answers of one model would be served as another's",
            hint='say model="…", and whatever else must match: system=…, tools=…, temperature=…',
        )


def _plain(value: Any, depth: int = 0) -> Any:
    """*value* with whole numbers as such, as far as mappings and lists go: 1.0 is 1, and True is neither."""
    kind = type(value)
    if kind is float and value.is_integer() and abs(value) < _WHOLE:
        return int(value)
    if depth > _DEEPEST:  # `canonical` says so
        return value
    if kind is dict:
        return {name: _plain(one, depth + 1) for name, one in value.items()}
    return kind(_plain(one, depth + 1) for one in value) if kind in {list, tuple} else value


def check_names(call: str, names: Collection[str]) -> None:
    """Raise `InvalidKey` for a name of a scope, given to *call*, that is an option's or nearly one."""
    for name in names:
        if name in _OPTIONS:
            raise InvalidKey(f"{name} is an option of semantic.{' and '.join(_OPTIONS[name])}, and no part of a scope",
                             hint=f"leave it out of semantic.{call}, or give what must match another name")  # fmt: skip
        meant = next((option for option in _OPTIONS if _is_near(name.casefold(), option)), None)
        if meant is not None:
            of = f" (of semantic.{_OPTIONS[meant][0]})" if call not in _OPTIONS[meant] else ""
            raise InvalidKey(f"semantic.{call} has no option {name!r:.80}; did you mean {meant}{of}?",
                             hint="what must match exactly needs a name that is less like it")  # fmt: skip


@lru_cache(maxsize=4096)
def _is_near(name: str, option: str) -> bool:
    """Is it the singular or plural of *option*, made of the same letters, or nearly equal?"""
    if name in {f"{option}s", option.removesuffix("s")} or (len(name) == len(option) and set(name) == set(option)):
        return True
    return difflib.SequenceMatcher(None, name, option).ratio() > _NEAR


def key_of(digest: bytes, ident: bytes, *, here: bool = False) -> str:
    """The key of the answer to a query with digest *ident* in the scope with *digest*; of one in memory with *here*."""
    return f"{PREFIX}:{_HERE if here else ''}{digest.hex()}:{ident.hex()}"


def is_here(key: str) -> bool:
    """Is it the key of something that must stay in memory?"""
    return key.startswith(f"{PREFIX}:{_HERE}")


def places_of(key: str) -> tuple[bytes, bytes] | None:
    """The digests of scope and query that *key* holds, None for a key of something else."""
    found = _KEY.fullmatch(_bare(key))
    return None if found is None else (bytes.fromhex(found[1]), bytes.fromhex(found[2]))


def _bare(key: str) -> str:
    return f"{PREFIX}:{key.removeprefix(f'{PREFIX}:{_HERE}')}" if is_here(key) else key


def evidence_key(key: str) -> str:
    """The key of what is known of how well the answer with *key* serves others."""
    kept = f"{PREFIX}:{_HERE if is_here(key) else ''}evidence:"
    return kept + _bare(key).removeprefix(f"{PREFIX}:")


class Answer(NamedTuple):
    """What is stored under a key of `asked`."""

    query: str
    response: Any
    scope: dict[str, Any]
    vector: bytes
    """Of the query, float32, little-endian."""
    model: str
    """The identity of the embedder that made it."""
    birth: str
    """Another one each time it is stored: evidence belongs to one answer."""
    alias_of: str | None = None
    """The key of the answer that was verified to serve this query too; then *response* is nothing."""
    kept_at: str | None = None
    """The key of the ordinary entry that holds the response; then *response* is nothing here."""


def written_answer(answer: Answer) -> dict[str, Any]:
    """*answer* as it is stored."""
    return {"v": 1, **answer._asdict()}


def read_answer(key: str, value: Any) -> Answer | None:
    """The answer that is stored under *key*; None for what is none, or belongs to another key."""
    if not isinstance(value, Mapping) or value.get("v") != 1:
        return None
    try:
        fields: dict[str, Any] = {name: value.get(name) for name in Answer._fields}
        found = Answer(**fields)
        right = asked(found.query, found.scope).key == _bare(key)
    except (CacheError, TypeError, AttributeError):
        return None
    whole = isinstance(found.vector, bytes) and isinstance(found.model, str) and isinstance(found.birth, str)
    return found if right and whole else None
