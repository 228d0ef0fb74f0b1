"""What a load may cost its source, and what it did cost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from include.core.contracts import SourceContract
from include.core.contracts.source import Impact
from include.core.errors import TerminalError
from tests.support.logged import TABLE, begun, docs, same
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


def test_the_log_may_be_read_for_longer(pipeline: Pipeline) -> None:
    """Nothing has to be kept for it: the snapshot is let go once all that is read whole was read."""
    pipeline.at_source(TABLE)
    store = begun(pipeline, docs())
    many = "insert into docs select i, 'many', repeat('x', 200), i from generate_series(100, 60000) i"
    pipeline.at_source(
        f"{many}; update docs set title = 'again'; {'update docs set amount = amount + 1;' * 3}"
    )
    hurried = store.model_copy(update={"impact": Impact(longest_snapshot=timedelta(seconds=1))})
    published = pipeline.pull(hurried)
    ((seconds,),) = pipeline.at_warehouse(
        "select seconds from ledger.load_stream where load_id = %s", published.load_id
    )
    assert published.snapshot_seconds is not None and published.snapshot_seconds < 1 < seconds
    assert same(pipeline)


def test_the_cost_of_a_load_is_in_the_ledger_and_told(shop: Pipeline, both: SourceContract) -> None:
    published = shop.pull(both)
    ((held, size),) = shop.at_warehouse(
        "select l.snapshot_seconds, sum(s.bytes) from ledger.load as l join ledger.load_stream as s using (load_id)"
        " where l.load_id = %s group by 1",
        published.load_id,
    )
    assert (published.snapshot_seconds, published.bytes) == (held, size)
    assert held > 0 and size > 0
