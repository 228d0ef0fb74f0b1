"""Commands for runs: run a DAG, see the ledger, go back to the marts published before."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

_PANEL = "Runs"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (run, ledger, publish):
        app.command(rich_help_panel=_PANEL)(command)


def run(
    dag_id: Annotated[
        str, typer.Argument(help="Such as ingest__shop, transform__shop, activate__crm_contacts.")
    ],
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Follow it to its end; exit code 1 when it fails.")
    ] = False,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", help="NAME=VALUE of the DAG's trigger form; the value as JSON, or a plain word."
        ),
    ] = None,
) -> None:
    """Start a run of a DAG, as the trigger button in the UI does.

    Examples:

      millrace run ingest__shop --wait

      millrace run ingest__shop -w -p 'streams=["orders"]' -p full_refresh=true

      millrace run activate__crm_contacts -w -p dry_run=true
    """
    from include.cli.airflow_api import AirflowApi

    api = AirflowApi()
    if _has_contract(dag_id):
        api.wait_for_dags({dag_id})
    if api.dag(dag_id)["is_paused"]:
        typer.secho(
            f"{dag_id} is paused: the run waits until it is unpaused in the UI", fg=typer.colors.YELLOW
        )
    run_id = api.trigger(dag_id, dict(_param(text) for text in param or ()))
    typer.echo(f"{dag_id} {run_id}\n{api.url}/dags/{dag_id}/runs/{run_id}")
    if wait and not follow(api, dag_id, run_id):
        raise typer.Exit(1)


def _has_contract(dag_id: str) -> bool:
    """Whether a contract makes this DAG, so that it will appear if it is not there yet."""
    from include.core.contracts import contracts_folder

    kind, _, name = dag_id.partition("__")
    folders = {"ingest": "sources", "transform": "transforms", "activate": "syncs"}
    return kind in folders and (contracts_folder() / folders[kind] / f"{name}.yaml").is_file()


def follow(api: Any, dag_id: str, run_id: str) -> bool:
    """Follow a run; when it fails, show each failed task and its last log lines. Returns whether it succeeded."""
    from include.cli.airflow_api import label

    state = api.follow(dag_id, run_id, typer.echo)
    if state == "success":
        return True
    typer.secho(f"{dag_id} failed", fg=typer.colors.RED, err=True)
    for task in api.tasks(dag_id, run_id):
        if task["state"] == "failed":
            typer.secho(f"\n{label(task)}, last lines of its log:", fg=typer.colors.RED, err=True)
            for line in api.log_tail(task):
                typer.echo(f"  {line}", err=True)
    return False


def _param(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def ledger(
    source: Annotated[str, typer.Argument(help="One source; all when left out.")] = "",
    last: Annotated[int, typer.Option("--last", "-n", help="How many loads of each stream.")] = 1,
) -> None:
    """Show the last loads of each stream: what was read, landed, staged and published, and whether the books balance."""
    from include.cli.connections import find
    from include.cli.tables import loads_table, show
    from include.flows.status import last_loads

    rows = last_loads(find, source or None, last)
    if not rows:
        typer.echo("nothing was loaded yet; start with: millrace run ingest__shop --wait")
        return
    show(loads_table(rows))


def publish(
    transform: Annotated[str, typer.Argument(help="Name of the transform, such as shop.")],
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Show consumers the version before the one that serves.")
    ] = False,
) -> None:
    """Show which version of the marts consumers see, or go back to the one before."""
    from include.cli.connections import find
    from include.flows import transform as flow

    if rollback:
        typer.echo(f"consumers see publication {flow.rollback(transform, find)} now")
    for version, published_at, run_id in flow.publications(transform, find):
        typer.echo(f"publication {version}  {published_at:%Y-%m-%d %H:%M:%S} UTC  {run_id}")
