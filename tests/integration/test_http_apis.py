"""Deliveries in the shape of HubSpot and Salesforce, and their logins, against servers on real sockets."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from include.activation.destinations.http import HttpApi
from include.activation.records import DELIVERED, Difference, Outcome
from include.core.connection import Connection
from include.core.errors import ContractError, TerminalError
from tests.support.activation import contract
from tests.support.http_deliveries import SALESFORCE, contact, opened, person, record
from tests.support.hubspot_api import TOKEN, HubSpotApi
from tests.support.salesforce_api import CLIENT, EXTERNAL_ID, SalesforceApi
from tests.support.served import Served, Window, served


@pytest.fixture
def hubspot() -> Iterator[tuple[HubSpotApi, Served]]:
    api = HubSpotApi()
    with served(api.application) as server:
        yield api, server


@pytest.fixture
def salesforce() -> Iterator[tuple[SalesforceApi, Connection]]:
    api = SalesforceApi()
    with served(api.application) as server:
        yield (
            api,
            server.connection(
                login=CLIENT[0],
                password=CLIENT[1],
                extra={"token_url": f"{server.url}/services/oauth2/token", "scope": "api"},
            ),
        )


def test_hubspot_takes_batches_and_refuses_single_records(hubspot: tuple[HubSpotApi, Served]) -> None:
    api, server = hubspot
    batch = [person(number) for number in range(250)] + [person(900, email="nobody")]
    with opened(server.connection(password=TOKEN), api="hubspot_contacts") as destination:
        outcomes = destination.send(batch)
        assert outcomes[:250] == [DELIVERED] * 250
        assert outcomes[250].kind == "rejected"
        assert outcomes[250].reason.startswith("VALIDATION_ERROR: Property values were not valid")
        assert sorted(api.requests) == [("upsert", 51), ("upsert", 100), ("upsert", 100)]
        assert len(api.contacts) == 250
        # Sent twice, it has the effect of once; null clears.
        assert destination.send([person(1), person(2, full_name=None)]) == [DELIVERED] * 2
        assert (api.effects["c1"], api.effects["c2"]) == (1, 2)
        assert {held["full_name"] for held in api.contacts.values() if held["external_id"] == "c2"} == {""}


def test_hubspot_without_multi_status_refuses_the_batch_and_it_is_halved() -> None:
    api = HubSpotApi(multi_status=False)
    with (
        served(api.application) as server,
        opened(server.connection(password=TOKEN), api="hubspot_contacts") as destination,
    ):
        batch = [
            person(number, **({"email": "nobody"} if number in (3, 77) else {})) for number in range(100)
        ]
        outcomes = destination.send(batch)
        assert [number for number, outcome in enumerate(outcomes) if outcome != DELIVERED] == [3, 77]
        assert outcomes[3].reason.startswith("HTTP 400: VALIDATION_ERROR: Property values were not valid")
        assert len(api.contacts) == 98


def test_hubspot_deletes_by_its_own_ids_and_reads_back(hubspot: tuple[HubSpotApi, Served]) -> None:
    api, server = hubspot
    with opened(
        server.connection(password=TOKEN), api="hubspot_contacts", mapping={"email": "email", "full_name": "full_name"},
        key_column="email",
    ) as destination:  # fmt: skip
        # HubSpot lowers e-mail addresses, keys as well.
        mails = [f"P{number}@Example.com" for number in range(120)]
        people = [record({"email": mail, "full_name": "Ada"}, mail) for mail in mails]
        assert destination.send(people) == [DELIVERED] * 120
        gone = [record({"email": mail}, mail, "delete") for mail in (*mails[:110], "nobody@example.com")]
        assert destination.send(gone) == [DELIVERED] * 111
        assert sorted(held["email"] for held in api.contacts.values()) == sorted(map(str.lower, mails[110:]))


def test_hubspot_is_compared(hubspot: tuple[HubSpotApi, Served]) -> None:
    api, server = hubspot
    with opened(server.connection(password=TOKEN), api="hubspot_contacts") as destination:
        assert destination.can_compare
        batch = [person(number, email=f"p{number}@example.com") for number in range(150)]
        batch[7] = person(7, email="p7@example.com", full_name=None)
        destination.send(batch)
        assert destination.compare(batch) == [Difference()] * 150
        own = {held["external_id"]: own for own, held in api.contacts.items()}
        api.contacts[own["c3"]]["full_name"] = "Somebody Else"
        del api.contacts[own["c4"]]
        found = destination.compare(batch)
        assert found[3:5] == [Difference(("full_name",)), Difference(missing=True)]
        assert found[:3] + found[5:] == [Difference()] * 148


def test_hubspot_asks_for_patience() -> None:
    api = HubSpotApi(Window(1, 600))
    with (
        served(api.application) as server,
        opened(server.connection(password=TOKEN), api="hubspot_contacts") as destination,
    ):
        assert destination.send([person(1)]) == [DELIVERED]
        later = destination.send([person(2)])[0]
        assert (later.kind, later.reason) == ("retryable", "HTTP 429")
        assert 500 < (later.retry_after or 0) <= 600


def test_an_unknown_property_is_the_fault_of_each_record_that_has_it(
    hubspot: tuple[HubSpotApi, Served],
) -> None:
    _, server = hubspot
    mapping = {"external_id": "external_id", "shoe_size": "email"}
    with opened(server.connection(password=TOKEN), mapping, api="hubspot_contacts") as destination:
        batch = [record({"external_id": f"c{n}", "shoe_size": 40}, f"c{n}") for n in range(2)]
        for outcome in destination.send(batch):
            assert outcome.kind == "rejected"
            assert 'Property "shoe_size" does not exist' in outcome.reason


def test_salesforce_answers_in_order(salesforce: tuple[SalesforceApi, Connection]) -> None:
    api, connection = salesforce
    api.locked.add("c5")
    batch = [contact(number) for number in range(250)]
    batch[3], batch[4] = contact(3, LastName=None), contact(4, Email="nobody")
    with opened(
        connection, SALESFORCE, api="salesforce_collections", parameters={"object": "Contact"}
    ) as destination:
        outcomes = destination.send(batch)
        assert outcomes[3] == Outcome(
            "rejected", "REQUIRED_FIELD_MISSING: Required fields are missing: [LastName]"
        )
        assert outcomes[4] == Outcome(
            "rejected", "INVALID_EMAIL_ADDRESS: Email: invalid email address: nobody"
        )
        assert outcomes[5] == Outcome("retryable", "UNABLE_TO_LOCK_ROW")
        assert outcomes[:3] + outcomes[6:] == [DELIVERED] * 247
        assert set(api.effects.values()) == {1}
        assert destination.compare([contact(1), contact(2, LastName="Else"), contact(3)]) == [
            Difference(),
            Difference(("LastName",)),
            Difference(missing=True),
        ]
        deletes = [record({EXTERNAL_ID: f"c{n}"}, f"c{n}", "delete") for n in (1, 2, 3)]
        assert destination.send(deletes) == [DELIVERED] * 3
        assert not {"c1", "c2", "c3"} & set(api.contacts)
        api.limited = True
        assert destination.send([contact(1)]) == [Outcome("retryable", "HTTP 403")]


def test_a_token_is_fetched_once_for_all_and_again_when_it_is_refused(
    salesforce: tuple[SalesforceApi, Connection],
) -> None:
    api, connection = salesforce
    with (
        opened(
            connection,
            SALESFORCE,
            api="salesforce_collections",
            parameters={"object": "Contact"},
            concurrency=8,
        ) as destination,
        ThreadPoolExecutor(8) as pool,
    ):
        parts = [[contact(number)] for number in range(40)]
        assert list(pool.map(destination.send, parts)) == [[DELIVERED]] * 40
        assert len(api.tokens) == 1
        api.forget_tokens()
        assert list(pool.map(destination.send, parts)) == [[DELIVERED]] * 40
        assert len(api.tokens) == 2


def test_a_token_is_renewed_before_it_ends() -> None:
    api = SalesforceApi(lifetime=0.001)
    with (
        served(api.application) as server,
        opened(
            server.connection(
                login=CLIENT[0],
                password=CLIENT[1],
                extra={"token_url": f"{server.url}/services/oauth2/token"},
            ),
            SALESFORCE,
            api="salesforce_collections",
            parameters={"object": "Contact"},
        ) as destination,
    ):
        for _ in range(3):
            assert destination.send([contact(1)]) == [DELIVERED]
        assert len(api.tokens) == 3


def test_wrong_credentials_say_what_to_do_and_never_show(
    salesforce: tuple[SalesforceApi, Connection],
    hubspot: tuple[HubSpotApi, Served],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    _, right = salesforce
    secret = "s3cret-of-nobody"
    wrong = Connection(right.conn_id, "http", right.host, right.port, CLIENT[0], secret, extra=right.extra)
    told = []
    with opened(
        wrong, SALESFORCE, api="salesforce_collections", parameters={"object": "Contact"}
    ) as destination:
        with pytest.raises(TerminalError, match=r"invalid_client[\s\S]*secret \(password\)") as caught:
            destination.check()
        told += [str(caught.value), repr(destination), repr(wrong)]
    for fields, todo in (
        ({"password": secret}, "put a valid token into AIRFLOW_CONN_CRM_API"),
        ({"login": "me", "password": secret}, "correct login and password in AIRFLOW_CONN_CRM_API"),
        ({"password": secret, "extra": {"header": "X-Api-Key"}}, "valid key for header 'X-Api-Key'"),
    ):
        connection = hubspot[1].connection(**fields)
        with opened(connection, api="hubspot_contacts") as destination:
            with pytest.raises(TerminalError, match="HTTP 401 INVALID_AUTHENTICATION") as caught:
                destination.send([person(1)])
            assert todo in str(caught.value)
            told += [str(caught.value), repr(connection)]
    assert secret not in "\n".join([*told, caplog.text])
    with pytest.raises(ContractError, match="client credentials need an id and a secret"):
        HttpApi(
            contract(destination={"type": "http", "connection": "x", "key": "external_id", "path": "/x"}),
            Connection("x", "http", "localhost", extra={"token_url": "http://localhost/token"}),
        )
