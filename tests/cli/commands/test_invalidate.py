"""What ``invalidate`` can name besides patterns and tags, what it can do, and whom it waits for."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from scoutcache import Cache


def body(ran):
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def left(cli, *more):
    return cli("keys", "-q", "--sort", "key", *more).out.split()


@pytest.fixture
def stale(directory):
    """Entries that may be served stale: ``s:1`` (tag t), ``s:2``, and ``s:3``, which depends on ``s:1``."""
    with Cache(directory=directory) as cache:
        cache.set("s:1", 1, ttl="1h", stale_ttl="1h", tags=["t"])
        cache.set("s:2", 2, ttl="1h", stale_ttl="1h")
        cache.set("s:3", 3, ttl="1h", stale_ttl="1h", depends_on=["s:1"])


class TestActions:
    @pytest.mark.parametrize("action", ["mark-stale", "refresh"])
    @pytest.mark.parametrize(
        ("named", "fresh"),
        [
            (("s:2",), ["s:1", "s:3"]),
            (("s:*", "--no-cascade"), []),
            (("--tag", "t", "--no-cascade"), ["s:2", "s:3"]),
            (("--tag", "t"), ["s:2"]),
            (("--depends-on", "s:1"), ["s:1", "s:2"]),
            (("s:*", "--tag", "t", "--match", "all", "--no-cascade"), ["s:2", "s:3"]),
        ],
    )
    def test_marked_stale_is_fresh_no_more_and_still_there(self, action, named, fresh, stale, directory, cli):
        body(cli("invalidate", *named, "--action", action, "--json"))
        assert left(cli, "s:*") == fresh
        with Cache(directory=directory) as cache:
            assert all(cache.get_entry(f"s:{number}") is not None for number in (1, 2, 3))

    def test_by_keys_from_a_file(self, stale, cli, workplace):
        (workplace / "list").write_text("s:1\ns:2\n")
        body(cli("invalidate", "--keys-from", "list", "--action", "mark-stale", "--no-cascade", "--json"))
        assert left(cli, "s:*") == ["s:3"]


class TestEvents:
    RULES = """
        [[rules]]
        name = "users"
        event_types = ["users.changed"]
        target_pattern = "llm:*"
        [[rules]]
        name = "one"
        event_types = ["user.changed"]
        target_pattern = "llm:{id}"
    """

    @pytest.fixture(autouse=True)
    def rules(self, directory, workplace):
        (workplace / "scoutcache.toml").write_text(self.RULES)

    def test_an_event_has_its_rules_run(self, cli):
        assert body(cli("invalidate", "--event", "users.changed", "--json"))["invalidated"] == 2
        assert left(cli) == ["job:1", "job:2"]

    def test_an_event_and_a_pattern_unite(self, cli):
        cli("invalidate", "job:2", "--event", "users.changed")
        assert left(cli) == ["job:1"]

    def test_a_dry_run_counts_what_it_would_hit(self, cli):
        assert body(cli("invalidate", "--event", "users.changed", "--dry-run", "--json"))["matched"] == 2
        assert len(left(cli)) == 4

    def test_more_than_allowed_is_refused(self, cli):
        ran = cli("invalidate", "--event", "users.changed", "--max", "1")
        assert (ran.code, ran.out) == (1, "")
        assert len(left(cli)) == 4

    def test_an_event_nobody_listens_to_hits_nothing(self, cli):
        assert body(cli("invalidate", "--event", "nobody.listens", "--json"))["matched"] == 0
        assert len(left(cli)) == 4

    @pytest.mark.parametrize("more", [(), ("--dry-run",)])
    def test_an_event_nobody_listens_to_is_told(self, more, cli):
        assert cli("invalidate", "--event", "nobody.listens", *more).err == "no rule listens to nobody.listens\n"
        assert "listens" not in cli("invalidate", "--event", "users.changed", *more).err

    def test_who_names_nothing_is_told_of_events_too(self, cli):
        assert "--event" in cli("invalidate").err

    def test_an_event_that_needs_a_field_is_refused_and_nothing_is_touched(self, cli):
        ran = cli("invalidate", "llm:*", "--event", "user.changed")
        assert (ran.code, ran.out) == (2, "")
        assert "id" in ran.err
        assert len(left(cli)) == 4

    def test_it_does_not_go_with_match_all(self, cli):
        assert cli("invalidate", "llm:*", "--event", "users.changed", "--match", "all").code == 2


class TestNaming:
    def test_dependents_that_match_as_well(self, directory, cli):
        with Cache(directory=directory) as cache:
            cache.set("llm:c", "depends too", depends_on=["job:1"])
        found = body(cli("invalidate", "llm:*", "--depends-on", "job:1", "--match", "all", "--json"))
        assert (found["matched"], found["sample"] or ["llm:c"]) == (1, ["llm:c"])
        assert left(cli) == ["job:1", "job:2", "llm:a", "llm:b"]

    def test_nothing_that_fits_everything_is_nothing(self, directory, cli):
        found = body(cli("invalidate", "llm:*", "--depends-on", "job:1", "--match", "all", "--json"))
        assert (found["matched"], found["invalidated"]) == (0, 0)

    def test_thousands_of_keys_go_in_pieces(self, directory, cli):
        keys = [f"many:{number}" for number in range(2500)]
        with Cache(directory=directory) as cache:
            cache.set_many(dict.fromkeys(keys, 1))
        found = body(cli("invalidate", "--keys-from", "-", "--json", stdin="\0".join(keys)))
        assert (found["matched"], found["by_tier"]["disk"], len(found["sample"]) <= 20) == (2500, 2500, True)
        assert left(cli, "many:*") == []

    def test_lines_may_end_as_on_windows(self, directory, cli, workplace):
        (workplace / "list").write_bytes(b"\xef\xbb\xbfllm:a\r\nllm:b\r\n")
        assert body(cli("invalidate", "--keys-from", "list", "--json"))["invalidated"] == 2

    def test_one_bad_key_among_good_ones_touches_nothing(self, directory, cli):
        ran = cli("invalidate", "--keys-from", "-", stdin="llm:a\nbad\x1bkey\n")
        assert (ran.code, ran.out) == (2, "")
        assert len(left(cli)) == 4

    def test_a_missing_file_of_keys_is_named(self, directory, cli):
        ran = cli("invalidate", "--keys-from", "nowhere")
        assert (ran.code, ran.err) == (2, "error: --keys-from: nowhere: No such file or directory\n")

    @pytest.mark.parametrize("most", [4, 100])
    def test_as_many_as_allowed_are_invalidated(self, most, directory, cli):
        assert body(cli("invalidate", "llm:*", "--depends-on", "job:1", "--max", str(most), "--json"))
        assert left(cli) == ["job:1"]

    def test_tags_and_dependents_are_counted_before_they_are_refused(self, directory, cli):
        ran = cli("invalidate", "--tag", "model:small", "--depends-on", "job:1", "--max", "1")
        assert (ran.code, ran.err) == (1, "error: 2 matching keys, more than --max 1; nothing was invalidated\n")
        assert len(left(cli)) == 4

    @pytest.mark.parametrize(("more", "matched"), [((), None), (("--count",), 1), (("--dry-run",), 1)])
    def test_dependents_are_not_counted_by_tier(self, more, matched, directory, cli):
        found = body(cli("invalidate", "--depends-on", "job:1", "--json", *more))
        assert (found["matched"], found["by_tier"]) == (matched, {"memory": None, "disk": None})

    @pytest.mark.parametrize("more", [(), ("--dry-run",), ("--match", "all"), ("--action", "mark-stale")])
    def test_dependents_in_a_store_that_cannot_be_asked_end_with_10(self, more, cli):
        ran = cli("invalidate", "--depends-on", "a", "--directory", "/proc/nowhere", *more)
        assert ran.code == 10, ran.out + ran.err
        assert "disk" in ran.err

    def test_a_dry_run_can_not_be_waited_for(self, directory, cli):
        assert cli("invalidate", "llm:*", "--dry-run", "--wait", "1").code == 2


LIVING = """
import sys, threading
from scoutcache import Cache
with Cache() as cache:
    cache.get("llm:a"), cache.get("llm:a"), cache.get("llm:a")
    if "stuck" in sys.argv:
        background, quiet = cache._core.background, threading.Event()
        background.turn = quiet.set
        quiet.wait()
    print("here", flush=True)
    for line in sys.stdin:
        print(cache.get(line.strip()), flush=True)
