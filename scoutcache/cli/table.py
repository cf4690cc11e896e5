"""The table of commands: name, the module that holds it, and its one-line help.

Start-up reads this table and imports the module of the one command that was asked for, nothing else: help of the root
needs no module, and no command pays for another one's imports.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Entry(NamedTuple):
    """Where a command lives and what it does.  A group holds commands of its own."""

    module: str
    help: str
    group: bool = False


COMMANDS: Final[dict[str, Entry]] = {
    "demo": Entry("demo", "Replay real requests and show what caching saves."),
    "stats": Entry("stats", "Show hits, misses, sizes, latencies and savings."),
    "keys": Entry("keys", "List keys with size, time to live and tags."),
    "keystats": Entry("keystats", "Show how sizes, ages and idle times of keys are spread."),
    "inspect": Entry("keys", "Show where a key is, and whether it is valid."),
    "explain": Entry("keys", "Say why requests for a key missed, from the log."),
    "get": Entry("values", "Print the value of a key."),
    "set": Entry("values", "Store a value under a key."),
    "delete": Entry("values", "Delete keys by name."),
    "invalidate": Entry("invalidate", "Invalidate by pattern, tag, key, dependency or event."),
    "clear": Entry("removal", "Remove everything from a namespace, prefix or tier."),
    "prune": Entry("removal", "Remove expired, dead, orphaned or forbidden entries."),
    "verify": Entry("removal", "Check every stored entry; remove damaged ones."),
    "warm": Entry("warm", "Fill the cache in advance."),
    "tasks": Entry("tasks", "Show the warming tasks of the configuration.", group=True),
    "rules": Entry("rules", "List, test and run the invalidation rules.", group=True),
    "events": Entry("events", "Report an event, and run the rules for it.", group=True),
    "llm": Entry("llm", "Show requests to models, and remove their answers.", group=True),
    "bench": Entry("bench", "Measure latency and throughput on this machine.", group=True),
    "top": Entry("top", "Watch rates, tiers, hot keys and alerts live."),
    "semantic": Entry("semantic", "Answer by meaning: ask, add, explain, calibrate.", group=True),
    "report": Entry("report", "Report from the operation log, as text, HTML or CSV."),
    "log": Entry("log", "Show, convert and rotate the operation log.", group=True),
    "simulate": Entry("simulate", "Replay your requests with other sizes and policies."),
    "advise": Entry("advise", "Recommend settings, with the evidence from your log."),
    "doctor": Entry("doctor", "Check the installation, the store and the configuration."),
    "dashboard": Entry("dashboard", "Export a Grafana dashboard of the metrics.", group=True),
    "config": Entry("config", "Show, create and check the configuration.", group=True),
    "profiles": Entry("profiles", "List the shipped profiles and show their settings.", group=True),
}

VALUED: Final = frozenset({"--config", "--profile", "--namespace", "--directory", "--redis-url", "--format"})
"""The global options that take a value: what follows them is not the command."""

FLAGS: Final = frozenset({
    "--json", "--quiet", "-q", "--verbose", "-v", "--no-color", "--no-input", "--version", "--help", "-h",
    "--install-completion", "--show-completion",
})  # fmt: skip
"""The options of the root that take none."""
