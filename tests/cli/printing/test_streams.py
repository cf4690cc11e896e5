"""The standard streams: closed ones, and outputs whose encoding lacks a character."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(line, **environment):
    return subprocess.run(["sh", "-c", f'"$0" -m scoutcache {line}', sys.executable], capture_output=True, text=True,
                          check=False, timeout=60, env={**os.environ, **environment})  # fmt: skip


@pytest.mark.parametrize("line", ["set k -", "invalidate --keys-from -", "warm --from -", "simulate -", "report -"])
def test_what_is_to_be_read_from_a_closed_stream_is_refused(line, directory):
    done = run(f"{line} <&-")
    assert (done.returncode, done.stdout) == (2, "")
    assert "-: standard input is closed" in done.stderr
    assert run("get k").returncode == 4


TRACE = "timestamp,key,size\n1,a,10\n2,a,10\n3,b,5\n"
LOG = "".join(
    ['{"time": 1700000000.0, "op": "start", "process": "me", "pid": 7, "command": "app", "format": 2}\n']
    + [f'{{"time": {1700000000 + at}.0, "op": "get", "key": "k", "namespace": "default", "outcome": "hit"}}\n'
       for at in range(3)]
)
BENCH = ["bench", "--tier", "memory", "--runs", "1", "--duration", "0.001", "--warmup", "0", "--json"]


@pytest.mark.parametrize(
    ("line", "name", "content"),
    [
        (["simulate", "FILE", "--policy", "lru", "--size", "1"], "trace.csv", TRACE.encode()),
        (["simulate", "FILE", "--policy", "lru", "--size", "1"], "trace.csv.gz",
         gzip.compress(TRACE.encode(), mtime=0)),
        (["simulate", "FILE", "--policy", "lru", "--size", "1"], "log.jsonl", LOG.encode()),
        (["advise", "FILE"], "log.jsonl", LOG.encode()),
        (["report", "FILE"], "log.jsonl", LOG.encode()),
        (["log", "convert", "FILE", "-o", "out.csv"], "log.jsonl", LOG.encode()),
        (["bench", "compression", "FILE", "--codec", "none"], "values.jsonl", b'{"a": 1}\n{"a": 2}\n'),
    ],
)
def test_a_dash_in_the_place_of_a_file_is_standard_input(cli, workplace, line, name, content):
    (workplace / name).write_bytes(content)
    shown = []
    for file in (name, "-"):
        ran = cli(*[file if word == "FILE" else word for word in line], "--json", stdin=content)
        assert ran.code == 0, ran.err
        shown.append(_figures(json.loads(ran.out)))
    assert shown[0] == shown[1]


def _figures(told):
    """What doesn't differ from one run to the next."""
    changing = {"source", "generated_at", "period_end", "compress_mb_s", "decompress_mb_s", "machine"}
    if isinstance(told, dict):
        return {name: _figures(value) for name, value in told.items() if name not in changing}
    return [_figures(one) for one in told] if isinstance(told, list) else told


def test_a_benchmark_takes_traces_values_and_results_from_standard_input(cli):
    for more, stdin in (("--workload", "trace:-"), TRACE), (("--values", "-"), '{"a": 1}\n{"a": 2}\n'):
        ran = cli(*BENCH, *more, stdin=stdin)
        assert ran.code == 0, ran.err
    assert cli("bench", "compare", "-", "-", stdin=ran.out).code == 2
    result = Path("result.json")
    result.write_text(ran.out)
    assert cli("bench", "compare", "result.json", "-", stdin=ran.out).code == 0


def test_standard_input_is_read_for_one_thing(cli):
    ran = cli("report", "-", "-", stdin=LOG)
    assert (ran.code, ran.out) == (2, "")
    assert "error: LOG -: standard input was read already, for LOG" in ran.err
    assert cli("report", "-", stdin=LOG).code == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("bench compare one.json -", "standard input is not a saved benchmark: it has no 'format'"),
        ("simulate -", "standard input: not a trace"), ("semantic calibrate -", "standard input has no column"),
        ("bench --workload trace:-", "standard input: not a trace"),
    ],
)
def test_what_is_wrong_with_standard_input_is_said_of_that(line, said, workplace, cli):
    saved = {"format": 1, "results": [], "machine": {}, "version": "1", "seed": 1, "options": {}, "started_at": "",
             "overhead_ns": 0, "notes": []}  # fmt: skip
    (workplace / "one.json").write_text(json.dumps(saved))
    ran = cli(*line.split(), stdin='{"a": 1}\n' if "compare" in line else "a,b\nc\n")
    assert ran.code in {1, 2}
    assert ran.err.startswith(f"error: {said}")


def test_an_output_that_lacks_a_character_shows_its_number(directory):
    assert run("set 'llm:☃' 'naïve'", PYTHONIOENCODING="ascii").returncode == 0
    assert run("get 'llm:☃'").stdout == "naïve\n"
    assert run("get 'llm:☃'", PYTHONIOENCODING="ascii").stdout == "na\\xefve\n"
    done = run("keys -q 'llm:[^ab]'", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "llm:\\u2603\n", "")
    # Here Python takes surrogates for bytes, and refuses other characters.
    done = run("keys -q 'llm:[^ab]'", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", PYTHONIOENCODING="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "llm:\\u2603\n", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_is_for_programs_stays_json_where_the_output_lacks_a_character(encoding, directory):
    assert run("""set 'llm:☃' '{"naïve": "☃"}' --value json --tag 'é☃'""").returncode == 0
    assert json.loads(run("get 'llm:☃'", PYTHONIOENCODING=encoding).stdout) == {"naïve": "☃"}
    for line in ("keys --json", "inspect 'llm:☃' --json"):
        assert "é☃" in str(json.loads(run(line, PYTHONIOENCODING=encoding).stdout)), line
    assert json.loads(run("keys 'llm:☃' --format jsonl", PYTHONIOENCODING=encoding).stdout)["key"] == "llm:☃"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8:surrogateescape", "ascii"])
def test_half_of_a_surrogate_pair_is_shown_as_an_escape(encoding, directory):
    assert run("""set sur:1 '"\\\\ud800"' --value json""").returncode == 0
    done = run("get sur:1", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\ud800\n", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize(("line", "code"), [("set k v", 0), ("get nope", 4), ("get", 2), ("stats --verbose", 0),
                                            ("delete llm:a nope", 0), ("warm --from gone", 2)])  # fmt: skip
def test_messages_that_nobody_takes_change_nothing(line, code, directory):
    assert run(f"{line} 2>/dev/full").returncode == code


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize("line", ["stats", "keys", "dashboard export", "stats --watch --interval 0.1"])
def test_an_output_that_takes_nothing_is_named(line, directory):
    done = run(f"{line} >/dev/full")
    assert (done.returncode, done.stderr) == (1, "error: can't write to standard output: No space left on device\n")


@pytest.mark.parametrize("line", ["get llm:a", "keys", "keys --format csv", "stats --json", "--version", "get --help"])
def test_an_answer_for_an_output_that_is_closed_is_no_success(line, directory):
    done = run(f"{line} >&-")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.endswith("standard output: it is closed\n")
    assert run(f"{line} <&- >&- 2>&-").returncode == 1


def test_who_prints_nothing_needs_no_output(directory):
    assert run("set k v >&-").returncode == 0
    assert run("warm --from - <<'END' >&-\n{\"key\": \"w\", \"value\": 1}\nEND").returncode == 0
    assert run("get nope >&-").returncode == 4
    assert run("get w").stdout == "1\n"
