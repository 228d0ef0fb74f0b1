"""What the gate of a batch costs: its rules and its figures, beside staging it.

BENCH_AUDITED=1000000 make bench ARGS="-k audit"
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.benchmarks.measured import HEAD, Bench, in_turns
from tests.benchmarks.tables import MIXED, described, fill_mixed
from tests.support.pipeline import Pipeline, contract
from tests.support.stack import S3Store

ROWS = int(os.environ.get("BENCH_AUDITED", "1000000"))
TURNS = int(os.environ.get("BENCH_TURNS", "3"))
#: Twenty expectations: each column has a value, the key is unique, and these.
RULES: dict[str, dict[str, Any]] = {
    "id": {"min": 1},
    "customer": {"min": 0, "max": 50_000},
    "total": {"min": 0},
    "rate": {"min": 0, "max": 1e9},
    "status": {"values": ["new", "paid", "sent"], "pattern": "^[a-z]+$"},
    "note": {"pattern": "^a note"},
}


def test_an_audit_with_twenty_expectations_beside_staging(
    pipeline: Pipeline, s3_store: S3Store, capsys: pytest.CaptureFixture[str]
) -> None:
    fill_mixed(pipeline, ROWS)
    (stream,) = (one.model_dump(mode="json", exclude_defaults=True) for one in described(MIXED).streams)
    for name, column in stream["columns"].items():
        column |= {"not_null": True} | RULES.get(name, {})
    bench = Bench(pipeline, s3_store, contract("bench", [stream]))
    bench.ours("extract")
    lines = in_turns(TURNS, [
        ("stage", lambda: bench.ours("stage"), "stage"),
        ("audit", lambda: bench.ours("audit"), "stage"),
    ])  # fmt: skip
    with capsys.disabled():
        print(f"\n\nmixed, {ROWS:,} rows, {TURNS} turns, beside staging them\n\n{HEAD}")
        print(lines[0])
    assert {cost.result for cost in lines[0].costs} == {20}
    ((figures,),) = pipeline.at_warehouse(
        "select count(*) from ledger.metric where dataset = 'raw_bench.mixed'"
    )
    assert figures > 60
