"""The plan: the difference between a model and what its destination acknowledged, computed by the warehouse.

The model is read once, in one snapshot. Afterwards nothing of it is locked: a transform may publish while a
slow destination is still being served.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import psycopg
from psycopg import errors as pg
from psycopg import sql

from include.activation.mapping import SCHEMA, column_types, mapped, model
from include.activation.records import Record
from include.activation.session import Session
from include.core.contracts.mapping import Cast
from include.core.contracts.sync import SyncContract
from include.core.errors import TerminalError

#: Rows of a plan, as the cursor of `open_plan` gives them: action, key, fingerprint, body.
PlanCursor = psycopg.ServerCursor[Any]
_SAMPLES = 5


@dataclass(frozen=True)
class Change:
    """One planned change, as a sample.

    `body` is the mapped record as JSON (of a delete, its key), `before` the one that the destination acknowledged
    last; None where it holds none, or that is not known. Neither ever shows in `repr`.
    """

    action: Literal["create", "update", "delete"]
    key: str
    body: str = field(repr=False)
    before: str | None = field(repr=False)


@dataclass(frozen=True)
class Plan:
    """Counts of records: `read` from the model = unchanged + held + creates + updates.

    held: rejected too often as they are, not sent. again: of the planned, those that were rejected as they
    are. known: of the read, those that the destination acknowledged before. In mode mirror, deletes: those that the
    destination holds, or may hold, and that left the model; deletes_held: of these, not sent, because it refused to
    delete them too often.
    """

    sync: str
    model_version: str
    read: int
    unchanged: int
    held: int
    creates: int
    updates: int
    again: int
    known: int
    deletes: int
    deletes_held: int
    samples: tuple[Change, ...] = ()

    @property
    def writes(self) -> int:
        return self.creates + self.updates

    @property
    def planned(self) -> int:
        return self.writes + self.deletes

    @property
    def gone(self) -> int:
        return self.deletes + self.deletes_held


@contextmanager
def open_plan(session: Session, contract: SyncContract, *, hold: bool) -> Iterator[tuple[Plan, PlanCursor]]:
    """Plan, and give a cursor over the planned rows. With `hold`, the transaction it was made in has ended; without, the
    cursor gives some rows of each action.

    :raises ContractError: the model lacks a mapped column.
    :raises TerminalError: the model is not published, or has a key twice or without a value.
    """
    with session.cursor(name="millrace_plan", withhold=hold) as cursor:
        if hold:
            with session.transaction():
                plan = _open(session, contract, cursor, _ALL)
            yield plan, cursor
        else:
            with session.transaction(force_rollback=True):
                yield _open(session, contract, cursor, _SOME), cursor


def samples(session: Session, sync: str, cursor: PlanCursor) -> tuple[Change, ...]:
    """Some changes of a plan that was made to be looked at."""
    rows = cursor.fetchall()
    before = dict(
        session.execute(
            "select record_key, value from ledger.sync_record where sync = %s and there and record_key = any(%s)",
            (sync, [key for _, key, _, _ in rows]),
        ).fetchall()
    )
    return tuple(Change(action, key, body, before.get(key)) for action, key, _, body in rows)


def planned_batches(cursor: PlanCursor, size: int) -> Iterator[list[Record]]:
    """The planned records, up to `size` at a time; deletes come first, and in batches of their own."""
    while rows := cursor.fetchmany(size):
        records = (Record(key, fingerprint, body, action) for action, key, fingerprint, body in rows)
        for _, alike in groupby(records, lambda record: record.action == "delete"):
            yield list(alike)


@contextmanager
def open_acknowledged(session: Session, contract: SyncContract, limit: int | None) -> Iterator[PlanCursor]:
    """A cursor over records that the destination acknowledged as they are in the model now, in any order: key,
    fingerprint, body. What is still to be sent is not among them.

    :param limit: how many acknowledged records are looked at, chosen at random; None: all.
    :raises ContractError: the model lacks a mapped column. :raises TerminalError: the model is not published.
    """
    with session.cursor(name="millrace_acknowledged", withhold=True) as cursor:
        with session.transaction():
            session.execute("set transaction isolation level repeatable read")
            source = mapped(contract, column_types(session, contract))
            key = sql.Identifier(contract.destination.key)
            cursor.execute(
                sql.SQL(_ACKNOWLEDGED).format(key=key, source=source),
                {"sync": contract.sync, "identity": _identity(contract), "limit": limit},
            )
        yield cursor


def _open(session: Session, contract: SyncContract, cursor: PlanCursor, rows: str) -> Plan:
    session.execute("set transaction isolation level repeatable read")
    types = column_types(session, contract)
    version = _model_version(session, contract.model)
    source = mapped(contract, types)
    key = sql.Identifier(contract.destination.key)
    with _explained(contract):
        _check_keys(session, contract, source, key)
        cursor.execute(
            sql.SQL(_COMPARE + rows).format(key=key, source=source),
            {
                "sync": contract.sync,
                "max_attempts": contract.max_attempts,
                "identity": _identity(contract),
                "key": contract.destination.key,
                "once": contract.mode in ("insert", "append"),
                "mirror": contract.mode == "mirror",
                "samples": _SAMPLES,
            },
        )
        counts = cursor.fetchone()
    assert counts is not None
    return Plan(sync=contract.sync, model_version=version, **json.loads(counts[3]))


@contextmanager
def _explained(contract: SyncContract) -> Iterator[None]:
    """Casts are the contract's, and so is the fault when one does not work."""
    try:
        yield
    except (pg.DataError, pg.CannotCoerce, pg.UndefinedFunction) as error:
        casts = {name: one for name, one in contract.mapping.items() if isinstance(one, Cast)}
        raise TerminalError(
            "a value of the model cannot become what the mapping says",
            where=f"sync {contract.sync!r}, model {SCHEMA}.{contract.model}",
            # not the message: it repeats the value
            received=f"SQLSTATE {error.sqlstate}",
            allowed="; ".join(f"{name}: {one.column} as {one.type}" for name, one in casts.items()) or None,
            todo="correct the mapping's types, or have the model give values of these types",
        ) from None


