"""``llm``: what is printed, what is removed, and with which exit code."""

from __future__ import annotations

import json

import pytest

from scoutcache import Cache

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
PRICES = {"models": {"gpt-4o": {"input": 2, "output": 10}}}


def answer(model="gpt-4o-2024-08-06"):
    return {"id": "c1", "model": model, "choices": [{"finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 100}}  # fmt: skip


def body(ran, code=0):
    assert ran.code == code, ran.err
    return json.loads(ran.out)


@pytest.fixture
def asked(workplace, monkeypatch):
    """A cache of which models were asked."""
    place = workplace / "cache"
    monkeypatch.setenv("SCOUTCACHE_DIRECTORY", str(place))
    with Cache(directory=place, costs=PRICES) as cache:
        for _ in range(5):
            cache.llm.get_or_call(ASK, answer, source="book")
        cache.llm.get_or_call({**ASK, "model": "llama3"}, lambda: answer("llama3"))
        cache.llm.get_or_call(text="x", operation="qa", call=lambda: "y", source="book")
    return place


class TestStats:
    def test_requests_are_told_by_model(self, asked, cli):
        table = cli("llm", "stats").out
        lines = [line.split() for line in table.splitlines()]
        assert lines[0] == ["model", "requests", "hits", "hit_rate", "calls", "tokens", "tokens_saved", "cost_usd",
                            "cost_saved_usd"]  # fmt: skip
        assert lines[1] == ["gpt-4o", "5", "4", "0.8", "1", "1100", "4400", "0.003", "0.012"]
        assert ["hits", "4"] in lines
        assert ["cost_saved_usd", "0.012"] in lines

    def test_json_holds_all_groupings_and_raw_figures(self, asked, cli):
        told = body(cli("llm", "stats", "--json"))
        assert told["schema_version"] == 1
        assert (told["requests"], told["hits"], told["calls"], told["tokens_saved"]) == (7, 4, 3, 4400)
        assert told["hours"] == 24
        assert told["cost_saved_usd"] == pytest.approx(0.012)
        assert {row["model"]: row["calls"] for row in told["models"]} == {"gpt-4o": 1, "llama3": 1}
        assert {row["operation"]: row["requests"] for row in told["operations"]} == {"chat": 6, "qa": 1}
        assert [row["provider"] for row in told["providers"]] == ["openai"]
        assert [row["size"] for row in told["sizes"]] == ["small"]
        llama = next(row for row in told["models"] if row["model"] == "llama3")
        assert (llama["cost_usd"], llama["cost_saved_usd"]) == (None, None)

    def test_rows_are_for_programs(self, asked, cli):
        lines = cli("llm", "stats", "--by", "operation", "--format", "jsonl").out.splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["operation"] for row in rows] == ["chat", "qa"]
        assert cli("llm", "stats", "--format", "csv").out.splitlines()[0].startswith("model,requests,hits")

    def test_where_nothing_was_asked_that_is_said(self, workplace, cli):
        ran = cli("llm", "stats", "--directory", "nowhere")
        assert (ran.code, "cache.llm knows of no request to a model" in ran.err) == (0, True)
        assert body(cli("llm", "stats", "--json", "--directory", "nowhere"))["models"] == []
        assert not (workplace / "nowhere").exists()

    def test_money_without_a_price_is_said_to_be_unknown(self, workplace, cli):
        with Cache(directory=workplace / "c") as cache:
            cache.llm.set(ASK, answer())
            cache.llm.get(ASK)
        ran = cli("llm", "stats", "--directory", "c")
        assert "money is unknown without prices in [costs.models]" in ran.err
        assert body(cli("llm", "stats", "--json", "--directory", "c"))["cost_saved_usd"] is None

    def test_money_that_leaves_out_models_without_a_price_is_said_to_be_the_least(self, asked, cli):
        ran = cli("llm", "stats", "--json")
        told = body(ran)
        assert (told["unpriced_calls"], told["unpriced_hits"]) == (2, 0)
        left_out = "money is at least that much: it leaves out 2 of 3 calls and 0 of 4 hits "
        assert left_out + "(no price is known for llama3; 1 call named no model)" in ran.err
        assert {row["model"]: row["unpriced_calls"] for row in told["models"]} == {"gpt-4o": 0, "llama3": 1}

    def test_of_a_model_that_has_a_price_token_counts_are_missing(self, asked, cli, workplace, monkeypatch):
        monkeypatch.setenv("SCOUTCACHE_COSTS__MODELS", json.dumps(PRICES["models"]))
        with Cache(directory=asked, costs=PRICES) as cache:
            untold = {**ASK, "messages": []}
            cache.llm.get_or_call(untold, lambda: {**answer(), "usage": None})
            cache.llm.get_or_call(untold, answer)
        missing = ("no price is known for llama3; no token counts, or no price yet, with answers of gpt-4o; "
                   "1 call named no model")  # fmt: skip
        assert f"it leaves out 3 of 4 calls and 1 of 5 hits ({missing})" in cli("llm", "stats").err

    @pytest.mark.parametrize("arguments", [("--hours", "0"), ("--hours", "nan"), ("--hours", "soon"), ("--by", "day")])
    def test_what_can_not_be_meant_is_a_mistake_in_usage(self, cli, arguments):
        assert cli("llm", "stats", *arguments).code == 2


class TestInvalidate:
    def left(self, cli):
        return sorted(key.split(":")[2] for key in cli("keys", "-q", "llm:*").out.split() if key.startswith("llm:"))

    def test_a_models_answers_go(self, asked, cli):
        told = body(cli("llm", "invalidate", "--model", "gpt-4o", "--count", "--json"))
        assert (told["schema_version"], told["matched"], told["invalidated"]) == (1, 1, 1)
        assert self.left(cli) == ["-", "llama3"]

    def test_operation_and_source_unite_or_intersect(self, asked, cli):
        both = ("--operation", "qa", "--source", "book")
        assert body(cli("llm", "invalidate", *both, "--match", "all", "--dry-run", "--json"))["matched"] == 1
        assert body(cli("llm", "invalidate", *both, "--dry-run", "--json"))["matched"] == 2
        assert self.left(cli) == ["-", "gpt-4o", "llama3"]
        assert cli("llm", "invalidate", *both).code == 0
        assert self.left(cli) == ["llama3"]

    def test_several_models_and_a_provider(self, asked, cli):
        assert cli("llm", "invalidate", "--provider", "openai", "--model", "llama3", "--reason", "new prices").code == 0
        assert self.left(cli) == ["-"]

    def test_naming_nothing_is_a_mistake(self, cli):
        ran = cli("llm", "invalidate")
        assert (ran.code, "name --operation, --model" in ran.err) == (2, True)

    def test_what_is_not_there_is_no_failure(self, asked, cli):
        assert body(cli("llm", "invalidate", "--model", "none", "--count", "--json"))["matched"] == 0

    def test_counts_are_unknown_without_a_scan(self, asked, cli):
        assert body(cli("llm", "invalidate", "--model", "gpt-4o", "--json"))["matched"] is None

    def test_control_codes_are_refused(self, asked, cli):
        assert cli("llm", "invalidate", "--model", "a\x1b[2J").code == 2


def test_more_hours_than_a_calendar_has_are_a_wrong_usage(asked, cli):
    ran = cli("llm", "stats", "--hours", "1e9")
    assert (ran.code, ran.out) == (2, "")
    assert "--hours is at most 1,000,000" in ran.err
