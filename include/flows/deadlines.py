"""Whether data is where it has to be, when it has to be: judged from contracts and ledger alone, also when nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from include.core.connection import Connection
from include.core.contracts import SourceContract, SyncContract, TransformContract, load_one
from include.core.contracts.common import DagContract, Schedule
from include.core.contracts.due import dues, end_before, ends_by, starts
from include.core.contracts.load import DAG_KINDS, KINDS, contract_files, name_of
from include.core.errors import ContractError
from include.core.interval import show_duration
from include.flows.incidents import TELLER
from include.warehouse import deadlines, reached
from include.warehouse.connect import connected
from include.warehouse.deadlines import Deadline, Session
from include.warehouse.reached import BuiltFrom, Reached

Connect = Callable[[str], Connection]
#: Whether Airflow knows a run of a DAG of any of these logical dates.
Began = Callable[[str, list[datetime]], bool]
#: What was missed longer ago is history: nobody waits for it any more.
MEMORY = timedelta(days=31)


@dataclass(frozen=True)
class Finding:
    """What people are to be told about a contract's data: it is late, too old, or `over`: it is there now."""

    contract: DagContract
    deadline: Deadline
    over: bool
    what: str


def watch(connect: Connect, began: Began, now: datetime) -> list[Finding]:
    """Judge what every contract promises. Tell each finding that is not `over`, then say so with `told`.

    Contracts with faults, and what is built on them, are left out: their DAGs fail at their time, and tell.
    """
    contracts = list(_contracts())
    sources = {c.source: c for c in contracts if isinstance(c, SourceContract)}
    transforms = {c.transform: c for c in contracts if isinstance(c, TransformContract)}
    found: list[Finding] = []
    with connected(connect("warehouse_loader")) as session:
        for contract in contracts:
            its_sources = _sources_of(contract, sources, transforms)
            if its_sources:
                one = _Watched(session, contract, its_sources, began, now)
                found += [*one.lateness(), *one.age()]
    return found


def told(connect: Connect, deadline: Deadline) -> None:
    """Note that people were told of a missed deadline."""
    with connected(connect(TELLER)) as session:
        deadlines.told(session, deadline.key)


def alive(connect: Connect, component: str, *, healthy: bool, since: datetime) -> Deadline | None:
    """Note whether a part of Airflow is alive. What people are to be told: it is not, or (`reached_at`) it is again.

    Not alive is what is found so twice in turn: it may just be starting.

    :param since: when it was last seen alive.
    """
    key = ("airflow", component, "alive", since.isoformat())
    with connected(connect("warehouse_loader")) as session:
        if healthy:
            return next(iter(deadlines.over(session, *key[:3], since)), None)
        waiting = deadlines.unreached(session, *key[:3], datetime.fromtimestamp(0, timezone.utc))
        if not waiting:
            deadlines.miss(session, key, since)
    return next((row for row in waiting if row.told_at is None), None)


