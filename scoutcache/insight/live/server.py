"""What a server says of itself, beside what the cache knows of its own entries: for ``stats``.

Rule 1: figures of a server are the server's: other caches and applications share it.
Rule 2: what it doesn't say, or may not be asked, is None and never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from scoutcache.errors import TierUnavailable
from scoutcache.tiers.redis.information import informed

__all__ = ["server_view"]

_COUNTS: Final = (
    "keyspace_hits", "keyspace_misses", "used_memory", "maxmemory", "evicted_keys", "connected_clients",
)  # fmt: skip
"""Under the names that operators know from the server; memory in bytes."""


def server_view(tier: Any) -> dict[str, Any] | None:
    """The view of the server behind a Redis tier, with ``nodes`` on a cluster; None where nobody answers."""
    try:
        nodes = list(tier.conduit.nodes())
        views = [_view(tier.do(informed(node)), getattr(node, "name", None)) for node in nodes]
    except TierUnavailable:
        return None
    if len(nodes) == 1 and nodes[0] is None:
        return views[0] if any(value is not None for value in views[0].values()) else None
    return {"mode": "cluster", **_summed(views), "nodes": views}


def _view(found: Mapping[str, str], name: str | None) -> dict[str, Any]:
    # Valkey says it is Redis 7.2.4, for clients that look, and its own version beside that.
    own = found.get("valkey_version")
    view: dict[str, Any] = {} if name is None else {"name": name}
    view |= {
        "product": found.get("server_name") or ("valkey" if own else "redis" if found else None),
        "version": own or found.get("redis_version"), "role": found.get("role"),
        **{name: _number(found.get(name)) for name in _COUNTS},
        "maxmemory_policy": found.get("maxmemory_policy"),
        "mem_fragmentation_ratio": _float(found.get("mem_fragmentation_ratio")),
        "replicas": list(_replicas(found)) if found else None,
        "uptime_s": _number(found.get("uptime_in_seconds")),
    }  # fmt: skip
    return view


def _replicas(found: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """How far each replica is behind: bytes of the stream, and seconds since it last said where it is."""
    offset = _number(found.get("master_repl_offset"))
    for number in range(_number(found.get("connected_slaves")) or 0):
        said = dict(part.split("=", 1) for part in found.get(f"slave{number}", "").split(",") if "=" in part)
        at = _number(said.get("offset"))
        yield {
            "address": f"{said.get('ip', '')}:{said.get('port', '')}", "state": said.get("state"),
            "lag_bytes": None if offset is None or at is None else max(0, offset - at),
            "lag_s": _number(said.get("lag")),
        }  # fmt: skip


def _summed(views: list[dict[str, Any]]) -> dict[str, Any]:
    """The sums over the nodes, None where one of them is not known."""
    counted = ("keyspace_hits", "keyspace_misses", "used_memory", "evicted_keys")
    columns = {name: [view[name] for view in views] for name in counted}
    return {name: None if None in values else sum(values) for name, values in columns.items()}


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.lstrip("-").isdecimal() else None


def _float(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
