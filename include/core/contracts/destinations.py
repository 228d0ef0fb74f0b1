"""Where a sync delivers to: one model for each kind of destination, as the contract's `destination` describes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from include.core.contracts.common import Count, Faults, Model, Number, RateLimit, Text
from include.core.contracts.faults import FaultyContract
from include.core.contracts.http_api import RESERVED, HttpShape, declared, fill
from include.core.errors import ContractError

#: What a sync does with the records of its model.
Mode = Literal["upsert", "update", "insert", "mirror", "append"]

#: What may stand in braces in a declaration.
FILLED = "a parameter of the declaration, a mapped field, or what it knows by itself: " + ", ".join(
    sorted(RESERVED)
)


class _Target(Model):
    """What every kind has."""

    #: Types of Airflow connections that lead to it.
    connection_types: ClassVar[tuple[str, ...]]
    #: What it can do.
    modes: ClassVar[tuple[Mode, ...]]
    #: Whether it takes nested JSON.
    nested: ClassVar[bool] = False

    connection: Text = Field(description="The Airflow connection to it.")

    @property
    def place(self) -> str:
        """The object there; with the connection it says which destination this is."""
        raise NotImplementedError

    @property
    def can_compare(self) -> bool:
        """Whether it can be read back."""
        return False

    @property
    def possible(self) -> tuple[Mode, ...]:
        """Of the modes of its kind, those that it can do as it is described."""
        return self.modes

    def unfilled(self, fields: Iterable[str]) -> list[str]:
        """What requests speak of and nothing fills, when `fields` are mapped."""
        return []


class _Table(_Target):
    """What tables have in common."""

    table: Text
    key: Text = Field(description="Unique column at the destination that identifies a record.")

    @property
    def place(self) -> str:
        return self.table

    @property
    def can_compare(self) -> bool:
        return True


class PostgresDestination(_Table):
    """A table, written by upsert on its unique key."""

    connection_types = ("postgres",)
    modes = ("upsert", "update", "insert", "mirror")

    type: Literal["postgres"] = Field(description="Kind of destination.")
    table: Text = Field(description="schema.table at the destination.")


class MysqlDestination(_Table):
    """A table in MariaDB or MySQL, written by upsert on its unique key."""

    connection_types = ("mysql",)
    modes = ("upsert", "mirror")

    type: Literal["mysql"] = Field(description="Kind of destination.")
    table: Text = Field(description="database.table at the destination.")


class HttpDestination(_Target):
    """A JSON API. What it looks like is declared: see `include/core/contracts/http_api.py`.

    The connection says how to log in: a password alone is a bearer token; with a login it is HTTP basic; with `header` in
    the extra it goes in that header; with `token_url` there, login and password are OAuth2 client credentials.
    """

    connection_types = ("http", "https")
    nested = True
    modes = ("upsert", "mirror")

    type: Literal["http"] = Field(description="Kind of destination.")
    api: Text | HttpShape = Field(
        default="batch_upsert",
        description="What the API looks like: a file in include/activation/destinations/apis, or a declaration.",
    )
    path: str = Field(
        default="",
        pattern="^(/|$)",
        description="Path of the batch upsert, below the connection's address, where the declaration leaves it open.",
    )
    parameters: dict[str, Text] = Field(default={}, description="What the declaration leaves open.")
    key: Text = Field(description="Mapped field that identifies a record.")
    rate_limit: RateLimit | None = Field(
        default=None,
        description="How many requests may go in how long, by all syncs and workers of the connection together: 100/10s.",
    )
    timeout_seconds: Number = Field(default=30, gt=0, description="How long an answer may take.")
    concurrency: Count = Field(default=4, ge=1, le=64, description="How many requests go at the same time.")

    @property
    def shape(self) -> HttpShape:
        """The declaration, whether named or written out."""
        return self.api if isinstance(self.api, HttpShape) else declared(self.api)

    @property
    def settings(self) -> dict[str, str]:
        """Every parameter of the declaration, with its value."""
        given = self.parameters | ({"path": self.path} if self.path else {})
        return {name: given.get(name, default) or "" for name, default in self.shape.parameters.items()}

    @property
    def place(self) -> str:
        if self.path or isinstance(self.api, HttpShape):
            return self.path or fill(self.shape.upsert.path, self.settings)
        return " ".join([self.api, *(f"{name}={value}" for name, value in sorted(self.parameters.items()))])

    @property
    def can_compare(self) -> bool:
        return self.shape.read is not None

    @property
    def possible(self) -> tuple[Mode, ...]:
        return self.modes if self.shape.delete else ("upsert",)

    def unfilled(self, fields: Iterable[str]) -> list[str]:
        return self.shape.unknown(frozenset(fields))

    @model_validator(mode="after")
    def _fits_the_declaration(self) -> HttpDestination:
        faults = Faults()
        try:
            shape = self.shape
        except FaultyContract:
            raise
        except ContractError as error:
            faults.add("api", received=error.received, allowed=f"{error.allowed}; or a declaration")
            faults.raise_any()
        open_ones = [name for name, default in shape.parameters.items() if default is None]
        for name in open_ones:
            if name == "path" and not self.path:
                faults.add(
                    "path", received=None, allowed="the path of the batch upsert, such as /v1/contacts/batch"
                )
            elif name != "path" and name not in self.parameters:
                faults.add("parameters", received=list(self.parameters), allowed=f"with {name}")
        for name in self.parameters:
            if name not in shape.parameters or name == "path":
                allowed = ", ".join(other for other in shape.parameters if other != "path") or "none"
                faults.add("parameters", name, received=self.parameters[name], allowed=allowed)
        if self.path and "path" not in shape.parameters:
            faults.add("path", received=self.path, allowed="nothing: the declaration has its own paths")
        faults.raise_any()
        return self


class S3Destination(_Target):
    """Files in an S3-style store: each run adds a folder of new lines, whose manifest comes last."""

    connection_types = ("aws",)
    modes = ("append", "upsert", "mirror")

    type: Literal["s3"] = Field(description="Kind of destination.")
    prefix: Text = Field(
        pattern="^[^/].*[^/]$",
        description="Where the folders of the runs go, in the bucket of the connection.",
    )
    key: Text = Field(description="Mapped field that identifies a record.")
    format: Literal["jsonl", "csv", "parquet"] = Field(
        default="jsonl",
        description="Of the files. In CSV and Parquet every value is text, with all its digits.",
    )

    @property
    def place(self) -> str:
        return self.prefix


AnyDestination = Annotated[
    PostgresDestination | MysqlDestination | HttpDestination | S3Destination, Field(discriminator="type")
]
