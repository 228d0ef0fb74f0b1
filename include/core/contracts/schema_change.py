"""What a contract answers when the source's schema is no longer the one that it declares, by kind of change."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from include.core.contracts.common import Model


class SchemaAnswers(Model):
    """One answer a kind. freeze: stop before anything is read; quarantine: hold back this stream, the others go on; evolve:
    go on with the change; ignore: go on without it."""

    new_column: Literal["freeze", "quarantine", "ignore", "evolve"] = Field(
        default="freeze",
        description="A column that the contract does not know. evolve: it is read; ignore: it is not.",
    )
    widened: Literal["freeze", "quarantine", "evolve"] = Field(
        default="freeze",
        description="A type that holds all that the declared one does. evolve: the column in raw gets it.",
    )
    narrowed: Literal["freeze", "quarantine", "evolve"] = Field(
        default="freeze",
        description="A type whose values the declared one holds. evolve: the column in raw stays as wide as it is.",
    )
    retyped: Literal["freeze", "quarantine"] = Field(default="freeze", description="Any other type.")
    dropped: Literal["freeze", "quarantine", "evolve"] = Field(
        default="freeze",
        description="A column that is gone. evolve: raw keeps it with the values it had, null in new rows.",
    )
    renamed: Literal["freeze", "quarantine", "evolve"] = Field(
        default="freeze",
        description="A column with another name. evolve: it is read under the name that the contract has.",
    )
    changed_key: Literal["freeze", "quarantine"] = Field(
        default="freeze", description="Another primary key than the contract's."
    )
    new_table: Literal["ignore", "freeze"] = Field(
        default="ignore",
        description="A table beside those that are read, in their schemas. ignore: the run's log names it.",
    )
