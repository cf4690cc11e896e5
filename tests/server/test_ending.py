"""A process ends when no daemon thread is in the midst of TLS any more; else it would crash after its last line."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.servers.waiting import PATIENCE

CHILD = """
import atexit, ssl, sys, threading, time
from contextlib import suppress
from scoutcache.assembly import background
from scoutcache.config.sections import RedisSection
from scoutcache.server.connecting import Source

begun, ends = threading.Event(), threading.Event()
atexit.register(ends.set)

def connect(patience):
    source = Source(RedisSection(url=sys.argv[1], tls_verify=False))
    kind, options = source.connection_kind(asynchronous=False, timeout=patience)
    with suppress(Exception):
        kind(**options).connect()
"""

READING = """
def context():
    begun.set()
    ends.wait()
    for _ in range(50):  # as one certificate after the other is read
        time.sleep(0.001)
    print("read", flush=True)
    raise OSError

ssl.create_default_context = context
threading.Thread(target=connect, args=(0.5,), daemon=True).start()
begun.wait()
"""

WAITING = """
wrapped = ssl.SSLContext.wrap_socket

def wrap(*args, **options):
    try:
        return wrapped(*args, **options)
    except OSError:
        print("lost", flush=True)  # in here, for what comes after it nobody waits
        raise

ssl.SSLContext.wrap_socket = wrap
threading.Thread(target=connect, args=(600,), daemon=True).start()
input()
"""


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        yield server


def started(server, then):
    url = f"rediss://127.0.0.1:{server.getsockname()[1]}"
    return subprocess.Popen([sys.executable, "-c", CHILD + then, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_daemon_thread_that_reads_certificates_is_waited_for(silent):
    child = started(silent, READING)
    said, _ = child.communicate(timeout=PATIENCE)
    assert (said, child.returncode) == (b"read\n", 0)


def test_one_that_waits_for_the_server_is_broken_off(silent):
    child = started(silent, WAITING)
    peer, _ = silent.accept()
    with peer:
        peer.settimeout(PATIENCE)
        assert peer.recv(1)  # its greeting: now it waits for ours
        said, _ = child.communicate(b"\n", timeout=PATIENCE)
    assert (said, child.returncode) == (b"lost\n", 0)
