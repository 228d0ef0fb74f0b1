"""Publishing marts: consumers read views; behind them stand versioned schemas; a new version takes over in one transaction.

dbt builds tables into `<schema>_candidate`, which nobody but the transformer may see. Once its gate has passed, the
candidate schema is renamed to `<schema>_v<publication>` and every view `<schema>.<model>` is pointed at it. Names, grants
and views that depend on ours stay. The version before stays too, so that going back is pointing the views at it again.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from include.core.errors import GateFailed, TerminalError
from include.warehouse import months

#: What is published, and who may read it besides developers.
READERS = {"marts": ("millrace_analyst",), "activation": ("millrace_activator",)}
#: Versions that stay: the one that serves and the one before.
KEPT = 2

Session = psycopg.Connection[Any]


def candidate(schema: str) -> str:
    """The schema that dbt builds before it is published."""
    return f"{schema}_candidate"


def clear_candidate(
    session: Session, transform: str, run_id: str, others: frozenset[str] = frozenset()
) -> None:
    """Start with an empty candidate that belongs to one run, so that nothing of an older build is published with it.

    What the gate said of an earlier build of the same run goes too: it has not seen this one.

    :param others: schemas that the models use beside the candidate; those that lack are made. dbt would make them too,
        but two models that need the same one at once get in each other's way.
    """
    with session.transaction():
        _lock(session)
        session.execute(
            "delete from ledger.gate_result where transform = %s and run_id = %s", (transform, run_id)
        )
        for schema in sorted(others - {candidate(schema) for schema in READERS}):
            session.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
        for schema in READERS:
            session.execute(
                sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(candidate(schema)))
            )
            session.execute(sql.SQL("create schema {}").format(sql.Identifier(candidate(schema))))
            session.execute(
                sql.SQL("comment on schema {} is {}").format(
                    sql.Identifier(candidate(schema)), sql.Literal(run_id)
                )
            )


def candidate_tables(session: Session) -> dict[str, dict[str, int]]:
    """Tables and their rows in each candidate schema."""
    found: dict[str, dict[str, int]] = {}
    for schema in READERS:
        found[schema] = {
            table: _rows(session, candidate(schema), table) for table in _tables(session, candidate(schema))
        }
    return found


def check_candidate(session: Session, transform: str, run_id: str) -> None:
    """That what stands in the candidate schemas is of this run.

    :raises TerminalError: it is of another run, or was published already.
    """
    owners = _owners(session)
    if owners != [run_id]:
        raise _nothing(transform, run_id, owners)


def publish_candidate(session: Session, transform: str, run_id: str) -> tuple[int, dict[str, dict[str, int]]]:
    """Make the candidate what consumers see, all tables at once. Returns the publication's id and rows by table.

    A run that has published what it built changes nothing, whatever another run has built meanwhile; one that was
    cleared and has built again publishes again.

    :raises GateFailed: a table of the candidate did not pass its gate in this run, or was never judged.
    :raises TerminalError: this run has no candidate, or consumers' views depend on what would go.
    :raises TransientError: a consumer's open transaction does not let go of the views.
    """
    with session.transaction():
        _lock(session)
        owners = _owners(session)
        if owners != [run_id]:
            done = session.execute(
                "select publication_id, relations from ledger.publication where transform = %s and run_id = %s"
                " and dropped_at is null order by publication_id desc limit 1",
                (transform, run_id),
            ).fetchone()
            if done:
                return done[0], done[1]
            raise _nothing(transform, run_id, owners)
        relations = _passed_candidate(session, transform, run_id)
        row = session.execute(
            "insert into ledger.publication (transform, run_id, relations, built_from) values (%s, %s, %s,"
            " (select built_from from ledger.candidate c where c.transform = %s and c.run_id = %s))"
            " returning publication_id",
            (transform, run_id, json.dumps(relations), transform, run_id),
        ).fetchone()
        assert row is not None
        version = int(row[0])
        for schema, tables in relations.items():
            session.execute(
                sql.SQL("alter schema {} rename to {}").format(
                    sql.Identifier(candidate(schema)), sql.Identifier(_versioned(schema, version))
                )
            )
            _point(session, schema, version, list(tables), _served(session, transform, schema, version))
        months.close(session, transform, run_id, version)
    _drop_old(session, transform)
    return version, relations


def rollback(session: Session, transform: str) -> int:
    """Point the views at the version before the one that serves. Returns the publication that serves now.

    :raises TerminalError: there is no version before.
    """
    with session.transaction():
        _lock(session)
        kept = session.execute(
            "select publication_id, relations from ledger.publication where transform = %s and dropped_at is null"
            " order by publication_id desc limit 2",
            (transform,),
        ).fetchall()
        if len(kept) < 2:
            raise TerminalError(
                "there is no version before the one that serves", where=f"transform {transform!r}"
            )
        (newest, relations), (before, older) = kept
        for schema in relations:
            _point(session, schema, before, list(older.get(schema, ())), list(relations[schema]))
            session.execute(
                sql.SQL("drop schema {} cascade").format(sql.Identifier(_versioned(schema, newest)))
            )
        session.execute(
            "update ledger.publication set dropped_at = clock_timestamp() where publication_id = %s",
            (newest,),
        )
    return int(before)


def publications(session: Session, transform: str) -> list[tuple[int, datetime, str]]:
    """The versions that are kept, the one that serves first."""
    return session.execute(
        "select publication_id, published_at, run_id from ledger.publication"
        " where transform = %s and dropped_at is null order by publication_id desc",
        (transform,),
    ).fetchall()


def _owners(session: Session) -> list[str | None]:
    """The runs that began what stands in the candidate schemas."""
    rows = session.execute(
        "select distinct obj_description(oid, 'pg_namespace') from pg_namespace where nspname = any(%s)",
        ([candidate(schema) for schema in READERS],),
    )
    return [row[0] for row in rows]


def _nothing(transform: str, run_id: str, owners: list[str | None]) -> TerminalError:
    return TerminalError(
        "nothing of this run stands in the candidate schemas",
        where=f"transform {transform!r}, run {run_id!r}",
        received=f"a candidate of {', '.join(map(str, owners))}"
        if owners
        else "none: it is published, or gone",
        todo="clear the run from its first task",
    )


def _passed_candidate(session: Session, transform: str, run_id: str) -> dict[str, dict[str, int]]:
    """The tables of this run's candidate, if each of them passed its gate."""
    relations = candidate_tables(session)
    built = [f"{schema}.{table}" for schema, tables in relations.items() for table in tables]
    if not built:
        raise _nothing(transform, run_id, ["this run, without a table"])
    verdicts = dict(
        session.execute(
            "select relation, passed from ledger.gate_result where transform = %s and run_id = %s",
            (transform, run_id),
        ).fetchall()
    )
    where = f"transform {transform!r}, run {run_id!r}"
    if failed := sorted(relation for relation, passed in verdicts.items() if not passed):
        raise GateFailed(
            "the gate failed, so nothing of this build is published",
            where=where,
            received=", ".join(failed),
            todo="clear the run from its first task",
        )
    if unjudged := [relation for relation in built if relation not in verdicts]:
        suites = ", ".join(f"include/suites/{relation.replace('.', '/')}.py" for relation in unjudged)
        raise GateFailed(
            "the gate has not judged every table, so nothing of this build is published",
            where=where,
            received=", ".join(unjudged),
            allowed="a passed gate of this run for each table that was built",
            todo=f"see that each has its suite ({suites}), then clear the run from its first task",
        )
    return relations


