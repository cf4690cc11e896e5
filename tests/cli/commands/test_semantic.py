"""``semantic``: what is printed, in which form, and with which exit code."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

pytest.importorskip("faiss", reason="needs pip install 'scoutcache[test,semantic]'")

from scoutcache.cli.semantic_options import embedding
from scoutcache.config import CacheConfig
from scoutcache.semantic.models import prepared_in
from scoutcache.semantic.prepared import ABOUT

WORDS = Path(__file__).resolve().parents[2] / "semantic"
QUERY = "How do I reset my password"


@pytest.fixture(autouse=True)
def embedder(workplace, monkeypatch):
    """An embedder made of words, and a cache of its own."""
    monkeypatch.syspath_prepend(str(WORDS))
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__MODEL", "words:embed")
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(workplace / "cache"))


def data(ran):
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["schema_version"] == 1
    return found


def test_add_query_and_remove(cli):
    added = data(cli("semantic", "add", QUERY, '{"n": 1}', "-m", "gpt", "--value", "json", "--tag", "t", "--json"))
    found = data(cli("semantic", "query", f"{QUERY}?", "--model", "gpt", "--json"))
    assert found["response"] == {"n": 1}
    assert (found["key"], found["query"], found["exact"]) == (added["key"], QUERY, False)
    assert found["similarity"] == pytest.approx(1.0, abs=1e-6)
    assert cli("semantic", "query", QUERY, "-m", "gpt").out == '{"n": 1}\n'
    assert cli("semantic", "query", QUERY, "-m", "gpt", "-s", "temperature=0.5").code == 4
    assert data(cli("semantic", "remove", added["key"], "--json"))["removed"] == 1
    assert cli("semantic", "remove", added["key"]).code == 4
    ran = cli("semantic", "remove", added["key"], "bogus", "--json")
    assert (ran.code, json.loads(ran.out)["absent"]) == (4, [added["key"], "bogus"])
    assert "'bogus' is no key of a semantic answer; add() returns it" in ran.err
    ran = cli("semantic", "query", QUERY, "-m", "gpt")
    assert (ran.code, ran.out) == (4, "")
    assert "scoutcache semantic explain" in ran.err


def test_a_scope_is_needed_and_read(cli):
    ran = cli("semantic", "query", QUERY)
    assert (ran.code, ran.out) == (2, "")
    assert "--model" in ran.err
    assert cli("semantic", "add", QUERY, "x", "-m", " ").code == 2
    assert cli("semantic", "query", QUERY, "-m", "").code == 2
    assert cli("semantic", "add", QUERY, "x", "-m", "gpt", "-s", "nothing").code == 2
    assert cli("semantic", "add", QUERY, "x", "-m", "gpt", "-s", "temperature=0.5").code == 0
    assert cli("semantic", "query", QUERY, "-m", "gpt", "-s", "temperature=0.5").out == "x\n"
    assert cli("semantic", "query", QUERY, "-m", "gpt", "-s", 'temperature="0.5"').code == 4


def test_explain_tells_neighbours_and_gates(cli):
    cli("semantic", "add", "Should I buy gold now for my small portfolio", "yes", "-m", "gpt")
    query = "Should I sell gold now for my small portfolio"
    found = data(cli("semantic", "explain", query, "-m", "gpt", "--threshold", "0.5", "--json"))
    assert found["serves"] is False
    assert found["candidates"][0]["closed"][0] == {"gate": "antonyms", "why": "sell / buy"}
    table = cli("semantic", "explain", query, "-m", "gpt", "--threshold", "0.5").out
    assert table.startswith("miss: the nearest can't serve: antonyms: sell / buy\n")
    assert "nothing was answered in this scope yet" in cli("semantic", "explain", query, "-m", "other").out


def test_stats_and_rebuild(cli):
    cli("semantic", "add", QUERY, "x", "-m", "gpt")
    cli("semantic", "add", QUERY, "x", "-m", "other")
    found = data(cli("semantic", "stats", "--json"))
    assert (found["entries"], found["indexed"], found["scopes"], found["mended"]) == (2, 2, 2, 0)
    assert (found["model"], found["preset"], found["threshold"]) == ("words:embed", "strict", 0.95)
    assert data(cli("semantic", "rebuild", "--json"))["entries"] == 2
    assert "the index holds 2 answers" in cli("semantic", "rebuild").err


PAIRS = [
    ("how do i reset my password", "reset my password how do i", 1),
    ("what is the capital of france", "what is the capital of france please", 1),
    ("cheap flights to rome", "rome flights cheap to", 1),
    ("should i buy gold today", "should i sell gold today", 0),
    ("wait 30 days for it", "wait 60 days for it", 0),
    ("a b c d e f", "a b c d e g", 0),
]


@pytest.fixture
def pairs(workplace):
    text = io.StringIO()
    csv.writer(text).writerows([("query", "other", "same"), *PAIRS])
    file = workplace / "pairs.csv"
    file.write_text(text.getvalue())
    return file


def test_calibrate_gives_rates_with_intervals_and_a_curve(cli, pairs):
    found = data(cli("semantic", "calibrate", str(pairs), "--threshold", "0.8", "--no-gates", "--json"))
    assert (found["threshold"], found["pairs"], found["same"]) == (0.8, 6, 3)
    assert found["recall"] == 1.0
    assert found["false_hit_rate"] == pytest.approx(found["wrong"] / 3)
    low, high = found["precision_interval"]
    assert 0 <= low <= found["precision"] <= high <= 1
    assert len(found["curve"]) == 51
    gated = data(cli("semantic", "calibrate", str(pairs), "--threshold", "0.7", "--json"))
    assert gated["false_hit_rate"] < 1
    zipped = pairs.with_suffix(".csv.gz")
    zipped.write_bytes(gzip.compress(pairs.read_bytes()))
    assert data(cli("semantic", "calibrate", str(zipped), "--json"))["pairs"] == 6


def test_calibrate_finds_the_threshold_for_a_precision_or_says_there_is_none(cli, pairs):
    found = data(cli("semantic", "calibrate", str(pairs), "--precision", "0.99", "--json"))
    assert found["precision"] == 1.0
    assert found["threshold"] == min(
        point["threshold"] for point in found["curve"] if point["precision"] == 1.0
    )
    pairs.write_text("query,other,same\nthe same words,words the same,0\n")
    ran = cli("semantic", "calibrate", str(pairs), "--precision", "0.99", "--no-gates", "--json")
    assert ran.code == 99
    assert json.loads(ran.out)["threshold"] is None
    assert "no threshold reaches a precision of 0.99" in ran.err


def test_calibrate_draws_a_chart(cli, pairs):
    out = cli("semantic", "calibrate", str(pairs), "--threshold", "0.8").out
    assert "█" in out
    assert "→    0.80" in out
    assert cli("semantic", "calibrate", str(pairs), "--format", "csv").out.startswith("threshold,hits,wrong,precision,")


@pytest.mark.parametrize(
    ("text", "said"),
    [("a,b\n1,2\n", "no column"), ("query,other,same\n", "holds no pairs"), ("query,other,same\na,b,maybe\n", "line 2"),
     ("query,other,same\n,b,1\n", "line 2")],
)  # fmt: skip
@pytest.mark.parametrize("command", [("calibrate",), ("label", "-m", "gpt")])
def test_what_is_wrong_with_a_file_of_pairs_is_named(cli, workplace, command, text, said):
    (workplace / "p.csv").write_text(text)
    ran = cli("semantic", *command, "p.csv")
    assert (ran.code, ran.out) == (1, "")
    assert said in ran.err
    absent = cli("semantic", *command, "absent.csv")
    assert (absent.code, absent.err.startswith("error: no such file")) == (2, True)


BROKEN = f"query,other,same\n{QUERY},{QUERY}?,1\na,b,maybe\n{'x' * 140_000},b,1\n{QUERY},something else,0\n,b,1\n"


def test_a_line_that_is_no_pair_costs_a_label_only_itself(cli, workplace):
    (workplace / "p.csv").write_text(BROKEN)
    ran = cli("semantic", "label", "p.csv", "-m", "gpt", "--json")
    assert ran.code == 3
    assert (json.loads(ran.out)["pairs"], json.loads(ran.out)["failed"]) == (2, 3)
    assert [line.partition(":")[0] for line in ran.err.splitlines()] == ["warning"] * 3
    for line in (3, 4, 6):
        assert f"p.csv, line {line}: " in ran.err


def test_nothing_is_measured_without_a_line_and_all_of_them_are_named(cli, workplace):
    (workplace / "p.csv").write_text(BROKEN)
    ran = cli("semantic", "calibrate", "p.csv")
    assert (ran.code, ran.out) == (1, "")
    for line in (3, 4, 6):
        assert f"p.csv, line {line}: " in ran.err
    assert "hint: nothing was measured, because rates of a part would mislead" in ran.err


def test_a_function_needs_no_preparing(cli):
    ran = cli("semantic", "prepare")
    assert ran.code == 2
    assert "a function: there is nothing to prepare" in ran.err


def test_a_model_that_cannot_be_had_is_one_error_with_the_ways_out(cli, monkeypatch, workplace):
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__MODEL", "no_such_module:embed")
    ran = cli("semantic", "add", QUERY, "x", "-m", "gpt")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: semantic.model: 'no_such_module:embed' can't be used")


def test_a_found_file_that_names_a_function_needs_trust(cli, monkeypatch, workplace):
    monkeypatch.delenv("SCOUTCACHE_SEMANTIC__MODEL")
    (workplace / "scoutcache.toml").write_text('[semantic]\nmodel = "words:embed"\n')
    ran = cli("semantic", "stats")
    assert ran.code == 2
    assert "would run code" in ran.err


@pytest.mark.parametrize("holds", [b"", b"garbage" * 2000])
def test_rebuild_replaces_a_damaged_index(cli, workplace, holds):
    cli("semantic", "add", QUERY, "x", "-m", "gpt")
    (file,) = (workplace / "cache" / "semantic").glob("*/rows")
    file.write_bytes(holds)
    ran = cli("semantic", "query", f"{QUERY}?", "-m", "gpt")
    assert (ran.code, ran.out) == (1, "")
    assert "scoutcache semantic rebuild" in ran.err
    assert data(cli("semantic", "rebuild", "--json"))["entries"] == 1
    assert cli("semantic", "query", f"{QUERY}?", "-m", "gpt").out == "x\n"


@pytest.mark.parametrize("name", ["ttl", "stale_ttl", "tags", "tag", "cost", "depends_on", "threshold", "query",
                                  "response", "namespace", "count", "self", "treshold", "model"])  # fmt: skip
def test_a_scope_takes_no_name_of_an_option(cli, name):
    for command in (("add", QUERY, "x"), ("query", QUERY), ("explain", QUERY)):
        ran = cli("semantic", *command, "-m", "gpt", "-s", f"{name}=5")
        assert (ran.code, ran.out) == (2, "")
        assert name in ran.err


def test_a_scope_names_nothing_twice(cli):
    ran = cli("semantic", "add", QUERY, "x", "-m", "gpt", "-s", "a=1", "-s", "a=2")
    assert (ran.code, ran.out) == (2, "")
    assert "names a twice" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [("query", QUERY, "-m", "m", "--threshold", "1.5"), ("explain", QUERY, "-m", "m", "--threshold", "-1")],
)
def test_what_can_not_be_meant_is_a_wrong_usage(cli, arguments):
    ran = cli("semantic", *arguments)
    assert (ran.code, ran.out) == (2, "")


def test_a_model_is_not_prepared_for_a_directory_that_can_not_be_used(cli, workplace, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__MODEL", "some/model")
    (workplace / "file").write_text("")
    added = cli("semantic", "add", QUERY, "x", "-m", "m", "--directory", "file/below")
    ran = cli("semantic", "prepare", "--force", "--directory", "file/below")
    assert (ran.code, ran.out) == (added.code, "") == (10, "")
    assert ran.err.splitlines()[1] == added.err.splitlines()[1]


def test_calibrate_says_that_no_threshold_has_a_hit(cli, pairs):
    pairs.write_text("query,other,same\nbuy the gold,seven sad zebras,0\n")
    ran = cli("semantic", "calibrate", str(pairs), "--precision", "0")
    assert ran.code == 99
    assert "no threshold has a hit" in ran.err


GOLD, SOLD = "Should I buy gold now for my small portfolio", "Should I sell gold now for my small portfolio"


def test_a_gate_is_switched_off_for_one_query(cli):
    cli("semantic", "add", GOLD, "yes", "-m", "gpt")
    near = (SOLD, "-m", "gpt", "--threshold", "0.5")
    assert cli("semantic", "query", *near).code == 4
    without = ("--without-gate", "antonyms", "--without-gate", "slots")
    assert cli("semantic", "query", *near, *without).out == "yes\n"
    found = data(cli("semantic", "explain", *near, *without, "--json"))
    assert found["serves"] is True
    assert found["gates_off"] == ["antonyms", "slots"]
    assert found["candidates"][0]["closed"] == []
    assert found["candidates"][0]["ignored"][0] == {"gate": "antonyms", "why": "sell / buy"}
    table = cli("semantic", "explain", *near, *without).out
    assert "ignored" in table
    assert "antonyms: sell / buy; slots: sell / buy" in table
    assert "ignored" not in cli("semantic", "explain", *near).out


@pytest.mark.parametrize("command", ["query", "explain", "calibrate"])
def test_a_gate_that_is_none_is_named_with_the_nearest(cli, pairs, command):
    arguments = [str(pairs)] if command == "calibrate" else ["q", "-m", "m"]
    ran = cli("semantic", command, *arguments, "--without-gate", "antonym")
    assert (ran.code, ran.out) == (2, "")
    assert "there is no gate 'antonym'; did you mean 'antonyms'?" in ran.err
    assert "numbers, negation, antonyms, entities, order, slots, language, characters, passages" in ran.err


def test_gates_are_settings(cli, pairs, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__GATES", "order,numbers,antonyms")
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__WITHOUT_GATES", "order")
    assert data(cli("semantic", "stats", "--json"))["gates"] == ["numbers", "antonyms"]
    assert data(cli("semantic", "calibrate", str(pairs), "--json"))["gates"] == ["numbers", "antonyms"]
    found = data(cli("semantic", "calibrate", str(pairs), "--preset", "recall", "--without-gate", "passages", "--json"))
    assert found["gates"] == ["numbers", "entities", "language", "characters"]
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__GATES", "nubmers")
    ran = cli("semantic", "stats")
    assert ran.code == 2
    assert "semantic.gates[0]: expected one of numbers, negation," in ran.err
    assert "did you mean 'numbers'?" in ran.err


def test_labelled_pairs_are_evidence(cli, pairs):
    cli("semantic", "add", PAIRS[0][1], "so", "-m", "gpt")
    found = data(cli("semantic", "label", str(pairs), "-m", "gpt", "--json"))
    assert (found["pairs"], found["learned"], found["evidence"], found["aliases"]) == (6, 6, 1, 1)
    assert cli("semantic", "query", PAIRS[0][0], "-m", "gpt").out == "so\n"
    ran = cli("semantic", "label", str(pairs), "-m", "gpt")
    assert (ran.code, ran.out) == (0, "")
    assert "6 pairs, 0 of them new" in ran.err
    assert cli("semantic", "label", "absent.csv", "-m", "gpt").code == 2


def test_feedback_to_a_hit(cli):
    cli("semantic", "add", QUERY, "x", "-m", "gpt")
    hit = data(cli("semantic", "query", f"{QUERY}?", "-m", "gpt", "--json"))
    assert cli("semantic", "feedback", hit["hit_id"], "right").code == 0
    assert data(cli("semantic", "feedback", hit["hit_id"], "wrong", "--json"))["taken"] is True
    assert cli("semantic", "query", f"{QUERY}?", "-m", "gpt").code == 4
    assert cli("semantic", "feedback", hit["hit_id"], "maybe").code == 2
    assert cli("semantic", "feedback", "nonsense", "wrong").code == 2
    cli("semantic", "remove", hit["key"])
    assert cli("semantic", "feedback", hit["hit_id"], "wrong").code == 4


def test_who_only_looks_is_no_shadow_check(cli, monkeypatch):
    monkeypatch.setenv("SCOUTCACHE_SEMANTIC__CHECK_SHARE", "1")
    cli("semantic", "add", QUERY, "x", "-m", "gpt")
    assert cli("semantic", "query", f"{QUERY}?", "-m", "gpt").out == "x\n"
    assert data(cli("semantic", "stats", "--json"))["checked"] == 0


def test_a_folder_is_no_file_of_pairs(cli, workplace):
    ran = cli("semantic", "calibrate", str(workplace))
    assert (ran.code, ran.out) == (1, "")
    assert f"error: {workplace} can't be read: Is a directory\n" in ran.err


def test_pairs_come_from_standard_input_too(cli, workplace):
    pairs = "query,other,same\nhow do I reset it,how can I reset it,1\nhow do I reset it,how do I delete it,0\n"
    (workplace / "pairs.csv").write_text(pairs)
    assert data(cli("semantic", "calibrate", "-", "--json", stdin=pairs)) == data(
        cli("semantic", "calibrate", "pairs.csv", "--json"))  # fmt: skip
    assert data(cli("semantic", "label", "-", "-m", "gpt", "--json", stdin=gzip.compress(pairs.encode())))["pairs"] == 2


class _Session:
    """Says what takes long to whoever asks it."""

    def __init__(self, model, place):
        self.config, self.place = CacheConfig(semantic={"model": model}), place

    def working(self, what):
        return nullcontext(what)


def _said(model, place):
    with embedding(_Session(model, place)) as said:
        return said


def test_what_takes_long_about_a_model_is_said(workplace, monkeypatch):
    for name in ("HF_HUB_CACHE", "HF_HOME", "SENTENCE_TRANSFORMERS_HOME"):
        monkeypatch.setenv(name, str(workplace / "none"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    assert _said("words:embed", workplace) == "embedding with words:embed"
    assert _said("MiniLM", workplace) == "fetching MiniLM, which is not on this machine"
    assert _said(str(workplace), workplace) == f"loading {workplace}, which is not prepared"
    assert "OPENBLAS_NUM_THREADS" not in os.environ  # torch and functions may want their threads
    prepared_in(workplace, "MiniLM").mkdir(parents=True)
    (prepared_in(workplace, "MiniLM") / ABOUT).write_text("{}")
    assert _said("MiniLM", workplace) == "embedding with MiniLM"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"


def test_nothing_loads_numpy_before_the_model_does():
    """Its threads are started when it is loaded, so that is when it must be told of them."""
    code = ("import sys\nfrom scoutcache.cli.state import Session\nfrom scoutcache.cli.commands import semantic\n"
            "with Session().cache() as cache: cache.semantic; print('numpy' in sys.modules)")  # fmt: skip
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_pairs_from_standard_input_that_are_none_are_called_so(cli):
    ran = cli("semantic", "calibrate", "-", stdin="query,other,same\n")
    assert (ran.code, ran.err.splitlines()[0]) == (1, "error: standard input holds no pairs")
