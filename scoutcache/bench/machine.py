"""On what a benchmark ran: enough to see whether two results compare, nothing that names the host or its user."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

__all__ = ["COMPARED", "describe_machine", "differences"]

COMPARED: Final = ("cpu", "cores", "system", "python")
"""What must be equal for two results to say anything about each other."""


def describe_machine() -> dict[str, Any]:
    """Processor, cores this process may use, system, interpreter, load at the start (null where unknown)."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_1m": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _cpu() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What differs between two machines, as sentences."""
    pairs = ((name, one.get(name), other.get(name)) for name in COMPARED)
    return [f"{name} differs: {was} and {now}" for name, was, now in pairs if was != now]
