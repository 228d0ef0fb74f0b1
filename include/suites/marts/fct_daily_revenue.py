"""What the mart `fct_daily_revenue` must meet before it is published."""

from __future__ import annotations

import great_expectations.expectations as gxe


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=1,
            max_value=36_525,
            severity="critical",
            description="there are days, and fewer than in a century",
            meta={"why": "one order with a wrong year would stretch the calendar over centuries"},
        ),
        gxe.ExpectColumnValuesToBeUnique(
            column="revenue_date",
            severity="critical",
            description="one row per day",
            meta={"why": "a day that comes twice is revenue that comes twice"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="net_revenue_eur",
            min_value=0,
            severity="critical",
            description="no day has negative revenue",
            meta={"why": "refunds lower the day of their order, so no day can fall below nothing"},
        ),
        gxe.UnexpectedRowsExpectation(
            unexpected_rows_query=(
                "select revenue_date, orders, customers, gross_revenue_eur, refunded_eur, net_revenue_eur"
                " from {batch}"
                " where net_revenue_eur <> gross_revenue_eur - refunded_eur or customers > orders"
            ),
            severity="critical",
            description="net is gross less refunds, and there are no more buyers than orders",
            meta={"why": "the columns are read side by side"},
        ),
        gxe.UnexpectedRowsExpectation(
            unexpected_rows_query=(
                "select count(*) as days, min(revenue_date) as first_day, max(revenue_date) as last_day"
                " from {batch}"
                " having count(*) <> max(revenue_date) - min(revenue_date) + 1"
            ),
            severity="critical",
            description="the calendar has no gaps",
            meta={"why": "a chart would draw a line across the missing days"},
        ),
    ]
