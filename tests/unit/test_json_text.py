"""The members of a record as they are written."""

from __future__ import annotations

from include.activation.destinations.json_text import members


def test_members_keep_their_digits_and_their_spelling() -> None:
    body = '{"a" : 1.10, "ä\\"}": "x,{\\"", "n":null,"o":{"z": [1.0, {}], "b": "}"} , "l":[ ], "t":true}'
    assert list(members(body)) == [
        ("a", "1.10"),
        ('ä"}', '"x,{\\""'),
        ("n", "null"),
        ("o", '{"z": [1.0, {}], "b": "}"}'),
        ("l", "[ ]"),
        ("t", "true"),
    ]
    assert list(members("{}")) == []
