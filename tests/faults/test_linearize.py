"""After an invalidation has returned, nobody answers with what was computed from before it, in any process."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path

import pytest

from scoutcache.patterns import Pattern
from scoutcache.tiers.disk import DiskTier
from scoutcache.wire.codec import Codec


@pytest.fixture
def linearize():
    """The campaign, which is also a script."""
    spec = importlib.util.spec_from_file_location("linearize", Path(__file__).with_name("linearize.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_hundred_thousand_reads_beside_invalidations_of_every_kind(linearize):
    """However long it takes: some seconds, more where the machine is busy."""
    reads, invalidations, wrong = linearize.campaign(processes=4, threads=2, operations=100_000, seconds=300)
    assert wrong == []
    assert reads >= 100_000
    assert invalidations > len(linearize.KINDS)


@pytest.mark.parametrize(
    "how", [{}, {"away": True}, {"away": True, "lives": 4.0}],
    ids=["there", "away half of the time", "away, and processes come and go"],
)  # fmt: skip
def test_reads_beside_a_server(linearize, start_redis, how):
    """The processes of a machine hear each other at once."""
    figures = {"processes": 4, "threads": 2, "operations": 10_000, "seconds": 300}
    reads, invalidations, wrong = linearize.campaign(**figures, server=start_redis(), **how)
    assert wrong == []
    assert reads >= figures["operations"]
    assert invalidations > len(linearize.KINDS)


@pytest.mark.parametrize("pattern", ["k*", "*k?", "k[12]"])
def test_a_pattern_waits_for_whoever_was_allowed_before_and_has_not_committed(tmp_path, make_row, pattern):
    """Its row isn't there yet to be listed, and nobody asks again whether it may be kept."""
    writer, remover = DiskTier(tmp_path, Codec()), DiskTier(tmp_path, Codec())
    asked, go = threading.Event(), threading.Event()

    def allow(_):
        asked.set()
        return go.wait(20)

    removed = []
    writing = threading.Thread(target=lambda: writer.write([make_row("k1", 1)], 1.0, allow))
    writing.start()
    asked.wait(20)
    removing = threading.Thread(
        target=lambda: removed.append(remover.remove_matching("default", Pattern.parse(pattern)))
    )
    removing.start()
    removing.join(0.1)
    go.set()
    writing.join(20)
    removing.join(20)
    assert removed == [1]
    writer.close(), remover.close()
