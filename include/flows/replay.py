"""Rebuilds raw tables, or a range of their loads, from the landing zone and the ledger alone; the source is not asked.

The loads that were accepted are merged again in their order, by the statements that published them, into tables at the side:
with their load ids and at their times, so that raw comes out as it was, tombstones included. Only when all parts were read
and found undamaged does their content take the place of raw's, of all streams in one transaction with the ledger. Watermarks
do not move. The source's lease is held all the while, so no run loads it meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from include.core.errors import MillraceError, NotLanded
from include.core.interval import Interval
from include.flows.publish import target_of
from include.flows.replay_plan import Manifests, Scope, Step, StreamPlan
from include.flows.replay_plan import plan as plan_streams
from include.flows.source_run import SourceRun
from include.warehouse import ledger, quarantine, rebuild, set_aside, staging
from include.warehouse.connect import connected
from include.warehouse.rebuild import Rebuilt
from include.warehouse.tables import Target

Tell = Callable[[str], None]
#: Seconds between two lines about one stream's progress.
_TELL_EVERY = 5.0


class Replay:
    """One replay: `plan` says what it would do, `replay` does it."""

    def __init__(self, run: SourceRun, scope: Scope, tell: Tell = lambda line: None) -> None:
        """:param tell: is given lines about the progress."""
        self._run, self._scope, self._tell = run, scope, tell
        self._zone = run.zone()
        self._manifests = Manifests(self._zone.manifest)

    def plan(self) -> tuple[StreamPlan, ...]:
        """What would be read, by stream, and what raw holds now. Nothing is changed.

        :raises ContractError, TerminalError, SchemaChanged, NotLanded: see `replay_plan.plan`.
        """
        with connected(self._run.loader()) as session:
            return plan_streams(self._run, session, self._scope, self._manifests)

    def replay(self) -> dict[str, Rebuilt]:
        """Do it. Returns what was changed in raw, by stream; raw is untouched when this raises.

        :raises LeaseHeld: a run is loading the source. :raises StaleLoad: another one has taken this one's place.
        :raises NotLanded: a manifest or a part is missing or damaged.
        :raises SchemaChanged: raw has a column of another type, or another primary key, than the loads.
        """
        run = self._run
        source = run.contract.source
        now = datetime.now(timezone.utc)
        with connected(run.loader()) as session:
            load = ledger.open_load(session, source, run.run_id, "replay", Interval(None, now))
        try:
            with run.lease_kept(load.load_id):
                # Planned now, when nobody can publish any more.
                return self._under_lease(load.load_id, self.plan())
        except BaseException as error:
            self._tell("raw is as it was")
            why = str(error) if isinstance(error, MillraceError) else type(error).__name__
            with suppress(MillraceError), connected(run.loader()) as session:
                ledger.record_end(session, source, run.run_id, "failed", why)
                staging.drop(session, source)
            raise
        finally:
            with suppress(MillraceError), connected(run.loader()) as session:
                ledger.release_lease(session, source, run.run_id)

    def _under_lease(self, load_id: int, streams: tuple[StreamPlan, ...]) -> dict[str, Rebuilt]:
        streams = tuple(stream for stream in streams if stream.steps)
        seconds = {}
        with connected(self._run.loader()) as session:
            for stream in streams:
                started = time.monotonic()
                self._at_side(session, load_id, stream)
                seconds[stream.stream] = round(time.monotonic() - started, 3)
            done: dict[str, Rebuilt] = {}
            with session.transaction():
                ledger.hold_lease(session, load_id)
                for stream in streams:
                    self._tell(f"{stream.stream}: into raw")
                    target = target_of(self._run, stream.steps[-1].landed)
                    table = staging.table_name(load_id, stream.stream)
                    done[stream.stream] = rebuild.take_place(
                        session, target, stream.shapes, table, stream.only
                    )
                    rebuild.record(
                        session, load_id, stream.stream, done[stream.stream],
                        landed=stream.steps[-1].landed, read=stream.read, loads=stream.loads,
                        seconds=seconds[stream.stream],
                    )  # fmt: skip
                ledger.record_published(session, load_id)
            staging.drop(session, self._run.contract.source)
        return done

    def _at_side(self, session: Any, load_id: int, stream: StreamPlan) -> None:
        """Merge the loads of one stream at the side, one after the other, a part in memory at a time."""
        table = staging.table_name(load_id, stream.stream)
        told, rows, shape = time.monotonic(), 0, ""
        for number, step in enumerate(stream.steps, start=1):
            ledger.renew_lease(session, load_id)
            target = replace(
                target_of(self._run, step.landed),
                may_repeat_keys=step.repeats and not step.landed.holds_changes,
            )
            if step.landed.schema.fingerprint != shape:
                rebuild.at_side(session, target, table)
                shape = step.landed.schema.fingerprint
            if step.landed.moves:
                batch, keys = self._stage(session, step, target, table)
                rebuild.merge_at_side(
                    session, target, table, step.load_id, step.landed, batch, keys, step.published_at
                )
                rebuild.discard(session, step.load_id, stream.stream)
            rows += step.landed.rows
            if time.monotonic() - told > _TELL_EVERY or number == len(stream.steps):
                told = time.monotonic()
                self._tell(
                    f"{stream.stream}: load {step.load_id}, {number} of {len(stream.steps)}, {rows:,} rows read"
                )

    def _stage(self, session: Any, step: Step, target: Target, side: str) -> tuple[str, str | None]:
        """What was published of one load, and its keys where it has them, as staging batches."""
        landed, zone = step.landed, self._zone
        batch, keys = (staging.table_name(step.load_id, landed.stream, keys=keys) for keys in (False, True))
        try:
            if landed.holds_changes:
                rows = zone.read_rows(landed.parts)
                rebuild.stage_changes(session, target, side, step.load_id, landed, rows)
                return batch, None
            staging.stage(session, batch, landed.schema, zone.read_rows(landed.parts), landed.rows)
            if landed.key_parts is not None:
                shape = landed.schema.only(landed.schema.primary_key)
                staging.stage(session, keys, shape, zone.read_rows(landed.key_parts), landed.keys or 0)
        except NotLanded as error:
            raise NotLanded(
                error.what, where=f"stream {landed.stream!r}, load {step.load_id}, {error.where}",
                received=error.received, allowed=error.allowed,
                todo="put the object back from a backup of the landing zone, and replay again; or leave what lies before"
                " the newest complete load with --newest-complete; or start the DAG with full_refresh",
            ) from error  # fmt: skip
        source = self._run.contract.source
        quarantine.take_along(session, source, landed, step.load_id, again=True)
        quarantine.mark_known(session, source, landed, step.load_id)
        return set_aside.split(session, step.load_id, landed)
