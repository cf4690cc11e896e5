"""kill -9 of writing processes; SCOUTCACHE_KILLS says how many (10), `kill_campaign.py` how it is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

KILLS = int(os.environ.get("SCOUTCACHE_KILLS", "10"))


def test_killed_writers_leave_a_whole_database_no_wrong_value_and_lose_no_acknowledged_set():
    command = [sys.executable, Path(__file__).with_name("kill_campaign.py"), "--kills", str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report.pop("seconds") > 0
    assert report.pop("checked") >= 80 * (KILLS + 1)
    assert report == {"kills": KILLS, "integrity_failures": 0, "wrong_values": 0, "lost_sets": 0, "corrupt": 0,
                      "refused": 0, "set_aside": 0}  # fmt: skip
