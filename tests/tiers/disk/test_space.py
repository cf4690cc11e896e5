"""The size limit: never exceeded by more than a tenth, whatever is done; and a model of all a tier does."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scoutcache.entry import NEVER, Header, Ref, Row
from scoutcache.patterns import Pattern
from scoutcache.tiers.disk import DiskTier
from scoutcache.tiers.disk.faults import Fault
from scoutcache.wire.codec import Codec


def incompressible(name, size):
    return hashlib.shake_256(str(name).encode()).digest(size)


def directory_bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*"))


@pytest.mark.parametrize("limit", [5_000_000, 10_000_000])
@pytest.mark.parametrize("size", [100, 1000, 20_000, 300_000])
def test_the_limit_holds_for_entries_and_for_files(open_tier, make_row, folder, size, limit):
    """Sets prune by themselves, with nobody to do it in the background."""
    tier = open_tier(max_bytes=limit)
    at_once = max(1, 30_000 // (size + 400))
    for number in range(0, 2 * limit // (size + 400), at_once):
        tier.write([make_row(f"key:{n}", incompressible(n, size), ttl=None, start=n)
                    for n in range(number, number + at_once)], 0.0)  # fmt: skip
        assert tier.usage().size_bytes <= limit
        assert directory_bytes(folder) <= 1.1 * limit
    assert tier.usage().size_bytes > 0.4 * limit
    assert tier.maintain(0.0)["oversize"] > 0


def test_what_is_much_of_the_limit_at_once_takes_more_only_while_it_is_written(open_tier, make_row, folder):
    """Its bytes stand in the log too, and in the database before older ones are gone from there."""
    limit, at_once = 10_000_000, 900_000
    tier = open_tier(max_bytes=limit)
    for number in range(0, 60, 3):
        tier.write([make_row(f"key:{n}", incompressible(n, at_once // 3), ttl=None, start=n)
                    for n in range(number, number + 3)], 0.0)  # fmt: skip
        assert tier.usage().size_bytes <= limit
        assert directory_bytes(folder) <= 1.1 * limit + 3 * at_once
        tier.write([make_row("small", b"x", ttl=None, start=number)], 0.0)
        tier.maintain(0.0)
        assert directory_bytes(folder) <= 1.1 * limit + at_once


def test_a_limit_below_the_smallest_database_holds_for_entries(open_tier, put):
    tier = open_tier(max_bytes=20_000)
    for number in range(100):
        put(tier, f"key:{number}", incompressible(number, 1000), ttl=None, start=number)
        assert tier.usage().size_bytes <= 22_000
    assert tier.usage().entries > 10


def test_several_processes_together_keep_the_limit(folder, run_python, open_tier):
    code = """
import hashlib
from pathlib import Path
from scoutcache.entry import Header, NEVER, Ref, Row
from scoutcache.tiers.disk import DiskTier
from scoutcache.wire.codec import Codec
codec, tier, most = Codec(), DiskTier(Path(sys.argv[1]), Codec(), max_bytes=2_000_000, timeout=60.0), 0
for n in range(400):
    header = Header(ref=Ref("default", f"{sys.argv[2]}:{n}"), start=n, created=1.0, fresh_until=NEVER, expires=NEVER)
    live, encoded = codec.hold(hashlib.shake_256(b"%d" % n).digest(9000))
    tier.write([Row(header, live, lambda: codec.seal(header, live, encoded))], 1.0)
    most = max(most, tier.usage().size_bytes)
