"""Months of the shop in the real scheduler: closed with their last day, and built again when an hour was loaded again."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from include.core import months
from tests.e2e.conftest import Demo
from tests.support.lifecycle import Lifecycle


def _closed(lifecycle: Lifecycle) -> dict[str, tuple[Any, ...]]:
    rows = lifecycle.at(
        "warehouse",
        "select to_char(month, 'YYYY-MM'), version, orders, customers, gross_revenue_eur, refunded_eur, net_revenue_eur,"
        " closed_at from marts.fct_monthly_revenue order by 1",
    )
    return {month: tuple(figures) for month, *figures in rows}


def test_an_hour_that_is_loaded_again_has_its_month_built_again_and_no_other(
    first_demo: Demo, lifecycle: Lifecycle
) -> None:
    lifecycle.quiet()
    before = _closed(lifecycle)
    # every month from the contract's first to the last that was over when they were built, and not the one under way then
    begun = lifecycle.value("warehouse", "select begun_at from ledger.candidate where transform = 'shop'")
    assert list(before) == [f"{month:%Y-%m}" for month in months.whole(date(2026, 1, 1), begun)]
    assert {figures[0] for figures in before.values()} == {1}
    order, hour, month = lifecycle.at(
        "warehouse",
        "select order_id, date_trunc('hour', updated_at), to_char(placed_at, 'YYYY-MM') from raw_shop.orders"
        " where status = 'delivered' and currency <> 'EUR' and placed_at >= '2026-01-01Z'"
        " and updated_at < date_trunc('month', (select max(month) from marts.fct_monthly_revenue) + interval '1 month')"
        " and date_trunc('month', placed_at) = date_trunc('month', updated_at)"
        " order by updated_at desc limit 1",
    )[0]
    # of this the cursor tells nothing
    lifecycle.at(
        "shop",
        "set session_replication_role = replica;"
        f" update shop.orders set exchange_rate = exchange_rate * 1.01 where order_id = {order}",
    )
    said = lifecycle.stack.millrace(
        "airflow", "backfill", "create", "--dag-id", "ingest__shop", "--from-date", hour.isoformat(),
        "--to-date", hour.isoformat(), "--reprocess-behavior", "completed",
        "--dag-run-conf", json.dumps({"streams": ["orders"]}),
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    newest = lifecycle.value("airflow", "select max(id) from backfill where dag_id = 'ingest__shop'")
    (run,) = lifecycle.backfilled(newest)
    transform = lifecycle.caused("transform__shop", run)
    assert (run.state, transform.state) == ("success", "success"), lifecycle.states(transform)

    after = _closed(lifecycle)
    assert after[month][0] == 2 and after[month][-1] > before[month][-1]
    # what its orders are by now, those that came late too
    assert (
        after[month][1:-1]
        == lifecycle.at(
            "warehouse",
            "select count(*), count(distinct customer_id), sum(gross_revenue_eur), sum(refunded_eur), sum(net_revenue_eur)"
            " from marts.fct_orders where is_recognised and to_char(placed_on, 'YYYY-MM') = %s",
            month,
        )[0]
    )
    assert after[month][3] != before[month][3]
    assert {name: row for name, row in after.items() if name != month} == {
        name: row for name, row in before.items() if name != month
    }
    shown = lifecycle.stack.millrace("months", "shop").stdout
    assert f"backfill of shop, run {run.run_id}" in shown
    assert shown.count("all its days are published") == len(before)
