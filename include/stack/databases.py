"""The databases and login roles of the local server, and how to connect as each role."""

from __future__ import annotations

from typing import NamedTuple

import psycopg
from psycopg import sql

from include.stack import postgres


class Login(NamedTuple):
    """A role, its database, the name of its password in the secrets, and whether it owns the database."""

    role: str
    database: str
    secret: str
    owner: bool = False


LOGINS = (
    Login("airflow", "airflow", "AIRFLOW_DB_PASSWORD", owner=True),
    Login("shop_owner", "shop", "SHOP_OWNER_PASSWORD", owner=True),
    Login("shop_reader", "shop", "SHOP_READER_PASSWORD"),
    Login("crm_owner", "crm", "CRM_OWNER_PASSWORD", owner=True),
    Login("crm_writer", "crm", "CRM_WRITER_PASSWORD"),
    Login("millrace_loader", "warehouse", "WAREHOUSE_LOADER_PASSWORD"),
    Login("millrace_transformer", "warehouse", "WAREHOUSE_TRANSFORMER_PASSWORD"),
    Login("millrace_activator", "warehouse", "WAREHOUSE_ACTIVATOR_PASSWORD"),
    Login("millrace_developer", "warehouse", "WAREHOUSE_DEVELOPER_PASSWORD"),
    Login("millrace_analyst", "warehouse", "WAREHOUSE_ANALYST_PASSWORD"),
)
# the warehouse's roles and rights are made by include.warehouse.bootstrap, here and in production
OURS = tuple(login for login in LOGINS if login.database != "warehouse")
BY_ROLE = {login.role: login for login in LOGINS}
DATABASES = tuple(dict.fromkeys(login.database for login in LOGINS))


def conninfo(role: str, port: int, secrets: dict[str, str]) -> str:
    """A connection URI for one of the roles above, to the database that it works in."""
    login = BY_ROLE[role]
    return postgres.conninfo(port, secrets[login.secret], login.database, role)


def warehouse_passwords(secrets: dict[str, str]) -> dict[str, str]:
    """Role name to password, for the roles of the warehouse."""
    return {login.role: secrets[login.secret] for login in LOGINS if login.database == "warehouse"}


def create(port: int, secrets: dict[str, str]) -> None:
    """Create what is missing, and give every role the password that it has in the secrets. Repeatable."""
    with psycopg.connect(
        postgres.conninfo(port, secrets["POSTGRES_SUPERUSER_PASSWORD"]), autocommit=True
    ) as admin:
        roles = {row[0] for row in admin.execute("SELECT rolname FROM pg_roles")}
        databases = {row[0] for row in admin.execute("SELECT datname FROM pg_database")}
        for login in OURS:
            verb = sql.SQL("ALTER" if login.role in roles else "CREATE")
            role, password = sql.Identifier(login.role), sql.Literal(secrets[login.secret])
            admin.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, role, password))
        for name in DATABASES:
            if name not in databases:
                admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            # a role of one database has no business in another
            admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        for login in OURS:
            right = "ALTER DATABASE {} OWNER TO {}" if login.owner else "GRANT CONNECT ON DATABASE {} TO {}"
            admin.execute(sql.SQL(right).format(sql.Identifier(login.database), sql.Identifier(login.role)))
        # seeing every session is what tells a reader which transactions are still open
        admin.execute("GRANT pg_read_all_stats TO shop_reader")
