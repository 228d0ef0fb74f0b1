"""`ledger.metric`: the history of a dataset's figures, and what is added to it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from include.core.control import Figure, Judgement, Point
from include.warehouse.ledger import rows_of

Session = psycopg.Connection[Any]
#: How long figures are kept: six ends of a month, and some more.
KEPT = timedelta(days=200)
#: Batches that limits are made of: the newest of the same time of day, and the newest of all.
SAME_HOUR, NEWEST = 150, 60

# Only what reached its readers is history: a batch that was held back, or is being judged, is none.
_BATCHES = (
    "exists (select from ledger.load_stream s join ledger.load l using (load_id) where s.load_id = m.load_id"
    " and s.status = 'published' and m.dataset = 'raw_' || l.source || '.' || s.stream)"
)
_MARTS = "exists (select from ledger.publication p where p.run_id = m.run_id)"
_HISTORY = """
with runs as (
    select distinct on (m.at) m.at, m.run_id
      from ledger.metric m
     where m.dataset = %(dataset)s and m.metric = 'rows' and m.column_name = '' and m.at < %(at)s and {published}
     order by m.at desc, m.load_id desc nulls last, m.run_id desc
), used as (
    (select * from runs where extract(hour from at at time zone %(zone)s) = extract(hour from %(at)s at time zone %(zone)s)
      order by at desc limit %(same_hour)s)
    union
    (select * from runs order by at desc limit %(newest)s)
)
select m.metric, m.column_name, m.at, m.value, m.sample, m.spread, m.state
  from ledger.metric m join used using (at, run_id)
 where m.dataset = %(dataset)s and m.metric = any(%(metrics)s)
 order by m.at
"""


@dataclass(frozen=True)
class Run:
    """What figures belong to: a batch of a load, or a table of a transform's run."""

    dataset: str
    run_id: str
    load_id: int | None
    at: datetime


def history(
    session: Session, run: Run, zone: ZoneInfo, metrics: Sequence[str]
) -> dict[tuple[str, str], list[Point]]:
    """The figures from before a run that its own are held against, by metric and column, the oldest first.

    :param zone: where hours are the same; times are of it. :param metrics: those that are wanted.
    """
    query = _HISTORY.format(published=_MARTS if run.load_id is None else _BATCHES)
    found: dict[tuple[str, str], list[Point]] = defaultdict(list)
    parameters = {
        "dataset": run.dataset, "at": run.at, "zone": zone.key, "same_hour": SAME_HOUR, "newest": NEWEST,
        "metrics": list(metrics),
    }  # fmt: skip
    for metric, column, at, *rest in session.execute(query.encode(), parameters):
        found[metric, column].append(Point(at.astimezone(zone), *rest))
    return found


def record(session: Session, run: Run, judged: Sequence[tuple[Figure, Judgement]]) -> None:
    """Add the figures of a run, in place of those that an earlier attempt has left, and let go of what is old."""
    rows = [
        {
            "metric": figure.metric, "column_name": figure.column, "value": figure.value, "sample": figure.sample,
            "spread": figure.spread, "unit": figure.unit, "state": found.state, "low": found.low, "high": found.high,
            "limits": found.compared or None,
        }
        for figure, found in judged
    ]  # fmt: skip
    with session.transaction():
        session.execute(
            "delete from ledger.metric where dataset = %s and (run_id = %s or at < %s)",
            (run.dataset, run.run_id, run.at - KEPT),
        )
        session.execute(
            "insert into ledger.metric (dataset, run_id, load_id, at, metric, column_name, value, sample, spread, unit,"
            " state, low, high, limits) select %s, %s, %s, %s, r.* from jsonb_to_recordset(%s) as r (metric text,"
            " column_name text, value float8, sample bigint, spread float8, unit text, state text, low float8, high float8,"
            " limits text)",
            (run.dataset, run.run_id, run.load_id, run.at, json.dumps(rows)),
        )


def previous(session: Session, source: str, stream: str, at: datetime) -> datetime | None:
    """The end of the interval that the last load of a stream before `at` has brought."""
    row = session.execute(
        "select max(l.interval_end) from ledger.load l join ledger.load_stream s using (load_id) where l.source = %s"
        " and s.stream = %s and l.kind = 'regular' and s.status = 'published' and l.interval_end < %s",
        (source, stream, at),
    ).fetchone()
    return row[0] if row else None


def datasets(session: Session) -> list[dict[str, Any]]:
    """What is watched: dataset, batches, the newest one, and how many of its figures were out."""
    return rows_of(
        session,
        "select dataset, count(distinct run_id) as batches, max(at) as newest,"
        " count(*) filter (where state = 'out' and at = last) as out"
        " from (select *, max(at) over (partition by dataset) as last from ledger.metric) as m group by dataset order by 1",
        (),
    )


def points(session: Session, dataset: str, column: str, last: int) -> list[dict[str, Any]]:
    """The rows of `ledger.metric` of the last batches of a dataset, by metric and time."""
    return rows_of(
        session,
        "select * from ledger.metric where dataset = %s and column_name = %s and run_id in (select run_id from"
        " ledger.metric where dataset = %s and metric = 'rows' and column_name = '' order by at desc limit %s) order by at",
        (dataset, column, dataset, last),
    )


def columns(session: Session, dataset: str) -> list[str]:
    """The columns of which there are figures."""
    rows = rows_of(
        session,
        "select column_name from ledger.metric where dataset = %s and column_name <> '' group by 1 order by 1",
        (dataset,),
    )
    return [row["column_name"] for row in rows]


def mark(session: Session, dataset: str, since: datetime, until: datetime | None, state: str) -> int:
    """Say of the batches of a time that they are no history (`left_out`), or that a new level begins with the first of them
    (`normal`). Returns the batches."""
    (count,) = session.execute(
        "with found as (select distinct at from ledger.metric where dataset = %(dataset)s and at >= %(since)s"
        " and (%(until)s::timestamptz is null or at < %(until)s) order by at"
        " limit case when %(state)s = 'normal' then 1 end),"
        " marked as (update ledger.metric m set state = %(state)s from found"
        " where m.dataset = %(dataset)s and m.at = found.at returning m.at) select count(distinct at) from marked",
        {"dataset": dataset, "since": since, "until": until, "state": state},
    ).fetchone() or (0,)
    return int(count)
