"""Who is hurt: what stands downstream of a source or transform, from the contracts alone."""

from __future__ import annotations

from pathlib import Path

from include.core.contracts.common import DagContract
from include.core.contracts.load import load_all
from include.core.contracts.source import SourceContract
from include.core.contracts.sync import SyncContract
from include.core.contracts.transform import TransformContract


def affected(contract: DagContract, folder: Path | None = None) -> list[str]:
    """What is late or wrong when this contract's DAG fails, in words: transforms, syncs and their consumers."""
    lines = []
    transforms = load_all(TransformContract, folder)
    if isinstance(contract, SourceContract):
        hurt = [t for t in transforms if contract.source in t.sources]
        lines += [
            _line("raw tables", contract.raw_schema, contract),
            *(_line("marts of", t.transform, t) for t in hurt),
        ]
    else:
        hurt = [contract] if isinstance(contract, TransformContract) else []
        lines += [_line("marts of", t.transform, t) for t in hurt]
    names = {t.transform for t in hurt}
    syncs = [s for s in load_all(SyncContract, folder) if s.transform in names]
    if isinstance(contract, SyncContract):
        syncs = [contract]
    return lines + [_line("sync", f"{s.sync} to {s.destination.connection}", s) for s in syncs]


def _line(kind: str, name: str, contract: DagContract) -> str:
    consumers = f" (consumers: {', '.join(contract.consumers)})" if contract.consumers else ""
    return f"{kind} {name}{consumers}"
