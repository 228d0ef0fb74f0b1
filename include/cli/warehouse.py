"""Commands for a warehouse of one's own."""

from __future__ import annotations

import os

import typer


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(
        no_args_is_help=True, help="Prepare a warehouse of your own. The local stack does it by itself."
    )
    group.command()(init)
    app.add_typer(group, name="warehouse", rich_help_panel="Tools")


def init() -> None:
    """Create roles, rights and the ledger in a warehouse. Safe to run again: after an upgrade, or to change passwords.

    Needs the connection AIRFLOW_CONN_WAREHOUSE_ADMIN (a role that may create roles, and owns the database) and one password
    for each role of Millrace: WAREHOUSE_LOADER_PASSWORD, WAREHOUSE_TRANSFORMER_PASSWORD, WAREHOUSE_ACTIVATOR_PASSWORD,
    WAREHOUSE_DEVELOPER_PASSWORD, WAREHOUSE_ANALYST_PASSWORD; in the environment or in .env.
    """
    from include.cli.connections import find
    from include.flows.setup import set_up_warehouse
    from include.stack.home import Home
    from include.stack.secrets import read_env_file
    from include.warehouse.bootstrap import ROLES

    settings = {**read_env_file(Home.locate().env_file), **os.environ}
    names = {role: f"{role.replace('millrace', 'warehouse').upper()}_PASSWORD" for role in ROLES}
    passwords = {role: settings.get(name, "") for role, name in names.items()}
    set_up_warehouse(find("warehouse_admin").postgres_uri(), passwords)
    typer.echo(f"ready: {', '.join(ROLES)}")
