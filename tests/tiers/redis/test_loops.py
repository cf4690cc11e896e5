"""Event loops come and go, and the tier stays."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import weakref

import pytest

from scoutcache.entry import Ref


@pytest.fixture(params=["server", "tls", "cluster"])
def tier(request, make_remote, codec):
    if request.param == "tls":
        tls = request.getfixturevalue("redis_tls")
        return make_remote(tls.url, tls_ca_file=tls.ca_file).make_tier(codec)
    where = request.getfixturevalue("redis_url" if request.param == "server" else "redis_cluster")
    return make_remote(where).make_tier(codec)


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors")
def test_loops_that_were_closed_leave_no_descriptors_and_no_warnings(tier):
    loops = []

    async def read():
        loops.append(weakref.ref(asyncio.get_running_loop()))
        assert await tier.read_on_loop(Ref("default", "k"), 0.0) is None

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    asyncio.run(read())
    before = descriptors()
    for _ in range(10):
        asyncio.run(read())
    assert descriptors() <= before
    tier.close()
    gc.collect()
    assert len(tier._loops) == 0
    assert [loop for loop in loops if loop() is not None] == []
    assert descriptors() < before


def test_a_loop_that_runs_keeps_its_connection(tier):
    async def read():
        assert await tier.read_on_loop(Ref("default", "k"), 0.0) is None

    with asyncio.Runner() as one:
        one.run(read())
        asyncio.run(read())
        asyncio.run(read())
        one.run(read())
        assert one.get_loop() in tier._loops
        one.run(tier.close_on_loop())
    tier.close()
    assert len(tier._loops) == 0
