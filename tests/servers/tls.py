"""Servers behind TLS with certificates of a throw-away authority, and what is wrong with some of them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from .process import RedisServer, Servers, server_binary
from .waiting import PATIENCE


class TlsServer(RedisServer):
    """A server that speaks TLS only, on `port`; `cli` goes over its Unix socket, where there is none."""

    def __init__(self, directory: Path, port: int, options: tuple[str, ...], *, files: tuple[Path, Path, Path]) -> None:
        super().__init__(directory, port, options)
        self.files = files

    @property
    def url(self) -> str:
        return f"rediss://localhost:{self.port}/0"

    def listening(self) -> list[str]:
        ca, cert, key = map(str, self.files)
        return ["--port", "0", "--tls-port", str(self.port), "--tls-ca-cert-file", ca, "--tls-cert-file", cert,
                "--tls-key-file", key, "--tls-auth-clients", "optional"]  # fmt: skip


class TlsServers:
    """An authority, a client's certificate, and a server for localhost: `url`, `port`, `server`; more can be started.

    Paths, as `str`: `ca_file`, `cert_file` and `key_file` (the client's), `rogue_ca_file` (an authority that signed
    nothing here), `rogue_cert_file` and `rogue_key_file` (a client's, signed by that one).
    """

    def __init__(self, servers: Servers) -> None:
        self._servers, self._folder = servers, servers.directory()
        self._authority, rogue = trustme.CA(), trustme.CA()
        self.ca_file = self._authority_file("ca", self._authority)
        self.rogue_ca_file = self._authority_file("rogue", rogue)
        client = self._authority.issue_cert("client.example", common_name="client")
        self.cert_file, self.key_file = self._files("client", client)
        self.rogue_cert_file, self.rogue_key_file = self._files("rogue-client", rogue.issue_cert("client.example"))
        self.server = self.start()

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def port(self) -> int:
        return self.server.port

    def start(
        self, *options: str, names: tuple[str, ...] = ("localhost", "127.0.0.1"), not_after: datetime | None = None
    ) -> TlsServer:
        """Start one more, with a certificate for these names; `"--tls-auth-clients", "yes"` asks for the client's."""
        leaf = self._authority.issue_cert(*names, not_before=datetime(2001, 1, 1, tzinfo=UTC), not_after=not_after)
        cert, key = self._files("server", leaf, self._servers.directory())
        return self._servers.start(TlsServer, *options, files=(Path(self.ca_file), Path(cert), Path(key)))

    def start_for_wrong_host(self) -> TlsServer:
        """Start one whose certificate is sound but for another host's name."""
        return self.start(names=("elsewhere.example",))

    def start_expired(self) -> TlsServer:
        """Start one whose certificate is for localhost and ended long ago."""
        return self.start(not_after=datetime(2002, 1, 1, tzinfo=UTC))

    def _authority_file(self, name: str, authority: trustme.CA) -> str:
        path = self._folder / f"{name}.pem"
        authority.cert_pem.write_to_path(path)
        return str(path)

    def _files(self, name: str, leaf: trustme.LeafCert, folder: Path | None = None) -> tuple[str, str]:
        cert, key = [(folder or self._folder) / f"{name}.{kind}.pem" for kind in ("cert", "key")]
        leaf.private_key_pem.write_to_path(key)
        cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return str(cert), str(key)


def skip_without_tls() -> None:
    """Skip where the server's binary was built without TLS; one with it says which file it misses, and ends."""
    command = [server_binary(), "--port", "0", "--tls-port", "1", "--daemonize", "no", "--save", ""]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=PATIENCE)
    if b"tls-cert-file" not in said.stdout:
        pytest.skip(f"{command[0]} was built without TLS")
