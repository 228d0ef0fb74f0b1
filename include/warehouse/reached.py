"""What has reached consumers, and how far the sources' data in it goes: raw, published marts, delivered syncs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from include.warehouse.ledger import rows_of

Session = psycopg.Connection[Any]
#: By source and stream: `committed`, the end of the newest interval that is whole in raw, and `newest`, the newest stamp.
BuiltFrom = Mapping[str, Mapping[str, Mapping[str, str | None]]]


@dataclass(frozen=True)
class Reached:
    """When something reached its consumers, by which run; and what it was built from, as far as the ledger knows."""

    at: datetime
    run_id: str
    built_from: BuiltFrom


# Only regular loads tell how far a stream is complete; what an audit held back has not come.
_STREAMS = """
select w.source, w.stream, last.committed, w.newest
  from ledger.watermark w
  left join lateral (
       select l.interval_end as committed from ledger.load l join ledger.load_stream s using (load_id)
        where l.source = w.source and s.stream = w.stream and l.kind = 'regular' and s.status = 'published'
        order by l.load_id desc limit 1) as last on true
 where w.source = any(%s)
"""
_RAW = """
select max(at) as at, (array_agg(run_id order by at desc))[1] as run_id, count(*) as streams
  from (select distinct on (s.stream) l.published_at as at, l.run_id
          from ledger.load_stream s join ledger.load l using (load_id)
         where l.source = %(source)s and l.kind = 'regular' and s.status = 'published' and s.stream = any(%(streams)s)
           and l.interval_end >= %(end)s
         order by s.stream, l.published_at) as first
"""
_MARTS = """
select published_at as at, run_id, coalesce(built_from, '{}') as built_from from ledger.publication
 where transform = %(name)s
"""
# A delivery sends what its view read then: the tables of one publication.
_OF_DELIVERY = "p.publication_id = substring(s.model_version from '^activation_v([0-9]+)[.]')::bigint"
_DELIVERIES = f"""
select s.finished_at as at, s.run_id, coalesce(p.built_from, '{{}}') as built_from
  from ledger.sync_run s join ledger.publication p on {_OF_DELIVERY}
 where s.sync = %(name)s and s.status = 'delivered'
"""
_OF_RUN = {
    "transform": "select max(published_at) as at from ledger.publication where transform = %(name)s and run_id = %(run_id)s",
    "activate": "select max(finished_at) as at from ledger.sync_run where sync = %(name)s and run_id = %(run_id)s"
    " and status = 'delivered'",
}
# A backfill commits nothing, so what was built from the same as before has nothing but backfills in it.
_REGULAR = {
    "transform": """
select (select c.built_from from ledger.candidate c where c.transform = %(name)s and c.run_id = %(run_id)s)
       is distinct from
       (select p.built_from from ledger.publication p where p.transform = %(name)s and p.run_id <> %(run_id)s
         order by p.publication_id desc limit 1) as regular""",
    "activate": f"""
select (select built_from from ({_MARTS} and dropped_at is null order by publication_id desc limit 1) as served)
       is distinct from
       (select built_from from (select s.sync_run_id, p.built_from from ledger.sync_run s
                                  join ledger.publication p on {_OF_DELIVERY}
                                 where s.sync = %(sync)s and s.status = 'delivered') as d
         order by sync_run_id desc limit 1) as regular""",
}


def note_built_from(session: Session, transform: str, run_id: str, sources: Sequence[str]) -> BuiltFrom:
    """Note, and return, how far raw is before a build reads it: what is built has all that, and maybe more."""
    built: dict[str, dict[str, Any]] = {}
    for row in rows_of(session, _STREAMS, (list(sources),)):
        built.setdefault(row["source"], {})[row["stream"]] = {
            name: row[name].isoformat() if row[name] else None for name in ("committed", "newest")
        }
    session.execute(
        "insert into ledger.candidate (transform, run_id, built_from) values (%s, %s, %s) on conflict (transform) do update"
        " set run_id = excluded.run_id, built_from = excluded.built_from, begun_at = clock_timestamp()",
        (transform, run_id, Jsonb(built)),
    )
    return built


def raw(session: Session, source: str, streams: Sequence[str], end: datetime) -> Reached | None:
    """When these streams were all in raw up to `end`; None while one is not."""
    (row,) = rows_of(session, _RAW, {"source": source, "streams": list(streams), "end": end})
    return Reached(row["at"], row["run_id"], {}) if row["streams"] == len(streams) else None


def published(session: Session, kind: str, name: str, since: datetime) -> list[Reached]:
    """Publications of a transform, or deliveries of a sync (kind `activate`), since a moment, the first one first."""
    query = _MARTS if kind == "transform" else _DELIVERIES
    rows = rows_of(
        session,
        f"select * from ({query}) as each where at >= %(since)s order by at",
        {"name": name, "since": since},
    )
    return [Reached(**row) for row in rows]


def seen_now(session: Session, kind: str, name: str) -> Reached | None:
    """What consumers of a transform or a sync have at this moment; None when they never had anything."""
    query = (
        f"{_MARTS} and dropped_at is null order by publication_id desc limit 1"
        if kind == "transform"
        else f"{_DELIVERIES} order by s.sync_run_id desc limit 1"
    )
    found = rows_of(session, query, {"name": name})
    return Reached(**found[0]) if found else None


def brings_more_than_backfills(
    session: Session, transform: str, *, run_id: str | None = None, sync: str | None = None
) -> bool:
    """Whether regular loads are in what a run of a transform has built, since the publication before; or in what serves
    now, since a sync has delivered for the last time. Airflow's events do not tell: of several that come while a run is
    under way, the next run is given the first."""
    query = _REGULAR["transform" if sync is None else "activate"]
    (row,) = rows_of(session, query, {"name": transform, "run_id": run_id, "sync": sync})
    return bool(row["regular"])


def of_run(session: Session, kind: str, name: str, run_id: str) -> datetime | None:
    """When a run of a transform or a sync (kind `activate`) published or delivered; None when it did not."""
    at: datetime | None = rows_of(session, _OF_RUN[kind], {"name": name, "run_id": run_id})[0]["at"]
    return at
