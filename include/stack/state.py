"""What the supervisor tells the world: one small file, replaced in one step at every change."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from include.stack.processes import Identity

# the states of a unit
WAITING, STARTING, HEALTHY, DONE, RESTARTING, FAILED, STOPPED = (
    "waiting",
    "starting",
    "healthy",
    "done",
    "restarting",
    "failed",
    "stopped",
)
# a unit in one of these needs no more work
READY = (HEALTHY, DONE)


@dataclass
class UnitState:
    """One unit. `started` and `since` are seconds since the epoch, `took` the seconds to ready.

    `proven` tells whether the service has ever been healthy.
    """

    state: str = WAITING
    since: float = field(default_factory=time.time)
    process: Identity | None = None
    proven: bool = False
    started: float | None = None
    took: float | None = None
    port: int | None = None
    restarts: int = 0
    exit: int | None = None
    reason: str = ""

    @classmethod
    def load(cls, raw: dict[str, Any]) -> UnitState:
        process = raw.pop("process")
        return cls(process=Identity(**process) if process else None, **raw)


@dataclass
class StackState:
    """The whole stack. `serial` counts the requests to start that have been taken up."""

    supervisor: Identity | None = None
    profile: str = "all"
    stopping: bool = False
    serial: int = 0
    notices: list[str] = field(default_factory=list)
    units: dict[str, UnitState] = field(default_factory=dict)

    def failed(self) -> list[str]:
        """Names of the units that were given up."""
        return [name for name, unit in self.units.items() if unit.state == FAILED]

    def ready(self) -> bool:
        """Whether every unit is as it should be."""
        return bool(self.units) and all(unit.state in READY for unit in self.units.values())

    def write(self, file: Path) -> None:
        """Replace the file; a reader sees the old or the new one, never half of it."""
        scratch = file.with_name(f"{file.name}.{os.getpid()}")
        scratch.write_text(json.dumps(asdict(self)))
        scratch.replace(file)

    @classmethod
    def read(cls, file: Path) -> StackState:
        """The last state that was written; an empty one before the first start."""
        if not file.exists():
            return cls()
        raw: dict[str, Any] = json.loads(file.read_text())
        supervisor = raw.pop("supervisor")
        units = {name: UnitState.load(unit) for name, unit in raw.pop("units").items()}
        return cls(supervisor=Identity(**supervisor) if supervisor else None, units=units, **raw)
