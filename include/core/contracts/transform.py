"""The contract of a transform: which dbt models are built when, and what must hold before publication."""

from __future__ import annotations

from datetime import date

from pydantic import Field, model_validator

from include.core.contracts.common import DagContract, Duration, Faults, Identifier, Text
from include.core.contracts.watch import Watch, check_transform_watch


class TransformContract(DagContract):
    """One group of dbt models that is built, gated and published as a whole."""

    transform: Identifier = Field(description="Its name, and that of the file.")
    sources: tuple[Identifier, ...] = Field(
        min_length=1, description="Built when one of these sources was published."
    )
    select: tuple[Text, ...] = Field(min_length=1, description="dbt selectors, such as `path:models`.")
    freshness: Duration | None = Field(
        default=None,
        description="How old the data may be that consumers see: since the newest row, and since the sources' last committed"
        " interval. Watched also when nothing runs.",
    )
    closes_months_from: date | None = Field(
        default=None,
        description="The first month that is closed, by its first day. A month is built once all its days (UTC) are"
        " committed in every stream of every source, and then stays as it is; a backfill or a replay that changes rows of it"
        " has it built again, as its next version. Without it no month is closed. The models read `ledger.month`.",
    )
    exclude: tuple[Text, ...] = Field(default=(), description="dbt selectors of what is left out.")
    watch: Watch = Field(
        default=Watch(),
        description="Which figures of the published tables are told when they leave what their history lets expect.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> TransformContract:
        faults = Faults()
        check_transform_watch(faults, self)
        if self.closes_months_from is not None and self.closes_months_from.day != 1:
            faults.add(
                "closes_months_from", received=self.closes_months_from, allowed="the first day of a month"
            )
        faults.raise_any()
        return self
