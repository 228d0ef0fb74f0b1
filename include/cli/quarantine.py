"""Commands for rows that were set aside: see them, correct them, let them go along with the next load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from include.core.contracts import SourceContract

_Id = Annotated[int, typer.Argument(help="Id of the row, as `millrace quarantine list` shows it.")]
_Ids = Annotated[list[int], typer.Argument(help="Ids of rows, as `millrace quarantine list` shows them.")]
_Why = Annotated[str, typer.Option(help="Why; kept in the ledger with who did it.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Rows that broke a rule and were set aside while the others of their load were published.",
    )
    group.command("list")(list_)
    for command in (show, fix, retry, drop):
        group.command()(command)
    app.add_typer(group, name="quarantine", rich_help_panel="Runs")


def list_(
    source: Annotated[str, typer.Argument(help="Name of a source; all when left out.")] = "",
    stream: Annotated[str, typer.Option(help="Only this stream.")] = "",
    all_: Annotated[bool, typer.Option("--all", help="Also rows that wait for nothing any more.")] = False,
) -> None:
    """Show the rows that wait, oldest first.

    held: it waits for the source or for you; retry: it goes along with the next load. With --all also published,
    superseded (the source has other values by now), gone (the source deleted it) and dropped.
    """
    from include.cli import tables
    from include.warehouse import decisions

    with _session() as session:
        rows = decisions.listed(session, source, stream, over=all_)
    if not rows:
        typer.echo("no row is in quarantine")
        return
    shown = [row | {"key": _shown(_contract(row["source"]), row, "key")} for row in rows]
    tables.show(tables.quarantine_table(shown))


def show(row: _Id) -> None:
    """Explain one row: the rules that it breaks, its values, where it landed, and what was decided.

    Personal data is not shown.
    """
    from include.warehouse import decisions

    with _session() as session:
        found = decisions.one(session, row)
    contract = _contract(found["source"])
    lines = {
        "stream": f"{found['source']}.{found['stream']}",
        "state": found["state"],
        "since": f"{found['first_at']:%Y-%m-%d %H:%M:%S} UTC, load {found['first_load']}",
        "last seen": f"{found['last_at']:%Y-%m-%d %H:%M:%S} UTC, load {found['last_load']}",
        "run": found["run_id"],
        "manifest": found["manifest"],
        "published": f"load {found['published_load']}" if found["published_load"] else "",
        "over since": f"load {found['ended_load']}" if found["ended_load"] else "",
        "decided": f"by {found['decided_by']}: {found['decided_why']}" if found["decided_by"] else "",
    }
    for name, value in lines.items():
        if value:
            typer.echo(f"{name + ':':<12}{value}")
    typer.echo("breaks:")
    for rule in found["rules"]:
        typer.echo(f"  {rule}")
    typer.echo("values:")
    edits = _shown(contract, found, "edits")
    for name, value in _shown(contract, found, "content").items():
        typer.echo(f"  {name}: {value}" + (f"  →  {edits[name]}" if name in edits else ""))


def fix(
    row: _Id,
    set_: Annotated[list[str], typer.Option("--set", help="column=value; may be given again.")] = [],  # noqa: B006
    null: Annotated[list[str], typer.Option(help="A column that shall be null; may be given again.")] = [],  # noqa: B006
    *,
    why: _Why,
) -> None:
    """Correct values of a row. It goes along with the next load, through the same audit as all others.

    The correction holds until the source changes the row. Better correct it at the source: then nothing is to be done here.

    Example: millrace quarantine fix 12 --set amount=19.99 --why "typed 1999, confirmed by the customer"
    """
    from include.cli.account import account
    from include.warehouse import decisions

    edits: dict[str, str | None] = dict.fromkeys(null)
    for pair in set_:
        name, sign, value = pair.partition("=")
        if not sign:
            raise typer.BadParameter(f"{pair!r} is not column=value", param_hint="--set")
        edits[name] = value
    if not edits:
        raise typer.BadParameter("nothing to correct: give --set column=value or --null column")
    with _session() as session:
        decisions.fix(session, row, edits, by=account(), why=why)
        _tell_next(decisions.one(session, row))


def retry(rows: _Ids, why: _Why) -> None:
    """Let rows go along with the next load as they are, through the same audit: after a rule was corrected.

    All rows of a source at once: start its DAG with "Retry quarantine" in the form.
    """
    from include.cli.account import account
    from include.warehouse import decisions

    with _session() as session:
        decisions.retry(session, rows, by=account(), why=why)
        _tell_next(decisions.one(session, rows[0]))


def drop(
    rows: _Ids,
    why: _Why,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
) -> None:
    """Keep rows out of raw for good, as they are. When the source changes one, it is judged anew."""
    from include.cli.account import account
    from include.warehouse import decisions

    if not yes:
        typer.confirm(f"Keep {len(rows)} rows out of raw?", abort=True)
    with _session() as session:
        decisions.drop(session, rows, by=account(), why=why)
    typer.echo(f"{len(rows)} rows stay out")


def _session() -> Any:
    from include.cli.connections import find
    from include.warehouse.connect import connected

    return connected(find("warehouse_loader"))


def _contract(source: str) -> SourceContract | None:
    from include.core.contracts import SourceContract, load_named
    from include.core.errors import ContractError

    try:
        return load_named(SourceContract, source)
    except ContractError:  # it may be gone, or have faults by now
        return None


def _shown(contract: SourceContract | None, row: dict[str, Any], field: str) -> dict[str, str]:
    """Values by column; personal ones, and those that no contract says anything about, hidden."""
    from include.quality.gate import hidden

    streams = {one.name: one for one in contract.streams} if contract else {}
    columns = streams[row["stream"]].columns if row["stream"] in streams else {}
    return {
        name: hidden(value, name in row["key"])
        if name not in columns or columns[name].pii
        else "null"
        if value is None
        else value
        for name, value in row[field].items()
    }


def _tell_next(row: dict[str, Any]) -> None:
    typer.echo("goes along with the next load; to have it now:")
    typer.echo(f"  millrace run ingest__{row['source']} --wait")
