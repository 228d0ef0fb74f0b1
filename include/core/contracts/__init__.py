"""Contracts: what a user edits. One YAML file a source, a transform or a sync, checked by typed models."""

from include.core.contracts.load import contracts_folder, load_all, load_named, load_one
from include.core.contracts.source import ColumnRule, SourceContract, Stream
from include.core.contracts.sync import SyncContract
from include.core.contracts.transform import TransformContract

__all__ = [
    "ColumnRule",
    "SourceContract",
    "Stream",
    "SyncContract",
    "TransformContract",
    "contracts_folder",
    "load_all",
    "load_named",
    "load_one",
]
