"""What ``doctor`` looks at on a server: whether it can be reached and used, how far away it is, how it is set up.

Rule 1: over connections of its own, which no breaker and no cache watches: an error is a finding, and said once.
Rule 2: what is wrong has the name that operators know it by (`scoutcache.server.faults.Kind`).
Rule 3: whether the server takes writes only a write tells: one small key under the cache's own prefix, which goes away
        again.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from redis.exceptions import RedisClusterException, RedisError

from scoutcache.cli.checks.findings import Check
from scoutcache.cli.printing.text import size
from scoutcache.errors import ConfigError
from scoutcache.insight.rights import acl_line, command_of, rights_for, why_of
from scoutcache.server.connecting import Source, server_name
from scoutcache.server.faults import DOCTOR_ACL, LOOK_CLOSER, Fault, Kind, fault_of
from scoutcache.tiers.redis.information import read_info

if TYPE_CHECKING:
    from scoutcache.config.sections import RedisSection

__all__ = ["acl_line", "meet", "server_checks"]

PINGS: Final = 11
SLOW: Final = 0.005
"""Seconds of a round trip from which on a server is far away for a cache."""
APART: Final = 1.0
"""Seconds that the clocks may differ."""
OLDEST: Final = (6, 2)
"""Ranges of a stream that leave out their beginning came with it."""
_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1", ""})


class Contact(NamedTuple):
    """A connection to one server, and what to call it (nothing where there is one only)."""

    connection: Any
    name: str = ""

    def ask(self, *command: Any) -> Any:
        """Its answer, be it an error.  Raises where there is none."""
        self.connection.send_command(*command, check_health=False)
        try:
            return self.connection.read_response()
        except RedisError as error:
            if fault_of(error).away and fault_of(error).kind is not Kind.LOADING:
                raise
            return error


@contextmanager
def _met(make: Callable[[], Any], name: str = "") -> Iterator[Contact]:
    connection = make()
    try:
        connection.connect()
        yield Contact(connection, name)
    finally:
        with suppress(RedisError, OSError):
            connection.disconnect()


def meet(source: Source, timeout: float) -> Fault | None:
    """Whether the one server of *source* answers: what is wrong if it doesn't."""
    try:
        kind, options = source.connection_kind(asynchronous=False, timeout=timeout)
        with _met(lambda: kind(**options)) as contact:
            answer = contact.ask("PING")
            return fault_of(answer) if isinstance(answer, Exception) else None
    except (RedisError, OSError) as error:
        return fault_of(error)


def server_checks(section: RedisSection, wall: Callable[[], float] = time.time) -> Iterator[Check]:
    """All of them.  The first that fails for want of a server is the last."""
    source = Source(section)
    try:
        yield _security(source)
        yield _prefix(section)
        if section.without_effect is not None:
            yield Check("redis replicas", "warn", section.without_effect, "name redis.nodes or redis.sentinel")
        if source.is_cluster:
            yield from _cluster(source, wall)
        else:
            kind, options = source.connection_kind(asynchronous=False, timeout=section.timeout)
            with _met(lambda: kind(**options)) as contact:
                yield from _one(contact, section, wall)
                yield from _writes(contact.ask, section)
    except (RedisError, RedisClusterException, OSError) as error:
        yield _failed("redis connection", _closer(fault_of(error), source), server_name(section))
    except ConfigError as error:
        yield Check("redis connection", "fail", str(error), error.hint)


def _failed(name: str, fault: Fault, where: str) -> Check:
    return Check(name, "fail", f"{where}: {fault.kind.value}: {fault.reason.removeprefix(f'{fault.kind.value}: ')}",
                 fault.hint and fault.hint.removesuffix(f" {LOOK_CLOSER}"), fault)  # fmt: skip


def _closer(fault: Fault, source: Source) -> Fault:
    """*fault*, met as a connection was made: who speaks TLS to one that doesn't, or doesn't to one that does, gets no
    answer or is hung up on.
    """
    if source.encrypts and fault.kind is Kind.TIMEOUT:
        return fault._replace(hint="does the server speak TLS on this port? If so, it is busy or frozen")
    if not source.encrypts and fault.kind is Kind.UNREACHABLE and _HUNG_UP.search(fault.reason):
        return fault._replace(hint="does the server want TLS on this port? Use rediss:// or redis.tls = true")
    return fault


_HUNG_UP: Final = re.compile("reset by peer|closed by server", re.IGNORECASE)


# -- what needs no connection


def _security(source: Source) -> Check:
    section, far = source.section, _is_far(source.section)
    secured = f"{'TLS' if source.encrypts else 'no TLS'}, {'a password' if source.authenticates else 'no password'}"
    name = "redis security"
    if source.encrypts and not section.tls_verify:
        return Check(name, "warn", f"{secured}, but the server's certificate isn't verified: tls_verify is false",
                     "set redis.tls_ca_file and tls_verify = true")  # fmt: skip
    if far and source.authenticates and not source.encrypts:
        return Check(name, "warn", "the password and all values go over the network unencrypted",
                     "use rediss:// or redis.tls = true")  # fmt: skip
    if far and not source.authenticates and section.tls_cert_file is None:
        return Check(name, "warn", f"{secured}: anyone who reaches the server can read and change the cache",
                     "scoutcache doctor --acl prints a user for it; set redis.password_file")  # fmt: skip
    return Check(name, "ok", secured if far else f"{secured}; the server is on this machine")


