"""Where nothing can be written at all, a command that looks has an empty cache to look into."""

from __future__ import annotations

import json


def test_a_command_that_looks_needs_no_folder(cli, workplace, monkeypatch):
    def none(*_, **__):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", none)
    monkeypatch.setattr("tempfile.mkdtemp", none)
    place = workplace / "missing"
    ran = cli("--directory", str(place), "keys", "--json")
    assert (ran.code, json.loads(ran.out)["keys"]) == (0, [])
