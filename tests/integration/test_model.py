"""The whole path against a model of it: random schemas, values and changes, with runs that die between any two steps.

Each example is a life of one source. MODEL_EXAMPLES=500 lives that many, each time others; without it they are few and
always the same.
"""

from __future__ import annotations

import itertools
import os
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import sql

from include.core.contracts import SourceContract
from include.core.errors import MillraceError
from include.core.interval import Interval
from include.flows import extract, load, publish
from include.flows.books import unbalanced
from include.flows.replay import Replay
from include.flows.replay_plan import Scope
from include.flows.source_run import SourceRun
from include.quality import gate
from tests.support.model import NAMES, VALUES, Picture, Table
from tests.support.pipeline import Pipeline, contract

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "0"))
STEPS = ("extract", "stage", "audit", "publish")
READINGS: tuple[dict[str, Any], ...] = (
    {"mode": "snapshot", "deletes": "snapshot"},
    {"mode": "snapshot", "deletes": "none"},
    {"mode": "incremental", "cursor": "changed", "deletes": "keys"},
    {"mode": "incremental", "cursor": "changed", "deletes": "none"},
    {"mode": "incremental", "cursor": "xmin", "deletes": "keys"},
)
_numbers = itertools.count(1)


@st.composite
def tables(draw: st.DrawFn) -> list[Table]:
    names = st.lists(NAMES, min_size=1, max_size=3, unique=True)
    return [draw(_table(name)) for name in draw(names)]


@st.composite
def _table(draw: st.DrawFn, name: str) -> Table:
    key, *columns = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    kinds = {column: draw(st.sampled_from(list(VALUES))) for column in columns}
    reading = draw(st.sampled_from(READINGS)) | {
        "deleted_rows": draw(st.sampled_from(["tombstone", "remove"])),
        "history": draw(st.sampled_from(["latest", "append"])),
    }
    return Table(name, {key: draw(st.sampled_from(["integer", "text", "uuid"]))}, kinds, reading)