tier.close()
print(most, flush=True)
"""
    processes = [run_python(code, folder, number) for number in range(3)]
    assert all(int(process.stdout.readline()) <= 2_200_000 for process in processes)


def test_what_goes_first_is_expired_and_then_what_was_written_longest_ago(open_tier, put, fake_clock):
    """A key that is written again and again stays, though it came first."""
    tier = open_tier(max_bytes=1_000_000)
    put(tier, "expired", incompressible("e", 5000), ttl=1)
    for number in range(600):
        fake_clock.advance(1)
        start = int(fake_clock.wall() * 1e9)
        put(tier, f"key:{number}", incompressible(number, 5000), ttl=None, start=start)
        put(tier, "busy", incompressible(number, 5000), ttl=None, start=start)
    keys = {one.header.ref.key for one in tier.scan(None)}
    assert "busy" in keys
    assert "expired" not in keys
    assert {f"key:{number}" for number in range(500, 600)} <= keys
    assert not keys & {f"key:{number}" for number in range(300)}


def test_maintain_goes_below_the_limit_and_gives_the_space_back(open_tier, put, folder, fake_clock):
    tier = open_tier(max_bytes=20_000_000)
    for number in range(1500):
        put(tier, f"key:{number}", incompressible(number, 10_000), ttl=10, start=number)
    assert directory_bytes(folder) > 15_000_000
    tier.change_limit(5_000_000)
    for _ in range(5):
        tier.maintain(fake_clock.wall())
    assert tier.usage().size_bytes <= 5_000_000
    fake_clock.advance(20)
    for _ in range(5):
        tier.maintain(fake_clock.wall())
    assert tier.usage().entries == 0
    tier.close()
    assert directory_bytes(folder) < 3_000_000


def test_clearing_gives_the_space_back(open_tier, put, folder):
    tier = open_tier()
    for number in range(20):
        put(tier, f"key:{number}", incompressible(number, 1_000_000))
    tier.clear(None)
    tier.close()
    assert directory_bytes(folder) < 4_000_000


CODEC = Codec()
SHORT = [f"{prefix}:{n}" for prefix in ("a", "b", "ü") for n in range(6)]
KEYS = st.sampled_from([*SHORT, "long" * 200, "long" * 199 + "x"])
NAMESPACES = st.sampled_from(["default", "other", "d"])
LIMIT = 400_000


class DiskModel(RuleBasedStateMachine):
    """A tier and a dict, under a clock that is moved by hand; two tiers on one directory take turns."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now, self.start = 1e9, 0
        self.model: dict[Ref, tuple[int, float, bytes]] = {}
        self.evicting = False

    @initialize()
    def open(self):
        self.tiers = [DiskTier(self.folder / "d", CODEC, max_bytes=LIMIT, wall=lambda: self.now) for _ in range(2)]

    def teardown(self):
        for tier in self.tiers:
            tier.close()
        shutil.rmtree(self.folder)

    @property
    def tier(self):
        self.tiers.reverse()
        return self.tiers[0]

    def fresh(self):
        return {ref: entry for ref, entry in self.model.items() if entry[1] > self.now}

    @rule(key=KEYS, namespace=NAMESPACES, size=st.sampled_from([0, 10, 1500, 30_000]), age=st.integers(0, 3),
          ttl=st.sampled_from([0.5, 5.0, math.inf]))  # fmt: skip
    def write(self, key, namespace, size, age, ttl):
        self.start += 4000
        self._write(Ref(namespace, key), size, self.start - age * 8000, ttl)

    def _write(self, ref, size, start, ttl):
        value = incompressible((ref, start), size)
        expires = self.now + ttl
        header = Header(ref=ref, start=start, created=self.now, fresh_until=expires, expires=expires)
        live, encoded = CODEC.hold(value)
        taken = self.tier.write([Row(header, live, lambda: CODEC.seal(header, live, encoded))], self.now)
        there = self.model.get(ref)
        if taken:
            self.model[ref] = (start, expires, value)
        else:
            assert there is not None
            assert there[0] > start

    @precondition(lambda self: not self.evicting)
    @rule()
    def flood(self):
        """More than the limit at once: from here on entries may be missing, but never wrong."""
        self.evicting = True
        for number in range(25):
            self.start += 4000
            self._write(Ref("default", f"flood:{number}"), 30_000, self.start, NEVER)
            self.within_the_limit()

    @rule(key=KEYS, namespace=NAMESPACES)
    def read(self, key, namespace):
        ref = Ref(namespace, key)
        sealed = self.tier.read(ref, self.now)
        there = self.fresh().get(ref)
        if sealed is not None:
            assert there is not None
            assert CODEC.open(ref, sealed).value == there[2]
        else:
            assert there is None or self.evicting

    @rule(keys=st.lists(KEYS, max_size=8))
    def read_many(self, keys):
        refs = [Ref("default", key) for key in keys]
        found = {ref: CODEC.open(ref, sealed).value for ref, sealed in self.tier.read_many(refs, self.now).items()}
        expected = {ref: entry[2] for ref, entry in self.fresh().items() if ref in refs}
        assert found.items() <= expected.items()
        assert self.evicting or found == expected

    @rule(key=KEYS, namespace=NAMESPACES)
    def remove(self, key, namespace):
        removed = self.tier.remove([Ref(namespace, key)])
        assert removed <= (self.model.pop(Ref(namespace, key), None) is not None)

    @rule(pattern=st.sampled_from(["a:*", "*:1", "*", "ü:?", "long*x", "b:[0-3]", "none*"]), namespace=NAMESPACES)
    def remove_matching(self, pattern, namespace):
        matches = Pattern.parse(pattern)
        gone = [ref for ref in self.model if ref.namespace == namespace and matches.matches(ref.key)]
        removed = self.tier.remove_matching(namespace, matches)
        for ref in gone:
            del self.model[ref]
        assert removed <= len(gone)

    @rule(seconds=st.sampled_from([0.3, 2.0, 10.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def maintain(self):
        self.tier.maintain(self.now)
        for ref in self.model.keys() - self.fresh().keys():
            del self.model[ref]

    @rule()
    def reopen(self):
        self.tiers[0].close()
        self.tiers[0] = DiskTier(self.folder / "d", CODEC, max_bytes=LIMIT, wall=lambda: self.now)

    @rule(pattern=st.sampled_from([None, "a:*", "*"]), namespace=st.sampled_from([None, "default", "other"]))
    def list_and_count(self, pattern, namespace):
        matches = None if pattern is None else Pattern.parse(pattern)
        listed = {one.header.ref: one.header.expires for one in self.tier.scan(namespace, matches)}
        wanted = {ref: entry[1] for ref, entry in self.fresh().items()
                  if namespace in (None, ref.namespace) and (matches is None or matches.matches(ref.key))}  # fmt: skip
        fresh = {ref: expires for ref, expires in listed.items() if expires > self.now}
        assert fresh.items() <= wanted.items()
        assert self.evicting or fresh == wanted
        assert self.tier.count(namespace, matches, self.now) == len(fresh)

    @invariant()
    def within_the_limit(self):
        if hasattr(self, "tiers"):
            assert self.tiers[0].usage().size_bytes <= 1.1 * LIMIT


TestDiskModel = DiskModel.TestCase
TestDiskModel.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_what_was_removed_is_told_though_somebody_else_writes_before_all_is(open_tier, put, fake_clock, monkeypatch):
    tier = open_tier()
    for number in range(300):
        put(tier, f"key:{number}", ttl=10)
    fake_clock.advance(20)
    batch, calls = tier._removing.batch, []

    def batching(work, patience=None):
        calls.append(work)
        if len(calls) == 2:
            raise tier._database.unavailable(Fault.LOCKED)
        return batch(work, patience)

    monkeypatch.setattr(tier._removing, "batch", batching)
    told = [tier.maintain(fake_clock.wall())["expired"] for _ in range(2)]
    assert sum(told) == 300
    assert all(told)
