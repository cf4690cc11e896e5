"""Leases on a real server: one owner at a time, whoever waits is woken; without the server a machine has its own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest
import redis

from scoutcache.channels import remote_leases
from scoutcache.channels.lease_keeper import RENEWED_EVERY
from scoutcache.channels.lease_plans import LIFE, LeasePlans
from scoutcache.channels.leases import Leases
from scoutcache.channels.listener import Listener
from scoutcache.channels.members import Membership, Process
from scoutcache.channels.remote_leases import LOOK, RemoteLeases
from scoutcache.channels.stream import StreamChannel
from scoutcache.config.sections import RedisSection
from scoutcache.entry import Ref
from scoutcache.errors import FlightCycle, TierUnavailable
from scoutcache.server.breaker import Breaker
from scoutcache.server.cluster import AsyncCluster, Cluster
from scoutcache.server.coalescing import Coalescing
from scoutcache.server.commands import aperform, perform
from scoutcache.server.connecting import Source
from scoutcache.server.direct import Direct
from scoutcache.server.layout import Layout
from scoutcache.server.nodes import Breakers

A, B, C = (Ref("default", key) for key in "abc")
SOON = 10.0


class Machine:
    """What a process of another machine has of the server, in this process."""

    def __init__(self, section, directory):
        self.source = Source(section)
        self.breaker = Breaker("the server", time.monotonic, lambda _: None)
        breakers = Breakers(self.breaker, lambda name: Breaker(name, time.monotonic, lambda _: None))
        self.layout = Layout(section.key_prefix, sharded=self.source.is_cluster)
        cluster = self.source.is_cluster
        self.conduit = Cluster(self.source, breakers) if cluster else Direct(self.source, self.breaker)
        self._make = lambda: AsyncCluster(self.source, breakers) if cluster else Coalescing(self.source, self.breaker)
        self._loops = {}
        self.channel = StreamChannel(self.layout, self.conduit, most=1000, now=time.monotonic)
        perform(self.channel.open_plan(), self.conduit)
        plans = LeasePlans(self.layout, self.channel)
        self.here = Leases(directory)
        self.leases = RemoteLeases(plans, self.conduit, self.on_loop, self.here, directory.parent.name)
        self.breaker.on_open.append(self.leases.server_changed)
        self.breaker.on_close.append(self.leases.server_changed)
        end, invalidated = self.channel.end, self.channel.invalidated
        member = Membership(self.layout, lambda: Process(1, "a"), end, invalidated, time.monotonic)
        self.listener = Listener(
            self.source, self.channel, self.breaker, heard=lambda: None, released=self.leases.released,
            turn=lambda _: None, trouble=lambda _: None, member=member,
        )  # fmt: skip
        self.listener.start()

    async def on_loop(self, plan):
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._loops[loop] = self._make()
        return await aperform(plan, self._loops[loop])

    def close(self):
        self.leases.close()
        self.listener.close()
        self.conduit.close()


@pytest.fixture
def machines(tmp_path, redis_url):
    """Two machines with one server."""
    yield from started(RedisSection(url=redis_url), tmp_path)


@pytest.fixture
def clustered(tmp_path, redis_cluster):
    redis_cluster.flush()
    nodes = [f"{host}:{port}" for host, port in redis_cluster.nodes]
    yield from started(RedisSection(nodes=nodes), tmp_path)


@pytest.fixture
def neighbours(tmp_path, redis_url):
    """Two processes of one machine."""
    yield from started(RedisSection(url=redis_url), tmp_path, "aa")


def started(section, tmp_path, names="ab"):
    both = [Machine(section, tmp_path / name / "leases") for name in names]
    yield both
    for machine in both:
        machine.close()


@pytest.fixture
def server(redis_server):
    with redis.Redis(port=redis_server.port) as client:
        yield client


def keys_of(server):
    return server.keys("*lease:*")


def keys_in(server_of, name):
    return [str(field) for field in server_of.cli("HKEYS", name)]


def resumed_and_known(machines, server_of, until):
    """The frozen server goes on, and the machines know that it does."""
    until(lambda: all(machine.breaker.fault for machine in machines), "they know that it is away")
    server_of.resume()
    until(lambda: not any(machine.breaker.fault for machine in machines), "they know that it is back")


def in_thread(work):
    """Begin *work* in a thread; what is returned gives its result, or raises its error."""
    outcome = []

    def run():
        try:
            outcome.append((work(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result(seconds=SOON):
        thread.join(seconds)
        assert not thread.is_alive(), "it hangs"
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    return result


def waits(machine, ref, server, until, **how):
    """Begin to wait in a thread; it does wait when this returns."""
    result = in_thread(lambda: machine.leases.wait(ref, **how))
    until(lambda: server.hexists(machine.layout.lease(ref), "q"), "somebody waits")
    return result


def test_one_owner_at_a_time_and_nothing_is_left(machines, server, until):
    one, other = machines
    lease = one.leases.try_take(A)
    assert lease.held
    assert lease.ref == A
    assert len(one.leases) == 1
    assert one.leases.try_take(A) is None
    assert other.leases.try_take(A) is None
    assert other.leases.try_take(Ref("other", "a")).held, "a namespace is part of the key"
    lease.release()
    lease.release()
    assert not lease.held
    until(lambda: (taken := other.leases.try_take(A)) is not None and taken.held, "it is free")
    other.close()
    assert keys_of(server) == []


def test_on_a_cluster_too(clustered, until):
    one, other = clustered
    lease = one.leases.try_take(A)
    assert other.leases.try_take(A) is None
    result = in_thread(lambda: other.leases.wait(A))
    until(lambda: b"q" in perform_hgetall(one, A), "somebody waits")
    lease.release()
    assert result().held

    async def main():
        assert await one.leases.try_take_async(A) is None
        assert (await other.leases.try_take_async(B)).held
        for machine in clustered:
            for conduit in machine._loops.values():
                await conduit.close()

    asyncio.run(main())


def perform_hgetall(machine, ref):
    from scoutcache.server.commands import replies

    (answer,) = perform(replies(("HGETALL", machine.layout.lease(ref))), machine.conduit)
    return list(answer)


def test_one_that_was_just_released_can_be_taken_at_once_by_the_same_process(machines):
    one, _ = machines
    for _ in range(100):
        lease = one.leases.try_take(A)
        assert lease is not None
        lease.release()


def test_a_waiter_of_another_machine_is_woken(machines, server, until):
    one, other = machines
    took = []
    for _ in range(10):
        lease = one.leases.wait(A)
        result = waits(other, A, server, until)
        began = time.monotonic()
        lease.release()
        taken = result()
        took.append(time.monotonic() - began)
        assert taken.held
        taken.release()
        until(lambda: not keys_of(server), "it is free")
    assert sorted(took)[5] < 0.1, "half a second is how long it would take without a wake"


def test_nobody_is_woken_for_what_nobody_waits_for(machines, server, until):
    one, _ = machines
    for _ in range(5):
        one.leases.try_take(A).release()
        until(lambda: not keys_of(server), "it is free")
    assert server.xlen(one.layout.wakes) == 0


def test_a_wake_that_is_lost_costs_half_a_second(machines, server, until):
    one, other = machines
    lease = one.leases.try_take(A)
    other.leases.released = lambda _: None
    other.listener._released = lambda _: None
    result = waits(other, A, server, until)
    lease.release()
    assert result(2.0).held


def test_event_loops_take_and_wait_and_are_not_blocked(machines, server, until):
    one, other = machines

    async def main():
        lease = await one.leases.try_take_async(A)
        assert lease.held
        assert await other.leases.try_take_async(A) is None
        assert await other.leases.wait_async(A, timeout=0.01) is None
        waiting = asyncio.ensure_future(other.leases.wait_async(A))
        while not await asyncio.to_thread(server.hexists, one.layout.lease(A), "q"):
            await asyncio.sleep(0)
        assert not waiting.done()
        lease.release()
        taken = await asyncio.wait_for(waiting, SOON)
        assert taken.held
        taken.release()
        for machine in machines:
            for conduit in machine._loops.values():
                await conduit.close()

    asyncio.run(main())
    until(lambda: not keys_of(server), "nothing is left")


def test_a_cancelled_taker_or_waiter_leaves_nothing(machines, server, until):
    one, other = machines
    b = one.leases.try_take(B)
    a = other.leases.try_take(A)

    async def main():
        for _ in range(50):
            task = asyncio.ensure_future(one.leases.try_take_async(C))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        waiting = asyncio.ensure_future(one.leases.wait_async(A, [b]))
        while not any(field.startswith(b"w:") for field in server.hkeys(one.layout.lease(B))):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        for conduit in one._loops.values():
            await conduit.close()

    asyncio.run(main())
    until(lambda: server.hkeys(one.layout.lease(B)) in ([b"o"], [b"o", b"n"], [b"n", b"o"]), "the note is gone")
    until(lambda: not server.exists(one.layout.lease(C)), "what was taken for nobody is free", seconds=2 * LIFE)
    a.release(), b.release()


def test_what_is_held_is_renewed_for_as_long_as_it_is_held(machines, server, until):
    one, other = machines
    one.leases.try_take(A)
    name = one.layout.lease(A)
    until(lambda: int(server.hget(name, "n") or 0) >= 3, "it was renewed three times", seconds=5 * RENEWED_EVERY)
    assert server.pttl(name) > 1000 * (LIFE - 2 * RENEWED_EVERY)
    assert other.leases.try_take(A) is None


def test_a_timeout_gives_up_and_leaves_the_owner_alone(machines):
    one, other = machines
    lease = one.leases.try_take(A)
    began = time.monotonic()
    assert other.leases.wait(A, timeout=0.1) is None
    assert time.monotonic() - began >= 0.1
    assert other.leases.wait(A, timeout=0) is None
    assert lease.held


def test_an_owner_that_lost_its_lease_takes_nothing_from_the_next(machines, server, until):
    """As one that was paused for longer than its lease lasts."""
    one, other = machines
    lease = one.leases.try_take(A)
    server.delete(one.layout.lease(A))
    taken = other.leases.try_take(A)
    assert taken.held
    lease.release()
    one.leases.close()
    assert server.hget(one.layout.lease(A), "o") == taken.token
    until(lambda: server.hget(one.layout.lease(A), "n"), "the new one is renewed")


def test_an_owner_notices_that_another_has_its_lease(machines, server, until):
    one, other = machines
    lease = one.leases.try_take(A)
    server.delete(one.layout.lease(A))
    assert other.leases.try_take(A).held
    until(lambda: not lease.stands, "it knows")
    assert lease.held, "the machine's own lease still keeps its neighbours out"
    lease.release()
    assert len(one.leases) == 0
    assert server.exists(one.layout.lease(A)), "it is another one's"


def test_a_lease_that_the_server_lost_is_made_anew_with_its_notes(machines, server, until):
    one, other = machines
    a, b = one.leases.try_take(A), other.leases.try_take(B)
    with one.leases.waiting(B, [a]):
        server.flushall()
        until(lambda: server.exists(one.layout.lease(A), one.layout.lease(B)) == 2, "both are there again")
        assert other.leases.try_take(A) is None
        with pytest.raises(FlightCycle, match=r"'b' asks for 'a'"):
            other.leases.wait(A, [b], timeout=SOON)


def leads_and_asks(machine, own, wanted):
    """Compute *own*, and ask for *wanted* meanwhile; what came of it."""
    try:
        machine.leases.wait(wanted, [own]).release()
    except FlightCycle as error:
        return str(error)
    else:
        return "has it"
    finally:
        own.release()


async def leads_and_asks_on_a_loop(machine, own, wanted):
    try:
        (await machine.leases.wait_async(wanted, [own])).release()
    except FlightCycle as error:
        return str(error)
    else:
        return "has it"
    finally:
        own.release()
        for conduit in machine._loops.values():
            await conduit.close()


@pytest.mark.parametrize("on_a_loop", [False, True])
def test_a_circle_of_two_machines_is_refused_once(machines, server, until, on_a_loop):
    one, other = machines
    a, b = one.leases.try_take(A), other.leases.try_take(B)
    first = in_thread(lambda: leads_and_asks(one, a, B))
    if on_a_loop:
        second = in_thread(lambda: asyncio.run(leads_and_asks_on_a_loop(other, b, A)))
    else:
        second = in_thread(lambda: leads_and_asks(other, b, A))
    refused, has_it = sorted([first(), second()], key=lambda outcome: outcome == "has it")
    assert "'a' asks for 'b'" in refused or "'b' asks for 'a'" in refused
    assert has_it == "has it", "the one of them that is not refused goes on"
    until(lambda: not keys_of(server), "nothing is left")


def test_what_one_leads_oneself_and_what_leads_back_within_a_process_is_a_circle(machines):
    one, _ = machines
    a, b, c = (one.leases.try_take(ref) for ref in (A, B, C))
    with pytest.raises(FlightCycle, match="'a'"):
        one.leases.wait(A, [a])
    with one.leases.waiting(A, [b]), pytest.raises(FlightCycle, match=r"'c' asks for 'b', .* waits for 'a'"):
        one.leases.wait(B, [a, c])
    assert one.leases.wait(B, [a, c], timeout=0.01) is None, "nobody waits for a any more"


def test_the_notes_of_the_dead_close_no_circle(machines, server, until):
    one, other = machines
    a = one.leases.try_take(A)
    with redis.Redis(port=one.source.connection_kind(asynchronous=False, timeout=1)[1]["port"]) as client:
        client.hset(one.layout.lease(B), mapping={"o": "dead", "w:1": one.layout.lease(A)})
        client.pexpire(one.layout.lease(B), 1500)
    assert one.leases.wait(B, [a], timeout=SOON).held
    del other, server, until


def test_a_forked_child_holds_none_of_its_parents_leases(machines, in_child):
    one, _ = machines
    lease = one.leases.try_take(A)

    def work():
        assert not lease.held
        assert len(one.leases) == 0
        lease.release()
        assert one.leases.try_take(A) is None
        taken = one.leases.try_take(B)
        assert taken.held
        one.leases.close()

    assert in_child(work) == 0
    assert lease.held
    assert one.leases.try_take(B).held, "the child let it go"


class TestWithoutTheServer:
    @pytest.fixture
    def server_of(self, start_redis):
        return start_redis()

    @pytest.fixture
    def pair(self, tmp_path, server_of):
        """Two processes of one machine."""
        yield from started(RedisSection(url=server_of.url), tmp_path, "aa")

    @pytest.fixture
    def apart(self, tmp_path, server_of):
        """Two machines."""
        yield from started(RedisSection(url=server_of.url), tmp_path)

    def test_the_machines_own_lease_counts(self, pair, server_of):
        one, other = pair
        server_of.kill()
        lease = one.leases.try_take(A)
        assert lease.held
        assert other.leases.try_take(A) is None
        assert len(one.leases) == 1
        lease.release()
        assert other.leases.try_take(A).held

    @pytest.mark.parametrize("go", ["kill", "pause"])
    def test_who_waits_when_it_goes_waits_for_the_owner_on_this_machine(self, pair, server_of, until, go):
        one, other = pair
        lease = one.leases.try_take(A)
        result = in_thread(lambda: other.leases.wait(A, timeout=SOON))
        getattr(server_of, go)()
        until(lambda: one.breaker.fault and other.breaker.fault, "both know")
        with pytest.raises(AssertionError, match="hangs"):
            result(2 * LOOK)
        lease.release()
        assert result(2 * LOOK).held
        server_of.resume()

    @pytest.mark.parametrize("go", ["kill", "pause"])
    def test_who_waits_for_an_owner_elsewhere_goes_on_at_once(self, apart, server_of, until, go):
        one, other = apart
        one.leases.try_take(A)
        result = in_thread(lambda: other.leases.wait(A))
        until(lambda: server_of.cli("HEXISTS", one.layout.lease(A), "q"), "somebody waits")
        getattr(server_of, go)()
        assert result(LOOK + 0.25 + 0.5).held, "a look, the server's timeout, and time to spare"
        server_of.resume()

    def test_on_an_event_loop_too(self, apart, server_of):
        one, other = apart
        one.leases.try_take(A)

        async def main():
            waiting = asyncio.ensure_future(other.leases.wait_async(A))
            while not server_of.cli("HEXISTS", one.layout.lease(A), "q"):
                await asyncio.sleep(0.01)
            server_of.pause()
            return await asyncio.wait_for(waiting, LOOK + 0.25 + 0.5)

        assert asyncio.run(main()).held
        server_of.resume()

    def test_when_it_is_back_leases_are_there_again(self, apart, server_of, until):
        one, other = apart
        lease = one.leases.try_take(A)
        server_of.kill()
        until(lambda: one.breaker.fault, "it has gone")
        later = one.leases.try_take(B)
        server_of.restart()
        until(lambda: server_of.cli("EXISTS", *map(one.layout.lease, (A, B))) == 2, "they are renewed")
        assert other.leases.try_take(A) is None
        assert other.leases.try_take(B) is None, "it was taken while the server was away"
        lease.release(), later.release()
        for ref in (A, B):
            until(lambda ref=ref: (taken := other.leases.try_take(ref)) is not None and taken.held, "it is free")

    def frozen_in_the_middle(self, one, server_of, until):
        """Take the lease of A of a server that is frozen when it was just sent the request, and let it go."""
        one.leases.try_take(C).release()  # there is a connection, and the server knows the script
        until(lambda: not server_of.cli("EXISTS", one.layout.lease(C)), "the keeper has ended with it")
        server_of.pause()
        lease = one.leases.try_take(A)
        assert lease.held
        lease.release()

    async def frozen_in_the_middle_on_a_loop(self, one, server_of, until):
        (await one.leases.try_take_async(C)).release()
        until(lambda: not server_of.cli("EXISTS", one.layout.lease(C)), "the keeper has ended with it")
        server_of.pause()
        lease = await one.leases.try_take_async(A)
        assert lease.held
        lease.release()
        for conduit in one._loops.values():
            await conduit.close()

    @pytest.mark.parametrize("on_a_loop", [False, True])
    def test_a_request_that_is_carried_out_when_it_is_back_leaves_no_lease(self, apart, server_of, until, on_a_loop):
        one, other = apart
        if on_a_loop:
            asyncio.run(self.frozen_in_the_middle_on_a_loop(one, server_of, until))
        else:
            self.frozen_in_the_middle(one, server_of, until)
        resumed_and_known(apart, server_of, until)
        began = time.monotonic()
        assert other.leases.wait(A, timeout=SOON).held
        assert time.monotonic() - began < LIFE / 3, "it would last so long"

    def test_what_could_not_be_let_go_is_when_it_is_back(self, apart, server_of, until):
        one, other = apart
        lease = one.leases.try_take(A)
        result = in_thread(lambda: other.leases.wait(A, timeout=SOON))
        until(lambda: server_of.cli("HEXISTS", one.layout.lease(A), "q"), "somebody waits")
        server_of.pause()
        lease.release()
        result().release()
        resumed_and_known(apart, server_of, until)
        until(lambda: not server_of.cli("EXISTS", one.layout.lease(A)), "it is free", seconds=LIFE / 3)

    def test_a_request_that_is_carried_out_after_it_was_taken_back(self, apart, server_of, until):
        """As if the two came by connections of which the older one was slower."""
        one, _ = apart
        tokens, take = [], one.leases._plans.take
        one.leases._plans.take = lambda name, token, **how: tokens.append(token) or take(name, token, **how)
        self.frozen_in_the_middle(one, server_of, until)
        resumed_and_known(apart, server_of, until)
        until(lambda: not server_of.cli("EXISTS", one.layout.lease(A)), "it is free", seconds=LIFE / 3)
        perform(take(one.leases._plans.name(A), tokens[-1], waits=False), one.conduit)
        until(lambda: not server_of.cli("EXISTS", one.layout.lease(A)), "it is free again", seconds=LIFE / 2)

    def test_a_note_that_could_not_be_wiped_is_when_it_is_back(self, apart, server_of, until):
        """Or who asks for it later would see a circle where none is."""
        one, _ = apart
        lease = one.leases.try_take(A)
        with one.leases.waiting(B, [lease]):
            assert len(server_of.cli("HKEYS", one.layout.lease(A))) > 1
            server_of.pause()
            until(lambda: one.breaker.fault, "it is away")
        resumed_and_known([one], server_of, until)
        until(lambda: lease.beats and not [1 for field in keys_in(server_of, one.layout.lease(A)) if "w:" in field],
              "it waits for nothing")  # fmt: skip
        assert lease.stands

    def test_a_server_that_is_frozen_blocks_a_release_for_nobody(self, pair, server_of):
        one, _ = pair
        lease = one.leases.try_take(A)
        server_of.pause()
        try:
            began = time.monotonic()
            lease.release()
            assert time.monotonic() - began < 0.25, "which is the server's timeout"
        finally:
            server_of.resume()

    def test_no_thread_to_renew_with_is_no_server(self, pair, monkeypatch):
        one, _ = pair

        def none(_):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", none)
        assert one.leases.try_take(A).held
        assert one.leases._held == {}
        with pytest.raises(TierUnavailable, match="leases can't be renewed"):
            one.leases._keeper.begin()


def killed_with(machine, ref):
    """A process like *machine* that holds the lease of *ref*; what is returned kills it."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        try:
            if machine.leases.try_take(ref).held:
                os.write(tell, b"x")
            signal.pause()
        finally:
            os._exit(1)
    assert os.read(ready, 1) == b"x"
    os.close(ready), os.close(tell)

    def kill():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    return kill


