"""What stands in the landing zone arrives in the staging batch as it was, in binary and as CSV."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest

from include.core.errors import TerminalError
from include.core.schema import Column, StreamSchema
from include.warehouse import copying, staging
from tests.support.pipeline import Pipeline, contract

#: Types that have a binary form, with values at their edges.
BINARY = {
    "boolean": ["t", "f"],
    "smallint": ["-32768", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807", "0"],
    "real": ["0.1", "NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38"],
    "double precision": ["0.1", "NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308"],
    "date": ["0001-01-01", "9999-12-31", "1970-01-01", "1999-12-31", "2000-01-01"],
    "timestamp without time zone": [
        "0001-01-01 00:00:00",
        "9999-12-31 23:59:59.999999",
        "1969-12-31 23:59:59.999999",
    ],
    "timestamp(3) without time zone": ["1999-12-31 23:59:59.999", "0001-01-01 00:00:00"],
    "timestamp with time zone": ["0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00", "2026-03-29 02:30:00+01"],
    "text": ["", " ", "NULL", "\\N", "{}", "a\"b',;\t\r\n\\", "Ünïcödé 🏭 \u202e", "\x01\x7f"],
    "character varying": ["", "a  ", "NULL"],
    "character varying(5)": ["", "a  ", "🏭🏭🏭🏭🏭"],
    "character(4)": ["", "a", "  b"],
    "json": ['{"a": 1.000,  "a":2}', "null", '"\\u00e9"', "[1e400]", '{"x":\n 1}'],
    "jsonb": ['{"a": 1.000, "b": null}', "null", '"\\u00e9\\\\"', "[1e400, 0.1]", "{}"],
    "uuid": ["0" * 8 + "-0000" * 3 + "-" + "0" * 12, "c4ca4238-a0b9-2382-0dcc-509a6f75849b", "f" * 32],
    "numeric(12,2)": ["0", "-0.01", "0.10", "9999999999.99", "-9999999999.99", "100000000.00", "10000"],
    "numeric(38,0)": ["9" * 38, "-" + "9" * 38, "1" + "0" * 37, "0", "-1"],
    "numeric(38,38)": ["0." + "9" * 38, "-0." + "0" * 37 + "1", "0.5", "0"],
    "numeric(38,19)": ["9" * 19 + "." + "9" * 19, "0.0001", "0.00001", "-1.0000000000000000001", "10000.0001"],
    "numeric(5,1)": ["-9999.9", "0.1", "1000.0"],
    "numeric(20,7)": ["1234567890123.7654321", "0.0000001", "0.0001000"],
}  # fmt: skip
#: One that has none takes its whole stream through CSV.
OTHERS = {
    "interval": ["1 day -1 us", "infinity"],
    "integer[]": ["{{1,2},{3,null}}", "{}"],
    "bytea": ["", r"\x00ff5c27"],
}


def _given(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, types: dict[str, list[str]]) -> list[str]:
    """Load a table with a column of each type; returns COPY's formats that were used."""
    forms: list[str] = []
    copied = copying.copied

    def noted(schema: StreamSchema, batches: Iterable[pa.RecordBatch]) -> tuple[str, Any]:
        form, blocks = copied(schema, batches)
        forms.append(form)
        return form, blocks

    monkeypatch.setattr(staging, "copied", noted)
    names = {kind: f"c{place}" for place, kind in enumerate(types)}
    body = ", ".join(f"{names[kind]} {kind}" for kind in types)
    pipeline.at_source(f"create table given (id int primary key, {body}, nothing bigint)")
    most = max(len(values) for values in types.values())
    for row in range(most + 1):  # the last is of nulls, and others stand where a type has fewer values
        values = [found[row] if row < len(found) else None for found in types.values()]
        marks = ", ".join(["%s", *(f"%s::{kind}" for kind in types)])
        pipeline.at_source(f"insert into given values ({marks})", row, *values)
    columns = {"id": "integer", **{names[kind]: kind for kind in types}, "nothing": "bigint"}
    pipeline.pull(
        contract("types", [{
            "name": "given", "table": "public.given", "primary_key": ["id"], "mode": "snapshot",
            "columns": {name: {"type": kind} for name, kind in columns.items()},
        }])
    )  # fmt: skip
    everything = ", ".join(f"{name}::text" for name in columns)
    assert pipeline.same("given", "raw_types.given", everything)
    kinds = "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = '{}'::regclass and attnum > 0 {}"
    ours = pipeline.at_warehouse(
        kinds.format("raw_types.given", "and attname not like '\\_%' order by attnum")
    )
    assert ours == pipeline.at_source(kinds.format("given", "order by attnum"))
    return forms


def test_every_value_that_goes_in_binary_arrives_as_it_was(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _given(pipeline, monkeypatch, BINARY) == ["binary"]


def test_a_type_without_a_binary_form_takes_its_stream_through_csv(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _given(pipeline, monkeypatch, BINARY | OTHERS) == ["csv"]


def test_what_goes_in_binary_is_what_the_server_itself_would_send(pipeline: Pipeline) -> None:
    pipeline.at_source(
        "create table sent (id int primary key, n numeric(30,9), u uuid, j jsonb, t timestamptz, f float8, b boolean);"
        "insert into sent select i, case when i % 7 > 0 then (random() - 0.5) * 10 ^ (i % 18) end,"
        " case when i % 5 > 0 then gen_random_uuid() end, jsonb_build_object('i', i, 'r', random()),"
        " timestamptz '1850-01-01' + random() * interval '300 years', random(), i % 2 = 0 from generate_series(1, 20000) i"
    )
    columns = {"id": "integer", "n": "numeric(30,9)", "u": "uuid", "j": "jsonb", "t": "timestamp with time zone",
               "f": "double precision", "b": "boolean"}  # fmt: skip
    stream = {"name": "sent", "table": "public.sent", "primary_key": ["id"], "mode": "snapshot"}
    pipeline.pull(contract("types", [stream | {"columns": {n: {"type": k} for n, k in columns.items()}}]))
    digest = "select count(*), md5(string_agg({}::text, '|' order by id)) from {}"
    row = "(" + ", ".join(columns) + ")"
    assert pipeline.at_source(digest.format(row, "sent")) == pipeline.at_warehouse(
        digest.format(row, "raw_types.sent")
    )


@pytest.mark.parametrize("text", ["c4ca4238", "c4ca4238-a0b9-2382-0dcc-509a6f75849g", ""])
def test_a_uuid_in_another_form_is_refused(text: str) -> None:
    schema = StreamSchema((Column("u", "uuid", "uuid", "text"),))
    batch = pa.RecordBatch.from_arrays([pa.array([text, None])], names=["u"])
    _, blocks = copying.copied(schema, [batch])
    with pytest.raises(TerminalError, match="not written as PostgreSQL writes it"):
        list(blocks)