def _is_far(section: RedisSection) -> bool:
    """Is the server on another machine?"""
    if section.url is not None:
        parts = urlsplit(section.url.get_secret_value())
        return parts.scheme != "unix" and (parts.hostname or "") not in _HERE
    return any(one.rpartition(":")[0].strip("[]") not in _HERE for one in (*section.nodes, *section.sentinel))


def _prefix(section: RedisSection) -> Check:
    prefix = section.key_prefix
    if section.nodes and ("{" in prefix or "}" in prefix):
        return Check("redis key_prefix", "fail", f"{prefix!r} has braces, so all keys would be in one slot",
                     "choose a redis.key_prefix without braces")  # fmt: skip
    return Check("redis key_prefix", "ok", f"keys begin with {prefix!r}, and no others are touched")


# -- one server


def _one(contact: Contact, section: RedisSection, wall: Callable[[], float]) -> Iterator[Check]:
    named = f" {contact.name}" if contact.name else ""
    answer = contact.ask("PING")
    if isinstance(answer, Exception) and fault_of(answer).kind is not Kind.MISCONF:  # which refuses PING too
        yield _failed(f"redis connection{named}", fault_of(answer), contact.name or server_name(section))
        return
    yield Check(f"redis connection{named}", "ok", contact.name or server_name(section))
    yield _latency(contact, named, section.timeout)
    yield _clock(contact, named, wall)
    answer = contact.ask("INFO", "everything")
    if isinstance(answer, Exception):
        yield Check(f"redis information{named}", "warn", f"it could not be read ({fault_of(answer).kind.value})",
                    DOCTOR_ACL)  # fmt: skip
        return
    found = read_info(answer)
    yield _version(found, named)
    if not section.nodes and "cluster" in {found.get("redis_mode"), found.get("server_mode")}:
        yield Check("redis cluster", "fail", "cluster: it is a node of a cluster, but configured as a single server",
                    "name its nodes in redis.nodes instead of redis.url")  # fmt: skip
    yield _persistence(found, named)
    yield _eviction(found, named)
    yield _rights(contact, named, section)


def _latency(contact: Contact, named: str, timeout: float) -> Check:
    times = []
    for _ in range(PINGS):
        began = time.perf_counter()
        contact.ask("PING")
        times.append(time.perf_counter() - began)
    middle = median(times)
    detail = f"{middle * 1000:.2f} ms for a round trip (median of {PINGS})"
    if middle > timeout:
        return Check(f"redis latency{named}", "fail", f"{detail}, longer than redis.timeout ({timeout:g} s)",
                     "use a nearer server, or raise redis.timeout")  # fmt: skip
    if middle > SLOW:
        return Check(f"redis latency{named}", "warn", detail, "use a nearer server; SLOWLOG shows its slow commands")
    return Check(f"redis latency{named}", "ok", detail)


def _clock(contact: Contact, named: str, wall: Callable[[], float]) -> Check:
    began = wall()
    answer = contact.ask("TIME")
    ended = wall()
    if isinstance(answer, Exception):
        return Check(f"redis clock{named}", "warn", f"it could not be read ({fault_of(answer).kind.value})",
                     DOCTOR_ACL)  # fmt: skip
    apart = int(answer[0]) + int(answer[1]) / 1e6 - (began + ended) / 2
    detail = f"{abs(apart):.3f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
    if abs(apart) > APART:
        return Check(f"redis clock{named}", "warn", f"the server's is {detail}: of two writers the wrong one may win",
                     "synchronise the clocks (NTP)")  # fmt: skip
    return Check(f"redis clock{named}", "ok", detail)


def _version(found: Mapping[str, str], named: str) -> Check:
    text = found.get("redis_version", "")
    own = found.get("valkey_version")
    shown = f"Valkey {own}" if own else f"Redis {text or 'of unknown version'}"
    numbers = tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
    if numbers and numbers < OLDEST:
        return Check(f"redis version{named}", "fail", f"{shown}; 6.2 or later is needed", "upgrade the server")
    return Check(f"redis version{named}", "ok", f"{shown}, {found.get('role', 'role unknown')}")


_SAVES: Final = {
    "rdb_last_bgsave_status": "the last snapshot", "aof_last_write_status": "the last write of the log",
    "aof_last_bgrewrite_status": "rewriting the log",
}  # fmt: skip


