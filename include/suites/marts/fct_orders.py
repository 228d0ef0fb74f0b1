"""What the mart `fct_orders` must meet before it is published."""

from __future__ import annotations

import great_expectations.expectations as gxe

STATUSES = ["pending", "paid", "shipped", "delivered", "cancelled", "returned"]


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=1,
            severity="critical",
            description="there are orders",
            meta={"why": "no orders at all means that raw was not loaded, not that nobody bought"},
        ),
        gxe.ExpectColumnValuesToBeUnique(
            column="order_id",
            severity="critical",
            description="one row per order",
            meta={"why": "an order that comes twice is revenue that comes twice"},
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="order_status",
            value_set=STATUSES,
            severity="critical",
            description="the status is one that the definition of revenue knows",
            meta={"why": "an unknown status would silently count as no revenue"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="net_revenue_eur",
            min_value=0,
            max_value=1_000_000,
            severity="critical",
            description="revenue of an order is 0 to 1 000 000 euros",
            meta={"why": "negative revenue means that more was given back than was paid"},
        ),
        gxe.UnexpectedRowsExpectation(
            unexpected_rows_query=(
                "select order_id, order_status, gross_revenue_eur, refunded_eur, net_revenue_eur from {batch}"
                " where net_revenue_eur <> gross_revenue_eur - refunded_eur"
                " or (not is_recognised and net_revenue_eur <> 0)"
            ),
            severity="critical",
            description="net revenue is gross less refunds, and 0 for orders that do not count",
            meta={"why": "consumers sum this column without a filter"},
        ),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="captured_amount",
            column_B="refunded_amount",
            or_equal=True,
            severity="critical",
            description="refunds are at most what was paid",
            meta={"why": "nobody gets back more than they paid"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="item_lines",
            min_value=1,
            mostly=0.99,
            severity="warning",
            description="orders have lines",
            meta={"why": "orders without lines mean that order_items lags behind"},
        ),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="delivered_at",
            column_B="placed_at",
            or_equal=True,
            ignore_row_if="either_value_is_missing",
            severity="warning",
            description="nothing arrives before it was ordered",
            meta={"why": "delivery times are computed from the two"},
        ),
    ]
