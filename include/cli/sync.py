"""Commands for syncs: what a run would send, what became of each record, and sending rejected ones again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from include.flows.syncs import Sync

_Name = Annotated[str, typer.Argument(help="Name of a sync, such as crm_contacts.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(
        no_args_is_help=True,
        help="""What goes back into operational systems: plan it, see what became of each record, send rejected ones again.

        A run sends the difference between the model and what the destination has acknowledged, record by record:

          millrace sync plan crm_contacts            what it would send now; sends nothing

          millrace run activate__crm_contacts -w     send it

          millrace sync show crm_contacts            what was rejected, and why

          millrace sync retry crm_contacts           let the rejected ones go along with the next run

          millrace sync verify crm_contacts          what others changed there since it was delivered
        """,
    )
    group.command("list")(list_)
    for command in (plan, show, retry, verify):
        group.command()(command)
    app.add_typer(group, name="sync", rich_help_panel="Runs")


def list_() -> None:
    """Show every sync: where it leads, when it last delivered, and how many records the destination has or refuses."""
    from include.activation import history
    from include.cli import tables
    from include.core.contracts import SyncContract, load_all

    contracts = load_all(SyncContract)
    if not contracts:
        typer.echo("there is no sync yet: docs/how-to/add-a-sync.md")
        return
    with _session("") as session:
        rows = [{"contract": contract, **history.summary(session, contract.sync)} for contract in contracts]
    tables.show(tables.sync_list_table(rows))


def plan(name: _Name) -> None:
    """Show what a run would send now: counts, and some changes field by field. Nothing is sent.

    An update shows what the destination acknowledged last beside what it would get. Personal data is not shown.
    The exit code is 1 when a breaker of the contract would stop the run.
    """
    sync = _sync(name)
    planned = sync.plan(typer.echo)
    if sync.needs_approval(planned):
        typer.echo("a person has to approve it before it is sent")
    if elsewhere := sync.held_by_environment():
        typer.echo(f"nothing of it is sent: {elsewhere}")


def show(
    name: _Name,
    key: Annotated[str, typer.Argument(help="Key of one record, as the destination knows it.")] = "",
    last: Annotated[int, typer.Option("--last", "-n", help="How many runs and rejected records.")] = 10,
) -> None:
    """Show the last runs of a sync and the records that were rejected, each with its reason; or one record by its key.

    Of one record: what the destination acknowledged last, when, in which run, and from which version of the model.
    Personal data is not shown.

    Examples:

      millrace sync show crm_contacts

      millrace sync show crm_contacts 4711
    """
    from include.activation import history
    from include.cli import tables
    from include.flows.sync_text import shown_key

    sync = _sync(name)
    if key:
        _show_record(sync, key)
        return
    with _session(name) as session:
        runs, rejected = history.last_runs(session, name, last), history.rejected(session, name, last)
        count = history.summary(session, name)["rejected"]
    if not runs:
        typer.echo(f"nothing was delivered yet; see what would be: millrace sync plan {name}")
        return
    tables.show(tables.sync_runs_table(runs))
    if rejected:
        typer.echo(f"\nrejected: {count:,}, the newest {len(rejected)} of them")
        shown = [
            row | {"record_key": shown_key(sync.contract, row["record_key"], sync.personal_fields)}
            for row in rejected
        ]
        tables.show(tables.rejected_table(shown, sync.contract.max_attempts))


def retry(
    name: _Name,
    keys: Annotated[list[str] | None, typer.Argument(help="Keys of records; all when left out.")] = None,
) -> None:
    """Let rejected records go along with the next run, also those that were refused too often to be sent.

    Without this a record is sent again in up to `max_attempts` runs, and at once when its data changes.
    """
    from include.activation import history

    _sync(name)
    with _session(name) as session:
        count = history.retry(session, name, keys or ())
    typer.echo(f"{count:,} records go along with the next run" if count else "no record is rejected")
    if count:
        typer.echo(f"to have it now:\n  millrace run activate__{name} --wait")


def _show_record(sync: Sync, key: str) -> None:
    from include.activation import history
    from include.flows.sync_text import shown_fields, shown_key

    contract = sync.contract
    with _session(contract.sync) as session:
        found = history.record(session, contract.sync, key)
    facts = {
        "record": shown_key(contract, key, sync.personal_fields),
        "last answer": f"{found['status']}, to {found['action'] or 'nothing that is known'}",
        "reason": found["reason"],
        "attempts": found["attempts"],
        "first": _moment(found["first_seen_at"]),
        "last": _moment(found["last_attempt_at"]),
        "run": found["run_id"],
        "model": found["model_version"],
        "approved": found["approved_by"] and f"by {found['approved_by']}",
        "it has": _moment(found["acknowledged_at"]) and f"acknowledged {_moment(found['acknowledged_at'])}",
    }
    for name, fact in facts.items():
        if fact:
            typer.echo(f"{name + ':':<14}{fact}")
    for line in shown_fields(found["value"], sync.personal_fields) if found["value"] else ():
        typer.echo(f"  {line}")


def _moment(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def verify(
    name: _Name,
    everything: Annotated[
        bool, typer.Option("--all", help="Compare all records, not a sample of `verify_sample`.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Have the next run send again what differs.")
    ] = False,
) -> None:
    """Read back what the destination acknowledged, and say what others changed there since. Nothing is sent.

    Exit code 1 when something differs. Which records and fields stands in `ledger.sync_drift` until the next time.

    Examples:

      millrace sync verify crm_contacts

      millrace sync verify crm_contacts --all --overwrite
    """
    found = _sync(name).verify("millrace sync verify", everything=everything, overwrite=overwrite)
    typer.echo(str(found))
    if found.drifted:
        raise typer.Exit(1)


def _sync(name: str) -> Sync:
    from include.cli.connections import find, setting
    from include.core.contracts import SyncContract, load_named
    from include.flows.syncs import Sync
    from include.stack.home import DBT_MANIFEST

    here = setting("MILLRACE_ENVIRONMENT") or "local"
    return Sync(load_named(SyncContract, name), find, DBT_MANIFEST, here)


def _session(name: str) -> Any:
    from include.activation.session import warehouse_session
    from include.cli.connections import find
    from include.flows.syncs import WAREHOUSE

    return warehouse_session(find(WAREHOUSE), name)
