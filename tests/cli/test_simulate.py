"""``simulate`` and ``advise`` as commands."""

from __future__ import annotations

import json

import pytest

from scoutcache import Cache

ROWS = [f"{number},k{number % 7 * (number % 3)},{10 + number % 7}\n" for number in range(300)]
TRACE = f"timestamp,key,size\n{''.join(ROWS)}"


@pytest.fixture
def trace(workplace):
    (workplace / "trace.csv").write_text(TRACE)
    return "trace.csv"


@pytest.fixture
def used(workplace):
    """A cache that was asked for a few things several times."""
    with Cache(directory=workplace / "cache") as cache:
        for number in range(300):
            cache.get_or_compute(f"llm:{number % 12}", lambda: "answer", ttl="2h", tags=["model:a"])
    return str(workplace / "cache")


def test_simulate_gives_a_result_for_each_policy_and_size(cli, trace):
    ran = cli("simulate", trace, "--policy", "lru,opt", "--size", "10%", "--size", "2,50B", "--json")
    told = json.loads(ran.out)
    assert (ran.code, told["schema_version"], told["requests"], told["sample_rate"]) == (0, 1, 300, 1.0)
    assert [(row["policy"], row["capacity"], row["unit"]) for row in told["results"]] == [
        (policy, capacity, unit)
        for policy in ("lru", "opt")
        for capacity, unit in ((50, "bytes"), (1, "entries"), (2, "entries"))
    ]
    assert all(0 <= row["hit_ratio"] <= 1 and 0 <= row["byte_hit_ratio"] <= 1 for row in told["results"])


def test_simulate_reads_the_log_of_a_cache_and_finds_what_it_did(cli, used):
    for source in ([used], ["--directory", used]):
        told = json.loads(cli("simulate", *source, "--policy", "lru", "--size", "100%", "--json").out)
        assert told["results"][0]["hit_ratio"] == pytest.approx(288 / 300)


def test_simulate_reads_a_single_file_of_a_log(cli, used, workplace):
    (file,) = (workplace / "cache" / "oplog").glob("*.jsonl")
    assert json.loads(cli("simulate", str(file), "--json").out)["requests"] == 300
    other = workplace / "other.jsonl"
    other.write_text('{"a": 1}\n')
    ran = cli("simulate", str(other))
    assert (ran.code, ran.out) == (1, "")
    assert "other.jsonl: not a log of scoutcache: it doesn't begin with a start line" in ran.err


def test_simulate_off_a_terminal_prints_figures_and_no_chart(cli, trace):
    ran = cli("simulate", trace, "--policy", "lru", "--size", "1,2")
    assert ran.out.splitlines()[0].split() == ["policy", "capacity", "unit", "hit_ratio", "byte_hit_ratio"]
    assert len(ran.out.splitlines()) == 3
    assert "300 requests for 10 keys" in ran.err


def test_simulate_draws_on_a_terminal(terminal, trace):
    said = terminal("simulate", trace, "--policy", "lru,fifo", "--size", "1,2,5,10").out
    assert "● lru  ○ fifo" in said
    assert "hit ratio" in said


def test_simulate_writes_a_page(cli, trace, workplace):
    ran = cli("simulate", trace, "--html", "curves.html", "--policy", "all", "--size", "20%")
    assert ran.code == 0
    assert "<svg" in (workplace / "curves.html").read_text()
    assert "wrote curves.html" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone.csv"], "gone.csv: there is no such directory or file"),
        (["trace.csv", "--policy", "lfru"], "there is no policy 'lfru'"),
        (["trace.csv", "--policy", "tinylfo"], "did you mean tinylfu?"),
        (["trace.csv", "--size", "0"], "holds nothing"),
        (["trace.csv", "--size", "64XB"], "is no size to simulate"),
        (["trace.csv", "--size", "1000", "--by", "bytes"], "has no unit"),
        (["trace.csv", "--since", "7d"], "--since is for a log"),
        (["trace.csv", "--by", "byte"], "did you mean bytes?"),
        (["bad.csv"], "bad.csv, line 3: 'x' is no size in bytes"),
        (["empty.csv"], "the trace has no rows"),
        (["."], "holds no requests"),
    ],
)
def test_simulate_names_what_is_wrong(cli, trace, workplace, arguments, said):
    (workplace / "bad.csv").write_text("timestamp,key,size\n0,a,1\n1,b,x\n")
    (workplace / "empty.csv").write_text("timestamp,key,size\n")
    ran = cli("simulate", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_simulate_samples_large_traces_and_says_so(cli, trace):
    ran = cli("simulate", trace, "--sample-above", "150", "--policy", "lru", "--size", "50%", "--format", "csv")
    assert ran.out.splitlines()[0].endswith(",error")
    assert "sampled: 1 of" in ran.err


def test_a_sampled_log_is_simulated_as_a_sample_and_what_it_lacks_is_said(cli, used, workplace, monkeypatch):
    (file,) = (workplace / "cache" / "oplog").glob("*.jsonl")
    with file.open("a") as log:
        log.write('{"time": 1e9, "op": "left_out", "reason": "rate", "count": 7}\n')
    monkeypatch.setenv("SCOUTCACHE_OPLOG__SAMPLE_RATE", "0.5")
    ran = cli("--directory", used, "simulate", "--policy", "lru", "--size", "50%", "--json")
    told = json.loads(ran.out)
    assert (told["sample_rate"], told["results"][0]["capacity"]) == (0.5, 12)
    assert told["results"][0]["error"] is not None
    assert "the log lacks 7 records (rate)" in ran.err
    assert "the log lacks 7 records (rate)" in cli("--directory", used, "advise").err


def test_advise_says_what_to_do_and_why(cli, used):
    ran = cli("advise", used)
    assert ran.code == 0
    assert ran.out.startswith("size, memory: ")
    assert ran.out.count("evidence: ") == ran.out.count("expected: ") >= 3


def test_advise_in_json_holds_advice_curves_and_repeats(cli, used):
    told = json.loads(cli("advise", used, "--budget", "1MB", "--json").out)
    assert {"topic", "about", "advice", "evidence", "expected", "setting", "value"} == set(told["advice"][0])
    assert told["requests"] == 300
    assert told["repeats"]["exact"] == pytest.approx(288 / 300)
    assert {"policy", "capacity", "hit_ratio", "byte_hit_ratio"} <= set(told["results"][0])


def test_advise_writes_a_configuration_that_validates(cli, used):
    ran = cli("advise", used, "--write", "advised.toml", "--json")
    assert json.loads(ran.out)["written"] == "advised.toml"
    assert cli("--config", "advised.toml", "config", "validate").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone"], "gone: there is no such directory or file"),
        (["--budget", "0B"], "holds nothing"),
        (["--budget", "2 parsec"], "is no size"),
        ([], "holds no requests"),
    ],
)
def test_advise_names_what_is_wrong(cli, workplace, arguments, said):
    ran = cli("--directory", str(workplace / "nothing"), "advise", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
