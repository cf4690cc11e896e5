"""The page as a browser shows it: light, dark, narrow, and under a policy stricter than its own."""

from __future__ import annotations

import http.server
import re
import shutil
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scoutcache.insight.report.export import report_html
from scoutcache.insight.report.report import build_report
from scoutcache.oplog.recorder import Recorder

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine: apt-get install chromium")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
)  # fmt: skip
LIGHT, DARK = (255, 255, 255), (13, 17, 23)


@pytest.fixture
def page(recorder: Recorder, directory: Path, fake_clock: Any, say: Callable[..., None],
         hostile: tuple[str, ...]) -> str:  # fmt: skip
    for number, text in enumerate(hostile * 3):
        say("compute", "miss", f"{text}:{number}", namespace=text, reason="cold", factory_s=1.0, cost=0.1, tags=(text,))
        say("set", "stored", f"{text}:{number}", namespace=text, size=5000, stored=900, codec="lz4", codec_us=9.0)
        say("get", "hit", f"{text}:{number}", namespace=text, tier="disk", cost=0.1)
        fake_clock.advance(50)
    recorder.close({})
    return report_html(build_report(directory, now=fake_clock.wall()))


def browse(folder: Path, address: str, *more: str) -> tuple[str, list[str]]:
    """What the browser printed, and what it had to say about the page."""
    command = [str(BROWSER), *QUIET, f"--user-data-dir={folder / 'profile'}", *more, address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def first_pixel(picture: Path) -> tuple[int, ...]:
    """The colour at the top left: in the first row of a PNG no filter changes the first pixel."""
    content = picture.read_bytes()
    packed, at = b"", 8
    while at < len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        packed += content[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    return tuple(zlib.decompress(packed)[1:4])


def test_it_follows_the_reader_and_breaks_no_policy_of_its_own(page: str, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page)
    for name, colour, flags in (
        ("light", LIGHT, ["--blink-settings=preferredColorScheme=1"]),
        ("dark", DARK, ["--blink-settings=preferredColorScheme=0"]),
    ):
        picture = tmp_path / f"{name}.png"
        _, said = browse(tmp_path, file.as_uri(), "--window-size=1100,900", f"--screenshot={picture}", *flags)
        assert said == []
        assert first_pixel(picture) == colour, name


def test_nothing_is_wider_than_a_narrow_screen(page: str, tmp_path: Path) -> None:
    measured = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace(
        "</body>", "<script>document.title = document.documentElement.scrollWidth + ' in ' + innerWidth</script></body>"
    )
    (tmp_path / "report.html").write_text(measured)
    dumped, _ = browse(tmp_path, (tmp_path / "report.html").as_uri(), "--window-size=500,900", "--dump-dom")
    found = re.search(r"<title>(\d+) in (\d+)</title>", dumped)
    assert found is not None
    assert int(found[1]) <= int(found[2]) <= 500


class Strict(http.server.BaseHTTPRequestHandler):
    """Serves one page, as a build server serves its artifacts."""

    page = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Security-Policy", "sandbox; default-src 'none'; img-src 'self'; style-src 'self';")
        self.end_headers()
        self.wfile.write(self.page)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(page: str) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Page", (Strict,), {"page": page.encode()}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/report.html"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_build_servers_policy_takes_its_colours_and_nothing_else(served: str, page: str, tmp_path: Path) -> None:
    dumped, said = browse(tmp_path, served, "--dump-dom")
    assert dumped.count("<section") == page.count("<section")
    assert dumped.count("<rect") == page.count("<rect") > 3
    refused = [line for line in said if "style" not in line and "favicon" not in line]
    assert refused == []
