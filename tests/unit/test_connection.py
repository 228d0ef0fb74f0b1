"""Connections as Airflow writes them."""

from __future__ import annotations

import pytest

from include.core.connection import parse_connection
from include.core.errors import ContractError


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:s3cret/x@host/db",
        "postgresql://u:s3cret?x@host/db",
        "no uri: s3cret",
        '{"password": "s3cret"}',
        "{s3cret",
    ],
)
def test_a_malformed_connection_says_what_to_do_and_repeats_nothing_of_the_password(text: str) -> None:
    with pytest.raises(ContractError, match="correct AIRFLOW_CONN_X") as caught:
        parse_connection("x", text)
    assert "s3c" not in str(caught.value)


def test_a_uri_and_an_object_mean_the_same() -> None:
    uri = parse_connection("x", "postgresql://me:p%2Fw@[::1]:5433/db?sslmode=require")
    written = '{"conn_type": "postgres", "host": "::1", "port": 5433, "login": "me", "password": "p/w", "schema": "db",'
    assert uri == parse_connection("x", written + '"extra": {"sslmode": "require"}}')
    assert (
        uri.postgres_uri() == "postgresql://me:p%2Fw@[::1]:5433/db?sslmode=require&application_name=millrace"
    )
    assert "p/w" not in repr(uri)
