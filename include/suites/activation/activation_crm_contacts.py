"""What `activation_crm_contacts` must meet before anything of it is delivered to the CRM."""

from __future__ import annotations

import great_expectations.expectations as gxe

SEGMENTS = ["prospect", "champion", "loyal", "new", "active", "at_risk", "lost"]


def expectations() -> list[gxe.Expectation]:
    return [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=1,
            severity="critical",
            description="there are contacts",
            meta={"why": "an empty model reads as: everybody left"},
        ),
        gxe.ExpectColumnValuesToBeUnique(
            column="external_id",
            severity="critical",
            description="one row per contact",
            meta={"why": "of two rows for one contact, the last one delivered would win by chance"},
        ),
        gxe.ExpectColumnValuesToNotBeNull(
            column="external_id",
            severity="critical",
            description="every contact has its key",
            meta={"why": "the destination finds the contact by it"},
        ),
        gxe.ExpectColumnValuesToMatchRegex(
            column="email",
            regex=r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
            mostly=0.99,
            severity="critical",
            description="99 in 100 e-mail addresses look like one",
            meta={"why": "many bad ones mean a shifted column; single ones are rejected on delivery"},
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="segment",
            value_set=SEGMENTS,
            severity="critical",
            description="the segment is one that the CRM knows",
            meta={"why": "the sales team's lists are built on these names"},
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="customer_value",
            min_value=0,
            max_value=10_000_000,
            severity="critical",
            description="customer values are 0 to 10 000 000 euros",
            meta={"why": "the CRM sorts contacts by it"},
        ),
    ]