def _identity(contract: SyncContract) -> str:
    """Part of each fingerprint: what one destination acknowledged says nothing about another."""
    target = contract.destination
    return f"{target.type} {target.connection} {target.place}\n"


def _model_version(session: Session, name: str) -> str:
    """The relations that the published view reads, or its own name when it is a table."""
    row = session.execute(
        "select string_agg(distinct format('%%I.%%I', n.nspname, c.relname), ', ')"
        " from pg_rewrite r"
        " join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid"
        "  and d.refclassid = 'pg_class'::regclass"
        " join pg_class c on c.oid = d.refobjid and c.oid <> r.ev_class"
        " join pg_namespace n on n.oid = c.relnamespace"
        " where r.ev_class = format('%%I.%%I', %(schema)s::text, %(model)s::text)::regclass",
        {"schema": SCHEMA, "model": name},
    ).fetchone()
    return (row and row[0]) or f"{SCHEMA}.{name}"


def _check_keys(session: Session, contract: SyncContract, source: sql.Composed, key: sql.Identifier) -> None:
    row = session.execute(
        sql.SQL(
            "select count(*) filter (where key is not null), coalesce(sum(rows) filter (where key is null), 0)"
            " from (select r.{key}::text as key, count(*) as rows from {source} r group by 1"
            " having count(*) > 1 or r.{key}::text is null) wrong"
        ).format(key=key, source=source),
        {},
    ).fetchone()
    assert row is not None
    if any(row):
        column, table = (name.as_string(session) for name in (sql.Identifier(contract.key), model(contract)))
        raise TerminalError(
            "a key must stand once for each record, and never be null; nothing was sent",
            where=f"sync {contract.sync!r}, model {SCHEMA}.{contract.model}, column {contract.key!r}",
            received=f"{row[0]} keys twice or more, {row[1]} rows without one",
            allowed="each value once",
            # a key may be an address: it is for whoever may read the model, not for a log
            todo=f"look at them: select {column}, count(*) from {table} group by 1"
            f" having count(*) > 1 or {column} is null; correct the model's grain, and give its key the dbt tests"
            " unique and not_null",
        )


