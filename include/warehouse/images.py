"""Whole rows from changes: what a change left out is taken from the one before it, or from raw.

A log does not repeat a value that is stored out of line and did not change; a truncate names no row; a delete has a key.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from include.core.errors import TerminalError
from include.core.log_changes import DELETE, MOVE, TRUNCATE
from include.warehouse.staging import SCHEMA
from include.warehouse.tables import Target, columns_list

Session = psycopg.Connection[Any]


def complete(session: Session, target: Target, changes: str) -> None:
    """Make every change in this staging table say all that it means. Afterwards it has inserts, updates, moves and deletes.

    :param target: holds the rows as they were before the first of these changes.
    :raises TerminalError: it lacks rows that the changes speak of.
    """
    work = _Images(session, target, sql.Identifier(SCHEMA, changes))
    work.check_there()
    work.spread_truncates()
    work.fill()
    if target.keeps_history:
        work.show_deleted()


class _Images:
    def __init__(self, session: Session, target: Target, changes: sql.Identifier) -> None:
        self._session, self._target, self._changes = session, target, changes
        self._key = target.shape.primary_key
        self._indexed = False

    def _run(self, statement: str, **parts: sql.Composable) -> list[tuple[Any, ...]]:
        cursor = self._session.execute(
            sql.SQL(statement).format(
                changes=self._changes, raw=self._target.name, key=columns_list(self._key), **parts
            )
        )
        return cursor.fetchall() if cursor.description else []

    def _same(self, one: str, other: str) -> sql.Composable:
        return sql.SQL(" and ").join(
            sql.SQL("{} = {}").format(sql.Identifier(one, name), sql.Identifier(other, name))
            for name in self._key
        )

    def _index(self) -> None:
        """For looking single rows up."""
        if not self._indexed:
            self._run("create index on {changes} ({key}, _seq)")
            self._run("create index on {changes} (_seq)")
            self._run("analyze {changes}")
            self._indexed = True

    def check_there(self) -> None:
        row = self._session.execute("select to_regclass(%s)", (self._target.name.as_string(None),)).fetchone()
        if row is None or row[0] is None:
            raise _lacking(self._target, "no such table")

    def spread_truncates(self) -> None:
        """In place of each truncate a delete of every row that was there."""
        moments = self._run(
            "select _seq from {changes} where _op = {op} order by _seq", op=sql.Literal(TRUNCATE)
        )
        for (moment,) in moments:
            self._index()
            self._run(
                "insert into {changes} ({key}, _op, _seq, _unchanged)"
                " select {key}, {delete}, {moment}, '{{}}'::smallint[]"
                " from (select distinct on ({key}) {key}, _op from {changes}"
                " where _seq < {moment} and _op <> {truncate} order by {key}, _seq desc) as known where _op <> {delete}"
                " union all select {ours}, {delete}, {moment}, '{{}}'::smallint[] from {raw} as r where _deleted_at is null"
                " and not exists (select from {changes} as c where {same} and c._seq < {moment})",
                ours=columns_list(self._key, "r"),
                same=self._same("c", "r"),
                moment=sql.Literal(moment),
                delete=sql.Literal(DELETE),
                truncate=sql.Literal(TRUNCATE),
            )
        if moments:
            self._run("delete from {changes} where _op = {op}", op=sql.Literal(TRUNCATE))

    def fill(self) -> None:
        """Values that were not repeated.

        :raises TerminalError: raw does not have one either. It is never null: nulls are not stored out of line.
        """
        for moment, places in self._run(
            "select _seq, _unchanged from {changes} where _op = {op} and _unchanged <> '{{}}' order by _seq",
            op=sql.Literal(MOVE),
        ):
            self._index()
            for place in places:
                self._fill_moved(moment, place)
        for (place,) in self._run("select distinct unnest(_unchanged) from {changes}"):
            self._fill_column(place)

    def _column(self, place: int, *table: str) -> sql.Composable:
        return sql.Identifier(*table, self._target.shape.names[place - 1])

    def _fill_moved(self, moment: int, place: int) -> None:
        """A row that got another key: what it had under the key before, which is that of the delete just before it."""
        self._run(
            "update {changes} as m set {column} = coalesce("
            "(select {was} from {changes} as p where {before} and p._seq < d._seq and not {place} = any (p._unchanged)"
            " order by p._seq desc limit 1), (select {held} from {raw} as r where {ours})),"
            " _unchanged = array_remove(m._unchanged, {place}::smallint)"
            " from {changes} as d where m._seq = {moment} and d._seq = {moment} - 1",
            column=self._column(place),
            was=self._column(place, "p"),
            held=self._column(place, "r"),
            before=self._same("p", "d"),
            ours=self._same("r", "d"),
            place=sql.Literal(place),
            moment=sql.Literal(moment),
        )
        self._check_filled("_seq = {moment}", place, moment=sql.Literal(moment))

    def _fill_column(self, place: int) -> None:
        """Of each row, the value of its last change that had one; else what raw holds."""
        keys = [sql.Identifier(f"k{number}") for number in range(len(self._key))]
        self._run(
            "with told as (select ctid as i, {named}, _seq as s, {column} as v, {place} = any (_unchanged) as missing,"
            " count(*) filter (where not {place} = any (_unchanged)) over (partition by {key} order by _seq) as run"
            " from {changes}), filled as (select i, {keys}, missing, run,"
            " first_value(v) over (partition by {keys}, run order by s) as v from told)"
            " update {changes} as c set {column} = case when f.run > 0 then f.v else {held} end"
            " from filled as f left join {raw} as r on {same} where c.ctid = f.i and f.missing",
            named=sql.SQL(", ").join(
                sql.SQL("{} as {}").format(sql.Identifier(name), alias)
                for name, alias in zip(self._key, keys, strict=True)
            ),
            keys=sql.SQL(", ").join(keys),
            same=sql.SQL(" and ").join(
                sql.SQL("f.{} = {}").format(alias, sql.Identifier("r", name))
                for name, alias in zip(self._key, keys, strict=True)
            ),
            column=self._column(place),
            held=self._column(place, "r"),
            place=sql.Literal(place),
        )
        self._check_filled("{place} = any (_unchanged)", place, place=sql.Literal(place))

    def _check_filled(self, these: str, which: int, **parts: sql.Composable) -> None:
        column = self._column(which)
        if self._run(
            f"select from {{changes}} where {these} and {{column}} is null limit 1", column=column, **parts
        ):
            raise _lacking(
                self._target, f"no value of column {self._target.shape.names[which - 1]!r} of a changed row"
            )

    def show_deleted(self) -> None:
        """In a delete the row as it was last, for the history."""
        rest = tuple(name for name in self._target.shape.names if name not in self._key)
        if not rest:
            return
        before = "(select ctid as i, lag(ctid) over (partition by {key} order by _seq) as p, {key} from {changes}) as o"
        for other, joined in (
            ("p", "join {changes} as p on p.ctid = o.p"),
            ("r", "join {raw} as r on {same} and o.p is null"),
        ):
            self._run(
                f"update {{changes}} as c set {{values}} from {before} {joined} where c.ctid = o.i and c._op = {{delete}}",
                values=sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier(other, name))
                    for name in rest
                ),
                same=self._same("r", "o"),
                delete=sql.Literal(DELETE),
            )


def _lacking(target: Target, received: str) -> TerminalError:
    return TerminalError(
        "raw lacks what the source's log builds on",
        where=target.where,
        received=received,
        allowed="the rows as the loads before have left them",
        todo="find out who changed the raw table; millrace replay rebuilds it, or start the DAG with full_refresh",
    )
