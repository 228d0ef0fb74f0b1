"""What others change at an API is told, and sent again when asked."""

from __future__ import annotations

from collections.abc import Callable

from include import activation
from tests.support.activation import contract, people, warehouse
from tests.support.hubspot_api import TOKEN, HubSpotApi
from tests.support.served import served


def test_what_others_changed_at_an_api_is_told_and_sent_again(database: Callable[..., str]) -> None:
    source, api = warehouse(database("warehouse")), HubSpotApi()
    source.publish(people(250))
    sync = contract(
        destination={
            "type": "http",
            "connection": "hubspot",
            "api": "hubspot_contacts",
            "key": "external_id",
            "rate_limit": "1000/1s",
        },
        mode="mirror",
        verify="all",
    )
    with served(api.application) as server:
        connection = server.connection("hubspot", password=TOKEN)

        def verify(overwrite: bool) -> activation.Verification:
            return activation.verify(
                sync, source.connection, connection, run_id="check", everything=True, overwrite=overwrite
            )

        activation.run(sync, source.connection, connection, run_id="first")
        clean = verify(overwrite=False)
        assert (clean.checked, clean.drifted) == (250, 0)

        own = {held["external_id"]: own_id for own_id, held in api.contacts.items()}
        api.contacts[own["c7"]]["segment"] = "somebody's own"
        # What is written otherwise and means the same is no difference.
        api.contacts[own["c8"]] |= {"customer_value": "10.960", "last_order_at": "2024-01-01T12:08:00.000Z"}
        del api.contacts[own["c9"]]
        found = verify(overwrite=True)
        assert (found.differing, found.missing, found.overwritten) == (1, 1, 2)
        assert dict(found.fields) == {"segment": 1}

        assert activation.run(sync, source.connection, connection, run_id="again").delivered == 2
        assert verify(overwrite=False).drifted == 0
        # Reading back takes its turns as well: one token a request, in the one bucket of the connection.
        assert {kind for kind, _ in api.requests} == {"upsert", "read"}
        assert source.execute("select connection from ledger.rate_limit") == [("hubspot",)]
