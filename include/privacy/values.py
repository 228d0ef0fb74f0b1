"""What stands for a value: a mask, a keyed hash or a token, computed from its text in UTF-8. Null stays null.

    mask    ***                                             all values look alike
    hash    HMAC-SHA-256 (RFC 2104) in 64 hex digits        equal for equal values; who has the key can test a guess
    token   mt1.<key id>.<base64url without padding>        equal for equal values; who has the key reads it

A token's last part is the output of AES-256-SIV (RFC 5297) without associated data: 16 bytes of tag, then as many bytes as
the value has. It needs no nonce and is deterministic by design, so it gives away the length of values and which are equal.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable

import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from include.core.errors import TerminalError
from include.privacy.keys import Key, Keyring

#: What stands for every masked value, of any length and type, empty text too.
MASK = "***"
_TOKEN = re.compile(r"mt1\.([A-Za-z0-9_-]{1,32})\.([A-Za-z0-9_-]{22,})")


def protection(how: str, keys: Keyring | None) -> str:
    """A name for what values become, equal only where equal values become the same: `mask`, `hash/<key id>/<check>`, …"""
    if how == "mask":
        return how
    assert keys is not None  # a contract that hashes or makes tokens names its keys
    return f"{how}/{keys.current.id}/{keys.current.check}"


def replace(array: pa.Array, how: str, keys: Keyring | None) -> pa.Array:
    """Text with each value replaced, each distinct one once."""
    assert pa.types.is_string(array.type)  # a source reads what is protected as text
    return _replaced(array, _MAKERS[how](keys))


def _replaced(array: pa.Array, one: Callable[[bytes], str]) -> pa.Array:
    distinct = array.dictionary_encode()
    values = distinct.dictionary.cast(pa.binary()).to_pylist()
    return pa.array(map(one, values), pa.string(), size=len(values)).take(distinct.indices)


def _mask(_keys: Keyring | None) -> Callable[[bytes], str]:
    return lambda value: MASK


def _hash(keys: Keyring | None) -> Callable[[bytes], str]:
    assert keys is not None
    key = keys.current.hashing
    return lambda value: hash_of(key, value)


def _token(keys: Keyring | None) -> Callable[[bytes], str]:
    assert keys is not None
    return token_maker(keys.current)


_MAKERS = {"mask": _mask, "hash": _hash, "token": _token}


def hash_of(key: bytes, value: bytes) -> str:
    """HMAC-SHA-256 in 64 hex digits."""
    return hmac.digest(key, value, "sha256").hex()


def token_maker(key: Key) -> Callable[[bytes], str]:
    """A function from a value to its token under this key."""
    cipher, head = AESSIV(key.sealing), f"mt1.{key.id}."
    return lambda value: head + base64.urlsafe_b64encode(cipher.encrypt(value, None)).rstrip(b"=").decode()


def is_token(text: str) -> bool:
    """Whether a text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def reveal(token: str, keys: Keyring) -> str:
    """The value that a token stands for.

    :raises TerminalError: it is no token, its key is not here, or it is damaged. The message never repeats the token.
    """
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise TerminalError("this is no token", allowed="mt1.KEY-ID.TEXT, as `protect: token` writes it")
    key = keys.find(match[1])
    if key is None:
        raise TerminalError(
            "the token's key is not here",
            received=f"key {match[1]!r}",
            allowed=", ".join(one.id for one in keys.keys),
            todo="add the older key to the connection that the contract names under privacy_keys",
        )
    try:
        sealed = base64.urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4))
        return AESSIV(key.sealing).decrypt(sealed, None).decode()
    except (InvalidTag, binascii.Error):
        raise TerminalError(
            "the token does not open",
            received=f"key {key.id!r}",
            allowed="a whole token that was made with this key",
            todo="see whether it was cut off, and whether the key of this id was another one then",
        ) from None
