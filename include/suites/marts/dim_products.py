"""What the mart `dim_products` must meet before it is published."""

from __future__ import annotations

import great_expectations.expectations as gxe


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=1,
            severity="critical",
            description="there are products",
            meta={"why": "an empty dimension blanks every report that joins it"},
        ),
        gxe.ExpectColumnValuesToBeUnique(
            column="product_id",
            severity="critical",
            description="one row per product",
            meta={"why": "a second row would double the lines that join it"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="price_eur",
            min_value=0,
            max_value=100_000,
            severity="critical",
            description="prices are 0 to 100 000 euros",
            meta={"why": "a negative or absurd price is a typing error of the back office"},
        ),
        gxe.ExpectColumnValuesToNotBeNull(
            column="department_name",
            mostly=0.99,
            severity="warning",
            description="products belong to a department",
            meta={"why": "sales by department would not add up to sales"},
        ),
        gxe.ExpectColumnMeanToBeBetween(
            column="price_eur",
            min_value=5,
            max_value=200,
            severity="warning",
            description="the average price is 5 to 200 euros",
            meta={"why": "a price list in the wrong unit (cents for euros) moves the average, not the range"},
        ),
    ]
