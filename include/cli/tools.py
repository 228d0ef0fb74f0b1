"""Other programs with this clone's connections and settings: psql, dbt, airflow."""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Tools"
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


class Database(str, Enum):
    """The databases that a person looks into."""

    warehouse = "warehouse"
    shop = "shop"
    crm = "crm"


# the developer may read everything published; source and target are the demo's own, so their owner may do all
_ROLE = {
    Database.warehouse: "millrace_developer",
    Database.shop: "shop_owner",
    Database.crm: "crm_owner",
}


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(rich_help_panel=_PANEL, context_settings=_PASS_ON)(psql)
    # their own --help is the useful one
    settings = {**_PASS_ON, "help_option_names": []}
    app.command(rich_help_panel=_PANEL, context_settings=settings, add_help_option=False)(dbt)
    app.command(rich_help_panel=_PANEL, context_settings=settings, add_help_option=False)(airflow)


def psql(
    ctx: typer.Context, database: Annotated[Database, typer.Argument(help="Which database to open.")]
) -> None:
    """Open a database of the local stack in psql. Further arguments are psql's own.

    Examples:

      millrace psql warehouse

      millrace psql warehouse -c "select * from marts.dim_customers limit 5"

      millrace psql shop --csv -c "table shop.orders" > orders.csv

      millrace psql crm < script.sql
    """
    from include.stack import control, databases, ports, postgres, secrets
    from include.stack.errors import StackError
    from include.stack.home import Home

    home = Home.locate()
    if not control.running(home):
        raise StackError("the local stack is not running", todo="start it with `millrace up`")
    login = databases.BY_ROLE[_ROLE[database]]
    environment = {
        **os.environ,
        "PGHOST": ports.LOOPBACK,
        "PGPORT": str(ports.remembered(home.ports_file)["postgres"]),
        "PGDATABASE": login.database,
        "PGUSER": login.role,
        "PGPASSWORD": secrets.load_or_create(home.secrets_file)[login.secret],
        "PGAPPNAME": "millrace psql",
    }
    _become([str(postgres.package_binaries() / "psql"), *ctx.args], environment)


def dbt(ctx: typer.Context) -> None:
    """Run dbt on this project's models. All arguments are dbt's own.

    By default it works in schemas of your own and touches nothing that others see.
    """
    from include.stack.environment import process_environment
    from include.stack.home import PROJECT_ROOT

    project = str(PROJECT_ROOT / "dbt_project")
    # defaults, not arguments: one's own --profiles-dir still wins
    folders = {
        "DBT_PROJECT_DIR": project,
        "DBT_PROFILES_DIR": project,
        # what the DAGs read lies in target/ itself
        "DBT_TARGET_PATH": str(PROJECT_ROOT / "dbt_project" / "target" / "dev"),
    }
    _become([_script("dbt"), *ctx.args], {**process_environment(), **folders})


def airflow(ctx: typer.Context) -> None:
    """Run Airflow's own command line against this stack. All arguments are Airflow's own."""
    from include.stack.environment import process_environment

    _become([sys.executable, "-m", "airflow", *ctx.args], process_environment())


def _script(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _become(command: list[str], environment: dict[str, str]) -> None:
    """Replace this process, so that terminals, pipes, signals and exit codes are the program's own."""
    sys.stdout.flush()
    os.execve(command[0], command, environment)
