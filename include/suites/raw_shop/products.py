"""What a batch of `shop.products` must meet before it is published: the back office checks nothing."""

from __future__ import annotations

import great_expectations.expectations as gxe


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectColumnValuesToNotBeNull(
            column="product_id",
            severity="critical",
            description="every product has its key",
            meta={"why": "a row without a key can be neither merged nor found again"},
        ),
        gxe.ExpectColumnValuesToNotBeNull(
            column="price",
            severity="critical",
            description="every product has a price",
            meta={"why": "margins and offers are computed from it"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="price",
            min_value=0,
            max_value=100_000,
            severity="critical",
            description="prices are 0 to 100 000 euros",
            meta={"why": "a negative price is a typing error that would show as negative revenue"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="cost",
            min_value=0,
            severity="critical",
            description="buying prices are not negative",
            meta={"why": "a negative cost shows as a margin above the price"},
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
