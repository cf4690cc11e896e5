"""The campaigns on answers by meaning, in small: SCOUTCACHE_KILLS and SCOUTCACHE_QUERIES say how large."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("faiss", reason="needs pip install 'scoutcache[test,semantic]'")

KILLS = int(os.environ.get("SCOUTCACHE_KILLS", "2"))
QUERIES = int(os.environ.get("SCOUTCACHE_QUERIES", "400"))


def reports(script, *arguments):
    command = [sys.executable, Path(__file__).with_name(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_killed_processes_leave_index_and_entries_that_agree():
    [report] = reports("semantic_kills.py", "--kills", str(KILLS))
    assert report["checked"] > 0
    assert report["kills"] >= KILLS
    found = {name: report[name] for name in ("missing", "unfound", "ghosts", "disagreeing", "mended", "failed")}
    assert found == dict.fromkeys(found, 0)


def test_no_answer_crosses_between_tenants():
    for report in reports("semantic_tenants.py", "--queries", str(QUERIES)):
        assert report["queries"] == QUERIES // 2
        assert report["by_key"] > 0
        assert report["cross"] == 0
