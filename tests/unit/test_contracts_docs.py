"""docs/contracts.md has every field of every contract, as the models say it."""

from __future__ import annotations

import re

from include.core.contracts.load import KINDS
from include.core.contracts.reference import models, reference
from include.stack.home import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs" / "contracts.md"
MARK = "<!-- fields -->\n"
AGAIN = "write it again: sed -i '/^<!-- f/q' docs/contracts.md; millrace contract fields >> docs/contracts.md"


def test_the_reference_is_what_the_models_say() -> None:
    assert DOCS.read_text(encoding="utf-8").partition(MARK)[2] == reference(), AGAIN


def test_every_field_has_a_description() -> None:
    bare = [
        f"{model.__name__}.{name}"
        for kind in KINDS
        for model in models(kind).values()
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert bare == []


def test_every_field_stands_in_the_docs_under_its_contract() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for kind, (_, name) in KINDS.items():
        chapter = text.partition(f"## {name}: ")[2].partition("\n## ")[0]
        rows = set(re.findall(r"^\| `(\w+)` \|", chapter, re.MULTILINE))
        fields = {
            field
            for model in models(kind).values()
            if model.__name__ != "Accepted"
            for field in model.model_fields
        }
        assert rows == fields