def test_a_killed_owner_is_succeeded_when_its_lease_has_run_out(machines, server, until):
    one, other = machines
    kill = killed_with(one, A)
    result = waits(other, A, server, until)
    kill()
    began = time.monotonic()
    assert result().held
    assert time.monotonic() - began <= LIFE + 1


def test_a_killed_owner_is_succeeded_at_once_on_its_own_machine(machines, server, until):
    one, other = machines
    kill = killed_with(one, A)
    elsewhere = waits(other, A, server, until)
    result = in_thread(lambda: one.leases.wait(A, timeout=SOON))
    kill()
    began = time.monotonic()
    lease = result()
    assert lease.held
    assert time.monotonic() - began < LIFE / 3
    lease.release()
    assert elsewhere(LIFE / 3).held, "who waits elsewhere is woken by the successor"


def test_of_one_machine_one_process_asks_the_server(neighbours, server, until):
    one, other = neighbours
    lease = one.leases.try_take(A)
    assert other.leases.try_take(A) is None
    result = in_thread(lambda: other.leases.wait(A, timeout=SOON))
    with pytest.raises(AssertionError, match="hangs"):
        result(0.2)
    assert not server.hexists(one.layout.lease(A), "q"), "nobody waits at the server"
    lease.release()
    taken = result()
    assert server.hget(one.layout.lease(A), "o") == taken.token
    taken.release()
    until(lambda: not keys_of(server), "it is free")


