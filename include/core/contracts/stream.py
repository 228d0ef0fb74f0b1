"""One table of a source: how it is read, its columns and what their values must satisfy."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from include.core.contracts.common import Accepted, Count, Duration, Faults, Model, Number, Share, Text
from include.core.contracts.followed import check_log
from include.core.contracts.protection import check_rule, check_stream
from include.core.contracts.watch import Watch, check_stream_watch
from include.core.interval import show_duration

#: What a stream's table of every change is called, after the stream's name.
HISTORY = "__history"
#: Columns that raw tables have beside the source's.
RESERVED_COLUMNS = ("_load_id", "_loaded_at", "_deleted_at")
#: The cursor that is no column of anybody's: the transaction that wrote a row, as PostgreSQL keeps it with each.
XMIN = "xmin"
_PART = r'(?:[^\W\d][\w$]*|"(?:[^"\0]|"")+")'
#: A table as SQL names it, with its schema.
TABLE = re.compile(rf"{_PART}\.{_PART}")


class ColumnRule(Model):
    """One column: its declared type, and what its values must satisfy."""

    type: Text = Field(
        description="The source's type, as its catalog names it; a difference is a schema change."
    )
    pii: Text | None = Field(
        default=None, description="Kind of personal data, such as email, phone, name, address."
    )
    not_null: bool = Field(default=False, description="Every row has a value.")
    values: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="The only values that may occur."
    )
    min: Number | None = Field(default=None, description="The least value that may occur.")
    max: Number | None = Field(default=None, description="The greatest value that may occur.")
    pattern: Text | None = Field(default=None, description="A regular expression that each value matches.")
    carry: Literal["text"] | None = Field(
        default=None,
        description="Carry as text: for dates and numbers beyond what Parquet holds (infinity, BC, NaN).",
    )
    ignore: bool = Field(default=False, description="Never read this column.")
    protect: Literal["mask", "hash", "token"] | None = Field(
        default=None,
        description="What lands in place of each value. mask: ***; hash: a keyed hash, equal for equal values;"
        " token: text that equals for equal values and that who holds the key can reveal.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> ColumnRule:
        faults = Faults()
        if self.min is not None and self.max is not None and self.min > self.max:
            faults.add("min", received=self.min, allowed=f"no more than max, which is {self.max:g}")
        check_rule(faults, self)
        faults.raise_any()
        return self


class Reference(Model):
    """These columns point to the primary key of another stream of this source."""

    columns: tuple[Text, ...] = Field(
        min_length=1, description="Columns here, in the order of that primary key."
    )
    stream: str = Field(description="The stream that they point to.")
    severity: Literal["critical", "warning"] = Field(
        default="critical",
        description="critical: a row that points to nothing stops the batch; warning: it is told.",
    )


class Stream(Model):
    """One table of the source."""

    name: Text = Field(description="Names the raw table; 63 bytes at most.")
    table: str = Field(description="schema.table in the source; quote parts as SQL does where they need it.")
    description: str = Field(default="", description="What a row is.")
    primary_key: tuple[Text, ...] = Field(default=(), description="The columns by which rows are merged.")
    mode: Literal["snapshot", "incremental", "log"] = Field(
        description="snapshot: the whole table with every pull; incremental: what has changed by its cursor; log: every"
        " change, deletes too, from the source's write-ahead log."
    )
    cursor: Text | None = Field(
        default=None,
        description="Column that the source stamps at every change; or xmin, the transaction that wrote the row.",
    )
    deletes: Literal["none", "snapshot", "keys"] = Field(
        default="none",
        description="none: rows are never deleted there; snapshot: what a complete read lacks is gone;"
        " keys: all primary keys are read with every pull, and what they lack is gone. Not with mode log, which tells of"
        " each.",
    )
    deleted_rows: Literal["tombstone", "remove"] = Field(
        default="tombstone",
        description="tombstone: a deleted row stays in raw and is marked; remove: it goes.",
    )
    history: Literal["latest", "append"] = Field(
        default="latest",
        description="latest: raw holds one row a key; append: beside it, <name>__history keeps every change that a load"
        " found.",
    )
    max_delete_share: Share = Field(default=0.3, description="Stop when more than this share would go.")
    columns: dict[str, ColumnRule] = Field(min_length=1, description="Every column by its name.")
    references: tuple[Reference, ...] = Field(default=(), description="What it joins to.")
    max_rows_per_day: Count | Accepted | None = Field(
        default=None,
        description="Rate of generation: an increment with more rows is stopped, and a snapshot, or a stream by xmin or by"
        " its log, that has grown by more.",
    )
    freshness: Duration | None = Field(
        default=None, description="A run fails when the newest row, by its cursor, is older than this."
    )
    min_rows: Count = Field(default=0, description="Fewest rows a complete read may have.")
    watch: Watch = Field(
        default=Watch(), description="Which figures are told when they leave what their history lets expect."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Stream:
        faults = Faults()
        if len(self.name.encode()) > 63:
            faults.add("name", received=self.name, allowed="63 bytes at most, because it names the raw table")
        if self.history == "append":
            self._check_history(faults)
        if not TABLE.fullmatch(self.table):
            faults.add(
                "table",
                received=self.table,
                allowed='schema.table, quoted as in SQL: shop.orders, "My App"."Orders"',
            )
        for name in RESERVED_COLUMNS:
            if name in self.columns and not self.columns[name].ignore:
                allowed = (
                    f"no column {', '.join(RESERVED_COLUMNS)}: raw tables have their own; or ignore: true"
                )
                faults.add("columns", name, received=name, allowed=allowed)
        for place, name in enumerate(self.primary_key):
            self._check_column(faults, name, "primary_key", place)
            if self.primary_key.index(name) < place:
                faults.add("primary_key", place, received=name, allowed="each column once")
        for number, reference in enumerate(self.references):
            for place, name in enumerate(reference.columns):
                self._check_column(faults, name, "references", number, "columns", place)
        self._check_mode(faults)
        check_stream(faults, self)
        check_stream_watch(faults, self)
        faults.raise_any()
        return self

    def _check_column(self, faults: Faults, name: str, *at: str | int) -> None:
        if name not in self.columns:
            faults.add(
                *at,
                received=name,
                allowed=f"a column that is under columns: {', '.join(sorted(self.columns))}",
            )
        elif self.columns[name].ignore:
            faults.add(*at, received=name, allowed="a column that is read (this one has ignore: true)")

    def _check_history(self, faults: Faults) -> None:
        if len((self.name + HISTORY).encode()) > 63:
            faults.add(
                "history", received="append", allowed=f"latest: {self.name}{HISTORY} has more than 63 bytes"
            )
        if not self.primary_key:
            faults.add(
                "history",
                received="append",
                allowed="latest, or a primary_key: without one no row has a history",
            )
        if "_change" in self.read_columns:
            faults.add(
                "columns",
                "_change",
                received="_change",
                allowed="another name: a history has its own; or ignore",
            )

    def _check_mode(self, faults: Faults) -> None:
        if self.mode == "log":
            check_log(faults, self)
            return
        if self.stamp:
            self._check_column(faults, self.stamp, "cursor")
        if self.mode == "snapshot":
            if self.cursor:
                faults.add(
                    "cursor", received=self.cursor, allowed="no cursor: mode snapshot reads the whole table"
                )
            if self.deletes == "keys":
                allowed = "none, snapshot; keys is for mode incremental, a snapshot has all keys already"
                faults.add("deletes", received=self.deletes, allowed=allowed)
            if self.freshness is not None:
                allowed = "no freshness: without a cursor nothing says how old a row is"
                faults.add("freshness", received=show_duration(self.freshness), allowed=allowed)
            return
        if not self.cursor:
            allowed = "mode: snapshot, or a cursor beside mode: incremental (a column stamped at every change, or xmin)"
            faults.add("mode", received=self.mode, allowed=allowed)
        if self.by_xmin and self.freshness is not None:
            allowed = "no freshness: xmin says which transaction wrote a row, not when"
            faults.add("freshness", received=show_duration(self.freshness), allowed=allowed)
        if not self.primary_key:
            allowed = "mode: snapshot, or a primary_key beside mode: incremental, to merge by"
            faults.add("mode", received=self.mode, allowed=allowed)
        if self.deletes == "snapshot":
            allowed = "none, keys; an incremental read is never complete, so what it lacks is not gone"
            faults.add("deletes", received=self.deletes, allowed=allowed)

    @property
    def sees_deletes(self) -> bool:
        """Whether its loads tell which rows are gone."""
        return self.mode == "log" or self.deletes != "none"

    @property
    def by_xmin(self) -> bool:
        """Whether its increments are told by the transactions that wrote the rows."""
        return self.cursor == XMIN

    @property
    def stamp(self) -> str | None:
        """The column that says when a row was changed, if there is one."""
        return None if self.by_xmin else self.cursor

    @property
    def read_columns(self) -> tuple[str, ...]:
        return tuple(name for name, rule in self.columns.items() if not rule.ignore)

    @property
    def protected(self) -> dict[str, str]:
        """The columns whose values do not land as they are, and what lands instead: mask, hash or token."""
        return {name: rule.protect for name, rule in self.columns.items() if rule.protect}
