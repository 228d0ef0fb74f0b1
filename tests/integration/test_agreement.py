"""The demo's last word, that its systems agree, is worth something only if it would notice that they do not."""

from __future__ import annotations

from include.core.connection import Connection
from include.core.contracts import SyncContract
from include.demo.agreement import missing_at_destination, streams_that_differ
from tests.support.pipeline import Pipeline, contract


def test_one_value_or_one_row_is_enough_to_differ(pipeline: Pipeline) -> None:
    pipeline.at_source("create table t (id int primary key, x numeric, at timestamptz)")
    pipeline.at_source("insert into t select i, i / 3.0, now() from generate_series(1, 100) i")
    types = {"id": "integer", "x": "numeric", "at": "timestamp with time zone"}
    stream = {
        "name": "t",
        "table": "public.t",
        "primary_key": ["id"],
        "mode": "snapshot",
        "deletes": "snapshot",
    }
    source = contract("agree", [stream | {"columns": {name: {"type": kind} for name, kind in types.items()}}])
    pipeline.pull(source)
    assert streams_that_differ(source, pipeline.source, pipeline.warehouse) == []
    for change in ("update t set x = x + 0.000001 where id = 50", "delete from t where id = 51"):
        pipeline.at_source(change)
        assert streams_that_differ(source, pipeline.source, pipeline.warehouse) == ["t"]
        pipeline.pull(source)
        assert streams_that_differ(source, pipeline.source, pipeline.warehouse) == []


def test_a_record_that_the_destination_lacks_is_counted(pipeline: Pipeline) -> None:
    where = Connection("crm", "postgres")
    sync = SyncContract.model_validate(
        {
            "sync": "people",
            "description": "test",
            "owner": {"team": "testers", "contact": "testers@example.com"},
            "deadline": {"after_queueing": "1h"},
            "transform": "shop",
            "model": "people",
            "key": "id",
            "destination": {
                "type": "postgres",
                "connection": where.conn_id,
                "table": "crm.people",
                "key": "number",
            },
            "mapping": {"number": "id", "label": "name"},
        }
    )
    pipeline.at_warehouse(
        "create schema activation; create view activation.people as select 1 as id, 'a' as name"
    )
    pipeline.at_source(
        "create schema crm; create table crm.people (number int primary key, label text, owner text)"
    )
    assert missing_at_destination(sync, pipeline.warehouse, pipeline.source) == 1
    pipeline.at_source("insert into crm.people values (1, 'b')")
    assert missing_at_destination(sync, pipeline.warehouse, pipeline.source) == 1
    pipeline.at_source("update crm.people set label = 'a'")
    assert missing_at_destination(sync, pipeline.warehouse, pipeline.source) == 0
