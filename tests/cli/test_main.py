from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from scoutcache import errors
from scoutcache.cli import main
from scoutcache.cli.errors import CommandError, Terminated, Usage, exit_code
from scoutcache.cli.table import COMMANDS, FLAGS, VALUED

HEAVY = {"redis", "pandas", "numpy", "faiss", "torch", "rich", "typer", "pydantic", "yaml", "sqlite3", "asyncio"}


def imported_by(*arguments: str) -> set[str]:
    """The modules loaded by a run, of the top level."""
    script = (
        "import sys; sys.argv = ['scoutcache', *sys.argv[1:]]\n"
        "from scoutcache.cli.main import run\n"
        "run(); sys.stderr.write('\\n'.join(name for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, check=False, text=True, timeout=60
    )
    return set(done.stderr.split())


def test_the_version_costs_nothing_but_itself():
    assert not imported_by("--version") & HEAVY


def test_help_of_the_root_imports_no_command_and_no_tables():
    loaded = imported_by("--help")
    assert not loaded & {"rich", "redis", "pandas", "numpy", "scoutcache.cache"}
    assert not loaded & {f"scoutcache.cli.{entry.module}" for entry in COMMANDS.values()}


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["stats"], "stats"),
        (["--format", "json", "stats", "keys"], "stats"),
        (["--format=json", "--quiet", "-v", "keys", "--limit", "1"], "keys"),
        (["--", "get"], "get"),
        (["--frmat", "json", "stats"], None),
        (["--json"], None),
        ([], None),
    ],
)
def test_the_command_is_the_first_word_that_no_global_option_takes(arguments, command):
    assert main.leading(arguments)[0] == command


def test_the_names_known_at_start_up_are_those_of_the_declared_options():
    import typer

    root = typer.main.get_command(main.build(["config"]))
    options = [parameter for parameter in root.params if parameter.param_type_name == "option"]
    assert {name for option in options if not option.is_flag for name in option.opts} == VALUED
    assert {name for option in options if option.is_flag for name in option.opts} | {"--help", "-h"} == FLAGS


def test_version(cli):
    from scoutcache import __version__

    assert cli("--version") == (0, f"scoutcache {__version__}\n", "")


def test_help_names_every_command(cli):
    ran = cli("--help")
    assert ran.code == 0
    for name, entry in COMMANDS.items():
        assert f"  {name} " in ran.out
        assert entry.help in ran.out


def test_without_arguments_there_is_help(cli):
    assert cli().out == cli("--help").out


def test_options_without_a_command_are_a_mistake(cli):
    assert cli("--json") == (2, "", "error: missing command\nhint: see scoutcache --help\n")


def test_an_unknown_command_names_the_nearest(cli):
    assert cli("invaldate", "x") == (2, "", "error: no such command: invaldate\nhint: did you mean invalidate?\n")


@pytest.mark.parametrize(
    ("name", "hint"), [("tial", "did you mean tail?"), ("x'y. z", "see scoutcache log --help")]
)  # fmt: skip
def test_an_unknown_command_of_a_group_names_the_nearest(cli, name, hint):
    assert cli("log", name) == (2, "", f"error: no such command: scoutcache log {name}\nhint: {hint}\n")


def test_an_option_that_is_like_none_is_taken_for_none(cli):
    said = "error: no such option for scoutcache set: --cost\nhint: see scoutcache set --help\n"
    assert cli("set", "k", "v", "--cost", "3") == (2, "", said)


@pytest.mark.parametrize(
    ("name", "option", "how"),
    [("keys", "--pattern", "PATTERN"), ("invalidate", "--pattern", "PATTERN..."), ("get", "--key", "KEY")],
)
def test_an_option_that_is_an_argument_says_how_to_give_it(cli, name, option, how):
    ran = cli(name, option, "x")
    assert ran.err.startswith(f"error: no such option for scoutcache {name}: {option}\n")
    assert ran.err.endswith(f"hint: it is an argument: scoutcache {name} {how}\n")


def test_an_unknown_option_before_the_command_names_the_nearest(cli):
    ran = cli("--frmat", "json", "stats")
    assert ran == (2, "", "error: no such option for scoutcache: --frmat\nhint: did you mean --format?\n")


