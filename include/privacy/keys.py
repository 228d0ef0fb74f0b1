"""The keys of a source: one that protects what is read now, and older ones whose tokens still reveal.

They stand in the password of an Airflow connection, as `ID:KEY`, the current one first, more of them after a space or comma.
A key is 32 random bytes or more in hex digits. Nothing here ever shows one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from include.core.connection import Connection
from include.core.errors import TerminalError

_ENTRY = re.compile(r"([A-Za-z0-9_-]{1,32}):((?:[0-9a-fA-F]{2}){32,})")
_FORM = "ID:KEY ID:KEY …, the current key first; an id has up to 32 letters, digits, - and _; a key 64 hex digits or more"


@dataclass(frozen=True)
class Key:
    """One key. `hashing` (32 bytes) and `sealing` (64 bytes) are derived from it, so that neither use weakens the other;
    so is `check` (8 hex digits), which tells two keys of one id apart and nothing else about them."""

    id: str
    check: str
    hashing: bytes = field(repr=False)
    sealing: bytes = field(repr=False)


@dataclass(frozen=True)
class Keyring:
    """The keys of one connection, the current one first."""

    keys: tuple[Key, ...]

    @property
    def current(self) -> Key:
        return self.keys[0]

    def find(self, key_id: str) -> Key | None:
        return next((key for key in self.keys if key.id == key_id), None)


def derive(key_id: str, secret: bytes) -> Key:
    """A key from its secret, by HKDF-SHA-256 without salt (RFC 5869); `info` is "millrace " and the purpose."""

    def derived(purpose: bytes, length: int) -> bytes:
        return HKDF(SHA256(), length, salt=None, info=b"millrace " + purpose).derive(secret)

    return Key(key_id, derived(b"check", 4).hex(), derived(b"hash", 32), derived(b"token", 64))


def read_keys(connection: Connection) -> Keyring:
    """The keys that a connection holds.

    :raises TerminalError: it holds none, or not in this form. The message never repeats what it holds.
    """
    keys: list[Key] = []
    entries = connection.password.replace(",", " ").split()
    for number, entry in enumerate(entries, start=1):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise _faulty(connection, f"entry {number} of its password is not of this form")
        if any(key.id == match[1] for key in keys):
            raise _faulty(connection, f"entry {number} of its password has the id of an earlier one")
        keys.append(derive(match[1], bytes.fromhex(match[2])))
    if not keys:
        raise _faulty(connection, "it has no password")
    return Keyring(tuple(keys))


def _faulty(connection: Connection, received: str) -> TerminalError:
    return TerminalError(
        "the connection holds no keys to protect values with",
        where=f"connection {connection.conn_id!r}",
        received=received,
        allowed=_FORM,
        todo="correct the connection's password; openssl rand -hex 32 makes a key",
    )
