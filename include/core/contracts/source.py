"""The contract of a source: the questions one asks of a source system, as fields that each run enforces.

| question | field | what a run does with it |
|---|---|---|
| kind of system | `kind` | picks the reader, which refuses a server of another kind |
| how long it keeps its data | `keeps` | fails when the watermark is older: rows may be gone unread |
| rate of generation | `max_rows_per_day` | audit: an increment with more rows, or a snapshot grown by more, is stopped |
| nulls and formats | `streams.columns` | audit: not null, accepted values, range, pattern, length |
| how often errors occur | `errors_tolerated`, `on_bad_rows` | audit: share of bad rows that is let through or set aside |
| duplicates | `duplicates` | audit: the primary key is unique in a batch, or the newest row wins |
| late values | `lateness` | every pull reads again from this long before the watermark |
| personal data | `streams.columns.protect`, `privacy_keys` | masked, hashed or made a token before it lands |
| schema | `streams.columns.type` | compared with the source's catalog before anything is read |
| what it joins to | `streams.references` | audit: rows that point to nothing |
| when the schema changes | `on_schema_change`, `alerts` | by kind: stops before anything is read, holds back, or evolves |
| how often to pull | `schedule` | the DAG's timetable |
| snapshots or change capture | `streams.mode`, `cursor`, `deletes`, `slot` | how it is read |
| who provides it | `owner` | the DAG's owner, named in alerts |
| what reading costs | `impact` | timeouts, connections, longest snapshot, quiet hours; the cost is in the ledger |
| its own upstreams | `upstreams` | freshness of each is measured by its query |
| late and missing data | `streams.freshness` | fails the run when the newest row is older |
| what is usual of its data | `streams.watch` | audit: figures of a batch that leave the limits of their history are told |

A question without an answer takes `accepted: {by, why, until}` instead.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from include.core.contracts.common import (
    Accepted,
    Count,
    DagContract,
    Duration,
    Faults,
    Identifier,
    Model,
    Schedule,
    Share,
    Text,
)
from include.core.contracts.followed import check_slot
from include.core.contracts.protection import check_source
from include.core.contracts.schema_change import SchemaAnswers
from include.core.contracts.stream import HISTORY, TABLE, ColumnRule, Reference, Stream
from include.core.interval import show_duration
from include.core.quiet_hours import parse_quiet_hours, quiet_until

__all__ = ["ColumnRule", "Impact", "Reference", "SourceContract", "Stream", "Upstream"]


class Upstream(Model):
    """A system that feeds this source. `freshness_query` returns the time of its newest data here."""

    name: Text = Field(description="The system that feeds this source.")
    freshness_query: Text = Field(description="SQL that returns the time of its newest data in the source.")
    max_age: Duration = Field(description="A run fails when that time is longer ago than this.")


class Impact(Model):
    """What reading may cost the source."""

    connections: Count = Field(
        default=2, ge=1, le=32, description="How many connections read at once; 1 to 32."
    )
    statement_timeout: Duration = Field(
        default=timedelta(minutes=30), description="How long one query may take."
    )
    lock_timeout: Duration = Field(
        default=timedelta(seconds=10), description="How long a query waits for a lock."
    )
    idle_in_transaction_timeout: Duration = Field(
        default=timedelta(minutes=10), description="How long a reader may be idle before the source ends it."
    )
    longest_snapshot: Duration = Field(
        default=timedelta(hours=1),
        description="How long one snapshot of the source may be held (it delays its vacuum).",
    )
    horizon_timeout: Duration = Field(
        default=timedelta(minutes=30), description="How long to wait for the source's open transactions."
    )
    held_log_mb: Count = Field(
        default=10240,
        ge=1,
        description="Where streams have mode: log, a run fails, after it has published, when the source still keeps more"
        " MB of its log for us.",
    )
    quiet_hours: tuple[str, ...] = Field(
        default=(),
        description="Hours in which no read begins, in the schedule's time zone: mon-fri 08:00-18:00, 22:00-06:00.",
    )

    @field_validator("quiet_hours")
    @classmethod
    def _are_hours(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        quiet_until(map(parse_quiet_hours, value), datetime.now(timezone.utc), ZoneInfo("UTC"))
        return value


class SourceContract(DagContract):
    """One source. See the module's table for what each field is for."""

    source: Identifier = Field(
        description="Its name, and that of the file; raw_<source> is its schema in the warehouse."
    )
    kind: Literal["postgres", "mysql"] = Field(description="Kind of system; mysql is MariaDB, too.")
    connection: Text = Field(description="The Airflow connection to it.")
    privacy_keys: Text | None = Field(
        default=None,
        description="The Airflow connection with the keys for columns that have protect: hash or token.",
    )
    slot: Identifier | None = Field(
        default=None,
        description="The name of the replication slot and of the publication for streams of mode log; millrace_<source> when"
        " nothing is said.",
    )
    schedule: Schedule = Field(description="How often to pull.")
    keeps: Duration | Literal["forever"] | Accepted = Field(
        description="How long the source keeps its data: a run fails when the watermark is older."
    )
    errors_tolerated: Share | Accepted = Field(
        description="Share of rows that may break a column rule; 0 is none."
    )
    duplicates: Literal["none", "newest_wins"] | Accepted = Field(
        default="none",
        description="none: a key that comes twice stops the batch; newest_wins: the newest row by its cursor stays;"
        " a mapping: one row of each key stays, the newest where there is a cursor.",
    )
    lateness: Duration | Accepted = Field(
        description="Late values: every pull reads again from this long before the watermark. By xmin or by the"
        " log no value is late."
    )
    upstreams: tuple[Upstream, ...] | Accepted = Field(
        description="The systems that feed this source; [] when none does."
    )
    on_schema_change: Literal["stop", "add_columns"] | SchemaAnswers = Field(
        default="stop",
        description="stop before anything is read; add_columns: read a new column, stop at other changes; a mapping: an"
        " answer for each kind of change.",
    )
    unread_tables: tuple[Text, ...] = Field(
        default=(), description="Tables that no stream reads on purpose, as schema.table."
    )
    on_failed_audit: Literal["stop_source", "stop_stream"] = Field(
        default="stop_source",
        description="Whether a stream that fails its audit holds back the whole source.",
    )
    on_bad_rows: Literal["stop", "quarantine"] = Field(
        default="stop",
        description="Rows that break a rule. stop: they are published up to the share in errors_tolerated, beyond it the"
        " batch fails; quarantine: none of them is published, the others are, and beyond that share the batch fails (ten bad"
        " rows are never too many). Streams of mode log, and without a primary key, always stop.",
    )
    quarantine_limit: Duration = Field(
        default=timedelta(days=30),
        description="A run fails, after it has published, while a row is in quarantine for longer than this.",
    )
    reconcile: Duration | None = Field(
        default=None,
        description="Raw is compared with the source, row by row, once this long has passed since it was last; for kind:"
        " postgres. By itself never, when nothing is said.",
    )
    impact: Impact = Field(default=Impact(), description="What reading may cost the source.")
    streams: tuple[Stream, ...] = Field(min_length=1, description="The tables that are read.")

    @model_validator(mode="after")
    def _consistent(self) -> SourceContract:
        faults = Faults()
        names = [stream.name for stream in self.streams]
        for number, stream in enumerate(self.streams):
            if stream.name in names[:number]:
                faults.add("streams", number, "name", received=stream.name, allowed="each stream once")
            if stream.history == "append" and stream.name + HISTORY in names:
                allowed = f"latest, or another name for stream {stream.name + HISTORY}: the history needs it"
                faults.add("streams", number, "history", received="append", allowed=allowed)
            for place, reference in enumerate(stream.references):
                at = ("streams", number, "references", place)
                if reference.stream not in names:
                    faults.add(
                        *at,
                        "stream",
                        received=reference.stream,
                        allowed=f"a stream of this source: {', '.join(names)}",
                    )
                    continue
                key = self.stream(reference.stream).primary_key
                if len(key) != len(reference.columns):
                    there = ", ".join(key) or "it has none"
                    allowed = f"one column for each of {reference.stream}'s primary key: {there}"
                    faults.add(*at, "columns", received=list(reference.columns), allowed=allowed)
        for place, table in enumerate(self.unread_tables):
            if not TABLE.fullmatch(table):
                allowed = 'schema.table, quoted as in SQL: shop.orders, "My App"."Orders"'
                faults.add("unread_tables", place, received=table, allowed=allowed)
        timeless = [stream.name for stream in self.streams if stream.primary_key and not stream.stamp]
        if self.duplicates == "newest_wins" and timeless:
            listed = ", ".join(timeless)
            allowed = f"none, or a mapping with by, why, until: without a cursor column no row of {listed} is the newest"
            faults.add("duplicates", received=self.duplicates, allowed=allowed)
        if self.on_bad_rows == "quarantine" and not self.tolerance():
            allowed = "with on_bad_rows: quarantine, the share of a batch's rows that may be set aside, such as 0.01"
            faults.add("errors_tolerated", received=self.errors_tolerated, allowed=allowed)
        if self.kind != "postgres" and self.reconcile is not None:
            allowed = "nothing: only PostgreSQL writes values as the warehouse does, so only its tables can be compared"
            faults.add("reconcile", received=show_duration(self.reconcile), allowed=allowed)
        if self.kind != "postgres":
            for number, stream in enumerate(self.streams):
                if stream.by_xmin:
                    allowed = "a column that is stamped at every change: only kind: postgres has xmin"
                    faults.add("streams", number, "cursor", received=stream.cursor, allowed=allowed)
        check_source(faults, self)
        check_slot(faults, self)
        faults.raise_any()
        return self

    @property
    def schema_answers(self) -> SchemaAnswers:
        """What is done about each kind of schema change."""
        if isinstance(self.on_schema_change, SchemaAnswers):
            return self.on_schema_change
        return SchemaAnswers(new_column="evolve" if self.on_schema_change == "add_columns" else "freeze")

    @property
    def holds_streams(self) -> bool:
        """Whether one stream can be held back while the others of the source go on."""
        answers = self.schema_answers.model_dump().values()
        return self.on_failed_audit == "stop_stream" or "quarantine" in answers

    @property
    def raw_schema(self) -> str:
        return f"raw_{self.source}"

    @property
    def slot_name(self) -> str:
        """What the replication slot of this source and its publication are called."""
        return self.slot or f"millrace_{self.source}"

    @property
    def logged(self) -> tuple[Stream, ...]:
        """The streams that the source's log tells of."""
        return tuple(stream for stream in self.streams if stream.mode == "log")

    def stream(self, name: str) -> Stream:
        return next(stream for stream in self.streams if stream.name == name)

    def quarantines(self, stream: Stream) -> bool:
        """Whether bad rows of this stream are set aside while the others go on."""
        # Without a key nothing says which row a better one takes the place of; and a change in the log builds on the row
        # before it, which must be there.
        return self.on_bad_rows == "quarantine" and bool(stream.primary_key) and stream.mode != "log"

    def quiet_until(self, moment: datetime) -> datetime | None:
        """When the source may be read, if `moment` is in its quiet hours."""
        hours = map(parse_quiet_hours, self.impact.quiet_hours)
        return quiet_until(hours, moment, ZoneInfo(self.schedule.timezone))

    def lateness_or_zero(self) -> timedelta:
        return self.lateness if isinstance(self.lateness, timedelta) else timedelta()

    def tolerance(self) -> float:
        return self.errors_tolerated if isinstance(self.errors_tolerated, float | int) else 0.0

    def accepted(self) -> dict[str, Accepted]:
        """Every question that was answered with `accepted`, by field."""
        found: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        for stream in self.streams:
            found |= {
                f"streams.{stream.name}.{name}": getattr(stream, name) for name in type(stream).model_fields
            }
        return {name: value for name, value in found.items() if isinstance(value, Accepted)}
