"""The documentation of a DAG in the UI, written from its contract: what it does, and what to do when it fails."""

from __future__ import annotations

from datetime import timedelta

from include.core.contracts import SourceContract, SyncContract, TransformContract
from include.core.contracts.common import DagContract
from include.core.contracts.destinations import HttpDestination
from include.core.contracts.load import name_of
from include.core.contracts.sync import ApprovalAbove
from include.core.contracts.upkeep import Upkeep
from include.core.contracts.watch import Watch

_STEPS = {
    SourceContract: """
1. **wait_for_commit_horizon**: until nothing that the source stamped before the run's end can still be committed.
2. **extract**: all streams in one snapshot of the source, as Parquet parts in the landing zone; their manifest comes last.
3. **stage**, **audit**: each stream into a staging batch, judged by its suite, in up to four tasks. Nobody sees it yet.
   *Data Docs*, in the details of an audit, shows what was asked and found.
4. **publish**: rows, watermarks and ledger in one transaction.
5. **balance**: extracted = landed = staged = published. **complete** is reached when all went well.
   **close** frees the source for the next run, however this one went.

**Run again** what you like: a step that is done changes nothing. **Backfill** reads the past interval again from the
source, merges it, moves no watermark, and sends nothing to operational systems; streams in mode snapshot or
log, or with cursor xmin, have no past and are left out.""",
    TransformContract: """
1. **begin**: an empty candidate, which no consumer sees.
2. **build**: one task a dbt model, into the candidate; **dbt_test** at the end runs all its tests.
3. **gate**: each table judged by its suite. *Data Docs*, in its details, shows what was asked and found.
4. **publish**: all tables in one transaction. Until then consumers see the last good version. *Models*, in its details,
   shows what they are.

**Run again** by hand, with *Trigger*: it always builds from all of raw. So there is nothing to backfill here, and the UI
does not offer it; backfill the ingest instead, and this DAG follows. The version before comes back with
`millrace publish NAME --rollback`.""",
    SyncContract: """
1. **plan**: the difference between the model and what the destination has acknowledged, with sample changes in its log.
   **approve**, where the contract asks for it: a person says yes or no to it, here in the UI.
2. **deliver**: sends only that; what is acknowledged is remembered batch by batch, what is rejected is kept with its reason.
3. **settle**: read = delivered + rejected + unchanged + unsent, and deletes = deleted + rejected + unsent.
4. **verify**, where the contract asks for it: what others changed at the destination is told as a warning.

**Run again** by hand, with *Trigger*: it sends what is still missing, and nothing twice. *Dry run* in its form shows the
plan and sends nothing. There is nothing to backfill here, and the UI does not offer it. After a backfill of the ingest this
DAG runs, but sends nothing: trigger it by hand when the backfill is to reach the destination.""",
    Upkeep: """
**look_after_incidents** tells what a maintenance window or a dead channel held back, and escalates what nobody has
acknowledged.

**watch_deadlines** judges each contract's `deadline.at` and `freshness`, sees that a run has begun for each interval of each
schedule, and that triggerer and DAG processor live. What it found stands in `ledger.deadline`: `millrace deadlines`.

**find_forgotten**, **start_forgotten**: a transform that has not begun since a source of its was published, and of which no
run waits, is started.

**write_model_docs** writes the page behind *Models*, when the dbt project or what is published has changed.""",
}


def documentation(contract: DagContract) -> str:
    """Markdown for `doc_md`."""
    facts = {
        "Owner": f"{contract.owner.team} ({contract.owner.contact})",
        "Consumers": ", ".join(contract.consumers) or "none named",
        "Deadline": _deadline(contract),
        "Alerts": _channels(contract),
        **_escalation(contract),
        **(
            {"Told of its figures": _watched(contract.watch)}
            if isinstance(contract, TransformContract)
            else {}
        ),
    }
    if isinstance(contract, SyncContract):
        facts |= _sends(contract)
    if freshness := getattr(contract, "freshness", None):
        facts["Freshness"] = f"what consumers have is at most {_in_words(freshness)} old"
    if first := getattr(contract, "closes_months_from", None):
        facts["Months"] = (
            f"closed from {first:%Y-%m} on, each once all its days are there: `millrace months {name_of(contract)}`"
        )
    parts = [
        contract.description,
        "\n".join(f"- **{name}:** {fact}" for name, fact in facts.items()),
        "## When it fails",
        contract.runbook.strip()
        or "Read the failing task's log: the last lines say what happened, where, and what to do.",
        "A task in red has been tried as often as its contract says. Clear it, or the whole run, once the cause is gone.",
        "## What it does",
        _STEPS[type(contract)].strip(),
        *(_streams(contract) if isinstance(contract, SourceContract) else ()),
    ]
    return "\n\n".join(parts)


