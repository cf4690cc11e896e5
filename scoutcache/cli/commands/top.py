"""``top``: what happens in the cache just now, redrawn; lines off a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from scoutcache.cli import gathering
from scoutcache.cli.opening import failures, part
from scoutcache.cli.options import command
from scoutcache.cli.printing import text
from scoutcache.cli.printing.stats import alert_row
from scoutcache.cli.printing.watching import EVERY, Every, at_each, interval_of, show
from scoutcache.cli.state import Session

if TYPE_CHECKING:
    from scoutcache.alerts import Alert
    from scoutcache.cli.printing.output import Output
    from scoutcache.core.core import Core
    from scoutcache.entry import Usage
    from scoutcache.insight.live.hot_keys import HotKeys, Writer
    from scoutcache.insight.live.pulse import Look, Pulse, Rates
    from scoutcache.oplog.totals import Stats, TierStats

app = typer.Typer()

SIZED_EVERY: Final = 30.0
"""Seconds between two countings of a server's entries, which asks for all of them."""
JUDGED_EVERY: Final = 5.0
OTHERS_EVERY: Final = 5.0
"""Seconds between two publications of another machine: rates over less would jump."""


@command(
    app,
    "top",
    examples="""
    scoutcache top                           until Ctrl-C
    scoutcache top --interval 5 --top 20
    scoutcache top --once --json             one measurement, for a script
    """,
)
def top(
    session: Session,
    interval: Every = EVERY,
    once: Annotated[bool, typer.Option("--once", help="Measure one interval, print it, and end.")] = False,
    most: Annotated[int, typer.Option("--top", metavar="N", min=0, help="Length of each list.")] = 5,
) -> int | None:
    """Show requests per second, hit rate, latencies, fill of tiers, hot prefixes and keys, and alerts, live.

    Covers all processes that use this cache, each with its share, and other machines that share a server; those publish
    every five seconds, so rates are then averages over at least that. Hot keys are those of this machine's log in the
    last minute. Off a terminal each interval is a line, an object or a row, the first one after one interval. Ctrl-C
    ends it.
    """
    every = interval_of(interval)
    away: dict[str, str] = {}
    views = _views(session, every, most, away, once=once)
    if once and session.form != "jsonl":
        for view in views:
            view.draw(session.out)
    else:
        show(session, views)
    return part(away)


def _views(session: Session, interval: float, most: int, away: dict[str, str], *, once: bool) -> Iterator[TopView]:
    """The views, one or more; *away* is told who could not be asked."""
    watcher = _Watcher(session, most)
    first = not (session.out.fancy and not once)
    for core in at_each(session, interval):
        with failures(core) as found:
            view = watcher.turn(core)
        away.update(found)
        if view.pulse is None and first:
            continue
        yield view
        if once:
            return


