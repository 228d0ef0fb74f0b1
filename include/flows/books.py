"""Whether the rows counted at each place of a load agree."""

from __future__ import annotations

from typing import Any


def unbalanced(row: dict[str, Any]) -> list[str]:
    """What does not add up in one row of `ledger.load_stream`, in words; nothing when its books balance."""
    wrong = []
    name = row["stream"]
    if row["extracted"] != row["landed"]:
        wrong.append(f"{name}: extracted {row['extracted']}, landed {row['landed']}")
    retried = f", retried {row['retried']}" if row["retried"] else ""
    if row["staged"] is not None and row["staged"] != row["landed"] + row["retried"]:
        wrong.append(f"{name}: landed {row['landed']}{retried}, staged {row['staged']}")
    if row["status"] == "published":
        accounted = sum(
            row[column]
            for column in ("inserted", "updated", "unchanged", "duplicates", "rejected", "quarantined")
        )
        if accounted != row["staged"]:
            wrong.append(f"{name}: staged {row['staged']}, accounted for {accounted}")
    return wrong
