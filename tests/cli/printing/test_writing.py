"""Where a command is to write: a file, or standard output for a dash, and nothing but the file there."""

from __future__ import annotations

import json
import tomllib

import pytest


class TestADash:
    def test_the_report_prints_its_page_and_nothing_else(self, directory, cli, workplace):
        ran = cli("report", "--html", "-")
        assert (ran.code, ran.out[:15], ran.out.rstrip()[-7:], ran.err) == (0, "<!doctype html>", "</html>", "")
        assert not (workplace / "-").exists()

    def test_csv_beside_it_is_written_as_always(self, directory, cli, workplace):
        ran = cli("report", "--html", "-", "--csv", "figures")
        assert (ran.code, ran.out.rstrip()[-7:]) == (0, "</html>")
        assert (workplace / "figures" / "summary.csv").exists()

    def test_simulate(self, directory, cli, workplace):
        assert cli("get", "llm:a").code == 0
        ran = cli("simulate", "--html", "-", "--size", "10", "--policy", "lru")
        assert (ran.code, ran.out[:15], ran.out.rstrip()[-7:]) == (0, "<!doctype html>", "</html>")
        assert not (workplace / "-").exists()

    def test_advise(self, directory, cli, workplace):
        assert cli("get", "llm:a").code == 0
        ran = cli("advise", "--write", "-")
        assert (ran.code, type(tomllib.loads(ran.out))) == (0, dict)
        assert not (workplace / "-").exists()

    def test_the_dashboard_and_metrics(self, directory, cli, workplace):
        assert json.loads(cli("dashboard", "export", "-o", "-").out)["panels"]
        assert "# TYPE cache_puts_total" in cli("stats", "--prom-textfile", "-").out
        assert not (workplace / "-").exists()

    @pytest.mark.parametrize(
        ("command", "remedy"),
        [
            (("report", "--html", "-", "--json"), "name a file: --html FILE"),
            (("simulate", "--html", "-", "--format", "csv"), "name a file: --html FILE"),
            (("advise", "--write", "-", "--format", "jsonl"), "name a file: --write FILE"),
            (("stats", "--prom-textfile", "-", "--json"), "name a file: --prom-textfile FILE"),
            (("report", "--csv", "-"), "--format csv prints one table"),
            (("warm", "--prom-textfile", "-"), "name one, such as warm.prom"),
        ],
    )
    def test_where_two_things_would_be_printed_it_is_refused(self, directory, cli, workplace, command, remedy):
        ran = cli(*command)
        assert (ran.code, ran.out, remedy in ran.err) == (2, "", True)
        assert not (workplace / "-").exists()


class TestOptionsWithoutEffect:
    @pytest.mark.parametrize(
        ("command", "named"),
        [
            (("stats", "--interval", "5"), "--interval is for --watch"),
            (("stats", "--prom-textfile", "x", "--by", "tag"), "--prom-textfile"),
            (("stats", "--prom-textfile", "x", "--period", "1h"), "--prom-textfile"),
            (("stats", "--prom-textfile", "x", "--namespace", "default"), "--prom-textfile"),
            (("log", "convert", "cache", "-o", "x.csv", "--namespace", "default"), "leave --namespace out"),
            (("keys", "--all-namespaces", "--namespace", "x"), "--all-namespaces can't be used with --namespace"),
            (("keys", "--null", "--json"), "--null can't be used with --format json"),
            (("--namespace", "x", "keystats", "--all-namespaces"), "--all-namespaces can't be used with --namespace"),
        ],
    )
    def test_they_are_refused(self, directory, cli, command, named):
        ran = cli(*command)
        assert (ran.code, ran.out, named in ran.err) == (2, "", True)


@pytest.mark.parametrize(
    ("command", "option"),
    [("report", "--html"), ("report", "--csv"), ("simulate", "--html"), ("advise", "--write"),
     ("stats", "--prom-textfile")],
)  # fmt: skip
def test_an_option_is_not_taken_for_a_file_s_name(directory, cli, workplace, command, option):
    ran = cli(command, option, "--quiet")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {option} needs a file name, and --quiet is an option\nhint: write ./--quiet for")
    assert not (workplace / "--quiet").exists()