"""


@pytest.fixture
def living(directory) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a process that lives with the cache, holds ``llm:a`` in memory, and prints the values it is asked for.

    One that is "stuck" applies nothing until it is asked for something.
    """
    started: list[subprocess.Popen[str]] = []

    def start(*how: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", LIVING, *how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "here\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


class TestWait:
    def test_when_it_returns_every_process_has_applied_it(self, directory, living, cli):
        processes = [living(), living()]
        found = body(cli("invalidate", "llm:*", "--wait", "30", "--json"))
        assert (found["processes"], found["behind"]) == (2, [])
        for process in processes:
            process.stdin.write("llm:a\n")
            process.stdin.flush()
            assert process.stdout.readline() == "None\n"

    def test_one_that_does_not_apply_it_is_named_and_it_ends_with_3(self, directory, living, cli):
        stuck, _ = living("stuck"), living()
        ran = cli("invalidate", "llm:*", "--wait", "2", "--json")
        assert ran.code == 3
        found = json.loads(ran.out)
        assert (found["processes"], [one["pid"] for one in found["behind"]]) == (2, [stuck.pid])
        assert re.fullmatch(rf"warning: process {stuck.pid} \(\S+\) has not applied it after 2\.\d s\n", ran.err)
        assert left(cli) == ["job:1", "job:2"], "it is done all the same"
        stuck.stdin.write("llm:a\n")
        stuck.stdin.flush()
        assert stuck.stdout.readline() == "None\n", "and nobody is served what was there before"

    def test_one_that_was_killed_is_not_waited_for(self, directory, living, cli):
        living().kill()
        found = body(cli("invalidate", "llm:*", "--wait", "30", "--json"))
        assert found["processes"] in {0, 1}  # its lock may outlast the signal for a moment
        assert found["behind"] == []

    def test_nobody_else_there_is_nobody_to_wait_for(self, directory, cli):
        found = body(cli("invalidate", "llm:*", "--wait", "0", "--json"))
        assert (found["processes"], found["behind"]) == (0, [])

    def test_off_a_terminal_the_table_names_them_too(self, directory, living, cli):
        stuck = living("stuck")
        ran = cli("invalidate", "llm:*", "--wait", "0")
        assert ran.code == 3
        assert re.search(r"^processes +1$", ran.out, re.MULTILINE)
        assert str(stuck.pid) in ran.out

    def test_who_can_tell_nobody_says_so(self, cli):
        """Of a directory that can't be written nobody else hears; what is done is told all the same."""
        ran = cli("invalidate", "llm:*", "--wait", "1", "--json", "--directory", "/proc/nowhere")
        assert ran.code == 10
        assert json.loads(ran.out)["not_waited_for"] == "/proc/nowhere can't be written"

    @pytest.mark.parametrize("seconds", ["soon", "-1", ""])
    def test_a_wait_that_is_no_time_is_refused(self, seconds, directory, cli):
        assert cli("invalidate", "llm:*", "--wait", seconds).code == 2
        assert len(left(cli)) == 4


WAITING = """
import signal, sys
from scoutcache.__main__ import main
from scoutcache.cli import waiting
again = waiting._Here.again
def look(self, behind):
    print("waiting", file=sys.stderr, flush=True)
    waiting._Here.again = again
    return again(self, behind)
waiting._Here.again = look
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""


class TestBrokenOff:
    """A signal that comes while it waits; what it did is told all the same."""

    @pytest.fixture
    def stopped(self, directory, living):
        """A living process that applies nothing."""
        return living("stuck")

    def broken_off(self, sent, *arguments):
        """Send the command a signal while it waits."""
        command = [sys.executable, "-c", WAITING, "invalidate", *arguments, "--wait", "60"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr.readline() == "waiting\n"
                process.send_signal(sent)
                out, err = process.communicate(timeout=30)
            finally:
                process.kill()
        return process.returncode, out, err

    @pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    @pytest.mark.parametrize("named", [("llm:*",), ("--tag", "model:small")])
    def test_it_says_what_it_did_and_who_has_not_applied_it(self, named, sent, code, stopped, cli):
        ended, out, err = self.broken_off(sent, *named, "--json")
        found = json.loads(out)
        assert (ended, found["processes"], [one["pid"] for one in found["behind"]]) == (code, 1, [stopped.pid])
        who = rf"process {stopped.pid} \(\S+\)"
        told = r"warning: it was invalidated; the wait was interrupted after \d+\.\d s, and "
        assert re.fullmatch(rf"{told}{who} has not applied it\n", err)
        assert "llm:a" not in left(cli)

    def test_the_table_is_printed_too(self, stopped):
        code, out, _ = self.broken_off(signal.SIGINT, "llm:*")
        assert code == 130
        assert re.search(r"^processes +1$", out, re.MULTILINE)

    def test_one_that_comes_with_the_last_batch_ends_the_waiting_too(self, stopped, cli, monkeypatch):
        """It is caught for the removal's sake, which has nothing left to be broken off."""
        from scoutcache.cli.commands import invalidate

        performed = invalidate._performed

        def with_a_signal(*arguments, **more):
            result = performed(*arguments, **more)
            signal.raise_signal(signal.SIGINT)
            return result

        monkeypatch.setattr(invalidate, "_performed", with_a_signal)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            ran = cli("invalidate", "llm:*", "--wait", "60", "--json")
        finally:
            signal.signal(signal.SIGINT, before)
        assert (ran.code, json.loads(ran.out)["processes"]) == (130, 1)

    def test_before_anybody_was_looked_for_it_is_not_known_who(self, directory, cli, monkeypatch):
        from scoutcache.cli import waiting

        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(waiting, "members", interrupted)
        ran = cli("invalidate", "llm:*", "--wait", "60", "--json")
        assert (ran.code, json.loads(ran.out)["not_waited_for"]) == (130, "it was interrupted")
        assert ran.err.endswith("before it was known which processes have not applied it\n")


def test_a_long_scan_says_on_a_terminal_how_long_it_takes(directory, terminal, monkeypatch, capsys):
    from scoutcache.cli import state

    class Screen:
        def __init__(self):
            self.said = []

        def isatty(self):
            return True

        def write(self, text):
            self.said.append(text)
            if "counting" in text:
                heard.set()

        def flush(self):
            pass

    import threading

    heard, screen = threading.Event(), Screen()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(state, "WORKING_EVERY", 0.001)
    with state.Session().working("counting in 1,000 entries"):
        assert heard.wait(30)
    assert screen.said[-1] == "\r\x1b[K"


def test_off_a_terminal_it_says_nothing(directory, cli):
    ran = cli("invalidate", "llm:*", "--count")
    assert ran.err == ""


@pytest.mark.parametrize(
    ("given", "remedy"), [((), "pass --all --yes"), (("--yes",), "pass --all if"), (("--dry-run",), "pass --all if")]
)
def test_a_sweep_is_told_in_one_step_what_it_needs(given, remedy, cli):
    ran = cli("invalidate", "*", *given)
    assert ran.code == 2
    assert remedy in ran.err


def test_a_pattern_beside_all_is_refused_for_one_of_them_is_not_meant(cli):
    cli("set", "a:1", "x")
    ran = cli("invalidate", "b:*", "--all", "--yes")
    assert ran.code == 2
    assert "b:* is less" in ran.err
    assert cli("invalidate", "*", "--all", "--yes").code == 0
    assert cli("get", "a:1").code == 4
