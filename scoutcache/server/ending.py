"""No daemon thread is in the midst of TLS when the process ends: OpenSSL takes down what it works with by then.

Who makes a connection reads all certificates that the system trusts, some tens of milliseconds without the
interpreter's lock.  Threads that nobody waits for, for they try to reach a server that is away, are there half of the
time, and would crash the process (SIGSEGV) after its last line.

Rule 1: at the interpreter's end, daemon threads at it are waited for; what they wait for themselves is broken off.
Rule 2: those that come later are refused.  Other threads are not: Python waits for them, and the main one may yet have
        to tell the server that this process leaves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from socket import socket

__all__ = ["end", "waited_for"]

_PATIENCE: Final = 5.0
"""Seconds to wait for them at most: a machine may be slow, and a crash is not worse than an end that never comes."""


class _State:
    """Who is at it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.sockets: set[socket] = set()
        self.is_over = False


_state = _State()


@cache
def waited_for(kind: type[Any]) -> type[Any]:
    """A *kind* of redis-py's connections with TLS for threads, whose making is waited for at the end."""
    return type(kind.__name__, (_Waited, kind), {})


class _Waited:
    """Mixed into a connection of redis-py's."""

    def _wrap_socket_with_ssl(self, sock: socket) -> Any:
        with _at_it(sock):
            return super()._wrap_socket_with_ssl(sock)  # type: ignore[misc]  # of redis-py's


@contextmanager
def _at_it(sock: socket) -> Iterator[None]:
    if not threading.current_thread().daemon:
        yield
        return
    state, ours = _state, sock.dup()  # `ssl` takes the other one's descriptor away
    try:
        with state.changed:
            if state.is_over:
                raise OSError("the process ends")
            state.sockets.add(ours)
        yield
    finally:
        with state.changed:
            state.sockets.discard(ours)
            state.changed.notify_all()
        ours.close()


def end() -> None:
    """Wait for daemon threads that make a connection with TLS, and let none begin."""
    state = _state
    with state.changed:
        state.is_over = True
        for sock in state.sockets:
            with suppress(OSError):  # the server may have hung up
                sock.shutdown(2)
        state.changed.wait_for(lambda: not state.sockets, _PATIENCE)


def _after_fork() -> None:
    """In the child: the threads are the parent's."""
    global _state
    _state = _State()


os.register_at_fork(after_in_child=_after_fork)