class TopView(NamedTuple):
    """What happens at one moment; *pulse* is None at the first look, when nothing can be compared."""

    at: float
    pulse: Pulse | None
    look: Look
    hour: Stats
    hottest: Sequence[Mapping[str, Any]]
    writers: Mapping[str, Writer]
    alerts: Sequence[Alert]
    most: int

    def head(self) -> dict[str, Any]:
        """The figures of the whole."""
        from scoutcache.oplog.totals import moment

        pulse = self.pulse
        return {
            "at": moment(self.at), "seconds": None if pulse is None else round(pulse.seconds, 3),
            **_rates(None if pulse is None else pulse.total),
            **{f"{what}_p{round(q * 100)}_us": None if pulse is None else pulse.quantile(what, q)
               for what in ("hit", "miss") for q in (0.5, 0.95)},
            "processes": len(self.look.processes), "machines": self.look.machines,
        }  # fmt: skip

    def tiers(self) -> list[dict[str, Any]]:
        """A row for each tier."""
        pulse = self.pulse
        return [
            {"name": tier.name, "entries": tier.entries, "size_bytes": tier.size_bytes, "max_bytes": tier.max_bytes,
             "fill_ratio": _fill(tier),
             "hits_per_s": None if pulse is None else round(pulse.tiers.get(tier.name, 0.0), 3),
             "hit_p50_us": None if pulse is None else pulse.quantile("hit", 0.5, tier.name),
             "hit_p95_us": None if pulse is None else pulse.quantile("hit", 0.95, tier.name)}
            for tier in self.hour.tiers
        ]  # fmt: skip

    def processes(self) -> list[dict[str, Any]]:
        """A row for each process, the busiest first."""
        rows = []
        for name, process in self.look.processes.items():
            rates = None if self.pulse is None else self.pulse.processes.get(name)
            who = self.writers.get(name)
            rows.append({
                "process": name, "pid": None if who is None else who.pid, "user": None if who is None else who.user,
                "command": None if who is None else who.command, **_rates(rates),
                "memory_entries": process.memory_entries, "memory_bytes": process.memory_bytes,
            })  # fmt: skip
        return sorted(rows, key=lambda row: (-(row["requests_per_s"] or 0.0), row["process"]))

    def prefixes(self) -> list[dict[str, Any]]:
        """A row for each of the busiest prefixes."""
        found = {} if self.pulse is None else self.pulse.prefixes
        busiest = sorted(found.items(), key=lambda one: (-one[1].requests, one[0]))[: self.most]
        return [{"prefix": prefix, **_rates(rates)} for prefix, rates in busiest]

    def record(self) -> Mapping[str, Any]:
        """All there is."""
        return {
            **self.head(), "tiers": self.tiers(), "process_list": self.processes(), "prefixes": self.prefixes(),
            "keys": list(self.hottest), "alerts": [alert_row(alert) for alert in self.alerts],
        }  # fmt: skip

    def line(self) -> Mapping[str, Any]:
        """What fits into a line."""
        shown = self.head()
        shown |= {f"{tier['name']}_fill_ratio": tier["fill_ratio"] for tier in self.tiers()}
        prefixes = self.prefixes()
        shown["prefix"] = prefixes[0]["prefix"] or "-" if prefixes else None
        shown["key"] = self.hottest[0]["key"] if self.hottest else None
        shown["alerts"] = [alert.name for alert in self.alerts]
        return shown

    def rows(self) -> Iterable[Mapping[str, Any]]:
        """One row; alerts and tiers in it as data."""
        return [self.record()]

    def _draw_head(self, out: Output) -> None:
        head = self.head()
        if not out.on_terminal:
            out.record(head)
            return
        for names in _LINES:
            out.line("   ".join(f"{text.label(name)} {text.human(name, head[name])}" for name in names))

    def draw(self, out: Output) -> None:
        """Print it for people, or whole in the other formats."""
        if out.form != "table":
            out.record(self.record())
            return
        self._draw_head(out)
        if self.alerts:
            out.section("alerts", [alert_row(one) for one in self.alerts], ("level", "name", "detail"))
        out.section("tiers", self.tiers())
        processes = [{**row, "pid": _text(row["pid"])} for row in self.processes()[: max(self.most, 1)]]
        out.section("processes", processes, _PROCESS)
        out.section("prefixes", self.prefixes(), ("prefix", "requests_per_s", "hit_rate", "sets_per_s"))
        out.section("keys of the last minute", self.hottest, ("key", "requests", "hit_rate", "namespace"))


_LINES: Final = (
    ("at", "requests_per_s", "hit_rate", "processes", "machines", "seconds"),
    ("hit_p50_us", "hit_p95_us", "miss_p50_us", "miss_p95_us"),
    ("sets_per_s", "deletes_per_s", "evictions_per_s", "expirations_per_s", "invalidations_per_s", "errors_per_s"),
)
"""How the head stands on a terminal, where lines are few."""
_PROCESS: Final = ("process", "pid", "command", "requests_per_s", "hit_rate", "memory_entries", "memory_bytes")
_FIGURES: Final = ("requests", "hits", "sets", "deletes", "evictions", "expirations", "invalidations", "errors")