def test_a_wrong_format_names_the_right_ones(cli):
    ran = cli("--format", "jsn")
    assert ran.code == 2
    assert ran.err.splitlines()[0] == (
        "error: invalid value for '--format': 'jsn' is none of table, json, jsonl, csv; did you mean json?"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["keys", "--limit", "-3"], "--limit: expected 0 or more, not '-3'"),
        (["keys", "--limit", "many"], "--limit: expected a whole number of 0 or more, not 'many'"),
        (["keys", "--limit", "1.5"], "--limit: expected a whole number of 0 or more, not '1.5'"),
        (["warm", "--predict", "--likely", "2"], "--likely: expected 0 to 1, not '2'"),
        (["warm", "--predict", "--likely", "nan"], "--likely: expected 0 to 1, not 'nan'"),
        (["keystats", "--samples", "0"], "--samples: expected 1 or more, not '0'"),
        (["llm", "stats", "--hours", ""], "--hours: expected a number, not ''"),
    ],
)
def test_a_number_out_of_range_is_told_what_it_should_be(cli, arguments, said):
    ran = cli(*arguments)
    assert (ran.code, ran.err.splitlines()[0]) == (2, f"error: {said}")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command_begins_with_examples(name: str, cli):
    ran = cli(name, "--help")
    assert ran.code == 0, ran.err
    lines = [line.strip() for line in ran.out.splitlines() if line.strip()]
    first = next(place for place, line in enumerate(lines) if not line.startswith("Usage:"))
    assert lines[first] == "Examples:"
    assert lines[first + 1].startswith("scoutcache ")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_misspelt_option_is_refused_by_each_command_with_the_nearest(name: str, cli):
    ran = cli(name, "--formt", "json")
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err == f"error: no such option for scoutcache {name}: --formt\nhint: did you mean --format?\n"


@pytest.mark.parametrize(
    "path",
    [("rules", "list"), ("rules", "run"), ("rules", "test"), ("events", "emit"), ("tasks", "list"), ("config", "show"),
     ("profiles", "list"), ("bench", "compare")],
)  # fmt: skip
def test_so_does_each_command_of_a_group(path, cli):
    ran = cli(*path, "--formt", "json")
    name = " ".join(path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"error: no such option for scoutcache {name}: --formt\nhint: did you mean --format?\n"


def test_help_on_a_terminal_is_drawn_and_keeps_its_examples(terminal):
    ran = terminal("keys", "--help")
    assert ran.code == 0
    assert "─" in ran.out
    assert "scoutcache keys 'llm:*'" in ran.out


def test_help_on_a_plain_terminal_has_no_boxes(terminal):
    assert "─" not in terminal("keys", "--help", env={"TERM": "dumb"}).out
    assert "\x1b" not in terminal("keys", "--help", env={"NO_COLOR": "1"}).out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError("x"), 2),
        (errors.InvalidKey("x"), 2),
        (errors.InvalidTTL("x"), 2),
        (errors.TierUnavailable("redis", "gone"), 10),
        (errors.LockTimeout("x"), 11),
        (errors.IntegrityError("x"), 1),
        (errors.TransferError("x"), 1),
        (Usage("x"), 2),
        (CommandError("x", code=3), 3),
        (PermissionError(13, "no", "file"), 1),
        (RuntimeError("x"), 1),
    ],
)
def test_the_exit_code_follows_from_the_class_of_the_error(error, code):
    assert exit_code(error) == code


class TestWhatEndsARun:
    """What the process says and ends with, whatever a command raises."""

    @pytest.fixture
    def failing(self, cli, monkeypatch):
        def call(error: BaseException, *arguments: str):
            def fail(*_: object) -> int:
                raise error

            monkeypatch.setattr(main, "_run", fail)
            return cli(*arguments)

        return call

    def test_an_error_of_the_cache_is_two_lines(self, failing):
        error = errors.TierUnavailable("redis", "refused", hint="start the server")
        assert failing(error) == (10, "", "error: the redis tier can't answer: refused\nhint: start the server\n")

    def test_an_error_of_the_system_names_the_file(self, failing):
        assert failing(PermissionError(13, "Permission denied", "/x/y")).err == "error: /x/y: Permission denied\n"

    def test_an_unexpected_error_is_one_line_and_the_way_to_more(self, failing):
        ran = failing(RuntimeError("boom"))
        assert ran == (1, "", "error: unexpected RuntimeError: boom\nhint: --verbose shows where it happened\n")

    def test_what_came_from_outside_is_escaped_in_messages(self, failing):
        assert "\x1b" not in failing(errors.CacheError("bad \x1b[2J key")).err

    def test_an_interrupt_ends_with_130(self, failing):
        assert failing(KeyboardInterrupt()).code == 130


