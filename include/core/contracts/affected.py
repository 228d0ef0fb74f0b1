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
    return [_line(words, each) for words, each in hurt(contract, folder)]


def hurt(contract: DagContract, folder: Path | None = None) -> list[tuple[str, DagContract]]:
    """The same as data: what is late or wrong, and the contract that it belongs to."""
    found: list[tuple[str, DagContract]] = []
    transforms: list[TransformContract] = []
    if isinstance(contract, SourceContract):
        found.append((f"raw tables {contract.raw_schema}", contract))
        transforms = [t for t in load_all(TransformContract, folder) if contract.source in t.sources]
    elif isinstance(contract, TransformContract):
        transforms = [contract]
    names = {t.transform for t in transforms}
    syncs = [s for s in load_all(SyncContract, folder) if s.transform in names]
    if isinstance(contract, SyncContract):
        syncs = [contract]
    found += [(f"marts of {t.transform}", t) for t in transforms]
    return found + [(f"sync {s.sync} to {s.destination.connection}", s) for s in syncs]


def _line(words: str, contract: DagContract) -> str:
    consumers = f" (consumers: {', '.join(contract.consumers)})" if contract.consumers else ""
    return f"{words}{consumers}"
