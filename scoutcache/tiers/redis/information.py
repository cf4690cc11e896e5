"""What a server says of itself (INFO): read from bytes, or from what redis-py made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scoutcache.errors import TierUnavailable
from scoutcache.server.commands import Batch, Plan

__all__ = ["informed", "read_info", "run_of"]


def read_info(answer: Any) -> dict[str, str]:
    """The fields of an answer to INFO by name; none of what is no such answer, an error among it."""
    if isinstance(answer, Mapping):
        return {_text(name): _field(value) for name, value in answer.items()}
    if not isinstance(answer, bytes | str):
        return {}
    pairs = [line.partition(":") for line in _text(answer).splitlines() if not line.startswith("#")]
    return {name: value for name, colon, value in pairs if colon}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _field(value: Any) -> str:
    """redis-py makes a mapping of ``ip=…,port=…``."""
    if isinstance(value, Mapping):
        return ",".join(f"{_text(name)}={_text(part)}" for name, part in value.items())
    return _text(value)


def informed(node: Any = None, *sections: str) -> Plan[dict[str, str]]:
    """What one node says of itself; nothing where it may not be asked or can't be reached."""
    try:
        (answer,) = yield Batch([("INFO", *(sections[:1] or ("everything",)))], node)
    except TierUnavailable:
        return {}
    return read_info(answer)


def run_of(node: Any = None) -> Plan[str]:
    """A name for a node and its present run: its cursors mean something as long as it is the same."""
    found = yield from informed(node, "server")
    return f"{getattr(node, 'name', '')} {found.get('run_id', '')}".strip()
