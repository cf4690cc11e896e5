"""``simulate`` and ``advise`` as commands."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from scoutcache import Cache
from scoutcache.insight.simulation.curves import curves, parse_sizes
from scoutcache.insight.simulation.requests import Requests
from scoutcache.oplog.records import kept_at
from scoutcache.oplog.sealing import seal

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
        (["trace.csv", "--policy", ""], "can't be empty"),
        (["trace.csv", "--size", " , "], "can't be empty"),
        (["trace.csv", "--policy", "tinylfo"], "did you mean tinylfu?"),
        (["trace.csv", "--size", "0"], "holds nothing"),
        (["empty.csv", "--size", "10q"], "is no size to simulate"),
        (["trace.csv", "--size", "64XB"], "is no size to simulate"),
        (["trace.csv", "--size", "1000", "--by", "bytes"], "has no unit"),
        (["trace.csv", "--since", "7d"], "--since is for a log"),
        (["trace.csv", "--by", "byte"], "did you mean bytes?"),
        (["bad.csv"], "bad.csv, line 3: 'x' is no size in bytes"),
        (["empty.csv"], "the trace has no rows"),
        (["."], ". holds no files of a log"),
    ],
)
def test_simulate_names_what_is_wrong(cli, trace, workplace, arguments, said):
    (workplace / "bad.csv").write_text("timestamp,key,size\n0,a,1\n1,b,x\n")
    (workplace / "empty.csv").write_text("timestamp,key,size\n")
    ran = cli("simulate", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "[oplog]" not in ran.err


def test_simulate_samples_large_traces_and_says_so(cli, trace):
    ran = cli("simulate", trace, "--sample-above", "150", "--policy", "lru", "--size", "50%", "--format", "csv")
    assert ran.out.splitlines()[0].endswith(",error")
    assert "sampled: 1 of" in ran.err


@pytest.fixture
def sampled(workplace):
    """A cache with a log of two fifths of the keys."""
    with Cache(directory=workplace / "cache", oplog={"sample_rate": 0.4}) as cache:
        for number in range(600):
            cache.get_or_compute(f"k:{number % 60}", lambda: 1)
    return str(workplace / "cache")


@pytest.mark.parametrize("configured", [None, "0.01"])
def test_a_log_says_itself_of_which_share_of_the_keys_it_is(cli, sampled, configured, monkeypatch):
    if configured:
        monkeypatch.setenv("SCOUTCACHE_OPLOG__SAMPLE_RATE", configured)
    (file,) = (Path(sampled) / "oplog").glob("*.jsonl")
    for form in ("lines", "sealed"):
        for source in ([sampled], [str(file)], [str(file.parent)], ["--directory", sampled]):
            told = json.loads(cli("simulate", *source, "--policy", "lru", "--size", "100%", "--json").out)
            assert told["sample_rate"] == 0.4
            assert told["results"][0]["capacity"] == pytest.approx(60, abs=25)
            assert told["results"][0]["error"] is not None
            assert json.loads(cli("advise", *source, "--json").out)["sample_rate"] == 0.4
        if form == "lines":
            file = seal(file, file.stat().st_mtime, smallest=0).path


def test_of_logs_with_different_rates_the_keys_of_the_lowest_count(cli, sampled, workplace):
    with Cache(directory=workplace / "cache", memory={"max_entries": 10}) as cache:
        for number in range(600):
            cache.get_or_compute(f"k:{number % 60}", lambda: 1)
    for into in (None, "all.jsonl", "all.parquet"):
        if into is not None:
            assert cli("log", "convert", sampled, "--out", into).code == 0
        told = json.loads(cli("simulate", into or sampled, "--policy", "lru", "--size", "100%", "--json").out)
        assert told["sample_rate"] == 0.4
        kept = [f"k:{number}" for number in range(60) if kept_at(f"k:{number}") < 0.4]
        assert (told["distinct_keys"], told["requests"]) == (len(kept), 20 * len(kept))


def test_a_log_that_does_not_say_its_rate_has_the_configured_one_if_it_is_the_own(cli, used, workplace, monkeypatch):
    (file,) = (workplace / "cache" / "oplog").glob("*.jsonl")
    file.write_text(file.read_text().replace('"sample_rate":1.0', '"sample_rat":1.0'))
    monkeypatch.setenv("SCOUTCACHE_OPLOG__SAMPLE_RATE", "0.5")
    for place, rate in ((used, 0.5), (str(workplace), 1.0)):
        told = json.loads(cli("--directory", place, "simulate", used, "--policy", "lru", "--json").out)
        assert told["sample_rate"] == rate


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("skew", [1.5, 3])
def test_the_error_holds_where_the_sample_lacks_hot_keys(cli, workplace, seed, skew):
    dice = random.Random(seed)
    keys = [f"k:{int(dice.random() ** skew * 500)}" for _ in range(4000)]
    with Cache(directory=workplace / "cache", oplog={"sample_rate": 0.1, "max_records_per_s": 1_000_000}) as cache:
        for key in keys:
            cache.get_or_compute(key, lambda: 1)
    numbers = {key: at for at, key in enumerate(dict.fromkeys(keys))}
    whole = Requests([numbers[key] for key in keys], [1] * len(numbers), list(numbers))
    sizes = parse_sizes(["50", "100", "200"], whole)
    told = json.loads(cli("--directory", str(workplace / "cache"), "simulate", "--policy", "lru",
                          "--size", "50,100,200", "--json").out)["results"]  # fmt: skip
    for row, true in zip(told, curves(whole, ["lru"], sizes), strict=True):
        assert abs(row["hit_ratio"] - true.hit_ratio) <= row["error"] < 0.5


def test_what_a_log_lacks_is_said(cli, used, workplace):
    (file,) = (workplace / "cache" / "oplog").glob("*.jsonl")
    with file.open("a") as log:
        log.write('{"time": 1e9, "op": "left_out", "reason": "rate", "count": 7}\n')
    ran = cli("--directory", used, "simulate", "--policy", "lru", "--size", "50%", "--json")
    assert json.loads(ran.out)["sample_rate"] == 1
    told = "the log lacks 7 records (came faster than [oplog] max_records_per_s)"
    assert told in ran.err
    assert f"{told}: raise [oplog] max_records_per_s" in cli("--directory", used, "advise").err
    with file.open("a") as log:
        log.write('{"time": 1e9, "op": "left_out", "reason": "unwritable", "count": 8}\n')
    lines = cli("--directory", used, "advise").err.splitlines()
    (unwritten,) = [line for line in lines if "could not be written" in line]
    assert "has space" in unwritten
    assert "max_records_per_s" not in unwritten


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
        (["--budget", "999KB"], "less than"),
        (["--budget", "2 parsec"], "is no size"),
        ([], "nothing, and so no log of one"),
    ],
)
def test_advise_names_what_is_wrong(cli, workplace, arguments, said):
    ran = cli("--directory", str(workplace / "nothing"), "advise", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
