"""What the mart `fct_order_items` must meet before it is published."""

from __future__ import annotations

import great_expectations.expectations as gxe


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=1,
            severity="critical",
            description="there are order lines",
            meta={"why": "orders without any line mean that order_items was not loaded"},
        ),
        gxe.ExpectCompoundColumnsToBeUnique(
            column_list=["order_id", "line_no"],
            severity="critical",
            description="one row per line of an order",
            meta={"why": "a line that comes twice is a sale that comes twice"},
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
            column="line_total_eur",
            min_value=0,
            severity="critical",
            description="no line is worth less than nothing",
            meta={"why": "a negative line hides a discount that belongs to the order"},
        ),
    ]