def _lock(session: Session) -> None:
    """One publication at a time; and one that does not queue up for long behind a reader, with all new readers behind it."""
    session.execute("select pg_advisory_xact_lock(hashtext('publish marts'))")
    session.execute("set local lock_timeout = '5s'")


def _served(session: Session, transform: str, schema: str, before: int) -> list[str]:
    """The tables of one schema that this transform's last publication serves."""
    row = session.execute(
        "select relations from ledger.publication where transform = %s and publication_id < %s and dropped_at is null"
        " order by publication_id desc limit 1",
        (transform, before),
    ).fetchone()
    return list(row[0].get(schema, ())) if row else []


def _point(session: Session, schema: str, version: int, tables: list[str], served: list[str]) -> None:
    session.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
    readers = sql.SQL(", ").join(map(sql.Identifier, (*READERS[schema], "millrace_developer")))
    session.execute(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(schema), readers))
    for table in tables:
        view = sql.Identifier(schema, table)
        body = sql.SQL("select * from {}").format(sql.Identifier(_versioned(schema, version), table))
        try:
            with session.transaction():
                session.execute(sql.SQL("create or replace view {} as {}").format(view, body))
        except psycopg.errors.InvalidTableDefinition:
            # A column was dropped, renamed or retyped; the view cannot be replaced in place.
            _drop_view(session, schema, table)
            session.execute(sql.SQL("create view {} as {}").format(view, body))
        session.execute(sql.SQL("grant select on {} to {}").format(view, readers))
    for gone in sorted(set(served) - set(tables)):
        _drop_view(session, schema, gone)


def _drop_view(session: Session, schema: str, view: str) -> None:
    try:
        session.execute(sql.SQL("drop view if exists {}").format(sql.Identifier(schema, view)))
    except psycopg.errors.DependentObjectsStillExist as error:
        raise TerminalError(
            "its columns change, but views of consumers depend on it; nothing was published",
            where=f"{schema}.{view}",
            received=(error.diag.message_detail or "").replace("\n", "; "),
            allowed="new columns at the end, or a change that no view depends on",
            todo="agree with the owners of those views; add a column beside the old one and remove it later",
        ) from error


def _drop_old(session: Session, transform: str) -> None:
    with session.transaction():
        _lock(session)
        old = session.execute(
            "select publication_id, relations from ledger.publication where transform = %s and dropped_at is null"
            " order by publication_id desc offset %s",
            (transform, KEPT),
        ).fetchall()
        for version, relations in old:
            for schema in relations:
                session.execute(
                    sql.SQL("drop schema if exists {} cascade").format(
                        sql.Identifier(_versioned(schema, version))
                    )
                )
            session.execute(
                "update ledger.publication set dropped_at = clock_timestamp() where publication_id = %s",
                (version,),
            )


def _versioned(schema: str, version: int) -> str:
    return f"{schema}_v{version}"


def _tables(session: Session, schema: str) -> list[str]:
    rows = session.execute(
        "select tablename from pg_tables where schemaname = %s order by tablename", (schema,)
    )
    return [row[0] for row in rows]


def _rows(session: Session, schema: str, table: str) -> int:
    row = session.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(schema, table))).fetchone()
    assert row is not None
    return int(row[0])
