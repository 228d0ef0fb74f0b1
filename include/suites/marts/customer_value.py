"""What the mart `customer_value` must meet before it is published: it decides whom the sales team calls."""

from __future__ import annotations

import great_expectations.expectations as gxe

SEGMENTS = ["prospect", "champion", "loyal", "new", "active", "at_risk", "lost"]


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=1,
            severity="critical",
            description="there are customers",
            meta={"why": "an empty mart would take every value out of the CRM"},
        ),
        gxe.ExpectColumnValuesToBeUnique(
            column="customer_id",
            severity="critical",
            description="one row per customer",
            meta={"why": "a contact can have one value only"},
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="segment",
            value_set=SEGMENTS,
            severity="critical",
            description="the segment is one that the CRM knows",
            meta={"why": "campaigns are built on these names"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="lifetime_value_eur",
            min_value=0,
            max_value=10_000_000,
            severity="critical",
            description="lifetime values are 0 to 10 000 000 euros",
            meta={"why": "a negative value means that more was given back than was paid"},
        ),
        gxe.UnexpectedRowsExpectation(
            unexpected_rows_query=(
                "select customer_id, segment, orders, lifetime_value_eur, first_order_at, last_order_at"
                " from {batch}"
                " where (segment = 'prospect') <> (orders = 0) or (orders = 0) <> (last_order_at is null)"
                " or first_order_at > last_order_at or (orders = 0 and lifetime_value_eur <> 0)"
            ),
            severity="critical",
            description="prospects, and only they, have no orders, no dates and no value",
            meta={"why": "orders, dates and value come from one sum: a difference means a broken join"},
        ),
        gxe.UnexpectedRowsExpectation(
            unexpected_rows_query=(
                "select segment, count(*) as customers from {batch} group by segment"
                " having count(*) > 0.95 * (select count(*) from {batch}) and count(*) > 100"
            ),
            severity="warning",
            description="no segment holds nearly everybody",
            meta={"why": "a rule that has gone wrong usually sends all customers to one segment"},
        ),
    ]
