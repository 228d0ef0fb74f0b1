"""The contract of a source: the questions one asks of a source system, as fields that each run enforces or measures.

| question | field | what a run does with it |
|---|---|---|
| kind of system | `kind` | picks the reader, which refuses a server of another kind |
| how long it keeps its data | `keeps` | fails when the watermark is older: rows may be gone unread |
| rate of generation | `max_rows_per_day` | audit: a batch with more rows is stopped |
| nulls and formats | `streams.columns` | audit: not null, accepted values, range, pattern, length |
| how often errors occur | `errors_tolerated` | audit: share of rows that may break a column rule |
| duplicates | `duplicates` | audit: the primary key is unique in a batch, or the newest row wins |
| late values | `lateness` | every pull reads again from this long before the watermark |
| schema | `streams.columns.type` | compared with the source's catalog before anything is read |
| what it joins to | `streams.references` | audit: rows that point to nothing |
| when the schema changes | `on_schema_change`, `alerts` | stops before anything is written, or adds the column |
| how often to pull | `schedule` | the DAG's timetable |
| snapshots or change capture | `streams.mode`, `cursor`, `deletes` | how it is read |
| who provides it | `owner` | the DAG's owner, named in alerts |
| what reading costs | `impact` | timeouts, connections, longest snapshot; the cost is in the ledger |
| its own upstreams | `upstreams` | freshness of each is measured by its query |
| late and missing data | `streams.freshness` | fails the run when the newest row is older |

A question without an answer takes `accepted: {by, why, until}` instead.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, model_validator

from include.core.contracts.common import Accepted, DagContract, Duration, Identifier, Model, Schedule


class ColumnRule(Model):
    """One column: its declared type, and what its values must satisfy."""

    type: str = Field(description="The source's type, as its catalog names it; a difference is a schema change.")
    pii: str | None = Field(default=None, description="Kind of personal data, such as email, phone, name, address.")
    not_null: bool = False
    values: tuple[str, ...] | None = None
    min: float | None = None
    max: float | None = None
    pattern: str | None = None
    carry: Literal["text"] | None = Field(
        default=None, description="Carry as text: for dates and numbers beyond what Parquet holds (infinity, BC, NaN)."
    )
    ignore: bool = Field(default=False, description="Never read this column.")


class Reference(Model):
    """These columns point to the primary key of another stream of this source."""

    columns: tuple[str, ...]
    stream: str
    severity: Literal["critical", "warning"] = "critical"


class Stream(Model):
    """One table of the source."""

    name: str
    table: str = Field(description="schema.table in the source; quote parts as SQL does where they need it.")
    description: str = ""
    primary_key: tuple[str, ...] = ()
    mode: Literal["snapshot", "incremental"]
    cursor: str | None = Field(default=None, description="Column that the source stamps at every change.")
    deletes: Literal["none", "snapshot", "keys"] = Field(
        default="none",
        description="none: rows are never deleted there; snapshot: what a complete read lacks is gone; keys: all primary"
        " keys are read with every pull, and what they lack is gone.",
    )
    deleted_rows: Literal["tombstone", "remove"] = "tombstone"
    max_delete_share: float = Field(default=0.3, ge=0, le=1, description="Stop when more than this share would go.")
    columns: dict[str, ColumnRule]
    references: tuple[Reference, ...] = ()
    max_rows_per_day: int | Accepted | None = None
    freshness: Duration | None = None
    min_rows: int = Field(default=0, ge=0, description="Fewest rows a complete read may have.")

    @model_validator(mode="after")
    def _consistent(self) -> Stream:
        known = set(self.columns)
        for label, names in (("primary_key", self.primary_key), ("cursor", (self.cursor,) if self.cursor else ())):
            for name in names:
                if name not in known:
                    raise ValueError(f"{label} names column {name!r}, which is not under columns ({', '.join(sorted(known))})")
                if self.columns[name].ignore:
                    raise ValueError(f"{label} names column {name!r}, which is ignored")
        if self.mode == "incremental":
            if not self.cursor:
                raise ValueError("mode incremental needs a cursor (a column stamped at every change), or use mode: snapshot")
            if not self.primary_key:
                raise ValueError("mode incremental needs a primary_key to merge by, or use mode: snapshot")
            if self.deletes == "snapshot":
                raise ValueError("deletes: snapshot needs mode: snapshot; an incremental stream has none or keys")
        else:
            if self.cursor:
                raise ValueError("mode snapshot reads the whole table: remove cursor")
            if self.deletes == "keys":
                raise ValueError("deletes: keys is for mode incremental; a snapshot has all keys already")
        return self

    @property
    def read_columns(self) -> tuple[str, ...]:
        return tuple(name for name, rule in self.columns.items() if not rule.ignore)


class Upstream(Model):
    """A system that feeds this source. `freshness_query` returns the time of its newest data in the source."""

    name: str
    freshness_query: str
    max_age: Duration


class Impact(Model):
    """What reading may cost the source."""

    connections: int = Field(default=2, ge=1, le=32)
    statement_timeout: Duration = timedelta(minutes=30)
    lock_timeout: Duration = timedelta(seconds=10)
    idle_in_transaction_timeout: Duration = timedelta(minutes=10)
    longest_snapshot: Duration = timedelta(hours=1)
    horizon_timeout: Duration = timedelta(minutes=30)


class SourceContract(DagContract):
    """One source. See the module's table for what each field is for."""

    source: Identifier
    kind: Literal["postgres"]
    connection: str
    schedule: Schedule
    keeps: Duration | Literal["forever"] | Accepted
    errors_tolerated: float | Accepted = Field(description="Share of rows that may break a column rule; 0 is none.")
    duplicates: Literal["none", "newest_wins"] | Accepted = "none"
    lateness: Duration | Accepted
    upstreams: tuple[Upstream, ...] | Accepted
    on_schema_change: Literal["stop", "add_columns"] = "stop"
    on_failed_audit: Literal["stop_source", "stop_stream"] = "stop_source"
    impact: Impact = Impact()
    streams: tuple[Stream, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> SourceContract:
        names = [stream.name for stream in self.streams]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"stream {name!r} is declared {names.count(name)} times")
            if len(name.encode()) > 63 or not name:
                raise ValueError(f"stream {name!r} must have 1 to 63 bytes: it names the raw table")
        for stream in self.streams:
            for reference in stream.references:
                if reference.stream not in names:
                    raise ValueError(f"stream {stream.name!r} refers to {reference.stream!r}, which is not a stream here")
        return self

    @property
    def raw_schema(self) -> str:
        return f"raw_{self.source}"

    def stream(self, name: str) -> Stream:
        return next(stream for stream in self.streams if stream.name == name)

    def lateness_or_zero(self) -> timedelta:
        return self.lateness if isinstance(self.lateness, timedelta) else timedelta()

    def tolerance(self) -> float:
        return self.errors_tolerated if isinstance(self.errors_tolerated, float | int) else 0.0

    def accepted(self) -> dict[str, Accepted]:
        """Every question that was answered with `accepted`, by field."""
        found: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        for stream in self.streams:
            found |= {f"streams.{stream.name}.{name}": getattr(stream, name) for name in type(stream).model_fields}
        return {name: value for name, value in found.items() if isinstance(value, Accepted)}
