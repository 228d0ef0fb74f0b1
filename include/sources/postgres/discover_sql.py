"""The catalog queries behind `discover`."""

from __future__ import annotations

SERVER = """
select current_database() as database, current_user as role, quote_ident(current_user) as quoted_role,
       pg_get_userbyid(datdba) as owner, pg_is_in_recovery() as replica,
       pg_has_role(current_user, 'pg_read_all_stats', 'usage') as may_see,
       array(select nspname::text from pg_namespace
              where nspname !~ '^pg_' and nspname <> 'information_schema' order by 1) as schemas
  from pg_database where datname = current_database()
"""

# Rows are the planner's estimate; a table that was never analysed has none, and its size is looked up.
TABLES = """
select c.oid, n.nspname as schema, c.relname as name, c.relkind::text as kind,
       quote_ident(n.nspname) || '.' || quote_ident(c.relname) as quoted,
       quote_ident(n.nspname) as quoted_schema,
       case when c.relispartition then pg_partition_root(c.oid)::text end as root,
       (select min(i.inhparent::regclass::text) from pg_inherits i
         where i.inhrelid = c.oid and not c.relispartition) as parent,
       c.relkind = 'r' and exists (select from pg_inherits i where i.inhparent = c.oid) as inherited,
       (select e.extname from pg_depend d join pg_extension e on e.oid = d.refobjid
         where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
           and d.refclassid = 'pg_extension'::regclass) as extension,
       c.relkind in ('r', 'p') and not pg_is_in_recovery() and not exists (
           select from (select c.oid union select relid from pg_partition_tree(c.oid)) as part(oid)
             join pg_class p on p.oid = part.oid left join pg_am a on a.oid = p.relam
            where p.relkind <> 'p' and (p.relkind <> 'r' or a.amhandler::text <> 'heap_tableam_handler')) as by_xmin,
       has_schema_privilege(n.oid, 'USAGE') as usable,
       has_table_privilege(c.oid, 'SELECT') as readable,
       has_any_column_privilege(c.oid, 'SELECT') as partly, row_security_active(c.oid) as hidden,
       size.rows, size.bytes, coalesce(s.n_tup_upd, -1) as updates, coalesce(s.n_tup_del, -1) as deletes,
       obj_description(c.oid, 'pg_class') as comment
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  left join pg_stat_user_tables s on s.relid = c.oid and c.relkind = 'r'
  left join lateral (
    select case when bool_or(p.reltuples >= 0) then sum(greatest(p.reltuples, 0)) else -1 end::bigint as rows,
           sum(case when p.reltuples >= 0 then p.relpages * current_setting('block_size')::bigint
                    else coalesce(pg_relation_size(p.oid), 0) end)::bigint as bytes
      from (select c.oid union select relid from pg_partition_tree(c.oid)) as part(oid)
      join pg_class p on p.oid = part.oid and p.relkind = 'r'
  ) as size on true
 where c.relkind in ('r', 'p', 'v', 'm', 'f')
   and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
   and (%(schemas)s::text[] is null or n.nspname = any (%(schemas)s::text[]))
 order by n.nspname, c.relname
"""

# A trigger's bits are 1 for each row, 2 before, 16 on update. The sample of values is what ANALYZE left
# behind; only the answer leaves the server.
COLUMN_FACTS = """
with recursive base(attnum, typid) as (
    select attnum, atttypid from pg_attribute
     where attrelid = %(oid)s and attnum > 0 and not attisdropped
    union all
    select b.attnum, t.typbasetype
      from base b join pg_type t on t.oid = b.typid where t.typtype = 'd'
), sample as (
    select s.attname, concat(s.most_common_vals::text, s.histogram_bounds::text) as text
      from pg_stats s where s.schemaname = %(schema)s and s.tablename = %(name)s
)
select a.attname as column, col_description(a.attrelid, a.attnum) as comment,
       (select array_agg(e.enumlabel::text order by e.enumsortorder)
          from base b join pg_enum e on e.enumtypid = b.typid
         where b.attnum = a.attnum) as labels,
       exists (select from pg_index i
                  join pg_class x on x.oid = i.indexrelid
                  join pg_am m on m.oid = x.relam
                where i.indrelid = a.attrelid and i.indkey[0] = a.attnum
                  and i.indisvalid and i.indpred is null and m.amname in ('btree', 'brin')) as indexed,
       (select min(t.tgname) from pg_trigger t join pg_proc p on p.oid = t.tgfoid
         where t.tgrelid = a.attrelid and not t.tgisinternal and t.tgenabled <> 'D' and t.tgtype & 19 = 19
           and t.tgqual is null
           and (strpos(lower(p.prosrc), lower(a.attname)) > 0
                or strpos(encode(t.tgargs, 'escape'), a.attname) > 0)) as stamped_by,
       (select count(*) >= 3 from sample s, regexp_matches(
            s.text, '[^@[:space:],"{}]+@[A-Za-z0-9-]+[.][A-Za-z]{2}', 'g')
         where s.attname = a.attname) as emails,
       (select bool_or(s.text ~ 'infinity|NaN| BC|[0-9]{5,}-[0-9]{2}-') from sample s
         where s.attname = a.attname) as beyond
  from pg_attribute a
 where a.attrelid = %(oid)s and a.attnum > 0 and not a.attisdropped
"""

FOREIGN_KEYS = """
select quote_ident(n.nspname) || '.' || quote_ident(c.relname) as target,
       array(select a.attname::text from unnest(f.conkey) with ordinality k(num, place)
               join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.num
              order by k.place) as columns,
       array(select a.attname::text from unnest(f.confkey) with ordinality k(num, place)
               join pg_attribute a on a.attrelid = f.confrelid and a.attnum = k.num
              order by k.place) as to_columns
  from pg_constraint f
  join pg_class c on c.oid = f.confrelid
  join pg_namespace n on n.oid = c.relnamespace
 where f.conrelid = %(oid)s and f.contype = 'f' and f.conparentid = 0 and f.convalidated
   and coalesce(to_jsonb(f) ->> 'conenforced', 'true') = 'true'
 order by f.conname
"""
