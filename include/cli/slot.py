"""`millrace slot`: the replication slot and publication by which streams of mode log are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from include.core.contracts import SourceContract
    from include.sources.log import Slot

_app = typer.Typer(
    no_args_is_help=True,
    help="""Make, look at and drop what the source keeps its log by, for streams with mode: log.

    A slot makes the source keep its write-ahead log until Millrace has published what stands there. It therefore fills the
    source's disk when nobody pulls: drop a slot that is not needed any more, and have max_slot_wal_keep_size set there.
    """,
)
_Source = Annotated[str, typer.Argument(help="Name of the source, such as shop.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(_app, name="slot", rich_help_panel="Contracts")


@_app.command()
def create(source: _Source) -> None:
    """Make the publication and the slot of a source, or add tables that its contract has got since.

    The role of the connection needs REPLICATION for the slot and, for the publication, to own the tables; where it lacks the
    latter, the statement for an administrator is printed. Making a slot waits for the transactions that are open then. The
    first run after it reads the tables whole.

    Example: millrace slot create shop
    """
    slot, _ = _open(source)
    done = slot.create()
    for line in done or ["nothing to do: the publication has all tables, and the slot is there"]:
        typer.echo(line)
    state = slot.state()
    if state is not None and state.keep_at_most is None:
        typer.secho(
            "max_slot_wal_keep_size is not set there: should nobody pull for long, the slot fills the source's disk. As an"
            " administrator: alter system set max_slot_wal_keep_size = '50GB'; select pg_reload_conf();",
            fg=typer.colors.YELLOW,
        )
    _tell_faults(slot)


@_app.command()
def status(source: _Source) -> None:
    """Show how much of its log the source keeps for us, and whether it tells all that happens to each table.

    Exit code 1 when there is no slot, when it is lost, or when a table is not told whole.

    Example: millrace slot status shop
    """
    slot, contract = _open(source)
    state, bad = slot.state(), False
    if state is None:
        typer.echo(f"there is no slot {contract.slot_name}: millrace slot create {source}")
        bad = True
    else:
        limit = contract.impact.held_log_mb
        bad = bool(state.invalid) or state.wal_status == "lost"
        kept = "without limit" if state.keep_at_most is None else f"at most {_megabytes(state.keep_at_most)}"
        lines = {
            "slot": f"{state.name}, {'being read' if state.active else 'idle'}",
            "state": state.wal_status + (f": {state.invalid}" if state.invalid else ""),
            "not read yet": _megabytes(state.behind),
            "held at the source": f"{_megabytes(state.held)} (held_log_mb: {limit})",
            "the source keeps": f"{kept} (max_slot_wal_keep_size)",
        }
        for what, value in lines.items():
            typer.echo(f"{what:<20}{value}")
    for table in slot.tables():
        told = "published" if table.published else "not published"
        typer.echo(f"{table.stream:<20}{table.table}: {told}; rows are told by {table.identity}")
    if _tell_faults(slot) or bad:
        raise typer.Exit(1)


@_app.command()
def drop(
    source: _Source,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be dropped.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
) -> None:
    """Drop the slot and the publication of a source. The source keeps no more of its log for us.

    Whoever makes a slot again later has to start the DAG with full_refresh: what was changed in between is in no log.

    Example: millrace slot drop shop
    """
    slot, contract = _open(source)
    state = slot.state()
    if state is not None:
        typer.echo(
            f"slot {state.name} holds {_megabytes(state.held)}; {_megabytes(state.behind)} were not read yet"
        )
    typer.echo(f"to drop: slot and publication {contract.slot_name} of source {source}")
    if dry_run:
        return
    if not yes:
        typer.confirm("Drop them?", abort=True)
    for line in slot.drop() or ["neither was there"]:
        typer.echo(line)


def _open(source: str) -> tuple[Slot, SourceContract]:
    from include.cli.connections import find
    from include.core.contracts import SourceContract, load_named
    from include.sources.log import open_slot

    contract = load_named(SourceContract, source)
    return open_slot(contract, find(contract.connection)), contract


def _tell_faults(slot: Slot) -> bool:
    faults = [fault for table in slot.tables() for fault in table.faults]
    for fault in faults:
        typer.secho(f"fault    {fault}", fg=typer.colors.RED)
    return bool(faults)


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MB"
