"""What a batch of `shop.order_items` must meet before it is published."""

from __future__ import annotations

import great_expectations.expectations as gxe


def expectations() -> list[gxe.Expectation]:
    return [
        *(
            gxe.ExpectColumnValuesToNotBeNull(
                column=column,
                severity="critical",
                description=f"every line has its {column}",
                meta={"why": "a row without its whole key can be neither merged nor found again"},
            )
            for column in ("order_id", "line_no")
        ),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["order_id", "line_no"],
            severity="critical",
            description="order_id and line_no together are unique",
            meta={"why": "a line that comes twice would be paid twice in every sum"},
        ),
        gxe.ExpectColumnValuesToNotBeNull(
            column="product_id",
            severity="critical",
            description="every line has a product",
            meta={"why": "sales by product would not add up to sales"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="quantity",
            min_value=1,
            max_value=10_000,
            severity="critical",
            description="quantities are 1 to 10 000",
            meta={"why": "what comes back is a refund, never a negative quantity"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="unit_price",
            min_value=0,
            severity="critical",
            description="prices are not negative",
            meta={"why": "a negative price shows as negative revenue"},
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
