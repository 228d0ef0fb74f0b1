"""`ledger.month`: which months of a transform are closed, what with, and what has opened them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import psycopg

from include.warehouse.ledger import rows_of

Session = psycopg.Connection[Any]
FIRST = "all its days are published"

# Every time that something of a month was published again: by a backfill or a replay that changed rows, in the intervals
# that it has read. A later version of the month knows them by their load ids: what a build could see when it began is in it.
_AGAIN = """
with again as (
    select distinct on (month, l.load_id) m.month, l.load_id,
           format('%%s of %%s, run %%s, load %%s', l.kind, l.source, l.run_id, l.load_id) as why
      from ledger.load l
      join ledger.load_stream s using (load_id)
      join ledger.load read on read.source = l.source
       and (read.load_id = l.load_id or l.kind = 'replay' and s.replayed @> read.load_id)
      join (select distinct month from ledger.month where transform = %(transform)s) as m
        on read.interval_end > m.month at time zone 'UTC'
       and coalesce(read.interval_start, '-infinity') < (m.month + interval '1 month') at time zone 'UTC'
     where l.source = any(%(sources)s) and l.kind <> 'regular' and l.status = 'published'
       and s.inserted + s.updated + s.deleted > 0
)
"""
_OPEN = (
    _AGAIN
    + """
insert into ledger.month (transform, month, version, why)
select %(transform)s, c.month, c.version + 1, (array_agg(a.why order by a.load_id))[1]
  from (select distinct on (month) month, version, closed_at, loads from ledger.month where transform = %(transform)s
         order by month, version desc) as c
  join again as a using (month)
 where c.closed_at is not null and a.load_id <> all(c.loads)
 group by c.month, c.version
on conflict do nothing
"""
)
_MINE = (
    _AGAIN
    + """
update ledger.month m set run_id = %(run_id)s, begun_at = c.begun_at, built_from = c.built_from,
       loads = array(select load_id from again a where a.month = m.month order by 1)
  from ledger.candidate c
 where c.transform = m.transform and m.transform = %(transform)s and m.closed_at is null
returning m.month
"""
)


def mark(
    session: Session, transform: str, run_id: str, sources: Sequence[str], over: Iterable[date]
) -> list[date]:
    """Before a build: what has to be built of months that are over, and of those whose days were published again.

    :returns: the months that this run builds.
    """
    asked = {
        "transform": transform,
        "run_id": run_id,
        "sources": list(sources),
        "over": list(over),
        "first": FIRST,
    }
    with session.transaction():
        session.execute(
            "insert into ledger.month (transform, month, version, why) select %(transform)s, month, 1, %(first)s"
            " from unnest(%(over)s::date[]) as month on conflict do nothing",
            asked,
        )
        session.execute(_OPEN.encode(), asked)
        rows = session.execute(_MINE.encode(), asked).fetchall()
    return sorted(row[0] for row in rows)


def close(session: Session, transform: str, run_id: str, publication: int) -> None:
    """With the publication of what a run has built, in its transaction."""
    session.execute(
        "update ledger.month set closed_at = now(), publication_id = %s"
        " where transform = %s and run_id = %s and closed_at is null",
        (publication, transform, run_id),
    )


def reopen(session: Session, transform: str, month: date, why: str) -> int | None:
    """Have a closed month built again by the next run. Returns its new version; None when it is not closed."""
    row = session.execute(
        "insert into ledger.month (transform, month, version, why)"
        " select transform, month, version + 1, %s from (select * from ledger.month where transform = %s and month = %s"
        " order by version desc limit 1) as newest where closed_at is not null on conflict do nothing returning version",
        (why, transform, month),
    ).fetchone()
    return row[0] if row else None


def history(session: Session, transform: str) -> list[dict[str, Any]]:
    """Every version of every month, the newest month first."""
    return rows_of(
        session,
        "select * from ledger.month where transform = %s order by month desc, version desc",
        (transform,),
    )
