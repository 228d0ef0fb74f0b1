"""Protecting personal data before it lands: masks, keyed hashes and tokens in place of values.

A value that its contract protects is in clear only in the memory of the process that extracts it. What leaves that process
(parts, manifest, staging batches, raw, logs, errors) has what stands for it.
"""

from include.privacy.keys import Key, Keyring, read_keys
from include.privacy.snapshot import ProtectedSnapshot
from include.privacy.values import MASK, is_token, reveal

__all__ = ["MASK", "Key", "Keyring", "ProtectedSnapshot", "is_token", "read_keys", "reveal"]
