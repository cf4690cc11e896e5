"""What the reasons mean for which requests missed and entries left, in words for whoever reads a report."""

from __future__ import annotations

from typing import Final

__all__ = ["LEFT", "MEANINGS"]

MEANINGS: Final = {
    "cold": "the requesting process knew nothing of it: never stored, or removed before that process began. New keys "
            "can be warmed; scoutcache explain KEY knows more, from the log",
    "expired": "stored once, but its ttl had ended: a longer ttl or a stale_ttl would have answered",
    "evicted": "stored once, but there was no room to keep it: more room would have answered",
    "invalidated": "stored once, but invalidated since",
    "refused": "what was stored did not pass a check (validate, exists), and was removed",
    "corrupt": "stored bytes were damaged, or the database they may have been in: run scoutcache verify",
    "unknown_type": "stored with a type that this process doesn't know: register_type",
    "unverified": "signed with a key that this process wasn't given, or unsigned where one is configured: [security] "
                  "signing_keys",
    "unavailable": "a tier that may have it could not be asked: see scoutcache doctor",
    "failed": "the call got the error of another one's computation, or one kept by error_ttl: nothing was computed",
    "bypassed": "a condition was false, or the cache was switched off",
}
LEFT: Final = {
    "entries": "the tier had reached its number of entries (max_entries)",
    "bytes": "the tier had reached its number of bytes (max_bytes)",
    "oversize": "the tier was over its size limit (max_bytes), or that of scoutcache prune --max-size",
    "older": "removed on request, by scoutcache prune --older-than",
    "orphaned": "remains of entries that nothing refers to any more",
}
