"""The commit horizon: a time before which nothing can be committed any more.

A row stamped 10:00:00 by a transaction that commits at 10:00:07 is invisible to a reader at 10:00:05 who then asks for
rows after 10:00:05 for ever. So before reading up to `end` we wait until the source's own clock has passed `end` and every
transaction that began before it has ended: open ones (also those that have written nothing yet: they may still write with
`now()`, which is their start) and prepared ones.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import Connection

from include.core.errors import SourceForbidden, TerminalError
from include.sources import Horizon

_RIGHTS = "select pg_has_role(current_user, 'pg_read_all_stats', 'usage'), pg_is_in_recovery(), quote_ident(current_user)"

# Our own readers only read, and autovacuum stamps nothing. A session of another database cannot write into this one.
_OPEN = """
select format('process %%s, user %%s, %%s, open since %%s', pid, usename, coalesce(nullif(application_name, ''), 'unnamed'),
              to_char(xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'))
  from pg_stat_activity
 where xact_start < %(end)s and pid <> pg_backend_pid()
   and datid = (select oid from pg_database where datname = current_database())
   and backend_type <> 'autovacuum worker'
   and not (usename = current_user and application_name like 'millrace%%')
union all
select format('prepared transaction %%L of %%s, since %%s', gid, owner,
              to_char(prepared at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'))
  from pg_prepared_xacts
 where prepared is not null and database = current_database()
"""


def horizon(connection: Connection[Any], end: datetime, where: str) -> Horizon:
    """Whether every transaction that began before `end` has ended.

    :raises SourceForbidden: the role cannot see the transactions of others, so nothing could be promised.
    :raises TerminalError: the server is a replica, which does not know the primary's transactions.
    """
    row = connection.execute(_RIGHTS).fetchone()
    assert row is not None
    may_see, is_replica, role = row
    if not may_see:
        raise SourceForbidden(
            "the role cannot see other sessions' transactions, so late commits could be missed",
            where=where,
            received=f"role {role} without pg_read_all_stats",
            allowed="a role that is a member of pg_read_all_stats",
            todo=f"as an administrator of the source: grant pg_read_all_stats to {role};",
        )
    if is_replica:
        raise TerminalError(
            "a replica does not know the primary's open transactions, so an incremental read could lose rows",
            where=where,
            received="a server in recovery",
            allowed="the primary, or mode: snapshot for every stream",
            todo="point the connection at the primary, or change the streams' mode",
        )
    reached = connection.execute("select clock_timestamp() >= %s, clock_timestamp()", (end,)).fetchone()
    assert reached is not None
    if not reached[0]:
        return Horizon(
            False, (f"the source's clock says {reached[1].isoformat()}, before {end.isoformat()}",)
        )
    blockers = tuple(row[0] for row in connection.execute(_OPEN, {"end": end}))
    return Horizon(not blockers, blockers)
