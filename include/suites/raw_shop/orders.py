"""What a batch of `shop.orders` must meet besides its contract: how its columns belong together."""

from __future__ import annotations

import great_expectations.expectations as gxe


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="exchange_rate",
            min_value=0,
            strict_min=True,
            max_value=1000,
            severity="critical",
            description="exchange rates are above 0 and at most 1000",
            meta={"why": "every amount in euros is multiplied by it"},
        ),
        gxe.UnexpectedRowsExpectation(
            unexpected_rows_query=(
                "select order_id, items_total, discount_total, order_total from {batch}"
                " where order_total <> items_total - discount_total"
            ),
            severity="critical",
            description="an order costs its items less the discount",
            meta={"why": "the source guarantees it: a difference means that a value was changed on the way"},
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
