"""What stands for a protected value, against published vectors; and the keys it is made with."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from include.core.connection import Connection
from include.core.contracts import Stream
from include.core.errors import TerminalError
from include.core.manifest import TransactionMark
from include.core.schema import Column, StreamSchema
from include.privacy import MASK, Key, Keyring, ProtectedSnapshot, is_token, read_keys, reveal
from include.privacy.keys import derive
from include.privacy.values import hash_of, replace, token_maker
from tests.support.pipeline import contract

SECRET = bytes(range(32))
KEYS = Keyring((derive("now", SECRET), derive("before", SECRET[::-1])))
VALUES = ["", "a", "Ünïcödé 🏭 \u202e", "e\u0301", "é", 'a,b\n"c"\'', "\x01", "x" * 100_000, MASK, "null"]


@pytest.mark.parametrize(
    ("key", "data", "digest"),
    [  # RFC 4231, cases 1, 2, 3, 6 and 7
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            b"\xaa" * 131,
            b"This is a test using a larger than block-size key and a larger than block-size data."
            b" The key needs to be hashed before being used by the HMAC algorithm.",
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ],
)
def test_hashes_are_those_of_rfc_4231(key: bytes, data: bytes, digest: str) -> None:
    assert hash_of(key, data) == digest


def test_the_cipher_of_tokens_is_that_of_rfc_5297() -> None:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    # A.1, deterministic authenticated encryption; its associated data is the one thing that tokens do not have
    key = bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    header = bytes.fromhex("101112131415161718191a1b1c1d1e1f2021222324252627")
    text = bytes.fromhex("112233445566778899aabbccddee")
    sealed = bytes.fromhex("85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c")
    assert AESSIV(key).encrypt(text, [header]) == sealed
    # and a token is what that cipher says without it, behind the key's id
    token = token_maker(Key("k", "", b"", key))(text)
    head, key_id, body = token.split(".")
    assert (head, key_id) == ("mt1", "k")
    assert base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)) == AESSIV(key).encrypt(text, None)


def test_keys_are_derived_as_written_down() -> None:
    """HKDF-SHA-256 (RFC 5869) without salt, computed here from HMAC alone: others have to come to the same keys."""
    import hmac

    def expand(info: bytes, length: int) -> bytes:
        seed, block, out = hmac.digest(b"\0" * 32, SECRET, "sha256"), b"", b""
        for number in range(1, 4):
            block = hmac.digest(seed, block + info + bytes([number]), "sha256")
            out += block
        return out[:length]

    key = derive("k", SECRET)
    assert key.hashing == expand(b"millrace hash", 32)
    assert key.sealing == expand(b"millrace token", 64)
    assert key.check == expand(b"millrace check", 4).hex()


@pytest.mark.parametrize("how", ["mask", "hash", "token"])
def test_null_stays_null_and_equal_values_stay_equal(how: str) -> None:
    array = pa.array([None, *VALUES, None, *reversed(VALUES)], pa.string())
    once, again = (replace(array, how, KEYS).to_pylist() for _ in range(2))
    assert once == again
    assert [one is None for one in once] == [one is None for one in array.to_pylist()]
    there = once[1 : len(VALUES) + 1]
    assert there == once[len(VALUES) + 2 :][::-1]
    assert len(set(there)) == (1 if how == "mask" else len(VALUES))
    # slices of a larger array, and a batch of nulls, go the same way
    assert replace(array.slice(3, 4), how, KEYS).to_pylist() == once[3:7]
    assert replace(pa.nulls(3, pa.string()), how, KEYS).to_pylist() == [None] * 3
    assert replace(pa.array([], pa.string()), how, KEYS).to_pylist() == []


def test_each_form_is_what_the_docs_say() -> None:
    array = pa.array(VALUES, pa.string())
    assert replace(array, "mask", None).to_pylist() == ["***"] * len(VALUES)
    assert replace(array, "hash", KEYS).to_pylist() == [
        hash_of(KEYS.current.hashing, value.encode()) for value in VALUES
    ]
    tokens = replace(array, "token", KEYS).to_pylist()
    assert all(is_token(token) and token.startswith("mt1.now.") for token in tokens)
    assert [reveal(token, KEYS) for token in tokens] == VALUES


def test_a_token_reveals_under_its_own_key_alone() -> None:
    (token,) = replace(pa.array(["secret"]), "token", KEYS).to_pylist()
    rotated = Keyring((derive("next", b"n" * 32), *KEYS.keys))
    assert reveal(token, rotated) == "secret"
    (anew,) = replace(pa.array(["secret"]), "token", rotated).to_pylist()
    assert anew.startswith("mt1.next.") and reveal(anew, rotated) == "secret"
    middle = len(token) - 10
    damaged = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for bad, keys, said in (
        (damaged, KEYS, "does not open"),
        (token[:-1], KEYS, "does not open"),
        (token.replace(".now.", ".before."), KEYS, "does not open"),
        (token, Keyring((derive("now", b"other key" * 4),)), "does not open"),
        (token, Keyring(KEYS.keys[1:]), "the token's key is not here"),
        ("secret", KEYS, "this is no token"),
    ):
        with pytest.raises(TerminalError, match=said) as caught:
            reveal(bad, keys)
        assert bad not in str(caught.value) and "secret" not in str(caught.value)


def test_keys_come_from_the_password_the_current_one_first() -> None:
    now, before = SECRET.hex(), SECRET[::-1].hex().upper()
    for password in (
        f"now:{now} before:{before}",
        f"now:{now},before:{before}",
        f" now:{now}\nbefore:{before} ",
    ):
        assert read_keys(Connection("keys", "generic", password=password)) == KEYS
    assert KEYS.current.id == "now"


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("", "it has no password"),
        (SECRET.hex(), "entry 1"),
        (f"now:{SECRET.hex()[:-2]}", "entry 1"),
        (f"now:{SECRET.hex()}0", "entry 1"),
        (f"n.w:{SECRET.hex()}", "entry 1"),
        (f"now:{SECRET.hex()} before:geheim", "entry 2"),
        (f"now:{SECRET.hex()} now:{SECRET[::-1].hex()}", "the id of an earlier one"),
    ],
)
def test_faulty_keys_are_refused_and_never_shown(password: str, said: str) -> None:
    with pytest.raises(TerminalError, match=said) as caught:
        read_keys(Connection("keys", "generic", password=password))
    assert SECRET.hex()[:12] not in str(caught.value) and "geheim" not in str(caught.value)


def test_keys_do_not_show_in_what_prints_them() -> None:
    shown = repr(KEYS) + repr(Connection("keys", "generic", password=f"now:{SECRET.hex()}"))
    assert SECRET.hex() not in shown
    for key in KEYS.keys:
        assert all(repr(part)[2:-1] not in shown for part in (key.hashing, key.sealing))


class _Picture:
    """A source's snapshot of one batch."""

    server, position, log = "server", (1,), None

    def __init__(self, batch: pa.RecordBatch) -> None:
        columns = tuple(Column(name, "text", "text", "text") for name in batch.schema.names)
        self.schemas = {"people": StreamSchema(columns, ("id",))}
        self.changes: dict[str, Any] = {"people": ()}
        self.unread = ()
        self._batch = batch

    def rows(self, *_: Any) -> Iterator[pa.RecordBatch]:
        yield self._batch

    changed = rows

    def mark(self, *_: Any) -> None:
        return None

    def anew(self, *_: Any) -> str:
        return ""

    def keys(self, *_: Any) -> Iterator[pa.RecordBatch]:
        yield self._batch.select(["id"])


