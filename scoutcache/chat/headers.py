"""Which headers of a request may have a part in its answer: all but those that are known to say nothing of it.

Gateways have names of their own for users, tenants and keys, which no list could hold: a header that nobody knows parts
answers.
"""

from __future__ import annotations

from typing import Final

__all__ = ["is_harmless"]

_HARMLESS: Final = frozenset({
    # of the connection, and of how the body travels
    "accept", "accept-charset", "accept-encoding", "connection", "content-encoding", "content-length", "content-type",
    "expect", "host", "keep-alive", "te", "transfer-encoding", "upgrade-insecure-requests",
    # of the program that asks, and when
    "cache-control", "date", "pragma", "user-agent",
    # of one request among others
    "idempotency-key", "request-id", "x-amzn-trace-id", "x-client-request-id", "x-cloud-trace-context",
    "x-correlation-id", "x-request-id",
    # of tracing
    "b3", "baggage", "elastic-apm-traceparent", "newrelic", "sentry-trace", "traceparent", "tracestate",
    "uber-trace-id",
})  # fmt: skip
_BEGINS: Final = ("x-stainless-", "x-b3-", "x-datadog-")


def is_harmless(name: str) -> bool:
    """Is the header known to say nothing of who asks, or for what?

    >>> is_harmless("X-Request-Id"), is_harmless("X-Tenant")
    (True, False)
    """
    name = name.lower()
    return name in _HARMLESS or name.startswith(_BEGINS)
