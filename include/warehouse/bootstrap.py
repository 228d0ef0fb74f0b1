"""Roles, rights and the ledger of a warehouse. Idempotent: run again after an upgrade or to change passwords."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from include.core.errors import ContractError

#: One role a stage, each with no more than it needs.
ROLES = (
    "millrace_loader",
    "millrace_transformer",
    "millrace_activator",
    "millrace_developer",
    "millrace_analyst",
)
_OURS = ("ledger.sql", "retype.sql")


def bootstrap(admin_conninfo: str, passwords: dict[str, str], extra_ddl: tuple[str, ...] = ()) -> None:
    """Create what the warehouse needs, as an administrator of its database (no superuser needed).

    :param passwords: one for each of `ROLES`.
    :param extra_ddl: idempotent statements of other stages that keep tables in the ledger.
    :raises ContractError: a password is missing.
    """
    missing = [role for role in ROLES if not passwords.get(role)]
    if missing:
        raise ContractError(
            "passwords are missing", where="warehouse bootstrap", received=missing, allowed=list(ROLES)
        )
    with psycopg.connect(admin_conninfo) as session:
        # Two of these at the same time would both try to create what is not there.
        session.execute("select pg_advisory_xact_lock(hashtext('millrace bootstrap'))")
        for role in ROLES:
            _role(session, role, passwords[role])
        _rights(session)
        ours = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _OURS)
        _tables(session, (*ours, *extra_ddl))


def _tables(session: psycopg.Connection[Any], ddl: tuple[str, ...]) -> None:
    """The ledger's tables, when they are not of this version yet.

    `… if not exists` locks a table also where there is nothing to do, and a load that publishes holds some of them: the two
    would wait for each other. So what is there is known by a note on the schema, in the transaction that has made it.
    """
    version = f"ledger {hashlib.sha256(chr(0).join(ddl).encode()).hexdigest()[:16]}"
    found = session.execute("select obj_description('ledger'::regnamespace)").fetchone()
    if found == (version,):
        return
    # Whoever upgrades under running loads is told to wait for them, and does not make everybody wait.
    session.execute("set local lock_timeout = '30s'")
    for statements in ddl:
        session.execute(statements.encode())
    session.execute(sql.SQL("comment on schema ledger is {}").format(sql.Literal(version)))


def _role(session: psycopg.Connection[Any], role: str, password: str) -> None:
    known = session.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone()
    verb = "alter" if known else "create"
    session.execute(
        sql.SQL("{} role {} login password {}").format(
            sql.SQL(verb), sql.Identifier(role), sql.Literal(password)
        )
    )
    # An administrator who is no superuser must be a member to hand out what the role owns.
    session.execute(sql.SQL("grant {} to current_user").format(sql.Identifier(role)))


def _rights(session: psycopg.Connection[Any]) -> None:
    row = session.execute("select current_database()").fetchone()
    assert row is not None
    database = sql.Identifier(row[0])
    everyone = sql.SQL(", ").join(map(sql.Identifier, ROLES))
    session.execute(sql.SQL("revoke all on database {} from public").format(database))
    session.execute(sql.SQL("grant connect, temporary on database {} to {}").format(database, everyone))
    session.execute(
        sql.SQL(
            "grant create on database {} to millrace_loader, millrace_transformer, millrace_developer"
        ).format(database)
    )
    session.execute("revoke all on schema public from public")
    for schema in ("ledger", "staging_batches"):
        session.execute(
            sql.SQL("create schema if not exists {} authorization millrace_loader").format(
                sql.Identifier(schema)
            )
        )
    session.execute(
        "grant usage on schema ledger to millrace_transformer, millrace_activator, millrace_developer, millrace_analyst"
    )
    # What the loader creates later (raw schemas and their tables) is readable to those who transform.
    for kind, right in (("schemas", "usage"), ("tables", "select")):
        session.execute(
            sql.SQL(
                "alter default privileges for role millrace_loader grant {} on {}"
                " to millrace_transformer, millrace_developer"
            ).format(sql.SQL(right), sql.SQL(kind))
        )
