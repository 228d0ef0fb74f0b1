"""The one place where our errors become Airflow's: fail at once, try again, or wait for a turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import wraps
from typing import ParamSpec, TypeVar

from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException

from include.core.errors import LeaseHeld, TerminalError

P = ParamSpec("P")
R = TypeVar("R")
#: How long a run waits before it asks again whether it may load its source.
TURN = timedelta(seconds=5)


def translated(step: Callable[P, R]) -> Callable[P, R]:
    """A terminal error fails the task without a retry; waiting for another run's lease uses up no retry; any other error
    is retried as the contract says."""

    @wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return step(*args, **kwargs)
        except LeaseHeld as error:
            print(error)
            raise AirflowRescheduleException(datetime.now(timezone.utc) + TURN) from error
        except TerminalError as error:
            # The message says all; the log would show it twice, and two stacks between the step's own lines and its end.
            raise AirflowFailException(str(error)) from None

    return run