def _rates(rates: Rates | None) -> dict[str, Any]:
    if rates is None:
        return {**{f"{name}_per_s": None for name in _FIGURES}, "hit_rate": None}
    share = rates.hit_rate
    return {**{f"{name}_per_s": round(getattr(rates, name), 3) for name in _FIGURES},
            "hit_rate": None if share is None else round(share, 4)}  # fmt: skip


def _text(number: int | None) -> str | None:
    """A number that is a name: without thousands apart."""
    return None if number is None else str(number)


def _fill(tier: TierStats) -> float | None:
    """The fuller of its two limits, of those that are known."""
    pairs = ((tier.size_bytes, tier.max_bytes), (tier.entries, tier.max_entries))
    return max((round(part / whole, 6) for part, whole in pairs if part is not None and whole), default=None)


class _Watcher:
    """Looks at a cache again and again; what is costly to ask is asked more rarely."""

    def __init__(self, session: Session, most: int) -> None:
        self._session, self._most = session, most
        self._looks: deque[Look] = deque()
        self._hot: HotKeys | None = None
        self._sizes: dict[str, tuple[float, Usage | None]] = {}
        self._judged: tuple[float, Stats, list[Alert]] | None = None

    def turn(self, core: Core) -> TopView:
        """The view now."""
        from scoutcache.insight.live.hot_keys import HotKeys
        from scoutcache.insight.live.pulse import look, pulse

        now, at = core.world.now(), core.clocks.monotonic()
        self._hot = self._hot or HotKeys(core.directory)
        self._hot.turn(now)
        found = look(core.directory, at=at, now=now, elsewhere=gathering.elsewhere(self._session, core, 900.0))
        before = self._before(core, at)
        self._looks.append(found)
        hour, alerts = self._judge(core, at, now)
        return TopView(
            now, None if before is None else pulse(before, found, self._session.namespace), found, hour,
            self._hot.hottest(self._most, self._session.namespace), self._hot.writers, alerts, self._most,
        )  # fmt: skip

    def _before(self, core: Core, at: float) -> Look | None:
        """The look to compare with: the last one, or the last that lies far enough back."""
        window = 0.0 if core.others is None else OTHERS_EVERY
        while len(self._looks) > 1 and at - self._looks[1].at >= window:
            self._looks.popleft()
        return self._looks[0] if self._looks else None

    def _judge(self, core: Core, at: float, now: float) -> tuple[Stats, list[Alert]]:
        from scoutcache.alerts import alerts
        from scoutcache.core.alarms import HOUR, LEAST, figures_of
        from scoutcache.insight.live.stats import collect_stats

        if self._judged is None or at - self._judged[0] >= JUDGED_EVERY:
            usages = {tier.name: None if tier is core.memory else self._usage(core, tier, at) for tier in core.tiers}
            hour = collect_stats(core.directory, now=now, period_s=HOUR, namespace=self._session.namespace,
                                 usages=usages, elsewhere=gathering.elsewhere(self._session, core, HOUR))  # fmt: skip
            figures = figures_of(hour, hour, away=core.alarms.away(core), least=LEAST)
            standing = [] if self._judged is None else self._judged[2]
            self._judged = at, hour, alerts(figures, self._session.config.alerts, standing)
        return self._judged[1], self._judged[2]

    def _usage(self, core: Core, tier: Any, at: float) -> Usage | None:
        asked, usage = self._sizes.get(tier.name, (-SIZED_EVERY, None))
        if tier.name == "redis" and at - asked < SIZED_EVERY:
            return usage
        self._sizes[tier.name] = at, gathering.usage(self._session, core, tier)
        return self._sizes[tier.name][1]
