"""What an error of a server or of the way to it means, and what to do about it.

Rule 1: only what says that the server can't be reached or answers nobody opens the breaker.  A server that refuses
        writes (full, a replica, unable to save) still answers reads.
Rule 2: the classes of redis-py are told apart from the most special: `AuthenticationError` is a `ConnectionError`.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

from redis import exceptions as told

from scoutcache.errors import TierUnavailable

__all__ = ["DOCTOR_ACL", "LOOK_CLOSER", "Fault", "Kind", "fault_of", "refusal", "remedy", "unavailable"]


class Kind(Enum):
    """What is wrong, by the word that operators know it by."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS = "tls"
    POOL = "pool"
    CROWDED = "maxclients"
    LOADING = "loading"
    NOAUTH = "noauth"
    NOPERM = "noperm"
    OOM = "oom"
    READONLY = "readonly"
    MISCONF = "misconf"
    MASTERDOWN = "masterdown"
    CLUSTERDOWN = "clusterdown"
    BUSY = "busy"
    DATABASE = "database"
    CLUSTER = "cluster"
    WRONGTYPE = "wrongtype"
    OTHER = "other"


class Fault(NamedTuple):
    """An error, sorted.  *away* says that nobody can be answered."""

    kind: Kind
    reason: str
    hint: str | None
    away: bool


_AWAY = {
    Kind.UNREACHABLE, Kind.TIMEOUT, Kind.TLS, Kind.LOADING, Kind.NOAUTH, Kind.MASTERDOWN, Kind.CLUSTERDOWN, Kind.BUSY,
    Kind.DATABASE, Kind.CROWDED,
}  # fmt: skip

_REFUSALS = (Kind.NOPERM, Kind.OOM, Kind.READONLY, Kind.MISCONF)

DOCTOR_ACL: Final = "scoutcache doctor --acl prints the rights needed"
LOOK_CLOSER: Final = "scoutcache doctor shows more"

_HINTS = {
    Kind.UNREACHABLE: f"is the server running, and is its address right? {LOOK_CLOSER}",
    Kind.TIMEOUT: "is the server busy or frozen? [redis] timeout sets how long a call waits",
    Kind.TLS: "check [redis] tls_ca_file, tls_cert_file, and the name in the server's certificate",
    Kind.POOL: "raise [redis] max_connections",
    Kind.CROWDED: "the server accepts no more connections: CLIENT LIST shows who holds them, CONFIG SET maxclients "
    "allows more",
    Kind.LOADING: "the server is loading its data; it answers once that is done",
    Kind.NOAUTH: "check [redis] username and password (SCOUTCACHE_REDIS__PASSWORD, password_file)",
    Kind.NOPERM: DOCTOR_ACL,
    Kind.OOM: "give the server more maxmemory or a maxmemory-policy that evicts (CONFIG SET maxmemory-policy "
    "allkeys-lru), or bound the cache by [redis] max_bytes",
    Kind.READONLY: "this is a replica, or a primary with too few of them: name the primary in [redis] url, or let "
    "[redis] sentinel find it",
    Kind.WRONGTYPE: "another program wrote under [redis] key_prefix: scoutcache verify names the key, and "
    "verify --repair removes it",
    Kind.MISCONF: "the server can't save to its disk: check its log and disk space; if it holds nothing but a cache, "
    "it need not save (CONFIG SET save '') nor refuse writes for that (stop-writes-on-bgsave-error no)",
    Kind.MASTERDOWN: "the replica has lost its primary",
    Kind.CLUSTERDOWN: "the cluster has slots that no node serves",
    Kind.BUSY: "a script has been running for too long; SCRIPT KILL ends it",
    Kind.CLUSTER: "name its nodes in [redis] nodes (SCOUTCACHE_REDIS__NODES=host:port,host:port) instead of a url",
    Kind.DATABASE: "the number after the last / of [redis] url is a database that the server doesn't have",
}


