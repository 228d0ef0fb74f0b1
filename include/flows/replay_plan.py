"""Which loads of the past a replay reads, and why: from the ledger and the manifests, before anything is changed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from include.core.errors import ContractError, SchemaChanged, TerminalError
from include.core.manifest import Manifest, StreamManifest
from include.core.schema import StreamSchema
from include.core.shapes import differences, goes_on, merged_types
from include.flows.publish import target_of
from include.flows.source_run import SourceRun
from include.warehouse import rebuild

Bound = int | datetime


@dataclass(frozen=True)
class Scope:
    """What is to be replayed.

    :param streams: names; all when empty. :param since: first load by its id, or the time from which on loads were
        published; :param until: last load by its id, or the time before which they were. Neither: the whole content.
    :param newest_complete: start at each stream's newest load that read the whole table.
    """

    streams: tuple[str, ...] = ()
    since: Bound | None = None
    until: Bound | None = None
    newest_complete: bool = False

    @property
    def whole(self) -> bool:
        return self.since is None and self.until is None

    def has(self, load_id: int, published_at: datetime) -> bool:
        """Whether a load lies in the range."""
        return not (
            (isinstance(self.since, int) and load_id < self.since)
            or (isinstance(self.since, datetime) and published_at < self.since)
            or (isinstance(self.until, int) and load_id > self.until)
            or (isinstance(self.until, datetime) and published_at >= self.until)
        )


@dataclass(frozen=True)
class Step:
    """One load of the past, as far as it concerns one stream. `repeats`: its batch had a key more than once."""

    load_id: int
    published_at: datetime
    repeats: bool
    landed: StreamManifest


@dataclass(frozen=True)
class StreamPlan:
    """What a replay reads of one stream, oldest first, and what raw holds before it.

    `only` are the first and last load whose rows are brought back; None when the whole content is rebuilt. `notes` say
    why loads are left out.
    """

    stream: str
    steps: tuple[Step, ...]
    only: tuple[int, int] | None
    notes: tuple[str, ...]
    held: rebuild.Held | None

    @property
    def loads(self) -> tuple[int, int]:
        """First and last load that are read."""
        return self.steps[0].load_id, self.steps[-1].load_id

    @property
    def read(self) -> tuple[int, int, int]:
        """Rows, bytes and parts that are read."""
        landed = [step.landed for step in self.steps]
        parts = sum(len(one.parts) + len(one.key_parts or ()) for one in landed)
        return sum(one.rows for one in landed), sum(one.bytes for one in landed), parts

    @property
    def shapes(self) -> tuple[StreamSchema, ...]:
        """The shapes that its loads had, oldest first, each once."""
        return tuple({step.landed.schema.fingerprint: step.landed.schema for step in self.steps}.values())


class Manifests:
    """Manifests by their keys, each read once: they never change."""

    def __init__(self, read: Callable[[str], Manifest]) -> None:
        self._read = read
        self._known: dict[str, Manifest] = {}

    def fetch(self, keys: list[str]) -> dict[str, Manifest]:
        """These manifests.

        :raises NotLanded: one is missing.
        """
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        with ThreadPoolExecutor(8, thread_name_prefix="manifest") as readers:
            self._known.update(zip(missing, readers.map(self._read, missing), strict=True))
        return {key: self._known[key] for key in keys}


def plan(run: SourceRun, session: Any, scope: Scope, manifests: Manifests) -> tuple[StreamPlan, ...]:
    """What a replay of this scope would read, by stream.

    :raises ContractError: a stream is not in the contract, or options exclude each other.
    :raises TerminalError: nothing of this scope has been published.
    :raises NotLanded: a manifest is missing.
    :raises SchemaChanged: the shape changed so that raw was started anew, and not from a complete read.
    """
    _check(run, scope)
    rows = rebuild.accepted(session, run.contract.source)
    names = scope.streams or tuple(stream.name for stream in run.contract.streams)
    by_stream = {name: [row for row in rows if row["stream"] == name] for name in names}
    in_range = {
        name: [row for row in found if scope.has(row["load_id"], row["published_at"])]
        for name, found in by_stream.items()
    }
    wanted = [name for name in names if in_range[name]]
    absent = [name for name in names if name not in wanted]
    if not wanted or (scope.streams and absent):
        raise TerminalError(
            "nothing to replay: no such load was published", where=run.where, received=", ".join(absent),
            allowed=_known(rows), todo="see millrace ledger; a load that was held back or not published is not in raw",
        )  # fmt: skip
    read = manifests.fetch([row["manifest"] for name in wanted for row in by_stream[name]])
    return tuple(
        _stream_plan(run, session, scope, [_step(row, read[row["manifest"]]) for row in by_stream[name]])
        for name in sorted(wanted)
    )


def _check(run: SourceRun, scope: Scope) -> None:
    names = [stream.name for stream in run.contract.streams]
    unknown = [name for name in scope.streams if name not in names]
    if unknown:
        raise ContractError(
            "there is no such stream", where=run.where, received=", ".join(unknown), allowed=", ".join(names)
        )
    if scope.newest_complete and not scope.whole:
        raise ContractError(
            "a range and the newest complete load exclude each other", where=run.where,
            todo="leave out --newest-complete, or --since and --until",
        )  # fmt: skip


def _known(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "no load of this source was published yet"
    first, last = rows[0], rows[-1]
    return (
        f"loads {first['load_id']} to {last['load_id']}, published {first['published_at']:%Y-%m-%d %H:%M} to"
        f" {last['published_at']:%Y-%m-%d %H:%M} UTC"
    )


def _step(row: dict[str, Any], manifest: Manifest) -> Step:
    return Step(row["load_id"], row["published_at"], row["repeats"], manifest.stream(row["stream"]))


def _stream_plan(run: SourceRun, session: Any, scope: Scope, steps: list[Step]) -> StreamPlan:
    newest = steps[-1]
    target = target_of(run, newest.landed)
    held = rebuild.held(session, target)
    inside = [step.load_id for step in steps if scope.has(step.load_id, step.published_at)]
    only = None if scope.whole else (inside[0], inside[-1])
    notes: list[str] = []
    begun = _begun_anew(run, steps, notes)
    if only and only[1] < steps[begun].load_id:
        return StreamPlan(newest.landed.stream, (), only, tuple(notes), held)
    if only:
        # What came after the range is read too: it knows which rows have a newer version, or are gone.
        begun = max(begun, next(place for place, step in enumerate(steps) if step.load_id == only[0]))
    while steps[begun].landed.holds_changes:
        begun -= 1  # changes build on the rows before them, down to a load that read the whole table
    complete = [place for place, step in enumerate(steps) if step.landed.complete and place >= begun]
    if not target.shape.primary_key:
        if only and newest.load_id > only[1]:
            notes = [f"has no key, so all its rows are of load {newest.load_id}, which is outside the range"]
            return StreamPlan(newest.landed.stream, (), only, tuple(notes), held)
        begun, only = complete[-1], None
        notes = [f"has no key, so its newest load {newest.load_id} says it all"] if begun else []
    elif scope.newest_complete and complete and target.sees_deletes:
        begun = complete[-1]
        if begun:
            first = f"begins with load {steps[begun].load_id}, which read the whole table"
            notes = [f"{first}: load ids and times become those of the loads read, older tombstones go"]
    return StreamPlan(newest.landed.stream, tuple(steps[begun:]), only, tuple(notes), held)


def _begun_anew(run: SourceRun, steps: list[Step], notes: list[str]) -> int:
    """Where the raw table of today begins: after a change that no raw table takes (a type that does not fit, another key,
    another protection), a new one was made, from a complete read."""
    begun = 0
    types: dict[str, tuple[str, str]] = {}
    for place, step in enumerate(steps):
        shape = step.landed.schema
        if not goes_on(shape, types, steps[begun].landed.schema.primary_key):
            begun, types = place, {}
        types = merged_types(types, shape)
    if begun:
        first = steps[begun]
        changed = (
            "; ".join(differences(steps[begun - 1].landed.schema, first.landed.schema))
            or "a column that came back has another type"
        )
        if not first.landed.complete:
            raise SchemaChanged(
                "the shape changed to one that does not fit the loads before, and the table was not read whole then",
                where=f"{run.where}, stream {first.landed.stream!r}, load {first.load_id}", received=changed,
                allowed="shapes of one key and types that fit, or a load with full_refresh where they change",
                todo="start the DAG with full_refresh",
            )  # fmt: skip
        notes.append(f"begins with load {first.load_id}, when raw was made anew in another shape: {changed}")
    return begun
