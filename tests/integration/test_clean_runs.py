"""Months of ordinary days, with weekends, ends of months, growth and noise: hardly ever is anything told of them."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import psycopg
import pytest

from tests.support.pipeline import Pipeline
from tests.support.watched import TODAY, ordinary_day, rows_of

#: Before these there are too few days to compare with.
LEARNING = 14
RUNS = 200


@pytest.mark.long
def test_of_two_hundred_clean_runs_at_most_two_raise_an_alarm(pipeline: Pipeline) -> None:
    noise, alarms = Random(4), []
    with psycopg.connect(pipeline.warehouse, autocommit=True) as session:
        session.execute("set timezone = 'UTC'; select setseed(0.4)")
        for number in range(LEARNING + RUNS):
            day = TODAY + timedelta(days=number)
            rows = round(rows_of(day, noise.gauss(0, 1)) * 1.002**number)
            failures = ordinary_day(session, day, rows)
            alarms += [f"{day:%a %d %b}: {failure}" for failure in failures]
        judged = session.execute(
            "select count(*), count(distinct at) from ledger.metric where low is not null"
        ).fetchone()
    assert judged is not None and judged[0] > 20 * RUNS and judged[1] == RUNS
    assert len({alarm.partition(":")[0] for alarm in alarms}) <= RUNS // 100, "\n".join(alarms)