_AUTHORITY: Final = "set [redis] tls_ca_file to the certificate of the authority that signed the server's"
_CLIENT: Final = (
    "the server wants a client certificate: set [redis] tls_cert_file to one that it trusts, tls_key_file to its key"
)
_NAME: Final = (
    "name the server in [redis] url, nodes or sentinel as its certificate does, or get a certificate for this name"
)
_PAIR: Final = (
    "[redis] tls_cert_file must hold a certificate and tls_key_file its key, both in PEM form; one of them doesn't"
)
_TLS_HINTS: Final = (
    ("certificate has expired", "renew the server's certificate; if it was renewed, compare the clocks"),
    ("not yet valid", "compare the clocks of both machines: the server's certificate isn't valid yet"),
    ("certificate is not valid for", _NAME),
    ("self-signed certificate", _AUTHORITY), ("self signed certificate", _AUTHORITY),
    ("unable to get local issuer", _AUTHORITY), ("unable to verify the first", _AUTHORITY),
    ("alert", _CLIENT), ("EOF occurred", _CLIENT), ("reset after the handshake", _CLIENT),
    ("no certificate or crl found", "[redis] tls_ca_file holds no certificate in PEM form"),
    ("key values mismatch", "[redis] tls_key_file is not the key of tls_cert_file"),
    ("PEM lib", _PAIR),
    ("wrong version number", "this port doesn't speak TLS: name the server's TLS port, or use redis://"),
)  # fmt: skip
"""By what OpenSSL says of it."""
_MISTAKEN: Final = (
    (re.compile("Cluster mode is not enabled"),
     "this server is not a cluster: name it in [redis] url (SCOUTCACHE_REDIS__URL), not in nodes"),
    (re.compile("Cluster cannot be connected.*(Authentication required|invalid username-password)", re.DOTALL),
     _HINTS[Kind.NOAUTH]),
    (re.compile("unknown command .sentinel", re.IGNORECASE),
     "this server is not a sentinel: name a plain server in [redis] url (SCOUTCACHE_REDIS__URL)"),
    (re.compile("No master found .*auth:"),
     "it wants a password, which sentinels are not sent: is it a plain server, to be named in [redis] url?"),
    (re.compile("No master found for '[^']*'$"),
     "the sentinels know no such service, or no server for it: check [redis] sentinel_service"),
)  # fmt: skip
"""What is said by one who isn't what the configuration takes him for."""
_NO_SERVER: Final = "this is not a Redis server: is it the port of another program, or one that needs TLS?"


def fault_of(error: BaseException) -> Fault:
    """What *error*, of redis-py or of the system, means."""
    kind = _kind(error)
    hint, reason = _HINTS.get(kind), _reason(kind, error)
    if kind is Kind.TLS:
        hint = next((what for words, what in _TLS_HINTS if words.lower() in reason.lower()), hint)
    elif isinstance(error, told.InvalidResponse):
        hint = _NO_SERVER
    else:
        hint = next((what for said, what in _MISTAKEN if said.search(reason)), hint)
    return Fault(kind, reason, hint, kind in _AWAY)


def refusal(reason: str) -> Kind | None:
    """How a server refused that answered, where *reason* is a fault's; None for other reasons.

    Reasons travel alone, in results, events and exceptions.
    """
    return next((kind for kind in _REFUSALS if reason.startswith(f"{kind.value}: ")), None)


def remedy(reason: str) -> str | None:
    """What to do about a `refusal`; None where *reason* tells of none."""
    kind = refusal(reason)
    return None if kind is None else _HINTS[kind]


def as_greeted(error: Exception) -> Exception:
    """*error* as it ended an encrypted connection that was just made.

    Who wants a client's certificate and gets none says so after the handshake, where the next write may overhear it.
    """
    if "reset by peer" not in str(error).lower():
        return error
    return ConnectionResetError(f"reset after the handshake: does the server want a client certificate? ({error})")


def _kind(error: BaseException) -> Kind:
    if not isinstance(error, _ANSWERS) and _is_tls(error):
        return Kind.TLS
    if "max number of clients reached" in str(error):
        return Kind.CROWDED
    found = next((kind for kinds, kind in _CLASSES if isinstance(error, kinds)), Kind.OTHER)
    return _by_word(str(error)) if found is Kind.OTHER else found


