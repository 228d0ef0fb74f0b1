"""What a load may cost its source, and what it did cost."""

from __future__ import annotations

from typing import Any

import pytest

from include.core.contracts import SourceContract
from include.core.errors import TerminalError
from tests.support.pipeline import Pipeline, contract

SLOW: dict[str, Any] = {
    "name": "slow",
    "table": "public.slow",
    "mode": "snapshot",
    "columns": {"id": {"type": "integer"}, "waited": {"type": "text"}},
}


def test_a_snapshot_is_not_held_for_longer_than_the_contract_allows(shop: Pipeline) -> None:
    shop.at_source(
        "create view slow as select i as id, pg_sleep(0.1)::text as waited from generate_series(1, 20) as i"
    )
    short = contract("store", [SLOW], impact={"longest_snapshot": "1s"})
    with pytest.raises(TerminalError, match="longest_snapshot: 1s"):
        shop.pull(short)
    assert shop.at_warehouse("select status, manifest from ledger.load") == [("failed", None)]
    long = contract("store", [SLOW], impact={"longest_snapshot": "1h"})
    assert shop.pull(long).changed == {"slow": 20}


def test_the_cost_of_a_load_is_in_the_ledger_and_told(shop: Pipeline, both: SourceContract) -> None:
    published = shop.pull(both)
    ((held, size),) = shop.at_warehouse(
        "select l.snapshot_seconds, sum(s.bytes) from ledger.load as l join ledger.load_stream as s using (load_id)"
        " where l.load_id = %s group by 1",
        published.load_id,
    )
    assert (published.snapshot_seconds, published.bytes) == (held, size)
    assert held > 0 and size > 0
