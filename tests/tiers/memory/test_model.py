"""The memory tier is a dict that may lose entries to its limits, and only to those."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from scoutcache.entry import MISSING, NAMESPACE_MARK, NEVER, Live, Mark, Ref, Row
from scoutcache.eviction import STRATEGIES
from scoutcache.patterns import Pattern

KEYS = st.sampled_from(["llm:a", "llm:b", "job:a", "plain", "é"])
SPACES = st.sampled_from(["default", "tenant"])
TAGS = st.lists(st.sampled_from(["x", "y"]), unique=True, max_size=2)


class Model(RuleBasedStateMachine):
    """The tier against a dict that may lose entries to eviction, but only to that."""

    strategy = "adaptive"
    make_world = None

    @initialize(max_entries=st.integers(1, 6), max_bytes=st.integers(50, 300))
    def begin(self, max_entries, max_bytes):
        self.world = type(self).make_world(strategy=self.strategy, max_entries=max_entries, max_bytes=max_bytes)
        self.model, self.start, self.late, self.hits = {}, 0, 0, 0

    def forget_evicted(self):
        """What the tier says left, the dict may no longer expect."""
        for ref, _, _ in self.world.evicted:
            del self.model[ref]
        self.world.evicted.clear()

    def fresh(self, ref):
        entry = self.model.get(ref)
        return entry if entry is not None and entry["dies"] > self.world.clock.monotonic() + 1e-4 else None

    @rule(key=KEYS, space=SPACES, size=st.integers(0, 120), ttl=st.sampled_from([0.5, 2.0, 60.0, NEVER]), tags=TAGS)
    def write(self, key, space, size, ttl, tags):
        self.start += 1
        ref, value = Ref(space, key), f"value {self.start}"
        marks = tuple(Mark(tag, 1) for tag in tags)
        life = None if ttl == NEVER else ttl
        row = self.world.make_row(key, ttl=life, start=self.start, marks=marks, namespace=space)
        taken = self.world.tier.write([Row(row.header, Live(value, None, size), row.seal)], self.world.clock.wall())
        assert taken == (size <= self.world.tier.max_bytes)
        self.model.pop(ref, None)
        if taken:
            self.model[ref] = {"value": value, "dies": self.world.clock.monotonic() + ttl, "tags": tags, "size": size}
        self.forget_evicted()
        assert not taken or ref in self.model, "what was just written was not evicted"

    @rule(key=KEYS, space=SPACES)
    def write_late(self, key, space):
        self.late -= 1
        ref = Ref(space, key)
        taken = self.world.put(key, "late", start=self.late, namespace=space)
        if self.fresh(ref):
            assert taken == 0
        elif taken:
            row = self.world.tier.rows([ref])[ref]
            dies = self.world.clock.monotonic() + 60
            self.model[ref] = {"value": "late", "dies": dies, "tags": [], "size": row.live.size}
        else:
            self.model.pop(ref, None)
        self.forget_evicted()

    @rule(key=KEYS, space=SPACES, peek=st.booleans())
    def read(self, key, space, peek):
        found = self.world.peek(space, key) if peek else self.world.get(key, MISSING, space)
        entry = self.fresh(Ref(space, key))
        assert found == (MISSING if entry is None else entry["value"])
        self.hits += found is not MISSING

    @rule(key=KEYS, space=SPACES)
    def remove(self, key, space):
        assert self.world.tier.remove([Ref(space, key)]) == (self.model.pop(Ref(space, key), None) is not None)

    @rule(text=st.sampled_from(["llm:*", "*", "*:a", "plain", "zzz*"]), space=SPACES)
    def remove_matching(self, text, space):
        pattern = Pattern.parse(text)
        gone = [ref for ref in self.model if ref.namespace == space and pattern.matches(ref.key)]
        assert self.world.tier.remove_matching(space, pattern) == len(gone)
        for ref in gone:
            del self.model[ref]

    @rule(tag=st.sampled_from(["x", "y", NAMESPACE_MARK]), space=SPACES)
    def drop_marked(self, tag, space):
        here = [ref for ref in self.model if ref.namespace == space]
        gone = [ref for ref in here if tag == NAMESPACE_MARK or tag in self.model[ref]["tags"]]
        assert self.world.tier.drop_marked(space, [tag]) == len(gone)
        for ref in gone:
            del self.model[ref]

    @rule(space=st.none() | SPACES)
    def clear(self, space):
        gone = [ref for ref in self.model if space in {None, ref.namespace}]
        assert self.world.tier.clear(space) == len(gone)
        for ref in gone:
            del self.model[ref]

    @rule(max_bytes=st.none() | st.integers(0, 100))
    def prune(self, max_bytes):
        would = self.world.tier.prune(self.world.clock.wall(), max_bytes=max_bytes, dry_run=True)
        assert self.world.tier.prune(self.world.clock.wall(), max_bytes=max_bytes) == would
        assert len(self.world.evicted) == sum(would.values())
        self.forget_evicted()
        assert max_bytes is None or self.world.tier.usage().size_bytes <= max_bytes

    @rule(seconds=st.sampled_from([0.25, 1.0, 59.0, 100.0]), tick=st.sampled_from(["no", "yes", "never again"]))
    def wait(self, seconds, tick):
        self.world.tier.tick(None)  # nobody ticked while time went by
        self.world.clock.advance(seconds)
        if tick == "yes":
            self.world.tier.tick(self.world.clock.monotonic())

    @rule(seconds=st.sampled_from([-1e5, -1.0, 1.0, 1e5]))
    def set_the_wall_clock(self, seconds):
        self.world.clock.step_wall(seconds)

    @rule()
    def harvest(self):
        assert sum(self.world.tier.harvest().hits.values()) == self.hits
        self.hits = 0

    @invariant()
    def limits_hold_and_nothing_else_is_lost(self):
        usage = self.world.tier.usage()
        assert usage.entries <= usage.max_entries
        assert usage.size_bytes <= usage.max_bytes
        listed = {item.header.ref: item.size for item in self.world.tier.scan(None)}
        assert listed == {ref: entry["size"] for ref, entry in self.model.items()}
        assert (usage.entries, usage.size_bytes) == (len(listed), sum(listed.values()))


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_tier_is_a_dict_that_loses_entries_to_its_limits_only(make_world, fake_clock, strategy):
    machine = type("Machine", (Model,), {"strategy": strategy, "make_world": staticmethod(make_world)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
