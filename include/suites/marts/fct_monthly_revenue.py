"""What the mart `fct_monthly_revenue` must meet before it is published."""

from __future__ import annotations

import great_expectations.expectations as gxe


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectColumnValuesToBeUnique(
            column="month",
            severity="critical",
            description="one row per month",
            meta={"why": "a month that comes twice is revenue that comes twice"},
        ),
        gxe.UnexpectedRowsExpectation(
            unexpected_rows_query=(
                "select month, orders, customers, gross_revenue_eur, refunded_eur, net_revenue_eur from {batch}"
                " where net_revenue_eur <> gross_revenue_eur - refunded_eur or customers > orders"
            ),
            severity="critical",
            description="net is gross less refunds, and there are no more buyers than orders",
            meta={"why": "the columns are read side by side"},
        ),
        gxe.UnexpectedRowsExpectation(
            unexpected_rows_query=(
                "select month, closed_at from {batch}"
                " where closed_at < (month + interval '1 month') at time zone 'UTC'"
            ),
            severity="critical",
            description="no month was closed before it was over",
            meta={"why": "its last days would be missing for good"},
        ),
    ]