def test_who_waits_at_the_server_lets_a_neighbour_wait_and_wakes_it(tmp_path, redis_url, server, until):
    for machines in started(RedisSection(url=redis_url), tmp_path, "aab"):
        one, other, elsewhere = machines
        lease = elsewhere.leases.try_take(A)
        given_up = waits(one, A, server, until, timeout=0.3)
        result = in_thread(lambda other=other: other.leases.wait(A, timeout=SOON))
        assert given_up() is None
        lease.release()
        assert result(LIFE / 3).held


def test_a_circle_of_one_machine_is_refused_at_once(neighbours):
    one, other = neighbours
    a, b = one.leases.try_take(A), other.leases.try_take(B)
    with one.leases.waiting(B, [a]):
        began = time.monotonic()
        with pytest.raises(FlightCycle, match="'b' asks for 'a'"):
            other.leases.wait(A, [b])
        assert time.monotonic() - began < 0.5


def test_a_circle_over_a_neighbour_and_another_machine_is_refused(tmp_path, redis_url):
    """a1 waits for b on its machine, a2 for c at the server, whose owner waits for a."""
    for machines in started(RedisSection(url=redis_url), tmp_path, "aab"):
        held = [machine.leases.try_take(ref) for machine, ref in zip(machines, (A, B, C), strict=True)]
        results = [
            in_thread(lambda how=how: leads_and_asks(*how)) for how in zip(machines, held, (B, C, A), strict=True)
        ]
        said = [result() for result in results]
        assert any("neither could ever end" in line for line in said), said


