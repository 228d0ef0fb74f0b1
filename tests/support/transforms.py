"""A transform without dbt: what tests of candidates and publications build on."""

from __future__ import annotations

from include.core.contracts import TransformContract

SHOP = TransformContract.model_validate(
    {
        "transform": "shop",
        "description": "test",
        "owner": {"team": "testers", "contact": "testers@example.com"},
        "deadline": {"after_queueing": "1h"},
        "sources": ["shop"],
        "select": ["path:models"],
    }
)