def test_a_reader_that_has_gone_is_no_failure():
    script = "scoutcache --help"
    process = subprocess.Popen(
        [sys.executable, "-m", *script.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), said) == (0, "")


def test_completion_knows_commands_and_their_options(child):
    words = {"_SCOUTCACHE_COMPLETE": "complete_bash", "COMP_WORDS": "scoutcache inv", "COMP_CWORD": "1"}
    assert child(env=words).out.split() == ["invalidate"]
    words |= {"COMP_WORDS": "scoutcache keys --for", "COMP_CWORD": "2"}
    assert child(env=words).out.split() == ["--format"]


def test_json_errors_leave_stdout_empty(cli):
    ran = cli("get", "--json")
    assert (ran.code, ran.out) == (2, "")


class TestInterrupted:
    """A filling that waits for its next line is told to end."""

    @pytest.mark.parametrize("source", ["-", "slow"])
    @pytest.mark.parametrize("how", [("--concurrency", "1"), (), ("--call", "asked:load")])
    @pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
    def test_a_signal_ends_it_with_its_code_and_the_lock_is_let_go(
        self, sent, code, how, source, directory, child, spawn, workplace
    ):
        (workplace / "asked.py").write_text("async def load(key):\n    return key\n")
        os.mkfifo(workplace / "slow")
        process = spawn("warm", "--from", source, *how,
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        producer = process.stdin if source == "-" else (workplace / "slow").open("w")
        producer.write('{"key": "first", "value": 1}\n')
        producer.flush()
        deadline = time.monotonic() + 30
        while child("get", "first").code != 0 and time.monotonic() < deadline:
            pass
        process.send_signal(sent)
        process.wait(timeout=30)  # its input is open still, and gives nothing
        out, err = process.communicate()
        producer.close()
        assert (process.returncode, out) == (code, "")
        named = "standard input" if source == "-" else source
        assert err.startswith(f"warning: interrupted: {named}: 1 warmed")
        assert err.count("\n") == 1
        assert child("warm", "--from", "-", stdin='{"key": "second", "value": 2}\n').code == 0


def test_reading_commands_import_nothing_heavy(directory):
    for arguments in (("get", "llm:a"), ("stats",), ("keys",)):
        assert not imported_by(*arguments) & {"redis", "pandas", "numpy", "faiss", "torch", "rich", "yaml"}


def test_a_store_that_cannot_be_reached_ends_with_10(cli):
    ran = cli("set", "a", "b", "--directory", "/proc/nowhere")
    assert (ran.code, ran.out) == (10, "")
    assert "/proc/nowhere" in ran.err


def test_a_key_that_begins_with_a_dash_is_told_how_to_name_it(cli, directory):
    ran = cli("get", "-dash")
    assert (ran.code, ran.out) == (2, "")
    assert "hint: write -- before an argument that begins with a dash: scoutcache get -- -" in ran.err
    assert "see scoutcache doctor --help" in cli("doctor", "-dash").err
    assert "no such key: -dash" in cli("get", "--", "-dash").err


@pytest.mark.parametrize("closed", ["<&-", "2>&-"])
def test_a_stream_that_is_closed_from_the_start_is_no_failure(closed, directory):
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m scoutcache keys {closed}', sys.executable],
        capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "llm:a" in done.stdout


class TestTerminatedInTasks:
    """SIGTERM while an event loop runs: its tasks are cancelled, and nothing but the code tells of it."""

    def test_a_signal_cancels_the_tasks_of_the_loop(self, cli, monkeypatch):
        async def client():
            await asyncio.sleep(60)

        async def clients():
            async with asyncio.TaskGroup() as group:
                group.create_task(client())
                group.create_task(client())
                await asyncio.sleep(0)
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(main, "_run", lambda *_: asyncio.run(clients()))
        assert cli() == (143, "", "")

    @pytest.mark.parametrize(("inner", "code"), [(Terminated, 143), (KeyboardInterrupt, 130)])
    def test_a_group_with_a_signal_in_it_is_that_signal(self, inner, code, cli, monkeypatch):
        def fail(*_):
            raise BaseExceptionGroup("two tasks", [ValueError("x"), BaseExceptionGroup("one", [inner()])])

        monkeypatch.setattr(main, "_run", fail)
        assert cli() == (code, "", "")

    def test_what_goes_wrong_in_cleaning_up_does_not_hide_an_interrupt(self, cli, monkeypatch):
        def fail(*_):
            try:
                raise KeyboardInterrupt
            finally:
                raise OSError(39, "Directory not empty")

        monkeypatch.setattr(main, "_run", fail)
        assert cli() == (130, "", "")

    @pytest.mark.parametrize("ended_by", [RuntimeError("cut off"), SystemExit(1), BrokenPipeError()])
    def test_whatever_a_signal_broke_ends_with_the_code_of_the_signal(self, ended_by, cli, monkeypatch):
        def fail(*_):
            try:
                signal.raise_signal(signal.SIGTERM)
            except Terminated:
                raise ended_by from None

        monkeypatch.setattr(main, "_run", fail)
        monkeypatch.setattr(main, "silence", lambda: None)
        assert cli() == (143, "", "")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_benchmark_with_tasks_ends_quietly(sent, code, workplace):
    process = subprocess.Popen(
        [sys.executable, "-m", "scoutcache", "bench", "--async", "--clients", "4", "--keys", "50", "--duration", "60",
         "--warmup", "0", "--tier", "disk"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(workplace)},
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not list(workplace.rglob("cache.db")) and time.monotonic() < deadline:
        pass  # the process says nothing before its end, but for this file
    process.send_signal(sent)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "", "")
    assert not list(workplace.glob("scoutcache-bench-*"))


def test_a_command_under_nohup_outlives_its_terminal(cli, directory):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert cli("keys").code == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("module", ["scoutcache.cli.collecting", "scoutcache.cli.main", "scoutcache.cli.errors"])
def test_who_interrupts_a_command_that_is_being_loaded_sees_no_traceback(module):
    script = (
        "import builtins, os, signal\n"
        "usual = builtins.__import__\n"
        "def interrupted(name, *rest, **more):\n"
        f"    if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return usual(name, *rest, **more)\n"
        "from scoutcache.__main__ import main\n"
        "builtins.__import__ = interrupted\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "main()\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_who_interrupts_a_command_at_its_very_end_sees_no_traceback(directory):
    script = (
        "import atexit, os, signal, sys\n"
        "from scoutcache.__main__ import main\n"
        "sys.argv = ['scoutcache', 'keys', '--directory', sys.argv[1]]\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "sys.exit(main())\n"
    )
    ran = subprocess.run([sys.executable, "-c", script, str(directory)], capture_output=True, text=True, timeout=60,
                         check=False)  # fmt: skip
    assert (ran.returncode, ran.stderr) == (130, "")


def test_nothing_that_takes_long_is_loaded_before_an_interrupt_is_seen_to():
    script = "import sys; before = set(sys.modules); import scoutcache.__main__; print(set(sys.modules) - before)"
    ran = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {script}"],
                         capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    assert "'typing'" not in ran.stdout


@pytest.mark.parametrize(
    ("option", "command"),
    [
        ("--ttl", ("set", "a", "b", "--ttl", "soon")),
        ("--interval", ("keys", "--interval", "soon")),
        ("filter 'age<soon'", ("keys", "--filter", "age<soon")),
        ("--wait", ("invalidate", "a", "--wait", "-1")),
        ("--older-than", ("prune", "--older-than", "soon")),
        ("--max-size", ("prune", "--max-size", "soon")),
        ("--period", ("stats", "--period", "soon")),
        ("--since", ("report", "--since", "soon")),
        ("--since", ("log", "tail", "--since", "soon")),
        ("--lock-timeout", ("rules", "run", "--lock-timeout", "soon")),
        ("--lock-timeout", ("warm", "--from", "x", "--lock-timeout", "soon")),
    ],
)
def test_what_cannot_be_read_names_its_option_and_nothing_that_only_code_can_write(option, command, cli, workplace):
    (workplace / "scoutcache.toml").write_text(
        '[[rules]]\nrule_id = "r"\ntrigger_type = "time"\nschedule = "0 3 * * *"\ntarget_pattern = "x:*"\n'
    )
    ran = cli(*command)
    assert (ran.code, ran.out) == (2, "")
    assert f"error: {option}: " in ran.err
    assert "timedelta" not in ran.err
