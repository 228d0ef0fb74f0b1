"""The docs of the models, one page, kept beside the ledger so that every machine can show it."""

from __future__ import annotations

import zlib
from typing import Any

import psycopg

Session = psycopg.Connection[Any]

# What a reader of the docs sees of the tables: names, columns and types of what is published.
_PUBLISHED = """
select md5(string_agg(format('%s.%s.%s %s', n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod)),
                      ',' order by n.nspname, c.relname, a.attnum))
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where n.nspname in ('marts', 'activation') and c.relkind = 'v'
"""


def published(session: Session) -> str | None:
    """A digest of the published tables' columns; None when there are none."""
    (digest,) = session.execute(_PUBLISHED.encode()).fetchone() or (None,)
    return None if digest is None else str(digest)


def fingerprint(session: Session) -> str | None:
    """Of what the page that is kept was made; None without one."""
    row = session.execute("select fingerprint from ledger.model_docs").fetchone()
    return row[0] if row else None


def keep(session: Session, fingerprint: str, page: str) -> None:
    """Keep a page, in place of the one before."""
    session.execute(
        "insert into ledger.model_docs (fingerprint, page) values (%s, %s) on conflict (one) do update"
        " set fingerprint = excluded.fingerprint, page = excluded.page, written_at = clock_timestamp()",
        (fingerprint, zlib.compress(page.encode())),
    )


def page(session: Session) -> str | None:
    """The page, as HTML."""
    row = session.execute("select page from ledger.model_docs").fetchone()
    return zlib.decompress(row[0]).decode() if row else None
