"""Where a sync delivers to: one model for each kind of destination, as the contract's `destination` describes it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from include.core.contracts.common import Count, Model, Number, Text

#: What a sync does with the records of its model.
Mode = Literal["upsert", "update", "insert", "mirror", "append"]


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


class PostgresDestination(_Target):
    """A table, written by upsert on its unique key."""

    connection_types = ("postgres",)
    modes = ("upsert", "update", "insert", "mirror")

    type: Literal["postgres"] = Field(description="Kind of destination.")
    table: Text = Field(description="schema.table at the destination.")
    key: Text = Field(description="Unique column at the destination that identifies a record.")

    @property
    def place(self) -> str:
        return self.table

    @property
    def can_compare(self) -> bool:
        return True


class MysqlDestination(_Target):
    """A table in MariaDB or MySQL, written by upsert on its unique key."""

    connection_types = ("mysql",)
    modes = ("upsert", "mirror")

    type: Literal["mysql"] = Field(description="Kind of destination.")
    table: Text = Field(description="database.table at the destination.")
    key: Text = Field(description="Unique column at the destination that identifies a record.")

    @property
    def place(self) -> str:
        return self.table

    @property
    def can_compare(self) -> bool:
        return True


class HttpDestination(_Target):
    """A JSON API that takes batches.

    POST {path} {records_field: [{id, properties: {mapped fields}}]}
    answers     {results_field: [{id, status, error}]}
    with the connection's password as bearer token.
    """

    connection_types = ("http", "https")
    nested = True
    modes = ("upsert",)

    type: Literal["http"] = Field(description="Kind of destination.")
    path: Text = Field(pattern="^/", description="Path of the batch upsert, below the connection's address.")
    key: Text = Field(description="Mapped field that identifies a record; its value goes as `id` too.")
    records_field: Text = Field(default="records", description="Where the records stand in a request.")
    results_field: Text = Field(default="results", description="Where their results stand in an answer.")
    timeout_seconds: Number = Field(default=30, gt=0, description="How long an answer may take.")
    concurrency: Count = Field(default=4, ge=1, le=64, description="How many requests go at the same time.")

    @property
    def place(self) -> str:
        return self.path


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