def test_where_no_file_can_be_made_the_server_decides(tmp_path, redis_url, server, until):
    (tmp_path / "a").write_text("it is no folder")
    for one, other in started(RedisSection(url=redis_url), tmp_path, "aa"):
        lease = one.leases.try_take(A)
        assert lease.held
        assert not lease.here.held
        assert other.leases.try_take(A) is None, "it may be alive, whose machine it is nobody can tell"
        result = waits(other, A, server, until, timeout=SOON)
        lease.release()
        assert result().held


def test_a_batch_of_many_keys_has_not_as_many_files_open(machines, monkeypatch):
    one, other = machines
    monkeypatch.setattr(remote_leases, "FILES", 2)
    held = [one.leases.try_take(Ref("default", f"k{n}")) for n in range(4)]
    assert [lease.here.held for lease in held] == [True, True, False, False]
    assert all(lease.held for lease in held)
    assert len(one.leases) == 4
    assert [other.leases.try_take(lease.ref) for lease in held] == [None] * 4
    for lease in held:
        lease.release()
    assert len(one.leases) == 0


def test_an_interrupted_waiter_leaves_nothing_on_its_machine(machines, server, until):
    one, other = machines
    other.leases.try_take(A)

    async def main():
        waiting = asyncio.ensure_future(one.leases.wait_async(A))
        while not server.hexists(one.layout.lease(A), "q"):
            await asyncio.sleep(0.01)
        assert len(one.here) == 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        for conduit in one._loops.values():
            await conduit.close()

    asyncio.run(main())
    assert len(one.here) == 0
    one.leases._conduit = SimpleNamespace(execute=interrupted)
    for take in (one.leases.try_take, one.leases.wait):
        with pytest.raises(Interrupted):
            take(B)
    assert len(one.here) == 0


class Interrupted(BaseException):
    """As a signal handler may raise it."""


def interrupted(_):
    raise Interrupted


def test_a_lease_without_an_end_stands_for_nobody(machines, server):
    """A server may refuse to set one, and who asked may be gone when it does."""
    one, _ = machines
    server.hset(one.layout.lease(A), "o", "somebody")
    lease = one.leases.try_take(A)
    assert lease is not None
    assert 0 < server.pttl(one.layout.lease(A)) <= LIFE * 1000
    lease.release()


def test_where_a_server_refuses_an_end_no_lease_is_left(machines, server, redis_server):
    one, other = machines
    redis_server.cli("ACL", "SETUSER", "default", "-pexpire")
    try:
        here = one.leases.try_take(A)  # its machine's own alone
        here.release()
        assert not server.exists(one.layout.lease(A))
    finally:
        redis_server.cli("ACL", "SETUSER", "default", "+pexpire")
    assert other.leases.try_take(A) is not None
