"""`millrace sync verify`: whether a destination still holds what it acknowledged."""

from __future__ import annotations

from typing import Annotated

import typer


def register(group: typer.Typer) -> None:
    """Add the command to those of syncs."""
    group.command()(verify)


def verify(
    name: Annotated[str, typer.Argument(help="Name of a sync, such as crm_contacts.")],
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
    import include.activation as activation
    from include.cli.connections import find
    from include.core.contracts import SyncContract
    from include.core.contracts.load import load_named

    contract = load_named(SyncContract, name)
    found = activation.verify(
        contract,
        find("warehouse_activator"),
        find(contract.destination.connection),
        run_id="millrace sync verify",
        everything=everything,
        overwrite=overwrite or contract.on_drift == "overwrite",
    )
    typer.echo(str(found))
    if found.drifted:
        raise typer.Exit(1)
