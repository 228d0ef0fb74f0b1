"""Transforms that have not begun since one of their sources was published, and for which publication that was seen to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg

Session = psycopg.Connection[Any]

_NEWEST = """
select max(l.load_id) from ledger.load l
 where l.source = any(%(sources)s) and l.status = 'published' and l.published_at < %(before)s
   and l.published_at > coalesce((select begun_at from ledger.candidate where transform = %(transform)s), '-infinity')
   and l.load_id > coalesce((select load_id from ledger.started where transform = %(transform)s), 0)
"""


def unseen(session: Session, transform: str, sources: Sequence[str], before: datetime) -> int | None:
    """The newest load that was published before a moment, and after this transform has begun for the last time."""
    asked = {"transform": transform, "sources": list(sources), "before": before}
    row = session.execute(_NEWEST.encode(), asked).fetchone()
    return row[0] if row else None


def started(session: Session, transform: str, load_id: int) -> None:
    """Note for which load a transform was started, so that one that cannot begin is not started for ever."""
    session.execute(
        "insert into ledger.started (transform, load_id) values (%s, %s) on conflict (transform) do update"
        " set load_id = excluded.load_id, started_at = clock_timestamp()",
        (transform, load_id),
    )
