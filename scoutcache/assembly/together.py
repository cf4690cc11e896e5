"""Who hears the stream and who hears other applications, as one that the background starts and ends."""

from __future__ import annotations

from scoutcache.channels.foreign import Foreign
from scoutcache.channels.listener import Listener

__all__ = ["Together"]


class Together:
    """*listener* and *foreign*."""

    def __init__(self, listener: Listener, foreign: Foreign) -> None:
        self._listener, self._foreign, self.member = listener, foreign, listener.member

    def start(self) -> None:
        """Begin."""
        self._listener.start()
        self._foreign.start()

    def hear(self) -> None:
        """Hear the stream now; what others publish is heard by a thread or not at all."""
        self._listener.hear()

    def forget(self) -> None:
        """In a forked child: the threads are the parent's."""
        self._listener.forget()
        self._foreign.forget()

    def close(self) -> None:
        """End, first who may be changing something; idempotent."""
        self._foreign.close()
        self._listener.close()
