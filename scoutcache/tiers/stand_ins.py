"""What the processes of one machine go by in place of versions that nobody there knows, while their server is away.

Rule 1: a stand-in follows from a *token* that they share for as long as the server is away: so one judges what another
        one stored, and of what was stored in another absence nobody thinks anything.
Rule 2: what was renewed since the token was drawn, as far as anybody of the machine said so, has none any more; who
        comes to share it must be told of all of that.
Rule 3: the implicit tag of a key has none: who changes that must know that something depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from scoutcache.coherence.messages import Message
from scoutcache.entry import NAMESPACE_MARK, STAND_INS

__all__ = ["StandIns"]


class StandIns:
    """The stand-ins that one process goes by; of more than *capacity* renewed ones it knows none."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._capacity = capacity
        self._shared: tuple[bytes, set[tuple[str, str]]] | None = None
        """The token and what was renewed; in one, for who looks while they change."""

    @property
    def shared(self) -> tuple[bytes, list[tuple[str, str]]] | None:
        """The token, and the namespaces and names that were renewed since; None while there is none."""
        shared = self._shared
        return None if shared is None else (shared[0], list(shared[1]))

    def share(self, token: bytes, renewed: Iterable[tuple[str, str]] = ()) -> None:
        """Go by *token*, under which *renewed* have no stand-ins, from now on."""
        self._shared = (token, set(renewed))

    def drop(self) -> None:
        """Go by none: something was missed, or the server can be asked."""
        self._shared = None

    def of(self, namespace: str, name: str) -> int | None:
        """What stands for the version of *name*; None where nothing does."""
        shared = self._shared
        if shared is None or not _may_have_one(name):
            return None
        token, renewed = shared
        if (namespace, name) in renewed or len(renewed) >= self._capacity:
            return None
        said = b"\0".join((token, namespace.encode(), name.encode()))
        return STAND_INS | int.from_bytes(blake2b(said, digest_size=8).digest(), "big")

    def apply(self, message: Message) -> None:
        """Let what *message* renewed have none any more."""
        shared = self._shared
        if shared is None or message.kind not in ("mark", "namespace"):
            return
        names = message.names if message.kind == "mark" else [NAMESPACE_MARK]
        shared[1].update([(message.namespace, name) for name in names if _may_have_one(name)])


def _may_have_one(name: str) -> bool:
    """Is it a tag of the user's, or the namespace's own?"""
    return name == NAMESPACE_MARK or not name.startswith("\0")
