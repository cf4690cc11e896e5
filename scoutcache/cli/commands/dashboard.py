"""``dashboard``: a Grafana dashboard of what a cache exposes to Prometheus."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from scoutcache.cli.errors import Usage
from scoutcache.cli.options import command, group
from scoutcache.cli.printing.output import SCHEMA_VERSION
from scoutcache.cli.printing.writing import STDOUT, write_out
from scoutcache.cli.state import Session

app = group(
    "dashboard",
    examples="""
    scoutcache dashboard export -o dashboard.json
    """,
)


@command(
    app,
    "export",
    short="Print a Grafana dashboard, or write it to a file.",
    examples="""
    scoutcache dashboard export -o /etc/grafana/provisioning/dashboards/scoutcache.json
    scoutcache dashboard export | jq '.panels[].title'
    """,
)
def export(
    session: Session,
    output: Annotated[str | None, typer.Option("-o", "--output", metavar="FILE", help="Write it to this file.")] = None,
) -> None:
    """Print a Grafana dashboard as JSON: hit rate, latencies, misses by reason, tiers, money saved, alerts.

    Its data source is a variable, so it can be provisioned from a file or imported unchanged. The metrics come from
    applications that register the collector of scoutcache.integrations.prometheus, or from stats --prom-textfile.
    --format jsonl prints it on one line; --json adds schema_version, which Grafana ignores.
    """
    from scoutcache.insight.live.dashboard import dashboard

    if session.form == "csv":
        raise Usage("a dashboard is JSON: it has no rows for --format csv", hint="leave --format out")
    said = {"schema_version": SCHEMA_VERSION} if session.form == "json" else {}
    text = f"{json.dumps(said | dashboard(), indent=None if session.form == 'jsonl' else 2)}\n"
    if output is None or output == STDOUT:
        session.out.write(text)
    else:
        write_out(session, output, text.encode())
