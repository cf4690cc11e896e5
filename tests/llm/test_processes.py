"""Real processes and many tenants: one call per question, nobody's answer to somebody else, nothing of a prompt."""

from __future__ import annotations

import random
import signal

import pytest

from scoutcache import Cache

from .answers import ASK, Model, answer, asking, chunks

pytestmark = pytest.mark.usefixtures("no_hang")

ASKING = """
import sys
from pathlib import Path
from scoutcache import Cache
directory, calls = sys.argv[1:]

def ask():
    print("asking", flush=True)
    sys.stdin.readline()
    with Path(calls).open("a") as file:
        file.write("x")
    return {answer!r}

with Cache(directory=directory) as cache:
    print("ready", flush=True)
    sys.stdin.readline()
    said = {said}
    print("said", said == {answer!r}, flush=True)
"""


def program(said, what):
    return ASKING.format(answer=what, said=said)


def test_processes_make_one_call_and_who_is_killed_in_it_is_followed_by_another(run_python, tmp_path):
    """Of three that ask the first is killed in the middle of its call: one of the others makes it, for both."""
    code = program(f"cache.llm.get_or_call({ASK!r}, ask)", answer())
    first, *others = [run_python(code, tmp_path / "c", tmp_path / "calls") for _ in range(3)]
    for one in (first, *others):
        assert one.stdout.readline() == "ready\n"
    first.stdin.write("go\n")
    first.stdin.flush()
    assert first.stdout.readline() == "asking\n"
    for one in others:
        one.stdin.write("go\ngo on\n")  # the second line is for the call, should it be theirs
        one.stdin.flush()
    first.send_signal(signal.SIGKILL)
    first.wait(20)
    said = [one.communicate(timeout=60)[0] for one in others]
    assert [one.replace("asking\n", "") for one in said] == ["said True\n"] * 2
    assert sorted("asking" in one for one in said) == [False, True]
    assert (tmp_path / "calls").read_text() == "x"
    with Cache(directory=tmp_path / "c") as cache:
        assert cache.llm.get(ASK) == answer()


def test_two_tenants_never_get_each_others_answers(tmp_path):
    """10,000 mixed requests of two tenants, some of them word for word the same."""
    dice, made = random.Random(7), {"a": 0, "b": 0}
    with Cache(tiers=["memory"], directory=tmp_path) as cache:
        views = {tenant: cache.namespace(tenant).llm for tenant in made}

        def ask(tenant, number):
            made[tenant] += 1
            return f"{tenant}'s answer to {number}"

        for _ in range(10_000):
            tenant, number = dice.choice("ab"), int(dice.paretovariate(0.7)) % 1000
            if number % 3:
                said = views[tenant].get_or_call(asking(f"question {number}"), lambda t=tenant, n=number: ask(t, n))
            else:
                said = views[tenant].get_or_call(text=f"text {number}", operation="qa",
                                                 call=lambda t=tenant, n=number: ask(t, n))  # fmt: skip
            assert said == f"{tenant}'s answer to {number}"
        found = {tenant: view.metrics() for tenant, view in views.items()}
    assert sum(one.requests for one in found.values()) == 10_000
    assert {tenant: one.misses for tenant, one in found.items()} == made


def test_nothing_of_a_prompt_is_in_a_key_a_tag_a_count_or_the_log(tmp_path):
    """Every file of the cache is searched, with answers that don't repeat what they were asked."""
    secret = "the cat of Mrs Robinson"
    with Cache({"directory": tmp_path, "compression": {"type": "none"}}) as cache:
        llm = cache.llm
        llm.get_or_call(asking(secret), Model())
        llm.get(asking(f"{secret}!"))
        llm.get_or_call(text=secret, operation="qa", options={"question": secret}, call=lambda: "no")
        list(llm.get_or_call(asking(secret, stream=True), lambda: iter(chunks())))
        with pytest.raises(OSError, match="x"):
            llm.get_or_call(asking(f"{secret}?"), Model(OSError("x")))
        llm.invalidate(model="gpt-4o", reason="test")
        llm.get_or_call(asking(secret), Model())
        cache.flush()
        assert secret not in str([*cache.keys()]) + str(llm.metrics())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 4
    for path in files:
        assert b"Robinson" not in path.read_bytes(), path


def test_what_a_program_counted_that_closed_nothing_is_there(run_python, tmp_path):
    code = f"""
import sys
from scoutcache import Cache
cache = Cache(directory=sys.argv[1])
cache.llm.get_or_call({ASK!r}, lambda: {answer()!r})
cache.llm.get_or_call({ASK!r}, lambda: {answer()!r})
"""
    program = run_python(code, tmp_path)
    assert program.wait(60) == 0
    with Cache(directory=tmp_path) as cache:
        assert (cache.llm.metrics(1).requests, cache.llm.metrics(1).hits) == (2, 1)
