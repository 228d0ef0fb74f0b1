"""Sending planned batches, and remembering each answer as soon as it is there.

The loop runs in the thread that owns the warehouse session; batches are sent from at most
`destination.concurrency` others. When the destination asks for patience or does not answer, everything waits,
one batch at a time is tried, and after a few failures in a row the rest is left for the next run. A batch
that fails while others get through is halved: one record may be what the destination stumbles over.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from include.activation.destinations import Destination
from include.activation.records import Outcome, Record
from include.activation.state import Answer, State

#: Called with the number of records answered so far.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Backoff:
    """How patient a delivery is.

    tries: how often a record is sent in vain, and how many sends in a row may fail, before the rest is left
    unsent. first, longest: seconds to wait after the first failure, doubled with each further one up to the
    longest. patience: the longest `Retry-After` in seconds that is waited for.
    """

    tries: int = 5
    first: float = 0.5
    longest: float = 30.0
    patience: float = 120.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row; with jitter, so that not all come back at once."""
        return min(self.longest, self.first * 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)


@dataclass
class Batch:
    """Records that are sent together.

    tries: how often in vain. settled_before: records of the run that had an answer when it, or the batch it
    is a half of, first failed. outage: how many waits the run had made when it was sent last.
    """

    number: int
    records: list[Record]
    tries: int = 0
    settled_before: int | None = None
    outage: int = 0


@dataclass
class Fates:
    """What became of records of one kind, as the loop counted them. unsent: fetched from the plan, without an answer."""

    fetched: int = 0
    unsent: int = 0


@dataclass
class Tally:
    """What became of the planned records."""

    settled: int = 0
    writes: Fates = field(default_factory=Fates)
    deletes: Fates = field(default_factory=Fates)
    reasons: dict[str, int] = field(default_factory=dict)

    def of(self, records: Sequence[Record]) -> Fates:
        """Those of a batch's kind."""
        return self.deletes if records[0].action == "delete" else self.writes


class Delivery:
    """One run over the planned batches. Use once."""

    def __init__(
        self,
        destination: Destination,
        state: State,
        source: Iterator[list[Record]],
        backoff: Backoff,
        progress: Progress,
    ) -> None:
        self._destination, self._state, self._source = destination, state, source
        self._backoff, self._progress = backoff, progress
        self.tally = Tally()
        self.error: BaseException | None = None
        self._failed: deque[Batch] = deque()
        self._flying: dict[Future[list[Outcome]], Batch] = {}
        self._answers: list[Answer] = []
        self._number = 0
        self._failures = 0
        self._outages = 0
        self._not_before = 0.0
        self._exhausted = self._stopped = False

    def run(self) -> Tally:
        """Send until every record has an answer, or the destination no longer gives any.

        An error that a destination raised is kept in `error`, after the answers of the other batches were
        written down.
        """
        with ThreadPoolExecutor(self._destination.concurrency, thread_name_prefix="deliver") as pool:
            try:
                while self._turn(pool):
                    pass
            except BaseException:
                # What has not left yet stays: whoever comes next sends it.
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for batch in self._failed:
            self.tally.of(batch.records).unsent += len(batch.records)
        return self.tally

    def _turn(self, pool: ThreadPoolExecutor) -> bool:
        """Write down, send, receive. False when there is nothing left to do."""
        departing = self._departing()
        # Answers and departures share a transaction: one commit a batch.
        self._state.move(self._answers, {batch.number: batch.records for batch in departing})
        self._answers = []
        for batch in departing:
            batch.outage = self._outages
            self._flying[pool.submit(self._destination.send, batch.records)] = batch
        if self._flying:
            for future in wait(self._flying, return_when=FIRST_COMPLETED).done:
                self._receive(self._flying.pop(future), future)
            self._progress(self.tally.settled)
        elif self._stopped or (self._exhausted and not self._failed):
            return False
        else:
            time.sleep(max(0.0, self._not_before - time.monotonic()))
        return True

    def _departing(self) -> list[Batch]:
        """Batches to send now. After a failure one at a time, and none before the wait is over."""
        departing: list[Batch] = []
        # One more than are sent at a time: it is written down and ready when one of these has its answer.
        limit = 1 if self._failures else self._destination.concurrency + 1
        while (
            not self._stopped
            and len(self._flying) + len(departing) < limit
            and time.monotonic() >= self._not_before
        ):
            batch = self._next()
            if batch is None:
                break
            departing.append(batch)
        return departing

    def _next(self) -> Batch | None:
        """The next new batch; a failed one when several wait (memory stays bounded) or no new one is left."""
        if not self._exhausted and len(self._failed) < self._backoff.tries:
            records = next(self._source, None)
            if records is not None:
                self.tally.of(records).fetched += len(records)
                return self._batch(records)
            self._exhausted = True
        return self._failed.popleft() if self._failed else None

    def _batch(self, records: list[Record]) -> Batch:
        self._number += 1
        return Batch(self._number, records)

    def _receive(self, batch: Batch, future: Future[list[Outcome]]) -> None:
        error = future.exception()
        if error is not None:
            # Nobody knows what arrived: the batch stays written down as on its way.
            self.error, self._stopped = self.error or error, True
            self.tally.of(batch.records).unsent += len(batch.records)
            return
        outcomes = future.result()
        pairs = zip(batch.records, outcomes, strict=True)
        remaining = [(record, outcome) for record, outcome in pairs if outcome.kind == "retryable"]
        self.tally.settled += len(outcomes) - len(remaining)
        if len(remaining) < len(outcomes):
            self._failures = 0
        elif batch.outage == self._outages:
            # Others that were under way at the same time fail by the same outage; it counts once.
            self._failures, self._outages = self._failures + 1, self._outages + 1
        rest = self._go_on(batch, remaining) if remaining else []
        self._answers.append(
            Answer(batch.number, batch.records, outcomes, {each.number: each.records for each in rest})
        )

    def _go_on(self, batch: Batch, remaining: list[tuple[Record, Outcome]]) -> list[Batch]:
        """The batches in which retryable records go on; each is queued, or counted as unsent."""
        for _, outcome in remaining:
            self.tally.reasons[outcome.reason] = self.tally.reasons.get(outcome.reason, 0) + 1
        asked = [outcome.retry_after for _, outcome in remaining if outcome.retry_after is not None]
        pause = max(asked) if asked else self._backoff.delay(max(self._failures, 1))
        if pause > self._backoff.patience or self._failures >= self._backoff.tries:
            self._stopped = True
        self._not_before = max(self._not_before, time.monotonic() + pause)
        records = [record for record, _ in remaining]
        if batch.settled_before is None:
            batch.settled_before = self.tally.settled
        others_got_through = self.tally.settled > batch.settled_before and not asked
        if others_got_through and len(records) > 1 and batch.tries >= 1:
            middle = len(records) // 2
            rest = [self._batch(half) for half in (records[:middle], records[middle:])]
            for half in rest:
                half.tries, half.settled_before = 1, batch.settled_before
        else:
            rest = [Batch(batch.number, records, batch.tries + 1, batch.settled_before)]
        if rest[0].tries >= self._backoff.tries:
            self.tally.of(records).unsent += len(records)
        else:
            self._failed.extend(rest)
        return rest
