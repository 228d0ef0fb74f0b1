"""What a batch of `shop.order_items` must meet besides its contract."""

from __future__ import annotations

import great_expectations.expectations as gxe


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="quantity",
            max_value=10_000,
            severity="critical",
            description="quantities are at most 10 000",
            meta={"why": "more is a typing error that would show up as revenue"},
        ),
        gxe.UnexpectedRowsExpectation(
            unexpected_rows_query=(
                "select order_id, line_no, quantity, unit_price, line_total from {batch}"
                " where line_total <> quantity * unit_price"
            ),
            severity="critical",
            description="a line's total is quantity times price",
            meta={"why": "the source computes it: a difference means that a value was changed on the way"},
        ),
    ]
