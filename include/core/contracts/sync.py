"""The contract of a sync: one activation model delivered to one object of one operational system."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from include.core.contracts.common import (
    Count,
    DagContract,
    Duration,
    Faults,
    Identifier,
    Number,
    Share,
    Text,
)
from include.core.contracts.destinations import AnyDestination, Mode


class SyncContract(DagContract):
    """One sync. `mapping` says for each destination field which model column fills it."""

    sync: Identifier = Field(description="Its name, and that of the file.")
    transform: Identifier = Field(description="Delivered when this transform was published.")
    model: Text = Field(description="Activation model (view `activation.<model>` in the warehouse).")
    key: Text = Field(description="Model column that identifies a record, unique in the model.")
    destination: AnyDestination = Field(description="Where records go.")
    mode: Mode = Field(
        default="upsert",
        description="What happens there. `upsert`: new records are created, changed ones updated. `update`: those that are"
        " not there are rejected. `insert`: those that are there stay as they are. `mirror`: upsert, and a record that left"
        " the model is deleted. `append`: each key is added once.",
    )
    mapping: dict[str, Text] = Field(min_length=1, description="destination field: model column")
    freshness: Duration | None = Field(
        default=None,
        description="How old the data may be that the destination holds: since the newest row, and since the sources' last"
        " committed interval. Watched also when nothing runs.",
    )
    batch_size: Count = Field(default=500, ge=1, le=100_000, description="How many records go at once.")
    max_attempts: Count = Field(default=5, ge=1, description="Runs in which a rejected record is sent again.")
    max_change_share: Number = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Stop when more than this share of the known records would change.",
    )
    max_delete_share: Share = Field(
        default=0.1,
        description="Stop when more than this share of the records that the destination holds would go (mode mirror)."
        " Up to 5 always may, unless the model is empty. With 1 an empty model empties the destination.",
    )
    verify: Literal["never", "sample", "all"] = Field(
        default="never",
        description="Whether a run reads back what the destination acknowledged and compares it, in the end: `verify_sample`"
        " records or all. Others may change them there, and nothing else tells of it.",
    )
    verify_sample: Count = Field(default=500, ge=1, description="How many records a sample has.")
    on_drift: Literal["report", "overwrite"] = Field(
        default="report",
        description="What happens to records that differ there: they are told as a warning, and with `overwrite` sent again"
        " by the next run.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> SyncContract:
        faults = Faults()
        filled = self.mapping.get(self.destination.key)
        if filled != self.key:
            allowed = (
                f"`{self.destination.key}: {self.key}`: the destination's key is filled from the model's"
            )
            at = ("mapping", self.destination.key) if filled else ("mapping",)
            faults.add(*at, received=filled or list(self.mapping), allowed=allowed)
        if self.mode not in self.destination.modes:
            allowed = f"{', '.join(self.destination.modes)}: what a destination of type {self.destination.type} can do"
            faults.add("mode", received=self.mode, allowed=allowed)
        if self.verify != "never" and not self.can_verify:
            allowed = "never: the destination cannot be read back, or in this mode holds what others say"
            faults.add("verify", received=self.verify, allowed=allowed)
        faults.raise_any()
        return self

    @property
    def can_verify(self) -> bool:
        """Whether the destination shall hold what was delivered, and can be asked."""
        return self.destination.can_compare and self.mode in ("upsert", "update", "mirror")
