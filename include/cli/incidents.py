"""`millrace incidents`, what is wrong and who has it; `millrace alert test`, whether alerts arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from include.core.incident import Incident

_app = typer.Typer(help="What is wrong, since when, and who has it. Without a command: a list.")
_alert = typer.Typer(no_args_is_help=True, help="Whether alerts arrive.")
_Id = Annotated[int, typer.Argument(help="Number of the incident; its alert has it.")]
_By = Annotated[str, typer.Option("--by", help="Who you are.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(_app, name="incidents", rich_help_panel="Runs")
    app.add_typer(_alert, name="alert", rich_help_panel="Runs")


@_app.callback(invoke_without_command=True)
def incidents(
    ctx: typer.Context,
    everything: Annotated[
        bool, typer.Option("--all", help="Those that are over, too: the newest hundred.")
    ] = False,
) -> None:
    """List the open incidents: one for each cause, however often it came.

    Examples:

      millrace incidents

      millrace incidents show 12

      millrace incidents ack 12 --by anna --note "the shop's team restores it"
    """
    if ctx.invoked_subcommand:
        return
    from include.cli.connections import find
    from include.cli.tables import incidents_table, show
    from include.flows.incidents import listed

    found = listed(find, everything=everything)
    if found:
        show(incidents_table(found))
    else:
        typer.echo("no incident" if everything else "no incident is open")


@_app.command("show")
def show_one(incident_id: _Id) -> None:
    """Show one incident with its last message.

    Example: millrace incidents show 12
    """
    from include.cli.connections import find
    from include.flows.incidents import the_one

    one = the_one(find, incident_id)
    facts = {
        "incident": f"{one.incident_id}, {one.severity}: {one.title}",
        "cause": one.cause,
        "since": f"{one.opened_at:%Y-%m-%d %H:%M:%S} UTC",
        "seen": f"{one.occurrences} times, last {one.last_seen_at:%Y-%m-%d %H:%M:%S} UTC",
        "told": f"{one.told_at:%Y-%m-%d %H:%M:%S} UTC" if one.told_at else "not yet",
        "escalated": f"{one.escalated_at:%Y-%m-%d %H:%M:%S} UTC" if one.escalated_at else "no",
        "acknowledged": f"by {one.acknowledged_by}" if one.acknowledged_by else "by nobody",
        "note": one.note or "",
        "over": f"{one.resolved_at:%Y-%m-%d %H:%M:%S} UTC, {one.resolved_by}" if one.resolved_at else "no",
        "run": one.run_id,
        "log": one.link,
    }
    for name, fact in facts.items():
        typer.echo(f"{name + ':':<14}{fact}")
    typer.echo(f"\n{one.what}")


@_app.command()
def ack(
    incident_id: _Id, by: _By, note: Annotated[str, typer.Option(help="What others should know.")] = ""
) -> None:
    """Say that you have it: it is neither told again nor escalated. It is over when its DAG succeeds.

    Example: millrace incidents ack 12 --by anna
    """
    from include.cli.connections import find
    from include.flows.incidents import acknowledge

    _tell(acknowledge(find, incident_id, by, note), f"acknowledged by {by}")


@_app.command()
def close(incident_id: _Id, by: _By, note: Annotated[str, typer.Option(help="Why it is over.")] = "") -> None:
    """Say that it is over where no run will: a backfill that is given up, a contract that is gone.

    Example: millrace incidents close 12 --by anna --note "the range is not needed"
    """
    from include.cli.connections import find
    from include.flows.incidents import close_by_hand

    _tell(close_by_hand(find, incident_id, by, note), f"over, says {by}")


@_alert.command()
def test(
    dag_id: Annotated[str, typer.Argument(help="Such as ingest__shop, transform__shop or maintain.")],
) -> None:
    """Send a test message to every alert channel of a DAG's contract. Exit code 1 when one did not take it.

    Example: millrace alert test ingest__shop
    """
    from include.cli.connections import find
    from include.flows.incidents import try_channels

    answers = try_channels(dag_id, find)
    for channel, why in answers.items():
        typer.secho(f"{channel:<20}{why or 'took it'}", fg=typer.colors.RED if why else None)
    if not answers:
        typer.echo("its contract names no channel: nobody is told")
    if not answers or any(answers.values()):
        raise typer.Exit(1)


def _tell(one: Incident, what: str) -> None:
    typer.echo(f"incident {one.incident_id}, {one.title}: {what}")