class _Watched:
    """One contract, with the contracts of the sources that its data comes from."""

    def __init__(
        self,
        session: Session,
        contract: DagContract,
        sources: dict[str, SourceContract],
        began: Began,
        now: datetime,
    ) -> None:
        self.session, self.contract, self.sources, self.now = session, contract, sources, now
        self.kind, self.name = DAG_KINDS[type(contract)], name_of(contract)
        self.schedules: dict[str, Schedule] = {name: source.schedule for name, source in sources.items()}
        self._began = began

    def lateness(self) -> Iterator[Finding]:
        """What was due and is not there; and what came late."""
        deadline = self.contract.deadline
        rule = "at" if deadline.at else "after_queueing"
        self._stand(rule)
        missed: Deadline | None = None
        for row in deadlines.unreached(self.session, self.kind, self.name, rule, self.now - MEMORY):
            ends = self._ends(row)
            there = self._reached(ends) if ends else None
            if there and (row.rule == "at" or there.at <= row.due_at):
                deadlines.reach(
                    self.session, row.key, row.due_at, there.run_id, there.at, met=there.at <= row.due_at
                )
            elif row.met is False:
                missed = row
            elif row.due_at <= self.now and (row.rule == "at" or not self._has_run(ends)):
                missed = deadlines.miss(self.session, row.key, row.due_at)
        # After a time in which nobody watched, only the last one is news.
        if missed and missed.told_at is None:
            yield Finding(self.contract, missed, False, self._what_is_late(missed))
        if rows := deadlines.recovered(self.session, self.kind, self.name, rule):
            yield Finding(self.contract, rows[-1], True, how_late(rows[-1]))

    def age(self) -> Iterator[Finding]:
        """Whether what consumers have is older than agreed."""
        limit = getattr(self.contract, "freshness", None)
        seen = reached.seen_now(self.session, self.kind, self.name) if limit else None
        oldest = _age_of(seen.built_from, self.sources) if seen else None
        if limit is None or seen is None or oldest is None:
            return
        source, as_of = oldest
        what = f"the data of source {source} is of {as_of:%Y-%m-%d %H:%M:%S} UTC"
        if self.now - as_of <= limit:
            if rows := deadlines.over(self.session, self.kind, self.name, "freshness", self.now):
                yield Finding(self.contract, rows[-1], True, what)
            return
        waiting = deadlines.unreached(self.session, self.kind, self.name, "freshness", self.now - MEMORY)
        key = (self.kind, self.name, "freshness", as_of.isoformat())
        row = waiting[-1] if waiting else deadlines.miss(self.session, key, as_of + limit)
        if row.told_at is None:
            yield Finding(self.contract, row, False, f"{what}; allowed age {show_duration(limit)}")

    def _stand(self, rule: str) -> None:
        """Let the next deadline stand, and those that fell due while nobody watched."""
        standing = [
            row
            for row in deadlines.unreached(self.session, self.kind, self.name, rule, self.now - MEMORY)
            if row.met is None
        ]
        after = min(standing[-1].due_at, self.now) if standing else self.now
        # Runs that assets start have no time at which they begin.
        known = self.schedules if rule == "at" or self.kind == "ingest" else {}
        ahead = []
        for due in dues(self.contract.deadline, known, after):
            ahead.append((due.about, due.at))
            if due.at > self.now:
                break
        deadlines.stand(self.session, self.kind, self.name, rule, ahead, self.now)

    def _ends(self, row: Deadline) -> dict[str, datetime]:
        """What has to be there, by source; nothing of a run that an asset started: its own end tells."""
        if self.contract.deadline.at:
            return ends_by(self.contract.deadline.at, self.schedules, row.due_at)
        return {self.name: datetime.fromisoformat(row.about)} if self.kind == "ingest" else {}

    def _reached(self, ends: dict[str, datetime]) -> Reached | None:
        if self.kind == "ingest":
            streams = [stream.name for stream in self.sources[self.name].streams]
            return reached.raw(self.session, self.name, streams, ends[self.name])
        versions = reached.published(self.session, self.kind, self.name, min(ends.values()))
        return next((version for version in versions if self._holds(version.built_from, ends)), None)

    def _holds(self, built: BuiltFrom, ends: dict[str, datetime]) -> bool:
        return all(
            (there := committed(built, self.sources[source])) is not None and there >= end
            for source, end in ends.items()
        )

    def _has_run(self, ends: dict[str, datetime]) -> bool:
        """Whether a run has begun for this interval, or a later one that brings its data too."""
        if self.kind != "ingest":
            return True
        begins = starts(self.schedules[self.name], ends[self.name], self.now)
        return self._began(f"ingest__{self.name}", begins)

    def _what_is_late(self, row: Deadline) -> str:
        ends = self._ends(row)
        due = f"{row.due_at:%Y-%m-%d %H:%M:%S} UTC"
        if self.contract.deadline.at:
            due = f"{self.contract.deadline.at} ({due})"
        upto = " and ".join(f"{source} up to {end:%Y-%m-%d %H:%M:%S} UTC" for source, end in ends.items())
        if self.kind == "ingest" and not self._has_run(ends):
            begin = end_before(self.schedules[self.name], ends[self.name])
            since = f"{begin:%Y-%m-%d %H:%M:%S}" if begin else "the beginning"
            upto += f"; no run began for the interval [{since}, {ends[self.name]:%Y-%m-%d %H:%M:%S})"
        return f"the data was to be there by {due}: {upto}"


def how_late(row: Deadline) -> str:
    """How long after its deadline the data of a row came, in words."""
    assert row.reached_at is not None
    minutes = round((row.reached_at - row.due_at).total_seconds() / 60)
    late = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    return f"it is there now, since {row.reached_at:%Y-%m-%d %H:%M:%S} UTC, {late} late"


def committed(built: BuiltFrom, source: SourceContract) -> datetime | None:
    """Up to when all streams of a source are in what was built; None when one never was."""
    streams = built.get(source.source, {})
    ends = [streams.get(stream.name, {}).get("committed") for stream in source.streams]
    return min(datetime.fromisoformat(end) for end in ends if end) if all(ends) else None


def history(
    connect: Connect, name: str | None, month: datetime | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """How many deadlines were met, by month; and what was missed in one month."""
    with connected(connect(TELLER)) as session:
        missed = deadlines.missed(session, name, month) if month else []
        return deadlines.months(session, name, month), missed


def _age_of(built: BuiltFrom, sources: dict[str, SourceContract]) -> tuple[str, datetime] | None:
    """The source whose data is the oldest, and of when it is: as old as its newest row, and as what was last committed."""
    ages = []
    for name, source in sources.items():
        streams = built.get(name, {})
        newest = [row for s in source.streams if (row := streams.get(s.name, {}).get("newest"))]
        ends = [max(map(datetime.fromisoformat, newest))] if newest else []
        if (end := committed(built, source)) is not None:
            ages.append((min(*ends, end) if ends else end, name))
    if not ages:
        return None
    as_of, name = min(ages)
    return name, as_of


def _contracts() -> Iterator[DagContract]:
    for kind in KINDS:
        for path in contract_files(kind):
            try:
                yield load_one(kind, path)
            except ContractError:
                continue


def _sources_of(
    contract: DagContract, sources: dict[str, SourceContract], transforms: dict[str, TransformContract]
) -> dict[str, SourceContract]:
    """The sources that its data comes from; none when one of them is not known."""
    if isinstance(contract, SourceContract):
        return {contract.source: contract}
    transform = transforms.get(contract.transform) if isinstance(contract, SyncContract) else contract
    names = transform.sources if isinstance(transform, TransformContract) else ()
    return {name: sources[name] for name in names} if set(names) <= set(sources) else {}
