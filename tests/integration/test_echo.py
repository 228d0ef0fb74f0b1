"""What a sync writes comes back as a change of the source that its model is built from: it does not go round for ever."""

from __future__ import annotations

from typing import Any

import psycopg

from include import activation
from include.flows.publish import Published
from tests.support.activation import COLUMNS, contract, crm
from tests.support.pipeline import Pipeline
from tests.support.pipeline import contract as source_contract

CONTACTS: dict[str, Any] = {
    "name": "contacts",
    "table": "crm.contacts",
    "primary_key": ["contact_id"],
    "mode": "snapshot",
    "deletes": "snapshot",
    "columns": {
        "contact_id": {"type": "bigint"},
        "external_id": {"type": "text"},
        "email": {"type": "text"},
        "full_name": {"type": "text"},
        "segment": {"type": "text"},
        "customer_value": {"type": "numeric(14,2)"},
        "last_order_at": {"type": "timestamp with time zone"},
    },
}
# The model takes the name from where the sales team corrects it, which is where the sync writes it.
MODEL = """
create or replace view activation.contacts as
select c.external_id, c.email, coalesce(k.full_name, c.full_name) as full_name, c.customer_value, c.segment, c.last_order_at
from people c left join raw_crm.contacts k on k.external_id = c.external_id and k._deleted_at is null
"""


def changed(published: Published) -> int:
    return sum(row["inserted"] + row["updated"] for row in published.streams)


def test_an_echo_ends_by_itself(pipeline: Pipeline) -> None:
    target = crm(pipeline.source)
    found = pipeline.at_source(
        "select column_name, data_type from information_schema.columns"
        " where table_schema = 'crm' and table_name = 'contacts'"
    )
    columns = CONTACTS["columns"]
    ignored = {name: {"type": kind, "ignore": True} for name, kind in found if name not in columns}
    source = source_contract("crm", [CONTACTS | {"columns": columns | ignored}])
    pipeline.at_warehouse(
        "create table people as select 'c' || i as external_id, 'p' || i || '@example.com' as email,"
        " 'Person ' || i as full_name, (i * 1.37)::numeric(14, 2) as customer_value, 'vip' as segment,"
        " timestamptz '2024-01-01 12:00+00' + i * interval '1 minute' as last_order_at from generate_series(1, 100) i"
    )
    pipeline.pull(source)
    pipeline.at_warehouse("create schema if not exists activation")
    pipeline.at_warehouse(MODEL)
    pipeline.at_warehouse("grant usage on schema activation to millrace_activator")
    pipeline.at_warehouse("grant select on activation.contacts to millrace_activator")

    def deliver() -> int:
        return activation.run(
            contract(), pipeline.connect("warehouse_activator"), target.connection, run_id="test"
        ).delivered

    assert deliver() == 100
    written = target.execute("select external_id, updated_at from crm.contacts order by 1")
    # All of it comes back as new rows of the source, and the model is built anew: nothing is sent.
    assert changed(pipeline.pull(source)) == 100
    assert deliver() == 0

    # Somebody corrects a name there. It comes back, the model takes it, and it is sent once more, with no effect.
    with psycopg.connect(target.admin, autocommit=True) as colleague:
        colleague.execute("update crm.contacts set full_name = 'Ada' where external_id = 'c7'")
    assert changed(pipeline.pull(source)) == 1
    touched = target.execute("select external_id, updated_at from crm.contacts order by 1")
    assert deliver() == 1
    assert target.execute("select external_id, updated_at from crm.contacts order by 1") == touched
    assert {key for key, at in touched if at != dict(written)[key]} == {"c7"}  # type: ignore[arg-type]
    assert changed(pipeline.pull(source)) == 0
    assert deliver() == 0
    model = pipeline.at_warehouse(f"select {', '.join(COLUMNS)} from activation.contacts")
    assert target.contacts() == set(model)
