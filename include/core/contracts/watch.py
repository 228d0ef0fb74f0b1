"""What a contract may say of the figures of its data that are held against their history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from include.core.contracts.common import Faults, Model, Text

if TYPE_CHECKING:
    from include.core.contracts.stream import Stream
    from include.core.contracts.transform import TransformContract

Metric = Literal[
    "rows", "bytes", "seconds", "lag", "nulls", "distinct", "true", "typical", "mean", "p05", "p50", "p95"
]


class Watch(Model):
    """Which figures are told when they leave what their history lets expect. All are kept, whatever stands here."""

    severity: Literal["warning", "critical"] = Field(
        default="warning",
        description="warning: a figure out of its limits is told, and its batch published; critical: the batch is stopped.",
    )
    metrics: tuple[Metric, ...] = Field(
        default=("rows", "nulls", "distinct", "true", "typical"),
        description="What is told: rows, bytes, seconds (of reading), lag (of the newest row); of columns nulls, distinct"
        " values, true (share of a boolean), typical (the mean, with the lowest and highest twentieth counted as what stands"
        " at their edge), mean and quantiles. [] for nothing.",
    )
    leave_out: tuple[Text, ...] = Field(
        default=(), description="Columns that are not told; in a transform as table.column."
    )

    def tells(self, metric: str, column: str) -> bool:
        """Whether people hear of this figure when it is out of its limits."""
        return metric in self.metrics and column not in self.leave_out


def check_stream_watch(faults: Faults, stream: Stream) -> None:
    """Faults of a stream's `watch`."""
    for place, name in enumerate(stream.watch.leave_out):
        if name not in stream.read_columns:
            allowed = f"a column that is read: {', '.join(sorted(stream.read_columns))}"
            faults.add("watch", "leave_out", place, received=name, allowed=allowed)
    if "lag" in stream.watch.metrics and stream.stamp is None:
        allowed = "no lag: without a cursor column nothing says how old the newest row is"
        faults.add("watch", "metrics", stream.watch.metrics.index("lag"), received="lag", allowed=allowed)


def check_transform_watch(faults: Faults, contract: TransformContract) -> None:
    """Faults of a transform's `watch`."""
    for place, name in enumerate(contract.watch.leave_out):
        if "." not in name:
            faults.add("watch", "leave_out", place, received=name, allowed="table.column")
    for place, metric in enumerate(contract.watch.metrics):
        if metric in ("bytes", "seconds", "lag"):
            allowed = "rows, and what there is of columns: it is counted of batches only"
            faults.add("watch", "metrics", place, received=metric, allowed=allowed)