def _deadline(contract: DagContract) -> str:
    if contract.deadline.after_queueing is None:
        return f"consumers have its data by {contract.deadline.at}"
    return f"{_in_words(contract.deadline.after_queueing)} after a run was queued"


def _in_words(duration: timedelta) -> str:
    minutes = int(duration.total_seconds()) // 60
    hours, minutes = divmod(minutes, 60)
    parts = [f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min")) if count]
    return " ".join(parts) or f"{duration.total_seconds():.0f} s"


def _channels(contract: DagContract) -> str:
    told = contract.alerts.channels
    text = ", ".join(f"connection `{channel}`" for channel in told) or "none: nobody is told"
    readers = ", ".join(f"`{channel}`" for channel in contract.alerts.consumers)
    return f"{text}; consumers: {readers}" if readers else text


def _escalation(contract: DagContract) -> dict[str, str]:
    facts = {}
    if escalate := contract.alerts.escalate:
        to = ", ".join(f"`{channel}`" for channel in escalate.to)
        facts["Escalation"] = f"to {to}, {_in_words(escalate.after)} after an alert that nobody acknowledges"
    if contract.alerts.maintenance:
        facts["Maintenance"] = "; ".join(
            f"{window.start} to {window.until} ({window.why})" for window in contract.alerts.maintenance
        )
    return facts


def _sends(contract: SyncContract) -> dict[str, str]:
    """What a sync may do at its destination."""
    target, stop = contract.destination, f"{contract.max_change_share:.0%} of the known records would change"
    if contract.mode == "mirror":
        stop += f", or more than {contract.max_delete_share:.0%} of what is there be deleted"
    facts = {
        "Sends": f"`activation.{contract.model}` to `{target.place}` by connection `{target.connection}`,"
        f" mode {contract.mode}",
        "Personal data that leaves": ", ".join(f"`{column}`" for column in contract.personal) or "none",
        "Stops": f"when more than {stop}",
    }
    if contract.verify != "never":
        checked = "all records" if contract.verify == "all" else f"{contract.verify_sample} records"
        then = "sent again by the next run" if contract.on_drift == "overwrite" else "told"
        facts["Verified"] = f"{checked} in each run; what others changed there is {then}"
    if isinstance(target, HttpDestination):
        facts["Speaks"] = f"`{target.api}`" if isinstance(target.api, str) else "as its contract declares"
        facts["Requests"] = f"{target.rate_limit or 'no limit'}, {target.concurrency} at a time"
    if contract.environments:
        facts["Sends only from"] = ", ".join(contract.environments)
    if isinstance(contract.approval, ApprovalAbove):
        above = contract.approval.above
        facts["Approval"] = (
            f"above {f'{above:.0%} of what is there' if above < 1 else f'{above:,.0f} records'}"
        )
    elif contract.approval != "never":
        facts["Approval"] = contract.approval
    return facts


def _watched(watch: Watch) -> str:
    return f"{', '.join(watch.metrics)} ({watch.severity})" if watch.metrics else "nothing"


def _streams(contract: SourceContract) -> tuple[str, ...]:
    rows = [
        f"| {s.name} | {s.table} | {s.mode} | {s.cursor or ''} | {', '.join(s.primary_key) or 'none'} | {s.deletes} |"
        f" {_watched(s.watch)} |"
        for s in contract.streams
    ]
    head = "| stream | table | mode | cursor | primary key | deletes | told of its figures |\n|---|---|---|---|---|---|---|"
    return ("## Streams", "\n".join([head, *rows]))
