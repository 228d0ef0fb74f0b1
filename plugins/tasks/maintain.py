"""What is looked after every five minutes, whether a pipeline runs or not: a task each, which have nothing to do with each
other."""

from __future__ import annotations

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowSkipException

from include.core.errors import Unreachable
from plugins.tasks import context
from plugins.tasks.errors import translated


@task
@translated
def look_after_incidents() -> None:
    """Tell what was held back, escalate what nobody has acknowledged."""
    from include.flows import incidents

    try:
        for done in incidents.look(context.connect):
            print(done)
    except Unreachable as error:
        # Every pipeline says so already, and this would say it every five minutes: without its ledger, as something new.
        raise AirflowSkipException(f"there is no ledger to look into: {error}") from None
