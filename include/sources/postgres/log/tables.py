"""What has to be so at the source for the log to tell all that happens to a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import Connection
from psycopg.rows import dict_row

# Seen by the transaction's own snapshot, so that it is what the log has said up to there. The xmin of a catalog's row
# changes with each change of what it describes, also with one that is taken back later.
_TABLE = """
select c.oid::bigint as oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name, c.relkind::text as kind,
       c.relpersistence::text as persistence, c.relreplident::text as identity,
       exists (select from pg_inherits i where i.inhparent = c.oid) as inherited,
       array(select a.attname::text
               from pg_attribute a join pg_index i on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
              where i.indrelid = c.oid
                and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end)
         as identified,
       array(select a.attname::text || '|' || a.atttypid || '|' || a.atttypmod from pg_attribute a
              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns,
       array(with recursive below(name, id) as (
                select a.attname, a.atttypid from pg_attribute a
                 where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                union all
                select b.name, t.typbasetype from below b join pg_type t on t.oid = b.id where t.typtype = 'd')
              select name::text from below where id = 'money'::regtype) as money,
       p.oid is not null as publication, pr.oid is not null as published,
       p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate as everything,
       (select to_jsonb(t) from pg_publication_tables t
         where t.pubname = p.pubname and t.schemaname = n.nspname and t.tablename = c.relname) as told,
       md5(concat_ws(' ', c.oid, p.oid, p.xmin, pr.oid, pr.xmin, c.relreplident,
           (select string_agg(concat_ws(' ', i.indexrelid, i.xmin), ',' order by i.indexrelid)
              from pg_index i where i.indrelid = c.oid and i.indisunique),
           (select string_agg(concat_ws(' ', a.attnum, a.attname, a.atttypid, a.atttypmod, a.xmin), ',' order by a.attnum)
              from pg_attribute a where a.attrelid = c.oid and a.attnum > 0))) as definition
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  left join pg_publication p on p.pubname = %(publication)s
  left join pg_publication_rel pr on pr.prpubid = p.oid and pr.prrelid = c.oid
 where c.oid = %(oid)s
"""

IDENTITIES = {
    "d": "its primary key",
    "i": "a unique index (replica identity using index)",
    "f": "all columns (replica identity full)",
    "n": "nothing (replica identity nothing)",
}


@dataclass(frozen=True)
class LoggedTable:
    """One table: its digest, the types of its columns by name, whether it is published, what names a row in the log, and
    what is wrong with it, in words."""

    oid: int
    name: str
    definition: str
    types: dict[str, tuple[int, int]]
    published: bool
    identity: str
    faults: tuple[str, ...]


def look(
    connection: Connection[Any], publication: str, oid: int, key: tuple[str, ...], columns: tuple[str, ...]
) -> LoggedTable:
    """What the catalog says of the table of a stream of mode log.

    :param key: its primary key. :param columns: those that are read. Both as the source calls them; what it does not have is
        not looked at.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_TABLE, {"publication": publication, "oid": oid}).fetchone()
    assert row is not None
    types = {}
    for text in row["columns"]:
        name, kind, modifier = text.rsplit("|", 2)
        types[name] = (int(kind), int(modifier))
    return LoggedTable(
        oid,
        row["name"],
        row["definition"],
        types,
        row["published"],
        IDENTITIES[row["identity"]],
        tuple(
            _faults(
                row,
                publication,
                [name for name in key if name in types],
                [name for name in columns if name in types],
            )
        ),
    )


def _faults(row: dict[str, Any], publication: str, key: list[str], read: list[str]) -> list[str]:
    if row["kind"] != "r" or row["persistence"] != "p" or row["inherited"]:
        kind = "which others inherit from" if row["inherited"] else "of another kind"
        return [
            f"{row['name']} is a table {kind}: only plain, logged tables can be read by their log. Use mode: incremental"
            " or snapshot, or one stream for each partition"
        ]
    found = []
    missing = [name for name in key if name not in row["identified"]]
    if row["identity"] != "f" and missing:
        found.append(
            f"an update or delete of {row['name']} is logged by {IDENTITIES[row['identity']]}, without"
            f" {', '.join(missing)}: alter table {row['name']} replica identity full; or add a primary key there"
        )
    money = sorted(set(row["money"]) & set(read))
    if money:
        found.append(
            f"the log writes {', '.join(money)} of {row['name']} (money) as the server's locale wants: set"
            " ignore: true for the column, or use another mode"
        )
    if not row["publication"]:
        return [*found, f"there is no publication {publication}"]
    if not row["published"]:
        return [*found, f"publication {publication} lacks {row['name']}"]
    if not row["everything"]:
        found.append(
            f"publication {publication} leaves out kinds of changes: alter publication {publication} set (publish ="
            " 'insert, update, delete, truncate')"
        )
    if row["told"] is None:
        found.append(
            f"publication {publication} tells the changes of {row['name']} as those of the table that it is a partition of:"
            f" alter publication {publication} set (publish_via_partition_root = false)"
        )
    told = row["told"] or {}
    if told.get("rowfilter"):
        found.append(f"publication {publication} leaves out rows of {row['name']}")
    # before version 15 nothing leaves out columns but being generated
    columns = told.get("attnames")
    lacking = [] if columns is None else [name for name in read if name not in columns]
    if lacking:
        found.append(
            f"publication {publication} leaves out columns of {row['name']}: {', '.join(lacking)} (generated ones are told"
            " from version 18 on, with publish_generated_columns = stored, and virtual ones never): set ignore: true"
        )
    return found
