"""What the mart `dim_customers` must meet before it is published."""

from __future__ import annotations

import great_expectations.expectations as gxe


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=1,
            severity="critical",
            description="there are customers",
            meta={"why": "an empty dimension blanks every report that joins it"},
        ),
        gxe.ExpectColumnValuesToBeUnique(
            column="customer_id",
            severity="critical",
            description="one row per customer",
            meta={"why": "a second row would double the orders that join it"},
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="tier",
            value_set=["standard", "silver", "gold", "platinum"],
            severity="warning",
            description="the tier is a known one",
            meta={"why": "reports have a column for each tier"},
        ),
        gxe.ExpectColumnValuesToMatchRegex(
            column="country_code",
            regex="^[A-Z]{2}$",
            mostly=0.99,
            severity="warning",
            description="countries are two-letter codes",
            meta={"why": "maps and tax rules look countries up by this code"},
        ),
        gxe.UnexpectedRowsExpectation(
            unexpected_rows_query=(
                "select customer_id, is_live, signed_up_at, left_at from {batch}"
                " where is_live <> (left_at is null) or left_at < signed_up_at"
            ),
            severity="critical",
            description="a customer is live until the day of leaving, which comes after signing up",
            meta={"why": "who left must not be counted, mailed or delivered"},
        ),
    ]