_ANSWERS = (told.ResponseError, told.AuthenticationError, told.BusyLoadingError, told.MaxConnectionsError)
_CLASSES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], Kind], ...] = (
    (told.MaxConnectionsError, Kind.POOL),
    (told.BusyLoadingError, Kind.LOADING),
    ((told.AuthenticationError, told.AuthorizationError, told.AuthenticationWrongNumberOfArgsError), Kind.NOAUTH),
    (told.MasterDownError, Kind.MASTERDOWN),  # which is a ClusterDownError
    ((told.ClusterDownError, told.RedisClusterException, told.SlotNotCoveredError), Kind.CLUSTERDOWN),
    (told.NoPermissionError, Kind.NOPERM),
    (told.OutOfMemoryError, Kind.OOM),
    (told.ReadOnlyError, Kind.READONLY),
    ((told.AskError, told.ClusterCrossSlotError), Kind.CLUSTER),  # and MovedError, which is an AskError
    (told.ResponseError, Kind.OTHER),
    ((told.TimeoutError, TimeoutError), Kind.TIMEOUT),
    ((told.ConnectionError, told.InvalidResponse, OSError), Kind.UNREACHABLE),
)
"""From the most special class on (Rule 2)."""


_WORDS = {
    "NOAUTH": Kind.NOAUTH, "WRONGPASS": Kind.NOAUTH, "NOPERM": Kind.NOPERM, "OOM": Kind.OOM, "BUSY": Kind.BUSY,
    "READONLY": Kind.READONLY, "MISCONF": Kind.MISCONF, "LOADING": Kind.LOADING, "MASTERDOWN": Kind.MASTERDOWN,
    "CLUSTERDOWN": Kind.CLUSTERDOWN, "NOREPLICAS": Kind.READONLY, "WRONGTYPE": Kind.WRONGTYPE, "MOVED": Kind.CLUSTER,
    "CROSSSLOT": Kind.CLUSTER,
}  # fmt: skip
_TEXTS = {
    "command not allowed when used memory > 'maxmemory'": Kind.OOM,
    "The user executing the script can't": Kind.NOPERM,  # Redis up to 7.0 says it without the word
    "ACL failure in script": Kind.NOPERM,
    "DB index is out of range": Kind.DATABASE,
    "invalid DB index": Kind.DATABASE,
    "SELECT is not allowed in cluster mode": Kind.DATABASE,
}


def _by_word(message: str) -> Kind:
    """What a server's error says: its first word, or the one that a script's error quotes."""
    for word, kind in _WORDS.items():
        if message.startswith(f"{word} ") or f"-{word} " in message or f": {word} " in message:
            return kind
    return next((kind for text, kind in _TEXTS.items() if text in message), Kind.OTHER)


def _is_tls(error: BaseException) -> bool:
    text = f"{type(error).__name__} {error} {error.__cause__!r} {error.__context__!r}"
    return "SSL" in text or "certificate" in text.lower()


_IN_SCRIPT: Final = {
    "The user executing the script can't run this command or subcommand": "the user lacks a right that a script "
    "of the cache needs",
}
"""What Redis up to 7.0 says of a script, which names no right; `doctor` does."""
_OBJECT: Final = re.compile(r" ?: <redis\..*>(?= - )", re.DOTALL)
"""How redis-py writes a sentinel that it could not ask, with everything that belongs to it."""
_IN_OPENSSL: Final = re.compile(r" \(_ssl\.c:\d+\)")
_SCRIPT: Final = re.compile(r" script: [0-9a-f]+, on @?\w+:\d+\.$")
"""Where in a script of the cache a server met it, which says nothing to anybody."""


def _reason(kind: Kind, error: BaseException) -> str:
    text = str(error).strip()
    for noise in (_OBJECT, _SCRIPT, _IN_OPENSSL):
        text = noise.sub("", text)
    text = _IN_SCRIPT.get(text, text).removesuffix(".") or type(error).__name__
    plain = {Kind.TIMEOUT: "no answer in time", Kind.LOADING: "it is loading its data",
             Kind.CLUSTER: "cluster: it is a node of a cluster, and other nodes have these keys",
             Kind.WRONGTYPE: "wrongtype: a key with one of the cache's names has another type"}  # fmt: skip
    return plain.get(kind, f"{kind.value}: {text}" if kind is not Kind.OTHER else text)


def unavailable(fault: Fault) -> TierUnavailable:
    """What to raise for a fault."""
    return TierUnavailable("redis", fault.reason, hint=fault.hint)
