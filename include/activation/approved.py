"""What a person approved, held against what would be sent."""

from __future__ import annotations

from dataclasses import dataclass

from include.activation.planning import Plan
from include.core.errors import BreakerTripped


@dataclass(frozen=True)
class Approved:
    """The counts that somebody saw, and who it was."""

    creates: int
    updates: int
    deletes: int
    by: str

    def check(self, plan: Plan) -> None:
        """See that no more would be sent than was approved. Less may be: a try before this one has sent it.

        :raises BreakerTripped: the plan has grown.
        """
        names = ("creates", "updates", "deletes")
        if any(getattr(plan, name) > getattr(self, name) for name in names):
            raise BreakerTripped(
                "more would be sent by now than was approved; nothing was sent",
                where=f"sync {plan.sync!r}, model {plan.model_version}",
                received=", ".join(f"{getattr(plan, name)} {name}" for name in names),
                allowed=", ".join(f"{getattr(self, name)} {name}" for name in names)
                + f", approved by {self.by}",
                todo="clear the run from `plan` on, or start a new one, and look at the plan again",
            )
