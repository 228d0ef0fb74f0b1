"""The contract of a transform: which dbt models are built when, and what must hold before publication."""

from __future__ import annotations

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
    exclude: tuple[Text, ...] = Field(default=(), description="dbt selectors of what is left out.")
    watch: Watch = Field(
        default=Watch(),
        description="Which figures of the published tables are told when they leave what their history lets expect.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> TransformContract:
        faults = Faults()
        check_transform_watch(faults, self)
        faults.raise_any()
        return self
