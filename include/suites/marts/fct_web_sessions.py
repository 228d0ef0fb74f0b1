"""What the mart `fct_web_sessions` must meet before it is published."""

from __future__ import annotations

import great_expectations.expectations as gxe


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectColumnValuesToBeUnique(
            column="session_id",
            severity="critical",
            description="one row per visit",
            meta={"why": "conversion is a share of visits"},
        ),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="ended_at",
            column_B="started_at",
            or_equal=True,
            severity="critical",
            description="no visit ends before it starts",
            meta={"why": "the length of a visit is computed from the two"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="events",
            min_value=1,
            max_value=10_000,
            mostly=0.999,
            severity="warning",
            description="visits have 1 to 10 000 events",
            meta={"why": "more is a robot, and many robots make conversion meaningless"},
        ),
    ]
