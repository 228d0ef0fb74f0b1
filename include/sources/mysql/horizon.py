"""The commit horizon: a time before which nothing can be committed any more.

Here `now()` is the begin of a statement, not of its transaction. So a row that is stamped before `end` and not yet committed
belongs to a statement that began before `end` and still runs, or to a transaction that has written something. A transaction
that is open and has written nothing does no harm: what it writes is stamped later.

`innodb_trx.trx_started` does not tell: it is the moment at which the transaction first touched InnoDB, and a statement that
waited for a lock on the table began long before. docs/decisions/0020-mariadb-and-mysql.md has the whole argument.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pymysql
from pymysql.constants import ER

from include.core.errors import SourceForbidden, TerminalError
from include.sources import Horizon
from include.sources.mysql.session import MARK, Session, is_mariadb, one, run

#: A statement has its stamp a moment before others can see that it runs.
SETTLED = timedelta(seconds=1)
#: How long one look waits for the transactions that it met to end, in seconds; and how long between two glances at them.
PATIENCE, PAUSE = 3.0, 0.2

# Idle sessions, threads that send the server's log to replicas, and the server's own.
_RESTING = "('Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID')"
_RUNNING = f"""
select id, user, command, {{started}} as started
  from information_schema.processlist
 where command not in {_RESTING} and id <> connection_id()
   and not (user = substring_index(current_user(), '@', 1) and coalesce(info, '') like %s)
"""
# The duration in microseconds; elsewhere in whole seconds, so the statement may have begun one earlier.
_STARTED = {
    True: "utc_timestamp(6) - interval time_ms * 1000 microsecond",
    False: "utc_timestamp(6) - interval time + 1 second",
}
_WRITING = """
select trx_id, trx_mysql_thread_id, trx_started, trx_rows_modified > 0 from information_schema.innodb_trx
 where trx_rows_modified > 0 or trx_mysql_thread_id = connection_id()
"""
_ELSEWHERE = """
show global variables where variable_name in ('read_only', 'super_read_only', 'wsrep_on', 'group_replication_group_name')
"""


@dataclass(frozen=True)
class _Look:
    """What was open at one moment: statements by their session, and transactions that have written, by their id."""

    statements: dict[int, str]
    transactions: dict[str, tuple[int, str]]


def horizon(session: Session, end: datetime, where: str) -> Horizon:
    """Whether everything that is stamped before `end` is committed.

    :raises SourceForbidden: the role cannot see the sessions and transactions of others, so nothing could be promised.
    :raises TerminalError: others than this server's clients write there: it is a replica, or one of a cluster.
    """
    check_sight(session, where)
    clock = one(session, "select utc_timestamp(6)")[0].replace(tzinfo=timezone.utc)
    if clock < end + SETTLED:
        return Horizon(False, (f"the source's clock says {clock.isoformat()}, before {end.isoformat()}",))
    first = look = _look(session, end, where)
    until = time.monotonic() + PATIENCE
    while blockers := _blockers(first, look):
        if time.monotonic() > until:
            return Horizon(False, blockers)
        time.sleep(PAUSE)
        look = _look(session, end, where)
    return Horizon(True)


def check_sight(session: Session, where: str) -> None:
    """That this session could tell what is open.

    :raises SourceForbidden, TerminalError: see `horizon`.
    """
    _check_alone(session, where)
    _writing(session, where)


def _blockers(first: _Look, now: _Look) -> tuple[str, ...]:
    """What is open now and may have a stamp from before `end`: statements that began before it, and transactions that had
    written at the first look, or whose session ran such a statement then."""
    return (
        *now.statements.values(),
        *(
            text
            for key, (thread, text) in now.transactions.items()
            if key in first.transactions or thread in first.statements
        ),
    )


def _look(session: Session, end: datetime, where: str) -> _Look:
    # Statements first: one that ends between the two looks has left its transaction for the second to see.
    started = _STARTED[is_mariadb(session)]
    bound = (end + SETTLED / 2).astimezone(timezone.utc).replace(tzinfo=None)
    running = run(session, _RUNNING.format(started=started), (MARK + "%",))
    statements = {
        thread: f"session {thread}, user {user}, {command.lower()} since {began:%Y-%m-%d %H:%M:%S}Z"
        for thread, user, command, began in running
        if began is None or began < bound
    }
    return _Look(statements, _writing(session, where))


def _writing(session: Session, where: str) -> dict[str, tuple[int, str]]:
    """The transactions that have written something.

    The server answers from a copy that is up to 0.1 s old, and older while others keep asking: a transaction of our own,
    begun now, shows whether it is new.
    """
    ours = one(session, "select connection_id()")[0]
    for _ in range(10):
        try:
            run(session, "start transaction with consistent snapshot")
            time.sleep(0.12)
            rows = run(session, _WRITING)
        except pymysql.err.MySQLError as error:
            if error.args[0] == ER.SPECIFIC_ACCESS_DENIED_ERROR:
                raise _forbidden(session, where) from None
            raise
        finally:
            run(session, "rollback")
        if any(thread == ours for _, thread, _, _ in rows):
            return {
                str(key): (thread, _told(thread, started))
                for key, thread, started, wrote in rows
                if wrote and thread != ours
            }
    raise _forbidden(session, where)


def _told(thread: int, started: object) -> str:
    who = f"session {thread}" if thread else "a prepared transaction (XA RECOVER names it)"
    return f"{who}, has written since {started} (the server's time)"


def _check_alone(session: Session, where: str) -> None:
    said = {name.lower(): value for name, value in run(session, _ELSEWHERE)}
    status = dict(
        run(session, "show global status where variable_name in ('Slave_running', 'Slaves_running')")
    )
    received = ""
    if said.get("wsrep_on") == "ON" or said.get("group_replication_group_name"):
        received = "a member of a cluster, whose others write too"
    elif "ON" in (
        said.get("read_only"),
        said.get("super_read_only"),
        status.get("Slave_running"),
    ) or status.get("Slaves_running", "0") not in ("0", "OFF"):
        received = "a replica, or a server that is read only"
    if received:
        raise TerminalError(
            "the server does not know all transactions that write there, so an incremental read could lose rows",
            where=where,
            received=received,
            allowed="a primary that alone takes writes, or mode: snapshot for every stream",
            todo="point the connection at the primary, or change the streams' mode",
        )


def _forbidden(session: Session, where: str) -> SourceForbidden:
    user = one(session, "select current_user()")[0]
    return SourceForbidden(
        "the role cannot see other sessions' transactions, so late commits could be missed",
        where=where,
        received=f"{user} without PROCESS",
        allowed="a role with the global privilege PROCESS",
        todo=f"as an administrator of the source: grant process on *.* to {user};",
    )
