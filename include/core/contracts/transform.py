"""The contract of a transform: which dbt models are built when, and what must hold before they are published."""

from __future__ import annotations

from pydantic import Field

from include.core.contracts.common import DagContract, Identifier


class TransformContract(DagContract):
    """One group of dbt models that is built, gated and published as a whole."""

    transform: Identifier
    sources: tuple[str, ...] = Field(min_length=1, description="Built when one of these sources was published.")
    select: tuple[str, ...] = Field(min_length=1, description="dbt selectors, such as `path:models`.")
    exclude: tuple[str, ...] = ()
