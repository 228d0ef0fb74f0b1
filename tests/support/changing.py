"""A source whose schema changes, and views that read raw meanwhile."""

from __future__ import annotations

from typing import Any

from include.core.contracts import SourceContract
from tests.support.pipeline import Pipeline, contract
from tests.support.store import CUSTOMERS, ORDERS


def answering(*streams: dict[str, Any], **answers: str) -> SourceContract:
    return contract("store", list(streams or (ORDERS, CUSTOMERS)), on_schema_change=answers)


def type_in_raw(shop: Pipeline, column: str, table: str = "raw_store.orders") -> str:
    return str(
        shop.at_warehouse(
            "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = to_regclass(%s) and attname = %s",
            table,
            column,
        )[0][0]
    )


VIEWS = """
create schema dev_ann authorization millrace_developer;
do $$ begin create role reader; exception when duplicate_object then null; end $$;
grant usage on schema dev_ann to reader;
set role millrace_developer;
create view dev_ann.totals with (security_barrier = true) as
    select customer, sum(total) as sum, count(*) from raw_store.orders group by 1;
create view dev_ann."Big Ones" as
    select t.*, o.note from dev_ann.totals t join raw_store.orders o using (customer) where t.sum > 100;
comment on view dev_ann.totals is 'what ''they'' spent'; comment on column dev_ann.totals.sum is 'in euros';
grant select on dev_ann.totals to reader with grant option; grant select (note) on dev_ann."Big Ones" to reader;
reset role
"""
DESCRIBED = """
select c.relname, pg_get_userbyid(c.relowner), c.relacl::text, c.reloptions::text, obj_description(c.oid),
       array(select row(attname, attacl, col_description(c.oid, attnum))::text from pg_attribute
              where attrelid = c.oid and attnum > 0 order by attnum)::text, pg_get_viewdef(c.oid)
  from pg_class c where c.relnamespace = 'dev_ann'::regnamespace and c.relkind = 'v' order by 1
"""
