"""Bad batches through the real path: what stops each, or who is told; raw gets no row of a batch that was stopped, and every
row of one that was not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from include.core.errors import MillraceError
from tests.support.bad_batches import BATCHES, every
from tests.support.cases import cases
from tests.support.pipeline import Pipeline, build
from tests.support.stack import PostgresServer, S3Store
from tests.support.watched import COLUMNS, TODAY, another, opened, shop_contract, told, until

SUITE = """
import great_expectations.expectations as gxe

def expectations():
    return [
        gxe.UnexpectedRowsExpectation(
            unexpected_rows_query="select id from {batch} where placed_at > updated_at",
            severity="critical", description="nothing is placed after its last change",
        )
    ]
"""


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("suites")
    (folder / "raw_shop").mkdir()
    (folder / "raw_shop" / "orders.py").write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILLRACE_SUITES", str(folder))
        yield folder


@pytest.fixture(scope="module")
def history(postgres_server: PostgresServer, s3_store: S3Store, suites: Path) -> Iterator[Pipeline]:
    """A shop with six weeks of ordinary days behind it."""
    with ExitStack() as databases:
        made = [databases.enter_context(postgres_server.database(name)) for name in ("source", "warehouse")]
        pipeline = build(made[0], made[1], s3_store)
        opened(pipeline, 42)
        yield pipeline


@pytest.fixture
def shop(history: Pipeline, request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    """A copy of it, with today's good batch at the source."""
    _COPIES.append(request.node.name)
    with another(history, len(_COPIES)) as pipeline:
        yield pipeline


_COPIES: list[str] = []


def _raw(shop: Pipeline) -> list[tuple[Any, ...]]:
    return shop.at_warehouse(
        "select (select md5(string_agg(t::text, '' order by id)) from raw_shop.orders t),"
        " (select md5(string_agg(t::text, '' order by id)) from raw_shop.customers t),"
        " (select array_agg(watermark order by stream) from ledger.watermark)"
    )


def _rules(failures: list[dict[str, Any]], severity: str) -> str:
    return "\n".join(failure["rule"] for failure in failures if failure["severity"] == severity)


@pytest.mark.parametrize("name", cases(BATCHES, daily=list(BATCHES)[::6]))
def test_a_bad_batch(shop: Pipeline, name: str) -> None:
    bad, before = BATCHES[name], _raw(shop)
    contract, only = shop_contract(**bad.rules), ("orders",) if bad.alone else ()
    shop.at_source(bad.done)
    if bad.stops:
        with pytest.raises(MillraceError) as caught:
            shop.pull(contract, until(TODAY), only=only)
        said = told(shop).get(bad.stream, [])
        assert bad.said in _rules(said, "critical") or bad.said in str(caught.value)
        # no row of it; and the watermark is where it was, so its good rows come again
        assert _raw(shop) == before
        return
    shop.pull(contract, until(TODAY), only=only)
    said = told(shop)[bad.stream]
    assert bad.said in _rules(said, "warning")
    assert _rules(said, "critical") == ""
    if contract.duplicates == "none":
        assert shop.same("orders", "raw_shop.orders", COLUMNS)


def test_a_good_batch_is_published_without_a_word_and_stays_history(shop: Pipeline) -> None:
    shop.pull(shop_contract(), until(TODAY))
    assert told(shop) == {"customers": [], "orders": []}
    kept = shop.at_warehouse(
        "select metric, column_name, state from ledger.metric where at = %s and state not in ('in', 'quiet')",
        TODAY,
    )
    assert kept == []


def test_what_was_stopped_comes_with_the_next_load_once_it_is_right(shop: Pipeline) -> None:
    shop.at_source(every("currency = lower(currency)"))
    with pytest.raises(MillraceError):
        shop.pull(shop_contract(), until(TODAY))
    shop.at_source(every("currency = upper(currency)"))
    shop.pull(shop_contract(), until(TODAY))
    assert shop.same("orders", "raw_shop.orders", COLUMNS)
