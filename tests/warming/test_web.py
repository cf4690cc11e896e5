"""Values from the web: only hosts that are named, public addresses, no redirects, so much time and so many bytes."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from scoutcache.config import CacheConfig
from scoutcache.errors import ConfigError, WarmingError
from scoutcache.warming.fill import warm_from
from scoutcache.warming.tasks import run_tasks
from scoutcache.warming.web import WebSource, is_public

EXAMPLE = WebSource("http://example.com/a/{key}/b?k={key}", ["example.com"])


class Handler(BaseHTTPRequestHandler):
    """Answers by the path; every request is noted."""

    asked: list[tuple[str, str]]
    let_go: threading.Event

    def do_GET(self):
        type(self).asked.append((self.path, self.headers["Host"]))
        kind, _, rest = self.path.strip("/").partition("/")
        answer = getattr(self, f"_{kind}", self._text)
        answer(rest)

    def _send(self, body, kind, status=200, **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _json(self, rest):
        self._send(json.dumps({"path": rest}).encode(), "application/json; charset=utf-8")

    def _bad(self, rest):
        self._send(b"{", "application/json")

    def _text(self, rest):
        self._send("grün".encode(), "text/plain")

    def _bytes(self, rest):
        self._send(b"\x00\xff", "application/octet-stream")

    def _big(self, rest):
        self._send(b"x" * 5000, "text/plain")

    def _moved(self, rest):
        self._send(b"", "text/plain", 302, Location="http://169.254.169.254/")

    def _gone(self, rest):
        self._send(b"no", "text/plain", 404)

    def _zipped(self, rest):
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()

    def _short(self, rest):
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"only this")

    def _slow(self, rest):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self.wfile.flush()
        type(self).let_go.wait(20)

    def _lines(self, rest):
        self._send(b'{"key": "llm:a", "value": 1}\n{"key": "job:b", "value": 2}\n', "application/x-ndjson")

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Start a server and give its port; *context* makes it one of TLS."""
    servers = []

    def start(context=None):
        handler = type("H", (Handler,), {"asked": [], "let_go": threading.Event()})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server.server_port, handler

    yield start
    for server in servers:
        server.RequestHandlerClass.let_go.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def source(serve):
    """A source at a server of this machine, which is let through here."""
    port, handler = serve()

    def make(path, **options):
        web = WebSource(f"http://localhost:{port}{path}", ["localhost"], look_up=lambda *_: ["127.0.0.1"],
                        allows=lambda _: True, **options)  # fmt: skip
        web.asked, web.port = handler.asked, port
        return web

    return make


def test_json_is_a_value_text_a_string_and_anything_else_bytes(source):
    assert source("/json/{key}")("a") == {"path": "a"}
    assert source("/text/{key}")("a") == "grün"
    assert source("/bytes/{key}")("a") == b"\x00\xff"


@given(st.text(min_size=1).filter(lambda key: key.isprintable()))
def test_whatever_the_key_it_stays_one_part_of_the_path(key):
    path = EXAMPLE.path_of(key)
    assert path.count("/") == 3
    assert path.count("?") == 1
    assert path.isascii()


def test_the_key_is_escaped_and_the_host_named(source):
    web = source("/json/{key}")
    web("llm:../x?y=1#z ü")
    assert web.asked == [("/json/llm%3A..%2Fx%3Fy%3D1%23z%20%C3%BC", f"localhost:{web.port}")]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/moved", "answered 302, a redirect to 'http://169.254.169.254/': it is not followed"),
        ("/gone", "answered 404"),
        ("/bad", "sent invalid JSON"),
        ("/zipped", "sent an encoded answer"),
        ("/short", "too early"),
    ],
)
def test_what_is_no_answer_is_told(source, path, said):
    web = source(f"{path}/{{key}}")
    with pytest.raises(WarmingError, match=said):
        web("a")
    assert len(web.asked) == 1


def test_an_answer_has_so_many_bytes_at_most(source):
    with pytest.raises(WarmingError, match="more than 4999 bytes"):
        source("/big/{key}", most_bytes=4999)("a")
    assert len(source("/big/{key}", most_bytes=5000)("a")) == 5000


def test_an_answer_that_drips_is_broken_off(source):
    with pytest.raises(WarmingError, match=r"no complete answer within 0\.2 s"):
        source("/slow/{key}", timeout=0.2)("a")


def test_nobody_there_is_told():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        web = WebSource(f"http://localhost:{free.getsockname()[1]}/{{key}}", ["localhost"],
                        look_up=lambda *_: ["127.0.0.1"], allows=lambda _: True)  # fmt: skip
        with pytest.raises(WarmingError, match="ConnectionRefusedError"):
            web("a")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "192.0.2.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fd00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_of_this_machine_its_network_and_reserved_ones_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_others_are(address):
    assert is_public(address)


