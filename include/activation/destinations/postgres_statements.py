"""The statements that write and delete records of one table in Postgres.

Each takes one JSON document, a list of records. What it returns are the numbers, from 1, of the records that it did not
find, where the mode does not create them.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from include.core.contracts.destinations import Mode

# Types whose `is distinct from` tells every difference. The rest (citext, json, ...) is compared as text.
_COMPARED_AS_THEY_ARE = frozenset(
    {
        "smallint",
        "integer",
        "bigint",
        "numeric",
        "real",
        "double precision",
        "boolean",
        "uuid",
        "text",
        "character varying",
        "date",
        "timestamp with time zone",
        "timestamp without time zone",
    }
)


@dataclass(frozen=True)
class Column:
    """A column as its table declares it, and what the login may do there."""

    declared: str
    plain: str
    insertable: bool
    updatable: bool


@dataclass(frozen=True)
class Statements:
    """Those of one mode."""

    write: sql.Composed
    delete: sql.Composed
    compare: sql.Composed


@dataclass(frozen=True)
class Table:
    """A table, its key, and the fields that are written."""

    name: sql.Identifier
    key: str
    fields: tuple[str, ...]
    columns: dict[str, Column]

    def write(self, mode: Mode) -> sql.Composed:
        """What brings records there. Rows that hold the same already are left alone."""
        return self._update() if mode == "update" else self._upsert(keep=mode == "insert")

    def delete(self) -> sql.Composed:
        """Takes the rows of these keys away."""
        return sql.SQL(
            "delete from {table} t using json_to_recordset(%s::json) as r ({typed}) where t.{key} = r.{key}"
        ).format(table=self.name, typed=self._typed((self.key,)), key=sql.Identifier(self.key))

    def compare(self) -> sql.Composed:
        """Selects for each record whether it is not there, and of each field but the key whether it differs: as the column
        would hold it."""
        tests = [
            sql.SQL("{} is distinct from {}").format(
                _comparable("t", name, self.columns[name]), _comparable("r", name, self.columns[name])
            )
            for name in self.others
        ]
        return sql.SQL(
            "{records} select t.{key} is null, array[{tests}]::boolean[]"
            " from r left join {table} t on t.{key} = r.{key} order by r.{number}"
        ).format(
            records=self._numbered(),
            key=sql.Identifier(self.key),
            tests=sql.SQL(", ").join(tests),
            table=self.name,
            number=sql.Identifier(_NUMBER),
        )

    def _upsert(self, *, keep: bool) -> sql.Composed:
        action = sql.SQL("do update set {} where {}").format(self._set("excluded"), self._differs("excluded"))
        names = sql.SQL(", ").join(map(sql.Identifier, self.fields))
        return sql.SQL(
            "insert into {table} as t ({names})"
            " select {names} from json_to_recordset(%s::json) as r ({typed})"
            " on conflict ({key}) {action}"
        ).format(
            table=self.name,
            names=names,
            typed=self._typed(self.fields),
            key=sql.Identifier(self.key),
            action=sql.SQL("do nothing") if keep or not self.others else action,
        )

    def _update(self) -> sql.Composed:
        write = sql.SQL("update {table} t set {set} from r where t.{key} = r.{key} and {differs}").format(
            table=self.name, set=self._set("r"), key=sql.Identifier(self.key), differs=self._differs("r")
        )
        return sql.SQL(
            "{records}, written as ({write})"
            " select r.{number} from r where not exists (select from {table} t where t.{key} = r.{key})"
        ).format(
            records=self._numbered(),
            write=write if self.others else sql.SQL("select"),
            number=sql.Identifier(_NUMBER),
            table=self.name,
            key=sql.Identifier(self.key),
        )

    def _numbered(self) -> sql.Composed:
        """The records as `r`, typed as the table's columns are, with their numbers."""
        names = sql.SQL(", ").join(map(sql.Identifier, (*self.fields, _NUMBER)))
        return sql.SQL(
            "with r ({names}) as materialized ("
            "select * from rows from (json_to_recordset(%s::json) as ({typed})) with ordinality)"
        ).format(names=names, typed=self._typed(self.fields))

    @property
    def others(self) -> list[str]:
        return [name for name in self.fields if name != self.key]

    def _typed(self, names: tuple[str, ...]) -> sql.Composed:
        return sql.SQL(", ").join(
            sql.Identifier(name) + sql.SQL(" " + self.columns[name].declared) for name in names
        )

    def _set(self, side: str) -> sql.Composed:
        return sql.SQL(", ").join(
            sql.SQL("{0} = {1}.{0}").format(sql.Identifier(name), sql.SQL(side)) for name in self.others
        )

    def _differs(self, side: str) -> sql.Composed:
        return sql.SQL("({}) is distinct from ({})").format(
            sql.SQL(", ").join(_comparable("t", name, self.columns[name]) for name in self.others),
            sql.SQL(", ").join(_comparable(side, name, self.columns[name]) for name in self.others),
        )


#: Longer than any column's name can be, so that it is none of them.
_NUMBER = "number of the record"


def _comparable(side: str, name: str, column: Column) -> sql.Composed:
    value = sql.SQL(side + ".") + sql.Identifier(name)
    return value if column.plain in _COMPARED_AS_THEY_ARE else value + sql.SQL("::text")
