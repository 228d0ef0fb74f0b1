"""What audits and gates have found, as it is kept: of a run of an ingest or of a transform, a table at a time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from include.warehouse.ledger import rows_of

Session = psycopg.Connection[Any]


@dataclass(frozen=True)
class Kept:
    """One verdict. `load_id` tells attempts of an ingest's run apart; a transform's run has one verdict a table.

    :param rows: rows that were judged, where they were counted. :param asked: key and rules; None of before they were kept.
    """

    relation: str
    load_id: int | None
    status: str
    at: datetime
    rows: int | None
    expectations: int
    failures: list[dict[str, Any]]
    asked: dict[str, Any] | None


_INGEST = """
select 'raw_' || l.source || '.' || s.stream as relation, l.load_id, s.status, l.landed_at as at, s.staged as rows,
       coalesce(s.expectations, 0) as expectations, coalesce(s.failures, '[]') as failures, s.asked
  from ledger.load l join ledger.load_stream s using (load_id)
 where l.source = %s and l.run_id = %s and s.expectations is not null
 order by l.load_id desc, s.stream
"""
_TRANSFORM = """
select relation, null::bigint as load_id, case when passed then 'passed' else 'failed' end as status, audited_at as at,
       null::bigint as rows, expectations, failures, asked
  from ledger.gate_result where transform = %s and run_id = %s order by relation
"""
_FIGURES = """
select dataset, load_id, metric, column_name, value, unit, low, high, state, limits from ledger.metric
 where run_id = %s and dataset = any(%s) and state in ('in', 'out') order by metric, column_name
"""


def of_run(session: Session, kind: str, name: str, run_id: str) -> list[Kept]:
    """The verdicts of one run; of an ingest's, those of its newest attempt first."""
    query = _INGEST if kind == "ingest" else _TRANSFORM
    return [Kept(**row) for row in rows_of(session, query, (name, run_id))]


def figures(session: Session, run_id: str, relations: list[str]) -> list[dict[str, Any]]:
    """The figures of a run that were held against limits."""
    return rows_of(session, _FIGURES, (run_id, relations))
