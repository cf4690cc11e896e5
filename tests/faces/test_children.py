"""Children of `multiprocessing`, forked or not: what they counted is not lost with them, and they are heard of."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
    import json, multiprocessing, os, sys
    from pathlib import Path
    from scoutcache import Cache

    directory, method = sys.argv[1:]
    shared = None

    def ask(times):
        for number in range(times):
            shared.get(f"k{number}")

    def ask_in_a_grandchild(times):
        child = multiprocessing.get_context(method).Process(target=ask, args=(times,))
        child.start()
        child.join()
        ask(times)

    def ask_own(times):
        own = Cache(directory=directory)
        for number in range(times):
            own.get(f"k{number}")

    if __name__ == "__main__":
        shared = Cache(directory=directory)
        context = multiprocessing.get_context(method)
        jobs = [(ask_own, 7), (ask_own, 7)]
        if method == "fork":
            jobs += [(ask, 5), (ask, 5), (ask_in_a_grandchild, 11)]
        children = [context.Process(target=job, args=(times,)) for job, times in jobs]
        for child in children:
            child.start()
        for child in children:
            child.join()
        requests = shared.stats().total_requests
        present = len(list((Path(directory) / "present").iterdir()))
        print(json.dumps([[child.exitcode for child in children], requests, present]))
"""


@pytest.mark.parametrize(("method", "asked"), [("fork", 7 + 7 + 5 + 5 + 11 + 11), ("spawn", 14), ("forkserver", 14)])
def test_what_a_child_counted_last_is_counted(method, asked, tmp_path):
    script = tmp_path / "job.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "cache"), method],
        capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    codes, requests, present = json.loads(done.stdout)
    assert set(codes) == {0}
    assert requests == asked
    assert present == 1, "the children took their leave"
