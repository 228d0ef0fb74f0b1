"""Commands for what lies in the landing zone: rebuild raw from it, and the shapes that a stream had."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from include.flows.replay_plan import Bound

_PANEL = "Runs"
_Source = Annotated[str, typer.Argument(help="Name of the source, such as shop.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(rich_help_panel=_PANEL)(replay)
    app.command(rich_help_panel=_PANEL)(schema)


def replay(
    source: _Source,
    stream: Annotated[
        list[str] | None, typer.Option("--stream", help="Only this stream; may be given again. Default: all.")
    ] = None,
    since: Annotated[
        str,
        typer.Option(
            help="First load to bring back: its id, or the day or time (UTC) since when loads were published."
        ),
    ] = "",
    until: Annotated[
        str,
        typer.Option(help="Last load: its id; or the day or time (UTC) before which loads were published."),
    ] = "",
    newest_complete: Annotated[
        bool,
        typer.Option(
            "--newest-complete",
            help="Begin with each stream's newest load that read the whole table: reads less, forgets older tombstones.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would read.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
) -> None:
    """Rebuild raw tables from the landing zone. The source is not asked; no run may load it meanwhile.

    Without a range, raw becomes what its accepted loads made of it, tombstones, load ids and times included: rows that were
    changed or lost are put right, rows that came from elsewhere go. With --since or --until, only rows whose newest version
    came in these loads are put right, and nothing else is touched. Watermarks do not move. Readers see the tables as they
    were until all of it is done; when a part is missing or damaged, nothing is changed.

    Examples:

      millrace replay shop --dry-run

      millrace replay shop --stream orders --yes

      millrace replay shop --since 2026-03-01 --until 2026-03-08
    """
    from include.cli.account import account
    from include.cli.connections import find
    from include.cli.tables import replay_plan_table, replayed_table, show
    from include.core.contracts import SourceContract, load_named
    from include.flows.replay import Replay
    from include.flows.replay_plan import Scope
    from include.flows.source_run import SourceRun

    contract = load_named(SourceContract, source)
    scope = Scope(tuple(stream or ()), _bound(since), _bound(until), newest_complete)
    # Who did it stands in the ledger, as the run that it was.
    run_id = f"replay__{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S.%f}__{account()}"
    work = Replay(SourceRun(contract, find, run_id), scope, typer.echo)
    plan = work.plan()
    show(replay_plan_table(contract.raw_schema, plan))
    for one in plan:
        for note in one.notes:
            typer.echo(f"{one.stream} {note}")
    if dry_run:
        return
    if not yes:
        typer.confirm(f"Change {contract.raw_schema} to what these loads say?", abort=True)
    done = work.replay()
    show(replayed_table(contract.raw_schema, done))
    if all(outcome.as_before for outcome in done.values()):
        typer.echo("raw is what it was before: nothing was written")
        return
    typer.echo("raw has changed; the marts follow with their next run")
    for name in _transforms(contract.source):
        typer.echo(f"  millrace run transform__{name} --wait")


def schema(source: _Source, stream: Annotated[str, typer.Argument(help="One of its streams.")]) -> None:
    """Show the shapes that a stream had over time, each with its loads and what changed, from the landing zone.

    Example: millrace schema shop orders
    """
    from include.cli.connections import find
    from include.core.contracts import SourceContract, load_named
    from include.flows.shapes import shapes

    for place, found in enumerate(shapes(load_named(SourceContract, source), stream, find)):
        loads = f"load {found.first_load}"
        if found.last_load != found.first_load:
            loads = f"loads {found.first_load} to {found.last_load}"
        typer.secho(f"{loads}, since {found.landed_at:%Y-%m-%d %H:%M:%S} UTC", bold=True)
        if place == 0:
            key = ", ".join(found.shape.primary_key) or "none"
            typer.echo(f"  primary key: {key}")
            lines = [
                f"{column.name} {column.source_type}{'' if column.nullable else ', not null'}"
                for column in found.shape.columns
            ]
        else:
            lines = list(found.changes)
        for line in lines:
            typer.echo(f"  {line}")
        for answer in found.answers:
            typer.echo(f"  other than the contract, {answer}")


def _bound(text: str) -> Bound | None:
    if not text:
        return None
    if text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is neither the id of a load nor a time such as 2026-03-01 or 2026-03-01T12:00"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _transforms(source: str) -> list[str]:
    from include.core.contracts import TransformContract, load_all

    return [one.transform for one in load_all(TransformContract) if source in one.sources]
