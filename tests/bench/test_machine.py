from __future__ import annotations

import getpass
import platform

from scoutcache.bench.machine import COMPARED, describe_machine, differences


def test_a_machine_equals_itself_and_differs_by_name():
    machine = describe_machine()
    assert set(COMPARED) <= machine.keys()
    assert differences(machine, dict(machine)) == []
    assert differences(machine, {**machine, "cores": 999}) == [f"cores differs: {machine['cores']} and 999"]


def test_neither_host_nor_user_is_named():
    text = " ".join(map(str, describe_machine().values())).split()
    assert platform.node() not in text
    assert getpass.getuser() not in text