def _picture(keys: Keyring, **rules: str) -> tuple[ProtectedSnapshot, Stream]:
    number = 150_000
    batch = pa.RecordBatch.from_pydict(
        {
            "id": [str(one) for one in range(number)],
            "name": [None if one % 5 == 0 else f"n{one % 7}" for one in range(number)],
        }
    )
    columns = {
        name: {"type": "text", **({"protect": rules[name]} if name in rules else {})}
        for name in ("id", "name")
    }
    source = contract(
        "s",
        [
            {
                "name": "people",
                "table": "a.people",
                "mode": "snapshot",
                "primary_key": ["id"],
                "columns": columns,
            }
        ],
        privacy_keys="keys",
    )
    return ProtectedSnapshot(_Picture(batch), source.streams, keys), source.streams[0]


def test_rows_and_keys_of_a_picture_are_replaced_alike_and_in_bounded_batches() -> None:
    picture, stream = _picture(KEYS, id="hash", name="token")
    rows = list(picture.rows(stream))
    assert [batch.num_rows for batch in rows] == [65536, 65536, 150_000 - 2 * 65536]
    ids = [value for batch in rows for value in batch.column("id").to_pylist()]
    assert ids == [hash_of(KEYS.current.hashing, str(one).encode()) for one in range(150_000)]
    mark = TransactionMark(1, 1, (), "")
    assert [batch.to_pydict() for batch in picture.changed(stream, mark)] == [
        batch.to_pydict() for batch in rows
    ]
    assert ids == [value for batch in picture.keys(stream) for value in batch.column("id").to_pylist()]
    names = [value for batch in rows for value in batch.column("name").to_pylist()]
    assert names[5] is None and reveal(names[8], KEYS) == "n1"


def test_the_shape_says_how_and_under_which_key_so_that_a_rotation_changes_it() -> None:
    def shape(keys: Keyring, **rules: str) -> StreamSchema:
        return _picture(keys, **rules)[0].schemas["people"]

    column = shape(KEYS, name="hash").column("name")
    assert (column.raw_type, column.carrier, column.protection) == (
        "text",
        "string",
        f"hash/now/{KEYS.current.check}",
    )
    assert shape(KEYS, name="mask").column("name").protection == "mask"
    shapes = [
        shape(KEYS),
        *(shape(KEYS, name=how) for how in ("mask", "hash", "token")),
        *(shape(Keyring((derive("next", SECRET),)), name=how) for how in ("hash", "token")),
        shape(Keyring((derive("now", b"another" * 5),)), name="hash"),
    ]
    assert len({one.fingerprint for one in shapes}) == len(shapes)
    # an older key that goes or comes changes nothing
    assert shape(Keyring(KEYS.keys[:1]), name="hash") == shape(KEYS, name="hash")
    for one in shapes:
        assert StreamSchema.from_json(one.to_json()) == one


def test_a_shape_without_protection_keeps_the_fingerprint_it_had() -> None:
    shape = StreamSchema((Column("id", "bigint", "bigint", "int", False),), ("id",))
    assert "protection" not in shape.to_json()["columns"][0]
    assert shape.fingerprint == "6a196c0d9a1a7ed9"
