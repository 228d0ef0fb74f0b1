"""Makes the pools that runs ask for. A task whose pool does not exist, or is too small for it, would wait without end.

Every connection that sources are read through has a pool, `source_<connection>`; `extract` takes a slot of it for each
connection that it opens. The pool is made when a run that needs it starts, so that a new contract needs no step by hand.
From then on its size is for people to choose in the UI: more slots let more contracts read at once, none holds all of them
off the source. Only a pool that could never serve a task is enlarged.
"""

from __future__ import annotations

from typing import Any

from airflow.listeners import hookimpl
from airflow.models.pool import Pool
from airflow.models.taskinstance import TaskInstance
from airflow.plugins_manager import AirflowPlugin
from airflow.utils.session import create_session

_DESCRIPTION = "Connections to this source, over all contracts that read it; 0 holds them off"


class PoolMaker:
    """What the scheduler tells."""

    @hookimpl
    def on_dag_run_running(self, dag_run: Any) -> None:
        """A run has started, and none of its tasks yet."""
        # in a transaction of its own: the scheduler's may not be committed here
        with create_session(scoped=False) as session:
            asked = session.query(TaskInstance.pool, TaskInstance.pool_slots).filter(
                TaskInstance.dag_id == dag_run.dag_id,
                TaskInstance.run_id == dag_run.run_id,
                TaskInstance.pool.startswith("source_"),
            )
            for name, slots in asked.distinct():
                pool = Pool.get_pool(name, session=session)
                if pool is None:
                    Pool.create_or_update_pool(
                        name, slots, _DESCRIPTION, include_deferred=False, session=session
                    )
                elif 0 < pool.slots < slots:
                    pool.slots = slots


class SourcePools(AirflowPlugin):
    """Loaded by the scheduler, which starts the runs."""

    name = "source_pools"
    listeners = (PoolMaker(),)
