"""Values that are fetched from a web server, by a template of its addresses: ``https://host/path/{key}``.

Rule 1: only hosts that the configuration names (``[warming] allow_hosts``) are asked, over http or https.
Rule 2: a host's addresses are looked up once per fetch, and every one must be public: not of this machine, its network,
        the link, or a reserved block.  The connection goes to an address that was checked, so that no second look-up
        can lead elsewhere.  Proxies of the environment are not used.
Rule 3: a redirect is not followed: it is a failure, and says where it led.
Rule 4: an answer has so much time and so many bytes in all.  JSON becomes a value, text a string, anything else bytes.
Rule 5: the key stands in the address escaped, as one part of the path or the query, and never in the host.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlsplit

from scoutcache.errors import ConfigError, WarmingError

__all__ = ["WebSource", "addresses_of", "is_public"]

MOST_BYTES: Final = 16 * 2**20
TIMEOUT: Final = 30.0
"""Seconds for a whole answer; looking up the host counts, but can't be broken off."""
_CHUNK: Final = 65536
_FIELD: Final = "{key}"
_PORTS: Final = {"http": 80, "https": 443}


def is_public(address: str) -> bool:
    """Is *address* one of the internet's at large?"""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        # What is reached through a translator is what counts, and it may be this very network.
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or _translated(ip)
        ip = inner or ip
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside one of NAT64 (RFC 6052)."""
    if ip in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


def addresses_of(host: str, port: int) -> list[str]:
    """Every address of *host*.  Raises OSError when it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class WebSource:
    """Gives the value of a key: ``source("llm:a")``.  Raises `ConfigError` for a template that can't be one.

    *look_up* and *allows* say what addresses a host has, and which of them may be asked.
    """

    def __init__(
        self, template: str, allow_hosts: Sequence[str], *, timeout: float = TIMEOUT, most_bytes: int = MOST_BYTES,
        look_up: Callable[[str, int], Sequence[str]] = addresses_of, allows: Callable[[str], bool] = is_public,
        context: ssl.SSLContext | None = None, clock: Callable[[], float] = monotonic,
    ) -> None:  # fmt: skip
        parts = _parts(template)
        self._host, self._port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self._secure = parts.scheme == "https"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._named = f"{self._host}:{self._port}"
        _check_host(self._host, parts.port, allow_hosts)
        self._timeout, self._most, self._clock = timeout, most_bytes, clock
        self._look_up, self._allows = look_up, allows
        self._context = (context or ssl.create_default_context()) if self._secure else None
        self.has_field = _FIELD in self._path
        """Is there a place for a key?"""

    def __call__(self, key: str) -> Any:
        """The value of *key*.  Raises `WarmingError` saying what the server did."""
        content, kind = self._fetch(self.path_of(key))
        if kind == "application/json" or kind.endswith("+json"):
            try:
                return json.loads(content)
            except ValueError as problem:
                raise WarmingError(f"{self._named} sent invalid JSON: {problem}") from problem
        return content.decode("utf-8", "replace") if kind.startswith("text/") else content

    def path_of(self, key: str) -> str:
        """Path and query of the address of *key*."""
        return self._path.replace(_FIELD, quote(key, safe=""))

    def lines(self) -> list[bytes]:
        """The lines of the one document that an address without ``{key}`` names."""
        return self._fetch(self._path)[0].splitlines()

    def _fetch(self, path: str) -> tuple[bytes, str]:
        end = self._clock() + self._timeout
        late = f"{self._named}: no complete answer within {self._timeout:g} s"
        broken_off = threading.Event()
        try:
            with self._connected(end, broken_off) as sock:
                answer = self._answer(sock, path)
        except TimeoutError as problem:
            raise WarmingError(late) from problem
        except (OSError, http.client.HTTPException, ValueError) as problem:
            said = late if broken_off.is_set() else f"{self._named}: {type(problem).__name__}: {problem}"
            raise WarmingError(said) from problem
        if broken_off.is_set():  # what was cut short may look whole
            raise WarmingError(late)
        return answer

    @contextmanager
    def _connected(self, end: float, broken_off: threading.Event) -> Iterator[socket.socket]:
        """A connection to an address that was checked, which is broken off at *end* whatever is under way."""
        sock = self._reached(self._checked_addresses(), end)
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_hostname=self._host, do_handshake_on_connect=False)
        watch = threading.Timer(self._left(end), _break_off, [sock, broken_off])
        watch.daemon = True
        watch.start()
        try:
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            yield sock
        finally:
            watch.cancel()
            sock.close()

    def _checked_addresses(self) -> Sequence[str]:
        addresses = self._look_up(self._host, self._port)
        if not addresses:
            raise OSError("the host has no address")
        for address in addresses:
            if not self._allows(address):
                raise WarmingError(f"{self._named} resolves to {address}, which is not a public address")
        return addresses

    def _reached(self, addresses: Sequence[str], end: float) -> socket.socket:
        problem: OSError | None = None
        for address in addresses:
            try:
                return socket.create_connection((address, self._port), timeout=self._left(end))
            except OSError as error:
                problem = error
        assert problem is not None
        raise problem

    def _answer(self, sock: socket.socket, path: str) -> tuple[bytes, str]:
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.sock = sock
        connection.default_port = _PORTS["https" if self._secure else "http"]  # which a Host header doesn't name
        headers = {"Accept": "application/json, text/*, */*;q=0.5", "Accept-Encoding": "identity",
                   "User-Agent": "scoutcache", "Connection": "close"}  # fmt: skip
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as response:
            self._check(response)
            content = bytearray()
            while piece := response.read1(_CHUNK):
                content += piece
                if len(content) > self._most:
                    raise WarmingError(f"{self._named} sent more than {self._most} bytes")
            if response.length:
                raise WarmingError(f"{self._named} ended its answer {response.length} bytes too early")
            return bytes(content), (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()

    def _check(self, response: http.client.HTTPResponse) -> None:
        if 300 <= response.status < 400:
            raise WarmingError(f"{self._named} answered {response.status}, a redirect to "
                               f"{response.getheader('Location', 'nowhere')!r:.200}: it is not followed")  # fmt: skip
        if response.status != 200:
            raise WarmingError(f"{self._named} answered {response.status} {response.reason}"[:200])
        if (response.getheader("Content-Encoding") or "identity") != "identity":
            raise WarmingError(f"{self._named} sent an encoded answer, which was not asked for")

    def _left(self, end: float) -> float:
        left = end - self._clock()
        if left <= 0:
            raise TimeoutError
        return left


def _break_off(sock: socket.socket, broken_off: threading.Event) -> None:
    broken_off.set()
    with suppress(OSError):
        # Not an SSLSocket's own: that takes the connection from under a thread that reads from it.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _parts(template: str) -> SplitResult:
    try:
        parts = urlsplit(template)
        parts.port  # noqa: B018  # reading it is what checks it
    except ValueError as problem:
        raise ConfigError(f"{template!r:.200} is no web address: {problem}") from problem
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ConfigError(f"{template!r:.200}: expected https://host/path/{{key}}")
    if "@" in parts.netloc or "{" in parts.netloc:
        raise ConfigError(f"the address for {parts.hostname}: only path and query may hold {{key}}, and no credentials")
    if not parts.path.isascii() or not parts.query.isascii() or any(c <= " " for c in parts.path + parts.query):
        raise ConfigError(f"{template!r:.200}: an address is plain ASCII without blanks; write %20 and the like")
    return parts


def _check_host(host: str, port: int | None, allow_hosts: Sequence[str]) -> None:
    """Raise `ConfigError` unless the host is named, alone or with this port."""
    allowed = {one.strip().lower().rstrip(".") for one in allow_hosts}
    name = host.lower().rstrip(".")
    if name not in allowed and f"{name}:{port}" not in allowed:
        raise ConfigError(f"{host} is not an allowed host",
                          hint=f'add it to the configuration: [warming] allow_hosts = ["{host}"]')  # fmt: skip
