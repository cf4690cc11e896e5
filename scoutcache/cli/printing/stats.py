"""What ``stats`` was asked for, and how the figures of one moment are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from scoutcache.alerts import Alert
    from scoutcache.cli.printing.output import Output
    from scoutcache.insight.live.stats import Stats


class Asked(NamedTuple):
    """What was asked for: *period* in seconds, None for all there is."""

    period: float | None = None
    by: str | None = None
    tier: str | None = None
    check: bool = False


class StatsView(NamedTuple):
    """The figures at one moment, as ``stats`` shows them; see `scoutcache.cli.printing.watching.View`."""

    found: Stats
    asked: Asked
    server: Mapping[str, Any] | None
    note: str | None
    alerts: list[Alert] | None

    @property
    def passed(self) -> list[Alert]:
        """The alerts that are a reason to act."""
        from scoutcache.alerts import Level

        return [alert for alert in self.alerts or () if alert.level > Level.INFO]

    def draw(self, out: Output) -> None:
        """Print it, as a table or whole in the other formats."""
        if out.form == "json":
            out.record(self.record())
        elif self.asked.by is not None:
            self._draw_groups(out, self.asked.by)
        elif out.form == "table":
            self._draw_whole(out)
        else:
            out.record(self.fields())

    def _draw_groups(self, out: Output, by: str) -> None:
        fields = self.fields()
        also: dict[str, Any] = {name: fields[name] for name in _OF_ALL if name in fields}
        if self.note:
            also["note"] = self.note
        out.rows(_NOUNS[by], self._groups(fields), (_NAMES.get(by, by), *_COLUMNS[by]), **also)

    def _draw_whole(self, out: Output) -> None:
        fields, server = self.fields(), self.server
        tiers = [{name: row[name] for name in ("name", *_TIER)} for row in fields["tiers"]]
        out.record({name: fields[name] for name in _SHOWN} | {"tiers": tiers})
        if server is not None:
            nodes = server.get("nodes")
            out.section("server", nodes or [server], _NODE if nodes else tuple(server))
        if self.alerts:
            out.section("alerts", fields["alerts"], ("level", "name", "detail", "remedy"))

    def fields(self) -> dict[str, Any]:
        """All there is."""
        fields = {**self.found.as_dict(), "server": self.server, "note": self.note}
        fields["tiers"] = [row for row in fields["tiers"] if self.asked.tier in {None, row["name"]}]
        if self.alerts is not None:
            fields["alerts"] = [alert_row(alert) for alert in self.alerts]
        return fields

    def record(self) -> Mapping[str, Any]:
        """The same, behind the rows of the groups."""
        fields, by = self.fields(), self.asked.by
        groups: dict[str, Any] = {} if by is None else {_NOUNS[by]: list(self._groups(fields))}
        return groups | fields

    def _groups(self, fields: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """The row of each group."""
        rows: Sequence[Mapping[str, Any]] = fields["tiers"] if self.asked.by == "tier" else self.found.groups
        return rows

    def line(self) -> Mapping[str, Any]:
        """The figures that fit into a line; by group, each one's requests and hit rate."""
        fields, by = self.fields(), self.asked.by
        shown = {"at": fields["period_end"]}
        if by is None:
            shown |= {name: fields[name] for name in _LINE}
            shown |= {f"{tier['name']}_entries": tier["entries"] for tier in fields["tiers"]}
        else:
            for row in self._groups(fields):
                for figure in ("hits", "hit_rate"):
                    shown[f"{row[_NAMES.get(by, by)] or '-'}.{figure}"] = row[figure]
        if self.alerts:
            shown["alerts"] = ",".join(alert.name for alert in self.alerts)
        return shown

    def rows(self) -> Iterable[Mapping[str, Any]]:
        """One row, or one for each group."""
        fields, by = self.fields(), self.asked.by
        if by is None:
            return [fields]
        columns = (_NAMES.get(by, by), *_COLUMNS[by])
        return [{"at": fields["period_end"], **{column: row[column] for column in columns}}
                for row in self._groups(fields)]  # fmt: skip


def alert_row(alert: Alert) -> dict[str, Any]:
    """An alert as data."""
    return {**alert._asdict(), "level": alert.level.name}


_OF_ALL: Final = ("period_start", "period_end", "machines", "alerts")
_NODE: Final = ("name", "version", "role", "used_memory", "maxmemory", "evicted_keys", "connected_clients", "uptime_s")
_NOUNS: Final = {"tier": "tiers", "namespace": "namespaces", "prefix": "prefixes", "tag": "tags"}
"""What the groups are called, by what they are made of."""
_NAMES: Final = {"tier": "name"}
"""The column that names a group, where it isn't called after what they are made of."""
_GROUP: Final = ("requests", "hits", "misses", "hit_rate", "sets", "deletes", "evictions", "calls_saved",
                 "cost_saved_usd")  # fmt: skip
_TIER: Final = ("entries", "size_bytes", "max_bytes", "hits", "hit_rate", "hit_p50_us", "hit_p95_us")
_COLUMNS: Final = {"tier": _TIER, "namespace": _GROUP, "prefix": _GROUP, "tag": _GROUP}
_LINE: Final = (
    "requests", "hits", "misses", "hit_rate", "hit_p50_us", "hit_p95_us", "sets", "deletes", "evictions",
    "invalidations", "errors", "calls_saved", "processes",
)  # fmt: skip
_SHOWN: Final = (
    "requests", "hits", "misses", "hit_rate", "hit_p50_us", "hit_p95_us", "miss_p50_us", "miss_p95_us", "sets",
    "deletes", "evictions", "evictions_by_reason", "misses_by_reason", "expirations", "errors", "calls_saved",
    "cost_saved_usd", "period_start", "period_end", "processes", "machines",
)  # fmt: skip
