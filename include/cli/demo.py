"""The main job on the demo shop: every DAG in the real scheduler, and a report of what each stage did."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from include.cli.airflow_api import AirflowApi
    from include.stack.home import Home

_PANEL = "Demo"
_INGEST, _TRANSFORM = "ingest__shop", "transform__shop"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (demo, traffic):
        app.command(rich_help_panel=_PANEL)(command)


def demo(
    transactions: Annotated[
        int, typer.Option(help="How much traffic goes before the second run and those after it.")
    ] = 400,
) -> None:
    """Start the stack and run the whole lifecycle on the demo shop, in the real scheduler.

    The first time everything is loaded. Every later time, traffic changes the shop first (inserts, updates and deletes from
    four connections at once), and only what changed moves.

    SCALE=10 in the environment makes the shop ten times as large, when it is first filled (1 to 100).
    """
    from include.cli.airflow_api import AirflowApi
    from include.cli.connections import find
    from include.core.contracts import SyncContract, load_all
    from include.flows.status import last_good, run_report
    from include.stack import control
    from include.stack.home import Home

    started, home = time.monotonic(), Home.locate()
    _headline("the stack")
    control.up(home, typer.echo)
    api = AirflowApi()
    syncs = [f"activate__{sync.sync}" for sync in load_all(SyncContract) if sync.transform == "shop"]
    api.wait_for_dags({_INGEST, _TRANSFORM, *syncs})
    _none_is_paused(api, (_INGEST, _TRANSFORM, *syncs))
    first = last_good("ingest", "shop", find) is None
    if not first:
        _headline("traffic in the shop")
        _make_traffic(transactions)
    ingest_run = _first_run(api) if first else api.trigger(_INGEST, {})
    _follow(api, _INGEST, ingest_run)
    transform_run = _follow_caused(api, _TRANSFORM, ingest_run)
    sync_runs = tuple(_follow_caused(api, dag_id, transform_run) for dag_id in syncs)
    _headline("what happened")
    balanced = _report(run_report(find, ingest_run, transform_run, sync_runs))
    agreed = _agree(home)
    typer.echo(f"\n{time.monotonic() - started:.0f} seconds in all")
    typer.echo(f"the UI: {control.login_help(home)}")
    typer.echo(
        "again, with new traffic: make demo      look around: millrace psql warehouse      stop: make down"
    )
    if not (balanced and agreed):
        raise typer.Exit(1)


def traffic(
    transactions: Annotated[int, typer.Option(help="How many.")] = 400,
    workers: Annotated[int, typer.Option(help="Connections that work at the same time.")] = 4,
) -> None:
    """Let the demo shop be busy: new customers, orders, payments, refunds, changed prices, deleted order lines."""
    _make_traffic(transactions, workers)


def _headline(text: str) -> None:
    typer.secho(f"\n{text}", bold=True)


def _make_traffic(transactions: int, workers: int = 4) -> None:
    import psycopg

    from include.core.errors import TerminalError
    from include.demo.traffic import generate
    from include.stack import databases, ports, secrets
    from include.stack.home import Home

    home = Home.locate()
    keys = secrets.load_or_create(home.secrets_file)
    owner = databases.conninfo("shop_owner", ports.remembered(home.ports_file)["postgres"], keys)
    try:
        report = generate(owner, transactions=transactions, workers=workers, seed=time.time_ns())
    except psycopg.Error as error:
        raise TerminalError(
            "the traffic has stopped: the shop refused a transaction", where="database shop",
            received=str(error).strip(), todo="see: millrace status, millrace psql shop; then again",
        ) from error  # fmt: skip
    for what, rows in (
        ("inserted", report.inserts),
        ("updated", report.updates),
        ("deleted", report.deletes),
    ):
        typer.echo(
            f"  {what:<9} " + (", ".join(f"{table} {count}" for table, count in rows.items()) or "nothing")
        )


def _none_is_paused(api: AirflowApi, dag_ids: tuple[str, ...]) -> None:
    from include.core.errors import TerminalError

    paused = [dag_id for dag_id in dag_ids if api.dag(dag_id)["is_paused"]]
    if paused:
        raise TerminalError(
            "a paused DAG runs nothing", where=api.url, received=", ".join(paused), allowed="all of them unpaused",
            todo="unpause it in the UI, or: millrace airflow dags unpause DAG_ID",
        )  # fmt: skip


def _first_run(api: AirflowApi) -> str:
    """A run by hand would only queue up behind one that is going. Airflow starts one by itself when the DAG is new."""
    from include.cli.waiting import going

    deadline = time.monotonic() + 10
    while not (runs := api.runs(_INGEST)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return next(iter(going(runs)), None) or api.trigger(_INGEST, {})


def _follow(api: AirflowApi, dag_id: str, run_id: str) -> None:
    from include.cli.runs import follow

    _headline(f"{dag_id}  {run_id}")
    if not follow(api, dag_id, run_id):
        raise typer.Exit(1)


def _follow_caused(api: AirflowApi, dag_id: str, upstream_run: str) -> str:
    """Follow the run that an asset event of another one starts."""
    from include.cli.waiting import Patience
    from include.core.errors import TerminalError

    patience = Patience(time.monotonic())
    while True:
        runs = api.runs(dag_id)
        if found := api.run_caused_by(dag_id, upstream_run):
            break
        if patience.ends(runs, time.monotonic()):
            raise TerminalError(
                "the run did not start by itself", where=dag_id, received=f"{upstream_run} has succeeded",
                todo="see: millrace status, millrace logs scheduler",
            )  # fmt: skip
        time.sleep(0.5)
    _follow(api, dag_id, found["dag_run_id"])
    return str(found["dag_run_id"])


def _report(report: dict[str, list[dict[str, Any]]]) -> bool:
    """Print what each stage did. Returns whether all books balance."""
    from rich.console import Console

    from include.cli.tables import loads_table, syncs_table
    from include.flows.books import unbalanced

    console = Console(width=None if Console().is_terminal else 180)
    console.print(loads_table(report["streams"]))
    models = [f"{row['count']} {row['kind'].replace('_', ' ')}s {row['status']}" for row in report["models"]]
    console.print(f"\n[bold]dbt[/bold]          {', '.join(models)}")
    held = [row for row in report["gates"] if not row["passed"]]
    expectations = sum(row["expectations"] for row in report["gates"])
    console.print(
        f"[bold]gate[/bold]         {len(report['gates']) - len(held)} of {len(report['gates'])} tables passed,"
        f" {expectations} expectations"
    )
    for row in report["publication"]:
        tables = sum(len(tables) for tables in row["relations"].values())
        console.print(
            f"[bold]publication[/bold]  {row['publication_id']}: {tables} tables published at once\n"
        )
    console.print(syncs_table(report["syncs"]))
    balanced = not any(unbalanced(row) for row in report["streams"]) and all(
        row["read"] == row["unchanged"] + row["held"] + row["delivered"] + row["rejected"] + row["unsent"]
        for row in report["syncs"]
    )
    console.print("\n[bold]the books[/bold]    " + ("balance" if balanced else "[red]DO NOT BALANCE[/red]"))
    return balanced and not held


def _agree(home: Home) -> bool:
    """Compare what the systems hold now, value by value. Returns whether they agree."""
    from include.core.contracts import SourceContract, SyncContract, contracts_folder, load_one
    from include.demo.agreement import missing_at_destination, streams_that_differ
    from include.stack import databases, ports, secrets

    keys, port = secrets.load_or_create(home.secrets_file), ports.remembered(home.ports_file)["postgres"]
    shop, warehouse, crm = (
        databases.conninfo(role, port, keys) for role in ("shop_owner", "millrace_developer", "crm_owner")
    )
    contract = load_one(SourceContract, contracts_folder() / "sources" / "shop.yaml")
    sync = load_one(SyncContract, contracts_folder() / "syncs" / "crm_contacts.yaml")
    differ = streams_that_differ(contract, shop, warehouse)
    missing = missing_at_destination(sync, warehouse, crm)
    agreed = not differ and not missing
    colour = None if agreed else typer.colors.RED
    streams = len(contract.streams)
    typer.secho(f"source = raw {streams - len(differ)} of {streams} streams, value by value", fg=colour)
    for name in differ:
        typer.secho(f"             {name} differs: was the shop busy meanwhile?", fg=colour)
    typer.secho(f"model = CRM  {'every record' if not missing else f'{missing} records differ'}", fg=colour)
    return agreed