class Life(RuleBasedStateMachine):
    """One source from its first row on. Nothing writes while it is read: other tests do that."""

    pipeline: Pipeline

    def __init__(self) -> None:
        super().__init__()
        self.source = f"life{next(_numbers)}"
        self.runs = itertools.count(1)
        self.tables: list[Table] = []
        self.run: SourceRun | None = None
        self.load_id: int | None = None
        self.streams: dict[str, int] = {}
        self.read: dict[str, tuple[tuple[str, ...], Picture]] = {}
        self.done = ""
        self.dead: list[tuple[SourceRun, int, tuple[str, ...]]] = []
        self.pulled: datetime | None = None

    @initialize(tables=tables())
    def begin(self, tables: list[Table]) -> None:
        self.tables = tables
        self.at_source(sql.SQL("create schema {}").format(sql.Identifier(self.source)))
        for table in tables:
            columns = [sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(t)) for n, t in table.types.items()]
            key = sql.SQL(", ").join(map(sql.Identifier, table.key))
            body = sql.SQL(", ").join([*columns, sql.SQL("primary key ({})").format(key)])
            self.at_source(sql.SQL("create table {} ({})").format(self.named(table), body))

    def at_source(self, statement: sql.Composed) -> None:
        self.pipeline.at_source(statement.as_string(None))

    def named(self, table: Table) -> sql.Identifier:
        return sql.Identifier(self.source, table.name)

    # --- what happens in the source

    @rule(data=st.data(), undone=st.booleans())
    def write(self, data: st.DataObject, undone: bool) -> None:
        """Rows come, change, move to other keys and go, in one transaction."""
        statements: list[sql.Composable] = [sql.SQL("begin")]
        for _ in range(data.draw(st.integers(1, 6))):
            table = data.draw(st.sampled_from(self.tables))
            row = {name: data.draw(_literal(kind, name in table.key)) for name, kind in table.types.items()}
            row["changed"] = sql.SQL("clock_timestamp()")
            statements.append(self._upsert(table, row))
            if data.draw(st.booleans()):
                gone = sql.SQL(
                    "delete from {0} where ctid in (select ctid from {0} order by md5({1}::text) limit 1)"
                )
                statements.append(gone.format(self.named(table), sql.Identifier(next(iter(table.key)))))
        statements.append(sql.SQL("rollback" if undone else "commit"))
        self.at_source(sql.SQL(";\n").join(statements))

    def _upsert(self, table: Table, row: dict[str, sql.Composable]) -> sql.Composed:
        return sql.SQL(
            "insert into {} ({names}) values ({values}) on conflict ({key}) do update set {changes}"
        ).format(
            self.named(table),
            names=sql.SQL(", ").join(map(sql.Identifier, row)),
            values=sql.SQL(", ").join(row.values()),
            key=sql.SQL(", ").join(map(sql.Identifier, table.key)),
            changes=sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name))
                for name in row
                if name not in table.key
            ),
        )

    @rule(data=st.data(), name=NAMES, kind=st.sampled_from(list(VALUES)))
    def add_column(self, data: st.DataObject, name: str, kind: str) -> None:
        table = data.draw(st.sampled_from(self.tables))
        if name in table.types:
            return
        default = data.draw(_literal(kind, False))
        self.at_source(
            sql.SQL("alter table {} add column {} {} default {}").format(
                self.named(table), sql.Identifier(name), sql.SQL(kind), default
            )
        )
        table.columns[name] = kind

    # --- runs

    @precondition(lambda self: self.run is None)
    @rule(dies_after=st.sampled_from([*STEPS, "", "", ""]), full_refresh=st.booleans())
    def pull(self, dies_after: str, full_refresh: bool) -> None:
        self._start()
        self._go_on(dies_after, full_refresh)

    @precondition(lambda self: self.run is not None)
    @rule(dies_after=st.sampled_from([*STEPS, "", "", ""]), anew=st.booleans())
    def try_again(self, dies_after: str, anew: bool) -> None:
        """The step that died is done again; or somebody clears the whole run, and what it had begun may wake up later."""
        assert self.load_id is not None
        if anew or self.done == "extract":
            self.dead.append((self.run, self.load_id, self.streams))  # type: ignore[arg-type]
            self.done = ""
        else:
            self.done = ("", *STEPS)[STEPS.index(self.done)]
        self._go_on(dies_after, False)

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), step=st.sampled_from(STEPS[1:]))
    def wake_up(self, data: st.DataObject, step: str) -> None:
        """A worker that was given up goes on with its load, and must not do harm."""
        run, load_id, streams = data.draw(st.sampled_from(self.dead))
        try:
            if step == "publish":
                publish.publish(run, load_id)
            for stream in streams if step != "publish" else ():
                getattr(load, step)(run, load_id, stream)
        except MillraceError:
            pass  # it is told that its time is over

    @precondition(lambda self: self.run is None and self.pulled)
    @rule()
    def backfill(self) -> None:
        """The past again: nothing in it has changed without a new stamp, unless a column has come that no load has read."""
        assert self.pulled is not None
        if any(table.carried != tuple(table.types) for table in self.tables):
            return
        if any(table.reading.get("cursor") == "changed" for table in self.tables):
            past = Interval(self.pulled - timedelta(days=1), self.pulled)
            self.pipeline.pull(self._contract(), past, self._run_id(), backfill=True)

    @precondition(lambda self: self.run is None and self.pulled)
    @rule()
    def replay(self) -> None:
        Replay(self.pipeline.run(self._contract(), self._run_id()), Scope()).replay()

    def _run_id(self) -> str:
        return f"{self.source}-{next(self.runs)}"

    def _contract(self) -> SourceContract:
        streams = [table.stream(self.source) for table in self.tables]
        return contract(self.source, streams, lateness="0s")

    def _start(self) -> None:
        self.run, self.done = self.pipeline.run(self._contract(), self._run_id()), ""

    def _go_on(self, dies_after: str, full_refresh: bool) -> None:
        assert self.run is not None
        for step in STEPS[STEPS.index(self.done) + 1 if self.done else 0 :]:
            getattr(self, f"_{step}")(full_refresh) if step == "extract" else getattr(self, f"_{step}")()
            self.done = step
            if step == dies_after:
                return
        publish.balance(self.run, self.load_id)
        publish.close(self.run, self.load_id)
        self.run, self.load_id = None, None

    def _extract(self, full_refresh: bool) -> None:
        assert self.run is not None
        self.run = SourceRun(self._contract(), self.run.connect, self.run.run_id)
        self.read = {
            table.name: (tuple(table.types), table.source(self.pipeline, self.source))
            for table in self.tables
        }
        now = Interval(None, datetime.now(timezone.utc))
        done = extract.extract(self.run, now, full_refresh=full_refresh)
        self.load_id, self.streams, self.end = done.load_id, done.streams, now.end

    def _stage(self) -> None:
        load.stage(self.run, self.load_id, *self.streams)  # type: ignore[arg-type]

    def _audit(self) -> None:
        verdicts = load.audit(self.run, self.load_id, *self.streams)  # type: ignore[arg-type]
        gate.demand(verdicts, "the model expects no fault")

    def _publish(self) -> None:
        publish.publish(self.run, self.load_id)  # type: ignore[arg-type]
        for table in self.tables:
            if table.name in self.read:
                table.published(*self.read.pop(table.name))
        self.pulled = self.end

    # --- what must hold whatever happens

    @invariant()
    def raw_is_what_the_model_says(self) -> None:
        if self.pulled:
            for table in self.tables:
                table.agrees(self.pipeline, f"raw_{self.source}")

    def teardown(self) -> None:
        """At last everything has arrived, the books balance, and the landing zone alone gives the same."""
        if not self.tables:
            return
        if self.run is not None:
            self.try_again("", False)
        self.pull("", False)
        for table in self.tables:
            here = table.source(self.pipeline, self.source)
            assert {key: table.live.get(key) for key in here} == here
        self.replay()
        self.raw_is_what_the_model_says()
        books = "select to_jsonb(s) from ledger.load_stream s join ledger.load l using (load_id) where l.source = %s"
        published = self.pipeline.at_warehouse(f"{books} and l.status = 'published'", self.source)
        assert [wrong for (row,) in published for wrong in unbalanced(row)] == []
        self.pipeline.at_source(f"drop schema {self.source} cascade")
        self.pipeline.at_warehouse(f"drop schema raw_{self.source} cascade")


@st.composite
def _literal(draw: st.DrawFn, kind: str, required: bool) -> sql.Composable:
    value = draw(VALUES[kind] if required else st.none() | VALUES[kind])
    return sql.SQL("{}::{}").format(sql.Literal(value), sql.SQL(kind))


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
def test_every_life_of_a_source_ends_as_the_model_says(pipeline: Pipeline) -> None:
    run_state_machine_as_test(
        type("LifeHere", (Life,), {"pipeline": pipeline}),
        settings=settings(
            max_examples=EXAMPLES or 8,
            stateful_step_count=20,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            # what it found is made small only where somebody has the time
            phases=[Phase.generate, *([Phase.shrink] if EXAMPLES else [])],
        ),
    )
