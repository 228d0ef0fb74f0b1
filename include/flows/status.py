"""What the ledger says about the state of things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from include.core.connection import Connection
from include.warehouse import reached
from include.warehouse.connect import connected
from include.warehouse.ledger import rows_of

Connect = Callable[[str], Connection]

# A backfill repairs the past and says nothing about the state of things.
_LAST_GOOD = {
    "ingest": "select max(published_at) as at from ledger.load where source = %(name)s and kind = 'regular'"
    " and status = 'published'",
    "transform": "select max(published_at) as at from ledger.publication where transform = %(name)s",
    "activate": "select max(finished_at) as at from ledger.sync_run where sync = %(name)s and status = 'delivered'",
}
# Null when one of them never was.
_LAST_GOOD_STREAMS = """
select case when count(*) = count(at) then min(at) end as at
  from (select (select max(l.published_at) from ledger.load_stream s join ledger.load l using (load_id)
                 where l.source = %(name)s and l.kind = 'regular' and s.stream = one.stream and s.status = 'published') as at
          from unnest(%(streams)s::text[]) as one(stream)) as each
"""
_REJECTED = """
select stream from ledger.load_stream
 where status = 'rejected'
   and load_id = (select max(load_id) from ledger.load where source = %(source)s and run_id = %(run_id)s)
 order by stream
"""
_LAST_LOADS = """
select * from (
    select l.source, l.run_id, l.kind, l.published_at, s.*,
           row_number() over (partition by l.source, s.stream order by s.load_id desc) as age
      from ledger.load_stream s join ledger.load l using (load_id)
     where %(source)s::text is null or l.source = %(source)s
) as loads
 where age <= %(last)s
 order by source, stream, load_id desc
"""


def last_good(kind: str, name: str, connect: Connect, streams: Sequence[str] = ()) -> datetime | None:
    """When an ingest, transform or activation last reached its consumers whole; None when it never did.

    :param kind: ingest, transform or activate. :param streams: of an ingest; the others may have gone on without them.
    """
    query = _LAST_GOOD_STREAMS if streams else _LAST_GOOD[kind]
    found: datetime | None = _read(connect, query, {"name": name, "streams": list(streams)})[0]["at"]
    return found


def serves_more_than_backfills(connect: Connect, transform: str, sync: str) -> bool:
    """Whether regular loads are in the marts that serve now, of which a sync has delivered nothing yet."""
    with connected(connect("warehouse_developer")) as session:
        return reached.brings_more_than_backfills(session, transform, sync=sync)


def rejected(source: str, run_id: str, connect: Connect) -> list[str]:
    """The streams that the newest load of a run has held back."""
    return [row["stream"] for row in _read(connect, _REJECTED, {"source": source, "run_id": run_id})]


def last_loads(connect: Connect, source: str | None = None, last: int = 1) -> list[dict[str, Any]]:
    """The last loads of each stream with the columns of `ledger.load_stream`, by source and stream, newest first."""
    return _read(connect, _LAST_LOADS, {"source": source, "last": last})


def run_report(
    connect: Connect, ingest_run: str, transform_run: str, sync_runs: tuple[str, ...]
) -> dict[str, list[dict[str, Any]]]:
    """What the ledger holds of one pass through the lifecycle, by stage: streams, models, gates, publication, syncs."""
    return {
        "streams": _read(
            connect,
            "select l.source, s.* from ledger.load_stream s join ledger.load l using (load_id)"
            " where l.run_id = %s and l.status in ('published', 'rejected') order by s.stream",
            (ingest_run,),
        ),
        "models": _read(
            connect,
            "select split_part(unique_id, '.', 1) as kind, status, count(*) as count, sum(rows) as rows"
            " from ledger.model_result where run_id = %s group by 1, 2 order by 1, 2",
            (transform_run,),
        ),
        "gates": _read(
            connect, "select * from ledger.gate_result where run_id = %s order by relation", (transform_run,)
        ),
        "publication": _read(connect, "select * from ledger.publication where run_id = %s", (transform_run,)),
        "syncs": _read(
            connect,
            "select * from ledger.sync_run where run_id = any(%s) and status <> 'running' order by sync",
            (list(sync_runs),),
        ),
    }


def _read(connect: Connect, query: str, parameters: Any) -> list[dict[str, Any]]:
    with connected(connect("warehouse_developer")) as session:
        return rows_of(session, query, parameters)
