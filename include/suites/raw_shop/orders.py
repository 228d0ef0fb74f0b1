"""What a batch of `shop.orders` must meet before it is published."""

from __future__ import annotations

import great_expectations.expectations as gxe

STATUSES = ["pending", "paid", "shipped", "delivered", "cancelled", "returned"]


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectColumnValuesToNotBeNull(
            column="order_id",
            severity="critical",
            description="every order has its key",
            meta={"why": "a row without a key can be neither merged nor found again"},
        ),
        gxe.ExpectColumnValuesToNotBeNull(
            column="customer_id",
            severity="critical",
            description="every order has a customer",
            meta={"why": "revenue without a customer is missing from customer values"},
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="status",
            value_set=STATUSES,
            severity="critical",
            description="the status is one that the definition of revenue knows",
            meta={"why": "an unknown status would silently count as no revenue"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="order_total",
            min_value=0,
            severity="critical",
            description="order totals are not negative",
            meta={"why": "money given back is a refund, never a negative order"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="exchange_rate",
            min_value=0,
            strict_min=True,
            max_value=1000,
            severity="critical",
            description="exchange rates are above 0 and below 1000",
            meta={"why": "every amount in euros is multiplied by it"},
        ),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="items_total",
            column_B="discount_total",
            or_equal=True,
            ignore_row_if="either_value_is_missing",
            severity="critical",
            description="a discount is at most what the items cost",
            meta={"why": "more would make the shop pay for selling"},
        ),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="delivered_at",
            column_B="shipped_at",
            or_equal=True,
            ignore_row_if="either_value_is_missing",
            severity="warning",
            description="nothing arrives before it was shipped",
            meta={"why": "delivery times are computed from the two"},
        ),
    ]
