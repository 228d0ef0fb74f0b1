"""Planning, delivering and settling one sync. What flows call."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from include.activation import runs
from include.activation.breakers import check_breakers
from include.activation.deliver import Backoff, Delivery, Progress
from include.activation.destinations import Destination, open_destination
from include.activation.planning import Plan, PlanCursor, open_plan, planned_batches, samples
from include.activation.report import SyncReport
from include.activation.session import Session, only_writer, try_lock, unlock, warehouse_session
from include.activation.state import State, recover
from include.core.connection import Connection
from include.core.contracts.sync import SyncContract
from include.core.errors import TerminalError, TransientError

_log = logging.getLogger("millrace.activation")
_BACKOFF = Backoff()
#: Says who approved a plan.
Permit = Callable[[Plan], str | None]


def plan(
    contract: SyncContract, warehouse: Connection, show: Callable[[Plan], None] = lambda plan: None
) -> Plan:
    """What a run would send now, with samples. Sends nothing.

    :param show: gets the plan, also when it is too large.
    :raises BreakerTripped: more would change than the contract allows.
    :raises ContractError: the model lacks a mapped column.
    :raises TerminalError: the model is not published, or has a key twice or without a value.
    :raises Unreachable: the warehouse does not answer.
    """
    with warehouse_session(warehouse, contract.sync) as session:
        if try_lock(session, contract.sync):
            # What a crashed run left in the air would be missing from the plan.
            recover(session, contract.sync)
            unlock(session, contract.sync)
        with open_plan(session, contract, hold=False) as (counts, cursor):
            planned = replace(counts, samples=samples(session, contract.sync, cursor))
    _log.info(
        "%(sync)s: %(read)d read, %(unchanged)d unchanged, %(creates)d to create, %(updates)d to update,"
        " %(deletes)d to delete (of all these %(again)d rejected before), %(held)d held",
        vars(planned),
    )
    show(planned)
    check_breakers(contract, planned)
    return planned


def run(
    contract: SyncContract,
    warehouse: Connection,
    destination: Connection,
    *,
    run_id: str,
    permit: Permit = lambda plan: None,
    backoff: Backoff = _BACKOFF,
    progress: Progress = lambda settled: None,
) -> SyncReport:
    """Deliver what changed since the destination last acknowledged it. Safe to run again at any time.

    :param run_id: the run that asks; it is kept in the ledger.
    :param permit: gets the plan before anything is sent; returns who approved it, None where nobody had to, or raises.
    :param progress: called with the number of records answered so far.
    :raises TransientError: some records have no answer; the next call sends what is still missing. LeaseHeld
        when another run delivers this sync, Unreachable when the warehouse or the destination does not
        answer.
    :raises TerminalError: see `plan`; or the destination refuses the login, the table, the path or the
        fields.
    :raises BooksDoNotBalance: what was read and what became of it differ.
    """
    started = time.monotonic()
    with warehouse_session(warehouse, contract.sync) as session, only_writer(session, contract.sync):
        recover(session, contract.sync)
        target = open_destination(contract, destination, warehouse)
        try:
            target.check()
            with open_plan(session, contract, hold=True) as (planned, cursor):
                check_breakers(contract, planned)
                sync_run_id = runs.begin(session, planned, run_id, permit(planned))
                return _deliver(
                    session,
                    contract,
                    target,
                    planned,
                    cursor,
                    run_id,
                    sync_run_id,
                    started,
                    backoff,
                    progress,
                )
        finally:
            target.close()


def _deliver(
    session: Session,
    contract: SyncContract,
    target: Destination,
    planned: Plan,
    cursor: PlanCursor,
    run_id: str,
    sync_run_id: int,
    started: float,
    backoff: Backoff,
    progress: Progress,
) -> SyncReport:
    state = State(session, contract.sync, sync_run_id)
    _log.info(
        "%s: sending %d of %d records, and %d deletions",
        *(contract.sync, planned.writes, planned.read, planned.deletes),
    )
    delivery = Delivery(target, state, planned_batches(cursor, contract.batch_size), backoff, progress)
    tally = delivery.run()
    # Counted where it is remembered, not where it was sent: the two must agree.
    counted = state.counted()
    unsent, deletes_unsent = tally.writes.unsent, tally.deletes.unsent
    if delivery.error is not None or unsent or deletes_unsent:
        unsent += planned.writes - tally.writes.fetched
        deletes_unsent += planned.deletes - tally.deletes.fetched
    incomplete = unsent or deletes_unsent
    status = "failed" if delivery.error is not None else "incomplete" if incomplete else "delivered"
    report = SyncReport(
        sync=contract.sync,
        run_id=run_id,
        sync_run_id=state.sync_run_id,
        model_version=planned.model_version,
        status=status,
        read=planned.read,
        unchanged=planned.unchanged,
        creates=planned.creates,
        updates=planned.updates,
        delivered=counted.delivered,
        rejected=counted.rejected + planned.held,
        held=planned.held,
        unsent=unsent,
        deletes=planned.deletes,
        deletes_held=planned.deletes_held,
        deleted=counted.deleted,
        deletes_rejected=counted.deletes_rejected,
        deletes_unsent=deletes_unsent,
        seconds=time.monotonic() - started,
    )
    problem = _problem(contract, report, delivery)
    runs.finish(session, report, problem)
    recover(session, contract.sync)
    _log.info(
        "%(sync)s: %(delivered)d delivered, %(rejected)d rejected (%(held)d of them held), %(unchanged)d"
        " unchanged, %(unsent)d unsent; %(deleted)d of %(deletes)d deleted; in %(seconds).1f s",
        report.counts(),
    )
    report.check_books()
    if problem is not None:
        raise problem
    return report


def _problem(contract: SyncContract, report: SyncReport, delivery: Delivery) -> BaseException | None:
    if delivery.error is not None:
        return delivery.error
    if not report.missing:
        return None
    reasons = "; ".join(
        f"{reason} ({count} times)" for reason, count in sorted(delivery.tally.reasons.items())[:5]
    )
    return TransientError(
        f"{report.missing} of {report.creates + report.updates + report.deletes} records have no answer;"
        f" {report.delivered + report.deleted} were delivered",
        where=f"sync {contract.sync!r}, destination connection {contract.destination.connection!r}",
        received=reasons or None,
        todo="see whether the destination is up; the next try sends only what is still missing",
    )


def settle(contract: SyncContract, warehouse: Connection, *, run_id: str) -> SyncReport:
    """The report of the last delivery that `run_id` asked for, from the ledger; its books are checked again.

    :raises TerminalError: that run delivered nothing, or did not end well.
    :raises BooksDoNotBalance: what was read and what became of it differ.
    """
    with warehouse_session(warehouse, contract.sync) as session:
        report = runs.last_report(session, contract.sync, run_id)
    if report is None or report.status != "delivered":
        raise TerminalError(
            "this run did not deliver",
            where=f"sync {contract.sync!r}, run {run_id!r}",
            received=report.status if report else "no row in ledger.sync_run",
            allowed="delivered",
            todo="run the delivery of this run again",
        )
    report.check_books()
    return report
