"""The reference in README is the one that the commands themselves give."""

from __future__ import annotations

import re
from pathlib import Path

from scoutcache.cli import reference
from scoutcache.cli.main import build
from scoutcache.cli.table import COMMANDS
from scoutcache.oplog.records import MISS_REASONS

README = Path(__file__).resolve().parents[2] / "README.md"


def test_readme_holds_the_reference_as_it_is():
    text = README.read_text(encoding="utf-8")
    assert text.count(reference.BEGIN) == text.count(reference.END) == 1
    written = text.partition(reference.BEGIN)[2].partition(reference.END)[0]
    assert written.strip() == reference.reference().strip(), "run: python -m scoutcache.cli.reference README.md"


def test_every_command_and_every_option_is_in_the_reference():
    import typer

    text = reference.reference()
    root = typer.main.get_command(build(COMMANDS))
    waiting = [(f"scoutcache {name}", command) for name, command in root.commands.items()]
    assert {path.split()[1] for path, _ in waiting} == set(COMMANDS)
    while waiting:
        path, command = waiting.pop()
        assert f"### `{path}`\n" in text
        for parameter in command.params:
            is_option = parameter.param_type_name == "option"
            for name in parameter.opts if is_option else [parameter.metavar.replace("|", "\\|")]:
                assert name in text, (path, name)
        waiting += [(f"{path} {name}", inner) for name, inner in getattr(command, "commands", {}).items()]


def test_explain_names_every_reason_of_a_miss():
    text = reference.reference().partition("### `scoutcache explain`")[2].partition("```")[0]
    assert [reason for reason in MISS_REASONS if reason not in text] == []


def test_each_example_is_a_command_that_is_there():
    for line in re.findall(r"^(?:.*\| )?scoutcache (\S+)", reference.reference(), re.MULTILINE):
        assert line in COMMANDS


def test_no_help_holds_what_a_terminal_would_take_for_markup():
    for line in reference.reference().splitlines():
        text = re.sub(r"`[^`]*`|\[(default: [^]]*|x[<>]=\d+|required)\]", "", line)
        assert not re.search(r"\[[a-z/]", text) or "jq" in line, line


def test_the_reference_is_written_between_the_marks(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"before\n{reference.BEGIN}\nold\n{reference.END}\nafter\n")
    reference.write_into(file)
    text = file.read_text()
    assert text.startswith(f"before\n{reference.BEGIN}\n")
    assert text.endswith(f"{reference.END}\nafter\n")
    assert reference.reference().strip() in text
    assert "old" not in text.split(reference.END)[0].split(reference.BEGIN)[1].splitlines()
