"""Breakers: a plan that would change or delete more than the contract allows stops before anything is sent."""

from __future__ import annotations

from include.activation.mapping import SCHEMA
from include.activation.planning import Plan
from include.core.contracts.sync import SyncContract
from include.core.errors import BreakerTripped

#: So many deletions are no disaster, however small the destination is.
_FEW = 5


def check_breakers(contract: SyncContract, plan: Plan) -> None:
    """See that no more of the known records change, and of the held ones are deleted, than the contract allows.

    :raises BreakerTripped: more would be.
    """
    where = f"sync {contract.sync!r}, model {SCHEMA}.{contract.model}"
    share = plan.updates / plan.known if plan.known else 0.0
    if share > contract.max_change_share:
        raise BreakerTripped(
            "more of the delivered records would change than the contract allows; nothing was sent",
            where=where,
            received=f"{plan.updates} of {plan.known} records ({share:.1%})",
            allowed=f"max_change_share {contract.max_change_share:.1%}",
            todo="look at the model; when the change is meant, raise max_change_share for this run",
        )
    there = plan.known + plan.gone
    share = plan.deletes / there if there else 0.0
    if plan.read == 0 and plan.deletes and contract.max_delete_share < 1:
        raise BreakerTripped(
            "the model is empty, and the destination would be emptied; nothing was sent",
            where=where,
            received=f"0 records in the model, {plan.deletes} to delete",
            allowed="an empty model only with max_delete_share 100%",
            todo="look at the model; when the destination shall be emptied, set max_delete_share to 1 for this run",
        )
    if plan.deletes > _FEW and share > contract.max_delete_share:
        raise BreakerTripped(
            "more records would be deleted at the destination than the contract allows; nothing was sent",
            where=where,
            received=f"{plan.deletes} of {there} records ({share:.1%})",
            allowed=f"max_delete_share {contract.max_delete_share:.1%}",
            todo="look at the model; when the deletions are meant, raise max_delete_share for this run",
        )
