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
    Model,
    Number,
    Share,
    Text,
)
from include.core.contracts.destinations import FILLED, AnyDestination, Mode
from include.core.contracts.mapping import Filling, columns_of


class ApprovalAbove(Model):
    """A person is asked when a plan is large."""

    above: Number = Field(
        gt=0,
        description="How much a run may send without asking: below 1 a share of the records that the destination holds, from"
        " 1 on a count.",
    )


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
    mapping: dict[str, Filling] = Field(
        min_length=1,
        description="destination field: model column; or `{value: …}`, `{template: …}`, `{column: …, type: …}`. A dot in the"
        " name of a field makes nested JSON, where the destination takes it.",
    )
    personal: tuple[Text, ...] = Field(
        default=(),
        description="Mapped columns that the model's documentation marks as personal (`meta.pii`) and that may leave the"
        " warehouse. Any other one is refused.",
    )
    environments: tuple[Text, ...] = Field(
        default=(),
        description="Where it may send: names that `MILLRACE_ENVIRONMENT` may have (`local` when it is not set). Elsewhere a"
        " run plans, and sends nothing. Empty: everywhere.",
    )
    approval: Literal["never", "always"] | ApprovalAbove = Field(
        default="never", description="Whether a person is asked in the UI before anything is sent."
    )
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
        for name in self.destination.unfilled(self.mapping):
            faults.add("destination", "api", received=f"{{{name}}}", allowed=FILLED)
        if self.mode not in self.destination.possible:
            allowed = f"{', '.join(self.destination.possible)}: what a destination of type {self.destination.type} can do"
            faults.add("mode", received=self.mode, allowed=allowed)
        self._check_fields(faults)
        for number, column in enumerate(self.personal):
            if column not in self.columns:
                faults.add("personal", number, received=column, allowed="a column that the mapping sends")
        if self.verify != "never" and not self.can_verify:
            allowed = "never: the destination cannot be read back, or in this mode holds what others say"
            faults.add("verify", received=self.verify, allowed=allowed)
        faults.raise_any()
        return self

    def _check_fields(self, faults: Faults) -> None:
        """Names with dots are places in nested JSON, and no place is both a value and a group."""
        for name in self.mapping:
            if "." not in name:
                continue
            parts = name.split(".")
            groups = [".".join(parts[:depth]) for depth in range(1, len(parts))]
            if not self.destination.nested:
                allowed = f"no dot: a destination of type {self.destination.type} has no nested fields"
                faults.add("mapping", name, received=name, allowed=allowed)
            elif not all(parts) or set(groups) & set(self.mapping):
                allowed = "names between dots, none of which is a field with a value of its own"
                faults.add("mapping", name, received=name, allowed=allowed)

    @property
    def columns(self) -> tuple[str, ...]:
        """The model columns that leave the warehouse."""
        return tuple(
            dict.fromkeys(column for filling in self.mapping.values() for column in columns_of(filling))
        )

    def undeclared(self, personal: frozenset[str]) -> list[str]:
        """Columns that would leave although they are among the personal ones and `personal` does not name them."""
        return [name for name in self.columns if name in personal and name not in self.personal]

    @property
    def can_verify(self) -> bool:
        """Whether the destination shall hold what was delivered, and can be asked."""
        return self.destination.can_compare and self.mode in ("upsert", "update", "mirror")