def _persistence(found: Mapping[str, str], named: str) -> Check:
    failed = [what for field, what in _SAVES.items() if found.get(field) == "err"]
    if failed:
        return Check(f"redis persistence{named}", "warn", f"{', '.join(failed)} failed; it may refuse writes (misconf)",
                     "check the server's log and disk space")  # fmt: skip
    kept = "append-only file on" if found.get("aof_enabled") == "1" else "append-only file off; a cache needs none"
    return Check(f"redis persistence{named}", "ok", kept)


def _eviction(found: Mapping[str, str], named: str) -> Check:
    name, policy = f"redis eviction{named}", found.get("maxmemory_policy", "unknown")
    limit, used = int(found.get("maxmemory", "0") or 0), int(found.get("used_memory", "0") or 0)
    if not limit:
        return Check(name, "ok", f"no maxmemory: it grows as needed ({size(used)} now), up to redis.max_bytes")
    detail = f"{policy}, {size(used)} of {size(limit)}"
    if policy == "noeviction":
        return Check(name, "warn", f"{detail}: it refuses writes when it is full (oom)",
                     "set the server's maxmemory-policy to allkeys-lru, or redis.max_bytes")  # fmt: skip
    if policy.startswith("volatile"):
        return Check(name, "ok", f"{detail}: only entries with a time to live are evicted; if those that never expire "
                     "fill it, it refuses writes")  # fmt: skip
    return Check(name, "ok", f"{detail}: the position and versions of tags may be evicted too; that is noticed, and "
                 "what depended on them is recomputed")  # fmt: skip


def _rights(contact: Contact, named: str, section: RedisSection) -> Check:
    """What the user may, of all that a cache with these settings sends: asked for, nothing of it is done."""
    name, rights = f"redis rights{named}", rights_for(section)
    asked = [json.dumps(command_of(right, section)) for right in rights]
    missing = contact.ask("EVAL", _MAY, 0, *asked)
    if isinstance(missing, Exception):
        return Check(name, "fail", f"they could not be checked ({fault_of(missing).kind.value})", DOCTOR_ACL)
    if missing == [b"unknown"]:
        return Check(name, "ok", "not checked: that needs Redis 7")
    if not missing:
        return Check(name, "ok", f"the user has all {len(rights)} rights that these settings need")
    lacking = [rights[int(at) - 1] for at in missing]
    told = ", ".join(f"{right} ({why_of(right)})" for right in lacking)
    return Check(name, "fail", f"the user lacks rights: {told}", DOCTOR_ACL)


_MAY: Final = """
if not redis.acl_check_cmd then return {'unknown'} end
local missing = {}
for at, asked in ipairs(ARGV) do
  local known, may = pcall(redis.acl_check_cmd, unpack(cjson.decode(asked)))
  if known and not may then missing[#missing + 1] = at end
end
return missing
"""
"""Which of the commands the user of the connection may not send."""


def _writes(ask: Callable[..., Any], section: RedisSection) -> Iterator[Check]:
    """Nothing of one that answers nobody: that was said."""
    key = f"{section.key_prefix}doctor"
    answer = ask("SET", key, "1", "PX", 1000)
    if not isinstance(answer, Exception):
        ask("UNLINK", key)
        yield Check("redis writes", "ok", "accepted")
    elif not (fault := fault_of(answer)).away:
        yield _failed("redis writes", fault, "refused")


# -- a cluster


def _cluster(source: Source, wall: Callable[[], float]) -> Iterator[Check]:
    section = source.section
    client: Any = source.cluster(section.timeout)
    try:
        nodes = sorted(client.get_nodes(), key=lambda node: str(node.name))
        primaries = {node.name for node in client.get_primaries()}
        states: list[Mapping[str, str]] = []
        for node in nodes:
            try:
                with _met(partial(source.connection_to, node, section.timeout), str(node.name)) as contact:
                    yield from _one(contact, section, wall)
                    states.append(read_info(contact.ask("CLUSTER", "INFO")))
            except (RedisError, OSError) as error:
                yield _failed(f"redis connection {node.name}", fault_of(error), str(node.name))
        yield _state(states, len(nodes), len(primaries))
        yield from _writes(lambda *command: _answer(client, command), section)
    finally:
        client.close()


def _answer(client: Any, command: tuple[Any, ...]) -> Any:
    try:
        return client.execute_command(*command)
    except (RedisError, RedisClusterException) as error:
        return error


def _state(states: list[Mapping[str, str]], nodes: int, primaries: int) -> Check:
    bad: list[str] = sorted({state.get("cluster_state", "") for state in states} - {"ok", ""})
    slots = max((int(state.get("cluster_slots_ok", "0")) for state in states), default=0)
    detail = f"{primaries} primaries of {nodes} nodes, {slots} of 16384 slots served"
    status: Literal["ok", "warn", "fail"] = "fail" if bad or (states and slots < 16384) else "ok"
    if status == "fail":
        return Check("redis cluster", status, f"clusterdown: {detail}", "assign the slots that no node serves")
    if nodes == primaries:
        return Check("redis cluster", "warn", f"{detail}, and no replicas: if a node dies, its entries are lost",
                     "add a replica to each primary")  # fmt: skip
    return Check("redis cluster", status, detail)
