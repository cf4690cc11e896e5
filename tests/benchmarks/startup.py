"""What a command costs against a hello-world Typer app: ``python tests/benchmarks/startup.py``.

Runs are interleaved; the figures are medians of the ratios of each round, in CPU seconds of the whole process.
Modules are compiled beforehand, as pip leaves them: a checkout whose environment forbids that compiles them each time.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROUNDS = 21

HELLO = """\
import typer
app = typer.Typer()
@app.command()
def hello(name: str = "world"):
    print(f"hello {name}")
@app.command()
def bye():
    print("bye")
app()
"""

GOALS = {"--version": 1.3, "get KEY": 3.0, "stats": 3.0}


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    """What *command* takes of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        hello = Path(folder, "hello.py")
        hello.write_text(HELLO)
        cache = [sys.executable, "-m", "scoutcache", "--directory", str(Path(folder, "cache"))]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = str(Path(folder, "compiled"))
        subprocess.run([*cache, "set", "greeting", "hello", "--quiet"], check=True, env=environment)
        commands = {
            "hello": [sys.executable, str(hello), "hello"],
            "--version": [sys.executable, "-m", "scoutcache", "--version"],
            "get KEY": [*cache, "get", "greeting"],
            "stats": [*cache, "stats"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for round_ in range(ROUNDS + 1):
            for name, command in commands.items():
                seconds = cpu_seconds(command, environment)
                if round_:  # the first one compiles, and warms the caches of the file system
                    times[name].append(seconds)
    print(f"hello-world Typer app: {statistics.median(times['hello']) * 1000:.0f} ms of CPU")
    missed = 0
    for name, goal in GOALS.items():
        ratio = statistics.median(ours / hello for ours, hello in zip(times[name], times["hello"], strict=True))
        missed += ratio > goal
        print(f"{name:10} {ratio:5.2f} x   goal {goal}  {'missed' if ratio > goal else 'met'}")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
