"""The demo's databases in a throw-away server: the same owners and readers as in the local stack."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from include.demo import crm, shop
from tests.support.stack import PostgresServer

_PASSWORD = "only-for-tests"


@dataclass(frozen=True)
class Database:
    """Connection URIs: of the application that owns the database, and of the role that Millrace has there."""

    owner: str
    millrace: str


def create_shop(server: PostgresServer, superuser: str) -> Database:
    """Install the empty shop in the fresh database that `superuser` points to."""
    roles = _hand_over(server, superuser, "shop_owner", "shop_reader")
    shop.install(roles.owner)
    return roles


def create_crm(server: PostgresServer, superuser: str) -> Database:
    """Install the empty CRM in the fresh database that `superuser` points to."""
    roles = _hand_over(server, superuser, "crm_owner", "crm_writer")
    crm.install(roles.owner)
    return roles


def _hand_over(server: PostgresServer, superuser: str, owner: str, guest: str) -> Database:
    name = str(conninfo_to_dict(superuser)["dbname"])
    database = sql.Identifier(name)
    with psycopg.connect(superuser, autocommit=True) as admin:
        for role in (owner, guest):
            known = admin.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone()
            verb = sql.SQL("alter" if known else "create")
            admin.execute(
                sql.SQL("{} role {} login password {}").format(
                    verb, sql.Identifier(role), sql.Literal(_PASSWORD)
                )
            )
        admin.execute(sql.SQL("alter database {} owner to {}").format(database, sql.Identifier(owner)))
        admin.execute(sql.SQL("revoke all on database {} from public").format(database))
        admin.execute(sql.SQL("grant connect on database {} to {}").format(database, sql.Identifier(guest)))
    return Database(server.conninfo(name, owner, _PASSWORD), server.conninfo(name, guest, _PASSWORD))
