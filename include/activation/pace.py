"""How fast requests may go to a connection: a token bucket in the warehouse, shared by all workers and syncs.

A taker takes its tokens at once, also ones that are not there yet, and is told when its turn is: whoever comes later
waits longer, nobody polls, and no two processes meet. A process that dies has taken what it took; time refills the
bucket. `100/10s` means that in no ten seconds more than 100 go: a tenth of them at once, the rest evenly.

`Retry-After` pauses the bucket for everybody.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import psycopg

from include.core.connection import Connection
from include.core.contracts.common import parse_rate
from include.core.errors import Unreachable

# Longer than this a sender does not sleep: it gives its batch back.
_LONGEST_PAUSE = 10.0


class Pace:
    """The bucket of one connection. `token` and `pause` are for one event loop."""

    def __init__(self, warehouse: Connection, connection: str, rate: str) -> None:
        count, seconds = parse_rate(rate)
        self._warehouse, self._connection = warehouse, connection
        #: What the bucket holds, and tokens a second: together no more than `count` in any such period.
        self.burst = max(1, count // 10)
        self.rate = (count - self.burst + 1) / seconds
        self._session: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()
        self._waiting: list[asyncio.Future[float]] = []
        self._taker: asyncio.Future[None] | None = None
        self._sleepers: set[asyncio.Future[None]] = set()

    async def token(self) -> float:
        """Wait for a turn. 0, or the seconds for which the bucket is paused when that is too long to sleep.

        :raises Unreachable: the warehouse does not answer.
        """
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._taker is None or self._taker.done():
            self._taker = asyncio.ensure_future(self._take_for_all())
        return await turn

    async def _take_for_all(self) -> None:
        """Take a token for each that waits, in one statement; those who come meanwhile have the next one."""
        while self._waiting:
            turns, self._waiting = self._waiting, []
            try:
                tokens, paused = await asyncio.to_thread(self._take, len(turns))
            except Exception as error:
                for turn in turns:
                    turn.set_exception(error)
                continue
            for number, turn in enumerate(turns, start=1):
                # The number-th of them left so many tokens.
                owed = max(0.0, -(tokens + len(turns) - number) / self.rate)
                sleeper = asyncio.ensure_future(self._wait(turn, owed, paused))
                self._sleepers.add(sleeper)
                sleeper.add_done_callback(self._sleepers.discard)

    async def _wait(self, turn: asyncio.Future[float], owed: float, paused: float) -> None:
        try:
            while paused or owed:
                if paused > _LONGEST_PAUSE:
                    break
                await asyncio.sleep(max(paused, owed))
                # Somebody may have been told to pause meanwhile.
                owed, paused = 0.0, await asyncio.to_thread(self._paused)
            turn.set_result(paused)
        except Exception as error:
            turn.set_exception(error)

    async def pause(self, seconds: float) -> None:
        """Nobody sends for so long.

        :raises Unreachable: the warehouse does not answer.
        """
        await asyncio.to_thread(self._execute, _PAUSE, {"seconds": min(seconds, 86400.0)})

    def close(self) -> None:
        """Let go of the session."""
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None

    def _take(self, count: int) -> tuple[float, float]:
        tokens, paused = self._execute(_TAKE, {"count": count, "burst": self.burst, "rate": self.rate})
        return float(tokens), float(paused)

    def _paused(self) -> float:
        return float(self._execute(_PAUSED, {})[0])

    def _execute(self, statement: str, values: dict[str, Any]) -> tuple[Any, ...]:
        with self._lock:
            try:
                if self._session is None or self._session.closed:
                    # A few tokens lost with a crash of the warehouse are worth no wait for its disk.
                    uri = self._warehouse.postgres_uri(synchronous_commit="off")
                    self._session = psycopg.connect(uri, autocommit=True)
                row = self._session.execute(statement, values | {"connection": self._connection}).fetchone()
            except psycopg.OperationalError as error:
                raise Unreachable(
                    f"the warehouse, which keeps the pace, does not answer: {type(error).__name__}",
                    where=f"rate limit of connection {self._connection!r}",
                ) from error
        assert row is not None
        return tuple(row)


_TAKE = """
insert into ledger.rate_limit as r (connection, tokens, refilled_at, paused_until)
values (%(connection)s, %(burst)s::float8 - %(count)s, clock_timestamp(), clock_timestamp())
on conflict (connection) do update set
    tokens = least(
        %(burst)s, r.tokens + extract(epoch from clock_timestamp() - r.refilled_at)::float8 * %(rate)s
    ) - %(count)s,
    refilled_at = clock_timestamp()
returning tokens, greatest(extract(epoch from r.paused_until - clock_timestamp())::float8, 0)
"""

_PAUSED = """
select coalesce(max(greatest(extract(epoch from paused_until - clock_timestamp())::float8, 0)), 0)
from ledger.rate_limit where connection = %(connection)s
"""

_PAUSE = """
update ledger.rate_limit set paused_until = greatest(
    paused_until, clock_timestamp() + make_interval(secs => %(seconds)s::float8)
) where connection = %(connection)s returning true
"""