# `offset 0` keeps the planner from merging the levels, which would render and hash each record several times.
# The first row holds the counts: a cursor runs without parallel workers, so the branches of `union all` come
# in order. `gone` reads what the destination holds or may hold; in other modes than mirror it costs nothing.
_COMPARE = """
with model as (
    select b.record_key, b.body, sha256(convert_to(%(identity)s || b.body, 'UTF8')) as fingerprint
    from (select r.{key}::text as record_key, row_to_json(r.*)::text as body from {source} r offset 0) b
    offset 0
), compared as materialized (
    select c.action, c.record_key, c.fingerprint, c.known, c.again,
        case when c.action in ('create', 'update') then c.body end as body
    from (
        select m.record_key, m.fingerprint, m.body,
            s.acknowledged_at is not null as known,
            coalesce(s.refused = m.fingerprint, false) as again,
            case
                when s.acknowledged = m.fingerprint and s.refused is null then 'unchanged'
                when %(once)s and s.acknowledged is not null then 'unchanged'
                when s.refused = m.fingerprint and s.attempts >= %(max_attempts)s then 'held'
                when s.acknowledged_at is null then 'create'
                else 'update'
            end as action
        from model m
        left join ledger.sync_record s on s.sync = %(sync)s and s.record_key = m.record_key
        offset 0
    ) c
), gone as materialized (
    select g.record_key, g.fingerprint, g.again, not g.again or g.attempts < %(max_attempts)s as sent,
        json_build_object(%(key)s::text, g.record_key)::text as body
    from (
        select s.record_key, s.attempts, d.fingerprint, coalesce(s.refused = d.fingerprint, false) as again
        from ledger.sync_record s
        cross join (select sha256(convert_to(%(identity)s || 'delete', 'UTF8')) as fingerprint) d
        where %(mirror)s and s.sync = %(sync)s and s.there
            and not exists (select from compared c where c.record_key = s.record_key)
    ) g
)
select 'counts' as action, null as record_key, null::bytea as fingerprint, json_build_object(
    'read', count(*),
    'unchanged', count(*) filter (where action = 'unchanged'),
    'held', count(*) filter (where action = 'held'),
    'creates', count(*) filter (where action = 'create'),
    'updates', count(*) filter (where action = 'update'),
    'again', count(*) filter (where again and action in ('create', 'update'))
        + (select count(*) from gone where again and sent),
    'known', count(*) filter (where known),
    'deletes', (select count(*) from gone where sent),
    'deletes_held', (select count(*) from gone where not sent)
)::text as body
from compared
"""

_ALL = """
union all
select 'delete', record_key, fingerprint, body from gone where sent
union all
select action, record_key, fingerprint, body from compared where body is not null
"""

_SOME = """
union all
(select 'delete', record_key, fingerprint, body from gone where sent limit %(samples)s)
union all
(select action, record_key, fingerprint, body from compared where action = 'update' limit %(samples)s)
union all
(select action, record_key, fingerprint, body from compared where action = 'create' limit %(samples)s)
"""

# Keys are picked before records are rendered, so that a sample of a large model costs little.
_ACKNOWLEDGED = """
with picked as materialized (
    select record_key, acknowledged from ledger.sync_record
    where sync = %(sync)s and there and acknowledged is not null and refused is null
    order by random() limit %(limit)s
)
select b.record_key, b.acknowledged, b.body
from (
    select p.record_key, p.acknowledged, row_to_json(r.*)::text as body
    from {source} r join picked p on p.record_key = r.{key}::text offset 0
) b
where sha256(convert_to(%(identity)s || b.body, 'UTF8')) = b.acknowledged
"""
