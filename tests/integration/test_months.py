"""A month waits for its days, is closed once, and is built again when something of it was published again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from include.cli import connections
from include.cli.main import app
from include.core.errors import GateFailed
from include.flows.transform import Transform
from tests.support.days import again, opened, pull
from tests.support.pipeline import Pipeline
from tests.support.transforms import SHOP

CLOSING = SHOP.model_copy(update={"closes_months_from": date(2026, 1, 1)})
ONE = "create table marts_candidate.one as select 1 as id"


@pytest.fixture
def shop(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setenv("MILLRACE_CONTRACTS", str(tmp_path / "contracts"))
    return opened(pipeline, tmp_path / "contracts")


@pytest.fixture
def close(build: Callable[..., Transform], shop: Pipeline) -> Callable[[str], None]:
    """`close(run_id)`: a whole run of the transform."""

    def run(run_id: str, statement: str = ONE) -> None:
        build(run_id, statement, contract=CLOSING).publish()

    return run


def closed(shop: Pipeline) -> list[tuple[str, int, str | None]]:
    """Month, version and the run that closed it, or None."""
    return shop.at_warehouse(
        "select to_char(month, 'YYYY-MM'), version, case when closed_at is not null then run_id end from ledger.month"
        " order by month, version"
    )


def test_a_month_is_closed_with_its_last_day_and_once(shop: Pipeline, close: Any) -> None:
    pull(shop, "2026-01-31")
    close("early")
    assert closed(shop) == []
    pull(shop, "2026-02-01")
    close("first")
    assert closed(shop) == [("2026-01", 1, "first")]
    pull(shop, "2026-02-02")
    close("second")
    assert closed(shop) == [("2026-01", 1, "first")]
    # one run may bring the last days of several months
    pull(shop, "2026-04-15")
    close("third")
    assert closed(shop) == [("2026-01", 1, "first"), ("2026-02", 1, "third"), ("2026-03", 1, "third")]


def test_it_waits_for_every_stream(shop: Pipeline, close: Any) -> None:
    pull(shop, "2026-01-20")
    shop.at_source("update refunds set amount = -1 where id = 25")
    pull(shop, "2026-02-01")
    close("without refunds")
    assert closed(shop) == []
    shop.at_source("update refunds set amount = 1 where id = 25")
    pull(shop, "2026-02-02")
    close("with all")
    assert closed(shop) == [("2026-01", 1, "with all")]


def test_a_day_that_is_published_again_has_its_month_built_again(shop: Pipeline, close: Any) -> None:
    pull(shop, "2026-03-10")
    close("first")
    again(shop, "2026-01-10")  # brings nothing new
    close("second")
    assert closed(shop) == [("2026-01", 1, "first"), ("2026-02", 1, "first")]
    # a change of which the cursor tells nothing
    shop.at_source("update orders set amount = 1000 where id = 9")
    load = again(shop, "2026-01-10")
    close("third")
    close("fourth")
    assert closed(shop) == [("2026-01", 1, "first"), ("2026-01", 2, "third"), ("2026-02", 1, "first")]
    ((why, loads, built),) = shop.at_warehouse(
        "select why, loads, built_from from ledger.month where version = 2"
    )
    assert why == f"backfill of shop, run run-{load.load_id}, load {load.load_id}"
    assert loads == [load.load_id]
    assert built["shop"]["orders"]["committed"] == "2026-03-10T00:00:00+00:00"


def test_the_last_moment_of_a_month_is_not_the_next_month_s(shop: Pipeline, close: Any) -> None:
    pull(shop, "2026-03-10")
    close("first")
    shop.at_source("update orders set amount = 1000 where id = 30")
    again(shop, "2026-01-31")
    close("second")
    assert closed(shop) == [("2026-01", 1, "first"), ("2026-01", 2, "second"), ("2026-02", 1, "first")]


def test_a_build_that_is_not_published_closes_nothing(shop: Pipeline, close: Any) -> None:
    pull(shop, "2026-02-10")
    with pytest.raises(GateFailed):
        close("bad", f"{ONE} where false")
    assert closed(shop) == [("2026-01", 1, None)]
    close("good")
    assert closed(shop) == [("2026-01", 1, "good")]


def test_while_a_source_s_contract_has_faults_no_month_is_closed_and_all_is_built(
    shop: Pipeline, close: Any, tmp_path: Path
) -> None:
    pull(shop, "2026-02-10")
    file = tmp_path / "contracts" / "sources" / "shop.yaml"
    said = file.read_text()
    file.write_text("source: shop")
    close("with faults")
    assert closed(shop) == []
    file.write_text(said)
    close("corrected")
    assert closed(shop) == [("2026-01", 1, "corrected")]


def test_a_person_opens_a_month_again(shop: Pipeline, close: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "find", shop.connect)
    monkeypatch.setenv("COLUMNS", "200")
    pull(shop, "2026-02-10")
    close("first")
    done = CliRunner().invoke(app, ["months", "shop", "--reopen", "2026-01", "--why", "the recall"])
    assert (done.exit_code, "as version 2" in done.output) == (0, True), done.output
    refused = CliRunner().invoke(app, ["months", "shop", "--reopen", "2026-02", "--why", "no such month"])
    assert refused.exit_code == 1
    shown = CliRunner().invoke(app, ["months", "shop"]).output
    assert "to build" in shown and "the recall" in shown and "all its days are published" in shown
    close("second")
    assert closed(shop) == [("2026-01", 1, "first"), ("2026-01", 2, "second")]
