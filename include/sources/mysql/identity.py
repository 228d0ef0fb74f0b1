"""Which server this is, and where in its history a snapshot stands."""

from __future__ import annotations

from include.sources.mysql.session import Session, run

# Newer MariaDB has server_uid (10.11 from 10.11.9 on), MySQL server_uuid. Without either, the place where the data lies.
_NAMES = ("server_uid", "server_uuid")
_PLACE = ("hostname", "port", "datadir")
# How far InnoDB's log is on disk, in bytes since the server was set up. Unlike what is only written, or than the binary log,
# which may be off, it never goes back in a crash; a backup that was put back has the number that it was taken at.
_POSITIONS = ("Innodb_lsn_flushed", "Innodb_redo_log_flushed_to_disk_lsn")


def server(session: Session) -> str:
    """A name for the server that only a copy of it would have too."""
    rows = dict(run(session, "show global variables where variable_name in %s", ((*_NAMES, *_PLACE),)))
    for name in _NAMES:
        if rows.get(name):
            return f"{name} {rows[name]}"
    return " ".join(rows[name] for name in _PLACE)


def position(session: Session) -> tuple[int, ...]:
    """How far the server's log is on disk; empty where it does not say."""
    rows = dict(run(session, "show global status where variable_name in %s", (_POSITIONS,)))
    return tuple(int(value) for value in rows.values())
