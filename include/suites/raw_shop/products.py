"""What a batch of `shop.products` must meet besides its contract: the back office checks nothing itself."""

from __future__ import annotations

import great_expectations.expectations as gxe


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectColumnValuesToBeBetween(
            column="price",
            min_value=0,
            max_value=100_000,
            severity="critical",
            description="prices are 0 to 100 000 euros",
            meta={"why": "a negative or absurd price is a typing error that would show up as revenue"},
        ),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="price",
            column_B="cost",
            or_equal=True,
            ignore_row_if="either_value_is_missing",
            mostly=0.9,
            severity="warning",
            description="nine products in ten sell for no less than they cost",
            meta={"why": "a clearance is normal, a catalogue below cost is a mistake in a price list"},
        ),
    ]
