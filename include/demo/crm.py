"""The schema of the demo's operational target `crm`."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql

DELIVERED_COLUMNS = ("email", "full_name", "customer_value", "segment", "last_order_at")
"""What Millrace keeps up to date in `crm.contacts`; the key is `external_id`, all else belongs to the CRM's
users."""

_SCHEMA = Path(__file__).with_name("crm.sql")
_INSTALL_LOCK = 7_306_082


def install(conninfo: str, *, writer: str = "crm_writer") -> None:
    """Create `crm.contacts` and let the role `writer` upsert the delivered columns, and nothing more.

    Run as the CRM's own role, which becomes the owner. Safe to run again: what is there stays as it is.
    `writer` may read all columns but `owner` and `notes`, insert the key and the delivered columns, and
    update the delivered columns; it can't delete, and it can't touch `owner` or `notes`.

    :raises psycopg.errors.UndefinedObject: `writer` does not exist in this server.
    :raises psycopg.errors.InsufficientPrivilege: the role may not create a schema in this database.
    """
    delivered = sql.SQL(", ").join(map(sql.Identifier, DELIVERED_COLUMNS))
    with psycopg.connect(conninfo) as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", (_INSTALL_LOCK,))
        connection.execute("set local client_min_messages to warning")
        connection.execute(_SCHEMA.read_bytes())
        for grant in (
            "grant usage on schema crm to {writer}",
            "grant select (contact_id, external_id, {delivered}, created_at, updated_at)"
            " on crm.contacts to {writer}",
            "grant insert (external_id, {delivered}) on crm.contacts to {writer}",
            "grant update ({delivered}) on crm.contacts to {writer}",
        ):
            connection.execute(sql.SQL(grant).format(writer=sql.Identifier(writer), delivered=delivered))
