"""The contract of a sync: one activation model delivered to one object of one operational system."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from include.core.contracts.common import DagContract, Identifier, Model


class PostgresDestination(Model):
    """A table, written by upsert on its unique key."""

    type: Literal["postgres"]
    connection: str
    table: str = Field(description="schema.table at the destination.")
    key: str = Field(description="Unique column at the destination that identifies a record.")


class HttpDestination(Model):
    """A JSON API that takes batches: POST {path} {records_field: [...]} → {results_field: [{id, status, error}]}."""

    type: Literal["http"]
    connection: str
    path: str
    key: str = Field(description="Field of a record that identifies it.")
    records_field: str = "records"
    results_field: str = "results"
    timeout_seconds: float = Field(default=30, gt=0)
    concurrency: int = Field(default=4, ge=1, le=64)


class SyncContract(DagContract):
    """One sync. `mapping` says for each destination field which model column fills it."""

    sync: Identifier
    transform: str = Field(description="Delivered when this transform was published.")
    model: str = Field(description="Activation model (view `activation.<model>` in the warehouse).")
    key: str = Field(description="Model column that identifies a record, unique in the model.")
    destination: PostgresDestination | HttpDestination = Field(discriminator="type")
    mapping: dict[str, str] = Field(min_length=1, description="destination field: model column")
    batch_size: int = Field(default=500, ge=1, le=100_000)
    max_attempts: int = Field(default=5, ge=1, description="Runs in which a rejected record is sent again.")
    max_change_share: float = Field(
        default=1.0, gt=0, le=1, description="Stop when more than this share of the known records would change."
    )

    @model_validator(mode="after")
    def _consistent(self) -> SyncContract:
        if self.mapping.get(self.destination.key) != self.key:
            raise ValueError(
                f"mapping must fill the destination's key {self.destination.key!r} from the model's key {self.key!r}"
                f" (received {self.mapping.get(self.destination.key)!r})"
            )
        return self
