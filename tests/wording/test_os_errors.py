"""Why something failed, in words that don't name the file again."""

from __future__ import annotations

import pytest

from scoutcache.wording.os_errors import reason_of


@pytest.mark.parametrize(("error", "reason"), [
    (FileNotFoundError(2, "No such file or directory", "x"), "No such file or directory"),
    (OSError("one of Python's own"), "one of Python's own"),
    (EOFError("it ends too early"), "it ends too early"),
])  # fmt: skip
def test_the_systems_words_are_taken_where_it_has_any(error, reason):
    assert reason_of(error) == reason