def test_one_address_that_is_not_public_is_enough_to_ask_none(serve):
    port, handler = serve()
    web = WebSource(f"http://localhost:{port}/{{key}}", ["localhost"], look_up=lambda *_: ["1.1.1.1", "127.0.0.1"])
    with pytest.raises(WarmingError, match=r"resolves to 127\.0\.0\.1, which is not a public address"):
        web("a")
    assert handler.asked == []


def test_a_real_look_up_of_this_machine_is_refused(serve):
    port, handler = serve()
    with pytest.raises(WarmingError, match="not a public address"):
        WebSource(f"http://localhost:{port}/{{key}}", ["localhost"])("a")
    assert handler.asked == []


def test_the_connection_goes_to_the_address_that_was_checked(serve):
    """A name that would lead elsewhere when looked up again is not looked up again."""
    port, handler = serve()
    looked_up = []

    def look_up(host, at):
        looked_up.append((host, at))
        return ["127.0.0.1"]

    web = WebSource(f"http://no-such-host.invalid:{port}/json/{{key}}", ["no-such-host.invalid"], look_up=look_up,
                    allows=lambda _: True)  # fmt: skip
    assert web("a") == {"path": "a"}
    assert looked_up == [("no-such-host.invalid", port)]
    assert handler.asked[0][1] == f"no-such-host.invalid:{port}"


def test_the_certificate_is_checked_for_the_name_though_the_address_is_dialled(serve):
    import ssl

    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("answers.example").configure_cert(theirs)
    authority.configure_trust(ours)
    port, _ = serve(theirs)
    options = {"look_up": lambda *_: ["127.0.0.1"], "allows": lambda _: True, "context": ours}
    right = WebSource(f"https://answers.example:{port}/json/{{key}}", ["answers.example"], **options)
    assert right("a") == {"path": "a"}
    with pytest.raises(WarmingError, match="CERTIFICATE_VERIFY_FAILED"):
        WebSource(f"https://other.example:{port}/json/{{key}}", ["other.example"], **options)("a")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("https://evil.example/{key}", "is not an allowed host"),
        ("https://example.com.evil.example/{key}", "not an allowed host"),
        ("ftp://example.com/{key}", "expected https://"), ("https:///{key}", "expected https://"),
        ("https://{key}.example.com/", "only path and query"), ("https://user:pw@example.com/{key}", "no credentials"),
        ("https://example.com:99999/{key}", "no web address"), ("https://example.com/ü/{key}", "plain ASCII"),
        ("https://example.com/a b/{key}", "plain ASCII"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_be_meant_is_refused(template, said):
    with pytest.raises(ConfigError, match=said) as caught:
        WebSource(template, ["example.com"])
    assert "pw" not in str(caught.value)


def test_a_host_may_be_allowed_with_one_port_only():
    WebSource("https://example.com:8443/{key}", ["example.com:8443"])
    with pytest.raises(ConfigError, match="not an allowed host"):
        WebSource("https://example.com/{key}", ["example.com:8443"])
    WebSource("https://EXAMPLE.com./{key}", ["Example.com"])


def test_keys_are_warmed_from_it_and_one_that_fails_does_not_end_the_others(cache, source):
    result = warm_from(cache, ["a", "b"], call=source("/json/{key}"))
    assert (result.warmed, cache.get("b")) == (2, {"path": "b"})
    assert warm_from(cache, ["c"], call=source("/gone/{key}")).failed == 1


def test_a_task_of_a_host_that_is_not_allowed_says_so(cache, tmp_path):
    from scoutcache import Cache

    config = CacheConfig(directory=tmp_path / "c", tasks=[
        {"task_id": "values", "source": "https://example.com/{key}", "pattern": "k"},
        {"task_id": "lines", "source": "https://example.com/all.jsonl"},
    ])  # fmt: skip
    with Cache(config, attended=False) as one:
        runs = run_tasks(one, ["values", "lines"])
    assert [("is not an allowed host" in run.error) for run in runs] == [True, True]


def test_a_task_may_name_lines_on_the_web(tmp_path, source, monkeypatch):
    from scoutcache import Cache

    web = source("/lines")
    monkeypatch.setattr("scoutcache.warming.tasks.web_source", lambda address, config: web)
    config = CacheConfig(directory=tmp_path / "c",
                         tasks=[{"task_id": "t", "source": "https://x/lines", "pattern": "llm:*"}])  # fmt: skip
    with Cache(config, attended=False) as one:
        assert run_tasks(one, ["t"])[0].result.warmed == 1
        assert list(one.keys()) == ["llm:a"]
