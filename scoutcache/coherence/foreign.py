"""Messages of applications that know nothing of this library, and to them: JSON on one Pub/Sub channel.

    {"type": "key", "key": "llm:a"}       {"type": "pattern", "pattern": "llm:*", "namespace": "tenant"}
    {"type": "tag", "tags": ["model:gpt-4", "daily"], "reason": "deployed", "prefix": "scoutcache:"}
    {"type": "tag", "key": "daily"}       {"type": "pattern", "key": "llm:*"}

Rule 1: whatever the bytes, an order, None, or `CorruptEntry`, and never another error.
Rule 2: one for another cache's *prefix* is none for us, and neither is what this library says under our own: its
        processes hear of that elsewhere.
Rule 3: a name means an entry of this cache, be it written with the cache's prefix or without: a message reaches nothing
        else on the server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from scoutcache.coherence.messages import Message
from scoutcache.entry import NAMESPACE_MARK
from scoutcache.errors import CorruptEntry, InvalidKey
from scoutcache.keys import check_namespace, check_tag, key_text
from scoutcache.patterns import Pattern, escape

__all__ = ["CHANNEL", "Order", "orders_for", "read_order", "texts_for"]

CHANNEL: Final = "cache:invalidate"

LARGEST: Final = 1 << 20
"""Bytes of a message that is looked at."""

OURS: Final = "scoutcache"
"""Whom our own messages are from."""

REASON: Final = "pubsub"
"""What the reason of a change begins with that a message asked for; it is not announced as ours."""

_AT_ONCE: Final = 1000
"""Names in one message of ours."""

_REASON_LENGTH: Final = 200


class Order(NamedTuple):
    """What a message asks for: that whatever it names is gone.  *namespace* is None for the cache's own."""

    namespace: str | None
    reason: str
    keys: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def read_order(payload: bytes, prefix: str) -> Order | None:
    """The order in *payload* for the cache with that key *prefix*, None when it isn't one.  Raises `CorruptEntry`."""
    if len(payload) > LARGEST:
        raise CorruptEntry(f"a message of {len(payload)} bytes; {LARGEST} are read")
    try:
        told = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptEntry(f"no JSON: {error}") from None
    if not isinstance(told, dict):
        raise CorruptEntry('it is no object such as {"type": "key", "key": "…"}')
    if told.get("prefix", prefix) != prefix or (told.get("from") == OURS and "prefix" in told):
        return None
    try:
        return _order(told, prefix)
    except InvalidKey as error:
        raise CorruptEntry(str(error)) from None


def _order(told: Mapping[str, Any], prefix: str) -> Order:
    kind = told.get("type")
    singular = kind.lower().removesuffix("s") if isinstance(kind, str) else kind
    if singular not in {"key", "pattern", "tag"}:
        raise CorruptEntry(f"its type is one of key, pattern and tag, not {kind!a:.40}")
    namespace = told.get("namespace")
    if namespace is not None:
        check_namespace(namespace)
    names = list(_names(told, singular))
    if not names:
        raise CorruptEntry(f"it names no {singular}")
    order = Order(namespace, _reason(told.get("reason")))
    if singular == "tag":
        return order._replace(tags=tuple(check_tag(name) for name in names))
    if singular == "key":
        return order._replace(keys=tuple(key_text(name.removeprefix(prefix)) for name in names))
    bare = [name.removeprefix(prefix).removeprefix(escape(prefix)) for name in names]
    return order._replace(patterns=tuple(Pattern.parse(text).text for text in bare))


def _names(told: Mapping[str, Any], kind: str) -> Iterator[str]:
    """The names in a message: under its kind or what is called value, else under key; one or a list of them."""
    fields = (kind, f"{kind}s", "value", "values")
    for field in fields if any(told.get(field) is not None for field in fields) else ("key", "keys"):
        given = told.get(field)
        for name in given if isinstance(given, list) else [] if given is None else [given]:
            if not isinstance(name, str):
                raise CorruptEntry(f"{field} is text or a list of texts")
            yield name


def _reason(given: object) -> str:
    """The reason as the log is told it: who asked can't write what he likes into it."""
    if not isinstance(given, str) or not given:
        return REASON
    return f"{REASON}: " + "".join(sign if sign.isprintable() else "?" for sign in given[:_REASON_LENGTH])


def orders_for(orders: list[Order]) -> list[Order]:
    """The same in fewer: those of one namespace and reason are one."""
    united: dict[tuple[str | None, str], Order] = {}
    for order in orders:
        which = order.namespace, order.reason
        known = united.get(which)
        united[which] = order if known is None else known._replace(
            keys=known.keys + order.keys, patterns=known.patterns + order.patterns, tags=known.tags + order.tags
        )  # fmt: skip
    return list(united.values())


def texts_for(message: Message, prefix: str) -> Iterator[bytes]:
    """What other applications are told of an invalidation; nothing of what only concerns us."""
    if not message.is_invalidation or _asked_by_others(message):
        return
    kind, names = _told_as(message)
    for at in range(0, len(names), _AT_ONCE):
        some = names[at : at + _AT_ONCE]
        text = {"type": kind, **({kind: some[0]} if len(some) == 1 else {f"{kind}s": some}),
                "namespace": message.namespace, "prefix": prefix, "from": OURS}  # fmt: skip
        if message.reason is not None:
            text["reason"] = message.reason
        yield msgspec.json.encode(text)


def _asked_by_others(message: Message) -> bool:
    return message.reason is not None and (message.reason == REASON or message.reason.startswith(f"{REASON}: "))


def _told_as(message: Message) -> tuple[str, list[str]]:
    """The kind and the names; marks that are no tags are our own affair."""
    if message.kind == "namespace" or (message.kind == "mark" and NAMESPACE_MARK in message.names):
        return "pattern", ["*"]
    if message.kind == "mark":
        return "tag", [name for name in message.names if not name.startswith("\0")]
    return message.kind, list(message.names) if message.kind in {"key", "pattern"} else []
