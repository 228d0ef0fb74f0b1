"""What a server says of a slot, and whether it can be read."""

from __future__ import annotations

from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

from include.core.errors import TerminalError
from include.sources.log import SlotState

_SERVER = """
select pg_is_in_recovery() as replica, current_setting('wal_level') as wal_level, current_setting('server_version_num')::int
       as version, quote_ident(current_user) as role, quote_ident(current_database()) as database
"""

_SLOT = """
with log as (select pg_current_wal_insert_lsn() as lsn)
select s.slot_name::text as name, s.active, coalesce(s.plugin::text, s.slot_type) as plugin,
       s.database is not distinct from current_database() as here,
       coalesce((s.confirmed_flush_lsn - '0/0'::pg_lsn)::bigint, 0) as confirmed,
       coalesce((log.lsn - s.confirmed_flush_lsn)::bigint, 0) as behind,
       coalesce((log.lsn - s.restart_lsn)::bigint, 0) as held,
       coalesce(s.wal_status, 'lost') as wal_status, coalesce(to_jsonb(s) ->> 'invalidation_reason', '') as invalid,
       ('x' || left(pg_walfile_name(log.lsn), 8))::bit(32)::int as timeline,
       (select nullif(setting::bigint, -1) * 1024 * 1024 from pg_settings where name = 'max_slot_wal_keep_size')
         as keep_at_most,
       (select system_identifier::text from pg_control_system()) || '/' || current_database() as server
  from pg_replication_slots s, log
 where s.slot_name = %s
"""


def check_server(connection: Connection[Any], where: str) -> dict[str, Any]:
    """What is to be known of the server: `version`, `role`, `database` (quoted for SQL).

    :raises TerminalError: its log cannot be read: it is a replica, or does not write enough into its log.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        server = cursor.execute(_SERVER).fetchone()
    assert server is not None
    if server["replica"]:
        raise TerminalError(
            "mode log reads from the primary",
            where=where,
            received="a server in recovery",
            allowed="the primary: a slot there outlives its replicas",
            todo="point the connection at the primary, or change the streams' mode",
        )
    if server["wal_level"] != "logical":
        raise TerminalError(
            "the server's log does not hold what mode log needs",
            where=where,
            received=f"wal_level = {server['wal_level']}",
            allowed="wal_level = logical",
            todo="as an administrator of the source: alter system set wal_level = logical; and restart the server",
        )
    return server


def slot_state(connection: Connection[Any], name: str, where: str) -> SlotState | None:
    """The slot; None when there is none.

    :raises TerminalError: a slot of this name is there, and is not ours.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SLOT, (name,)).fetchone()
    if row is None:
        return None
    plugin, here = row.pop("plugin"), row.pop("here")
    if plugin != "pgoutput" or not here:
        raise TerminalError(
            "the slot of this name is somebody else's",
            where=f"{where}, slot {name!r}",
            received=f"{plugin}, in {'this' if here else 'another'} database",
            allowed="a logical slot of this database with the plugin pgoutput",
            todo="name another one in the contract: slot: …",
        )
    return SlotState(**row)


def usable(state: SlotState | None, name: str, source: str) -> SlotState:
    """The slot, if it still has what is to be read.

    :raises TerminalError: there is none, or the server has thrown away log that it needs.
    """
    where = f"source {source!r}, slot {name!r}"
    anew = f"millrace slot create {source}, then start the DAG with full_refresh: tables are read anew, the log from there"
    if state is None:
        raise TerminalError("there is no such slot", where=where, todo=anew)
    if state.wal_status == "lost" or state.invalid:
        raise TerminalError(
            "the server has thrown away log that was not read yet, and the slot with it",
            where=where,
            received=f"wal_status {state.wal_status}" + (f", {state.invalid}" if state.invalid else ""),
            allowed="a slot that is read before it holds more than max_slot_wal_keep_size",
            todo=f"millrace slot drop {source}; {anew}; pull more often, or have max_slot_wal_keep_size raised",
        )
    return state
