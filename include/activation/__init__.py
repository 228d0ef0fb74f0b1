"""Reverse ETL: records of an activation model, delivered to an operational system.

plan      what the destination has not acknowledged, as the warehouse computes it
deliver   batches to a destination; each answer is remembered before the next question
settle    the books of a run: read = unchanged + delivered + rejected + unsent, and of what left the model
          deletes = deleted + deletes_rejected + deletes_unsent
verify    whether the destination still holds what it acknowledged
"""

from include.activation.approved import Approved
from include.activation.deliver import Backoff
from include.activation.planning import Change, Plan
from include.activation.report import SyncReport
from include.activation.sync import plan, run, settle
from include.activation.verify import Verification, verify

__all__ = [
    "Approved",
    "Backoff",
    "Change",
    "Plan",
    "SyncReport",
    "Verification",
    "plan",
    "run",
    "settle",
    "verify",
]
