"""What the semantic tests share; without the extra they are skipped with that reason."""

from __future__ import annotations

import importlib.util

import pytest

MISSING = [name for name in ("faiss", "numpy") if importlib.util.find_spec(name) is None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if MISSING:
        reason = f"needs pip install 'scoutcache[test,semantic]': {', '.join(MISSING)} missing"
        for item in items:
            if "/semantic/" in str(item.path):
                item.add_marker(pytest.mark.skip(reason=reason))
