"""What fills a field of a destination: a model column, as it is or in another type, a constant, or a text with columns."""

from __future__ import annotations

import string
from typing import Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, field_validator

from include.core.contracts.common import Model, Text

CastType = Literal["text", "number", "integer", "boolean", "date", "timestamp"]


class Constant(Model):
    """The same value in each record."""

    value: StrictStr | StrictInt | StrictFloat | StrictBool = Field(
        description="A text, a number, true or false."
    )

    @property
    def columns(self) -> tuple[str, ...]:
        return ()


class Template(Model):
    """A text with columns in braces. A column without a value leaves nothing; when all are without, the field is null."""

    template: Text = Field(description="Such as `{first_name} {last_name}`; a brace itself is written twice.")

    @field_validator("template")
    @classmethod
    def _has_columns(cls, value: str) -> str:
        try:
            parts = list(string.Formatter().parse(value))
        except ValueError:
            parts = []
        names = [name for _, name, _, _ in parts if name is not None]
        plain = all(not form and not how and name for _, name, form, how in parts if name is not None)
        if not names or not plain or any(set(".[!:") & set(name) for name in names):
            raise ValueError("a text with at least one column in braces, such as '{first_name} {last_name}'")
        return value

    @property
    def parts(self) -> list[tuple[str, str | None]]:
        """Text, and the column after it."""
        return [(text, name) for text, name, _, _ in string.Formatter().parse(self.template)]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for _, name in self.parts if name))


class Cast(Model):
    """A column in another type."""

    column: Text = Field(description="Model column.")
    type: CastType = Field(
        description="What it becomes. In JSON a `number` or an `integer` stands as one, not as a text of its digits; a"
        " `timestamp` has its zone."
    )

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)


#: The short form is a model column.
Filling = Text | Constant | Template | Cast


def columns_of(filling: Filling) -> tuple[str, ...]:
    """The model columns that a field is made of."""
    return (filling,) if isinstance(filling, str) else filling.columns
