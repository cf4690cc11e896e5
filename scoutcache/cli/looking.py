"""An entry looked at tier by tier: where it is, how it lies there, whether it may still be served."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from scoutcache.calls.listing import life
from scoutcache.cli.printing.telling import reasons
from scoutcache.errors import CorruptEntry, TierUnavailable
from scoutcache.wire.compression import NAMES
from scoutcache.wire.serializers import name_of
from scoutcache.wire.unknown import UnknownType, Unread

if TYPE_CHECKING:
    from scoutcache.core.core import Core
    from scoutcache.entry import Header, Life, Ref
    from scoutcache.tiers.base import Tier
    from scoutcache.wire.codec import Opened


_DESCRIBED: Final = (
    "tags", "depends_on", "serializer", "compression", "created_at", "fresh_until", "expires_at", "cost", "valid",
    "stale",
)  # fmt: skip


def look_at(core: Core, ref: Ref, tier: str | None = None) -> dict[str, Any]:
    """Everything the tiers know about a key, in the fields of ``inspect``.  Nothing is read as a request or promoted.

    The memory of other processes can't be seen from here: whether it has the key is unknown, not false.
    """
    places = [_in_tier(core, one, ref) for one in core.tiers if tier in {None, one.name}]
    best = next((read for _, read in places if read is not None), None)
    return {
        "key": ref.key,
        "namespace": ref.namespace,
        **_described(core, best),
        "hits": None,  # no tier that lasts counts them
        "tiers": [shown for shown, _ in places],
    }


def _in_tier(core: Core, tier: Tier, ref: Ref) -> tuple[dict[str, Any], Opened | Unread | None]:
    shown: dict[str, Any] = {"name": tier.name, "present": None, "ttl_s": None, "size_bytes": None, "problem": None,
                             "remedy": None}  # fmt: skip
    if tier is core.memory:
        return shown, None
    now = core.world.now()
    try:
        sealed = tier.read(ref, now)
    except TierUnavailable as error:
        core.world.down(tier.name, error)
        return {**shown, "problem": str(error)}, None
    if sealed is None:
        return {**shown, "present": False}, None
    shown |= {"present": True, "size_bytes": sealed.size}
    if (said := None if core.world.policy is None else core.world.policy(ref)) and not said.allows(tier.name):
        shown["problem"] = f"the policy {said.sources['allowed_backends']!r} keeps it out of here, so it is not read"
        return {**shown, "remedy": "scoutcache prune removes it"}, None
    try:
        read: Opened | Unread | None = core.world.codec.open(ref, sealed)
    except CorruptEntry as error:
        return {**shown, "problem": str(error)}, None
    except UnknownType as error:
        read, shown["problem"] = error.unread, str(error)
        shown["remedy"] = error.remedy
    return (shown, None) if read is None else ({**shown, "ttl_s": round(read.header.fresh_until - now, 3)}, read)


def _described(core: Core, read: Opened | Unread | None) -> dict[str, Any]:
    if read is None:
        return {**dict.fromkeys(_DESCRIBED), "why": []}
    header, now = read.header, core.world.now()
    state = _life(core, header)
    return {
        "tags": header.tags,
        "depends_on": header.depends_on,
        "serializer": name_of(read.coding),
        "compression": NAMES[read.packing],
        "created_at": moment(header.created),
        "fresh_until": moment(header.fresh_until),
        "expires_at": moment(header.expires),
        "cost": header.cost,
        "valid": None if state is None and header.expires > now else header.expires > now and state != "dead",
        "stale": header.expires > now and (state == "stale" or (state != "dead" and header.fresh_until <= now)),
        "why": [] if state is None else reasons(core, header, now),
    }


def _life(core: Core, header: Header) -> Life | None:
    """What the authority says of it, None where it can't be asked."""
    try:
        return life(core, header)
    except TierUnavailable as error:
        core.world.down(error.tier, error)
        return None


def moment(seconds: float) -> str | None:
    """A time as JSON shows it; None for never."""
    return datetime.fromtimestamp(seconds, UTC).isoformat() if math.isfinite(seconds) else None
