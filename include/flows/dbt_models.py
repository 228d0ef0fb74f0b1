"""What dbt's manifest says of a model: its key, and which of its columns are personal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def nodes(manifest: Path) -> list[dict[str, Any]]:
    """Every model and test."""
    return list(json.loads(manifest.read_text(encoding="utf-8"))["nodes"].values())


def model(manifest: Path, name: str) -> dict[str, Any] | None:
    """One model; None when dbt knows none of this name, or has written no manifest yet."""
    if not manifest.is_file():
        return None
    return next((n for n in nodes(manifest) if n["resource_type"] == "model" and n["name"] == name), None)


def personal_columns(model: dict[str, Any]) -> frozenset[str]:
    """The columns that its documentation marks as personal data (`meta.pii`)."""
    return frozenset(name for name, column in model["columns"].items() if column["config"]["meta"].get("pii"))
