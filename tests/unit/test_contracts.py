"""What a contract file may not say, and the message that its writer gets."""

# ruff: noqa: E501  # each expected message in one piece

from __future__ import annotations

import re
from pathlib import Path

import pytest

from include.core.contracts import SourceContract, SyncContract, TransformContract, load_all, load_one
from include.core.contracts.common import DagContract
from include.core.contracts.faults import FaultyContract

SOURCE = """\
source: shop
kind: postgres
connection: shop
description: A shop
owner: {team: sales, contact: sales@example.org}
schedule: {cron: "0 * * * *", start: 2026-01-01}
deadline: {after_queueing: 1h}
keeps: forever
errors_tolerated: 0
lateness: 10m
upstreams: []
streams:
  - name: orders
    table: shop.orders
    mode: incremental
    cursor: updated_at
    primary_key: [id]
    columns:
      id: {type: bigint}
      updated_at: {type: timestamp with time zone}
      customer_id: {type: bigint}
    references:
      - {columns: [customer_id], stream: customers}
  - name: customers
    table: shop.customers
    mode: snapshot
    primary_key: [id]
    columns:
      id: {type: bigint, min: 0, max: 9}
"""
TRANSFORM = """\
transform: shop
description: Marts
owner: {team: data, contact: data@example.org}
deadline: {after_queueing: 1h}
sources: [shop]
select: [path:models]
"""
SYNC = """\
sync: contacts
description: Contacts
owner: {team: crm, contact: crm@example.org}
deadline: {after_queueing: 1h}
transform: shop
model: contacts
key: customer_id
destination:
  type: postgres
  connection: crm
  table: crm.contacts
  key: external_id
mapping:
  external_id: customer_id
"""
DURATION = "a duration such as 30s, 15m, 2h or 1d 12h"
ACCEPTED = "a mapping with by, why, until"


def write(folder: Path, kind: str, name: str, text: str) -> Path:
    path = folder / kind / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def faults(kind: type[DagContract], path: Path) -> list[str]:
    """Each fault without its file, in three parts joined by a bar."""
    with pytest.raises(FaultyContract) as caught:
        load_one(kind, path)
    assert str(caught.value) == "\n".join(map(str, caught.value.faults))
    return [
        re.sub(r"\n  (received|allowed): +", " | ", str(fault).removeprefix(f"{path}:"))
        for fault in caught.value.faults
    ]


def test_the_contracts_that_the_bad_ones_start_from_are_good(tmp_path: Path) -> None:
    assert load_one(SourceContract, write(tmp_path, "sources", "shop", SOURCE)).stream("orders").cursor
    assert load_one(TransformContract, write(tmp_path, "transforms", "shop", TRANSFORM)).sources == ("shop",)
    assert load_one(SyncContract, write(tmp_path, "syncs", "contacts", SYNC)).batch_size == 500


BAD_SOURCES = {
    # values of a wrong form
    "lateness: 10m > lateness: 10 min": f"10: lateness: not allowed | '10 min' | {DURATION}; or {ACCEPTED}",
    "lateness: 10m > lateness: 10": f"10: lateness: not allowed | 10 | {DURATION}; or {ACCEPTED}",
    "lateness: 10m > lateness: 99999999999w": f"10: lateness: not allowed | '99999999999w' | {DURATION}; or {ACCEPTED}",
    "keeps: forever > keeps: for ever": f"8: keeps: not allowed | 'for ever' | {DURATION}; or forever; or {ACCEPTED}",
    "after_queueing: 1h > after_queueing: soon": f"7: deadline.after_queueing: not allowed | 'soon' | {DURATION}",
    "errors_tolerated: 0 > errors_tolerated: 5": "9: errors_tolerated: not allowed | 5 | a number from 0 to 1; or "
    + ACCEPTED,
    "errors_tolerated: 0 > errors_tolerated: no": "9: errors_tolerated: not allowed | False | a number from 0 to 1; or "
    + ACCEPTED,
    "upstreams: [] > upstreams: none": "11: upstreams: not allowed | 'none' | a list (a mapping with name, freshness_query,"
    f" max_age); or {ACCEPTED}",
    "kind: postgres > kind: oracle": "2: kind: not allowed | 'oracle' | postgres, mysql",
    "source: shop > source: Shop": [
        "1: source: differs from the file's name; one finds a contract by its name | 'Shop' | shop, or rename the file",
        "1: source: not allowed | 'Shop' | lower case letters, digits and underscores, starting with a letter, 48 at most",
    ],
    "connection: shop > connection: 5": "3: connection: not allowed | 5 | text; put it in quotes",
    'cron: "0 * * * *" > cron: hourly': "6: schedule.cron: not allowed | 'hourly' | a cron line: five fields such as"
    " '0 * * * *', or a word such as '@daily'",
    'cron: "0 * * * *" > cron: "* * * * * *"': "6: schedule.cron: not allowed | '* * * * * *' | a cron line: five fields"
    " such as '0 * * * *', or a word such as '@daily'",
    "start: 2026-01-01 > start: 2026-02-30": "6: schedule.start: not allowed | '2026-02-30' | a date such as 2026-12-31",
    "start: 2026-01-01 > start: 20260101": "6: schedule.start: not allowed | 20260101 | a date such as 2026-12-31",
    "start: 2026-01-01 > start: 2026-01-01, timezone: Berlin": "6: schedule.timezone: not allowed | 'Berlin' |"
    " the name of a time zone, such as UTC or Europe/Berlin",
    # missing, unknown, misspelt
    "kind: postgres\n > ": "1: kind: missing field | nothing | postgres, mysql. Kind of system; mysql is MariaDB, too",
    "keeps: forever > keep: forever": "8: keep: unknown field; did you mean 'keeps'? | 'forever' | {fields}",
    "team: sales > tame: sales": "5: owner.tame: unknown field; did you mean 'team'? | 'sales' | team, contact",
    ", contact: sales@example.org > ": "5: owner.contact: missing field | nothing | text. An address that a person reads",
    "keeps: forever > keeps: {by: me, why: so}": "8: keeps.until: missing field | nothing | a date such as 2026-12-31."
    " The last day on which this holds; the check warns two weeks before",
    "    mode: snapshot > ": "24: streams.customers.mode: missing field | nothing | snapshot, incremental, log. snapshot: the"
    " whole table with every pull; incremental: what has changed by its cursor; log: every change, deletes too, from the"
    " source's write-ahead log",
    "mode: snapshot > modus: snapshot": [
        "24: streams.customers.mode: missing field | nothing | snapshot, incremental, log. snapshot: the whole"
        " table with every pull; incremental: what has changed by its cursor; log: every change, deletes too, from the"
        " source's write-ahead log",
        "26: streams.customers.modus: unknown field | 'snapshot' | {stream fields}",
    ],
    # streams
    "table: shop.orders > table: orders": "14: streams.orders.table: not allowed | 'orders' | schema.table, quoted as in"
    ' SQL: shop.orders, "My App"."Orders"',
    "mode: incremental > mode: incremantal": "15: streams.orders.mode: not allowed | 'incremantal' | snapshot,"
    " incremental, log",
    "    cursor: updated_at\n > ": "15: streams.orders.mode: not allowed | 'incremental' | mode: snapshot, or a cursor"
    " beside mode: incremental (a column stamped at every change, or xmin)",
    "cursor: updated_at > cursor: xmin\n    freshness: 1d": "17: streams.orders.freshness: not allowed | '1d' | no freshness: xmin"
    " says which transaction wrote a row, not when",
    "mode: snapshot > mode: snapshot\n    cursor: xmin": "27: streams.customers.cursor: not allowed | 'xmin' | no cursor:"
    " mode snapshot reads the whole table",
    "cursor: updated_at > cursor: updated": "16: streams.orders.cursor: not allowed | 'updated' | a column that is under"
    " columns: customer_id, id, updated_at",
    "cursor: updated_at > cursor: [updated_at]": "16: streams.orders.cursor: not allowed | ['updated_at'] | text",
    "updated_at: {type: timestamp with time zone} > updated_at: {type: x, ignore: true}": "16: streams.orders.cursor:"
    " not allowed | 'updated_at' | a column that is read (this one has ignore: true)",
    "mode: incremental > mode: snapshot": "16: streams.orders.cursor: not allowed | 'updated_at' | no cursor: mode"
    " snapshot reads the whole table",
    "mode: incremental > mode: incremental\n    deletes: snapshot": "16: streams.orders.deletes: not allowed | 'snapshot'"
    " | none, keys; an incremental read is never complete, so what it lacks is not gone",
    "mode: snapshot > mode: snapshot\n    deletes: keys": "27: streams.customers.deletes: not allowed | 'keys' | none,"
    " snapshot; keys is for mode incremental, a snapshot has all keys already",
    "mode: snapshot > mode: snapshot\n    freshness: 1d": "27: streams.customers.freshness: not allowed | '1d' | no freshness:"
    " without a cursor nothing says how old a row is",
    "keeps: forever > keeps: forever\nduplicates: newest_wins": "9: duplicates: not allowed | 'newest_wins' | none, or a"
    " mapping with by, why, until: without a cursor column no row of customers is the newest",
    "name: customers > name: orders": [
        "23: streams.orders.references[0].stream: not allowed | 'customers' | a stream of this source: orders, orders",
        "24: streams.orders.name: not allowed | 'orders' | each stream once",
    ],
    "stream: customers > stream: clients": "23: streams.orders.references[0].stream: not allowed | 'clients' | a stream of"
    " this source: orders, customers",
    "columns: [customer_id], stream > columns: [customer], stream": "23: streams.orders.references[0].columns[0]:"
    " not allowed | 'customer' | a column that is under columns: customer_id, id, updated_at",
    "columns: [customer_id], stream > columns: [customer_id, id], stream": "23: streams.orders.references[0].columns:"
    " not allowed | ['customer_id', 'id'] | one column for each of customers's primary key: id",
    "name: orders > name: " + "ö" * 32: "13: streams."
    + "ö" * 32
    + ".name: not allowed | '"
    + "ö" * 32
    + "' | 63 bytes at"
    " most, because it names the raw table",
    "customer_id: {type: bigint} > customer_id: {type: bigint}\n      _load_id: {type: bigint}": "22: streams.orders."
    "columns._load_id: not allowed | '_load_id' | no column _load_id, _loaded_at, _deleted_at: raw tables have their own;"
    " or ignore: true",
    "max: 9 > max: -1": "29: streams.customers.columns.id.min: not allowed | 0.0 | no more than max, which is -1",
    "max: 9 > values: [1, yes]": [
        "29: streams.customers.columns.id.values[0]: not allowed | 1 | text; put it in quotes",
        "29: streams.customers.columns.id.values[1]: not allowed | True | text; put it in quotes",
    ],
    "max: 9 > values: []": "29: streams.customers.columns.id.values: not allowed | [] | a list (text), 1 at least",
    "mode: snapshot > mode: snapshot\n    max_delete_share: 3": "27: streams.customers.max_delete_share: not allowed | 3 |"
    " a number, 1 at most",
    # what is protected before it lands
    "min: 0, max: 9 > protect: mask": "27: streams.customers.primary_key[0]: not allowed | 'id' | protect: hash or token for"
    " a column of the key; a mask is the same in every row",
    "max: 9 > protect: hash": "29: streams.customers.columns.id.min: not allowed | 0.0 | no min beside protect: an audit sees"
    " only what stands for a value; not_null can be judged, anything else by the source itself, such as a check constraint",
    "updated_at: {type: timestamp with time zone} > updated_at: {type: x, protect: mask}": "16: streams.orders.cursor:"
    " not allowed | 'updated_at' | a column without protect: increments are read by the cursor's values",
    "id: {type: bigint} > id: {type: bigint, protect: hash}": "19: streams.orders.columns.id.protect: not allowed | 'hash' |"
    " mask; or privacy_keys beside connection: the Airflow connection that holds the keys",
    "customer_id: {type: bigint} > customer_id: {type: bigint, protect: mask}": "23: streams.orders.references[0].columns[0]:"
    " not allowed | 'customer_id with protect: mask' | the same as customers.id, which has no protect: else no row finds its"
    " other",
    "customer_id: {type: bigint} > customer_id: {type: bigint}\n      note: {type: text, ignore: true, protect: mask}": "22: streams.orders.columns.note.protect: not allowed | 'mask' | nothing: with ignore: true no value is read",
    "customer_id: {type: bigint} > customer_id: {type: bigint, protect: rot13}": "21: streams.orders.columns.customer_id."
    "protect: not allowed | 'rot13' | mask, hash, token",
    # no contract at all
    "source: shop > source: shop\nsource: shop": "2: source: field stands twice, in lines 1 and 2 | 'source' | each"
    " field once: the second would silently win",
}


@pytest.mark.parametrize("change", BAD_SOURCES)
def test_a_bad_source_is_explained(tmp_path: Path, change: str) -> None:
    old, new = change.split(" > ", 1)
    assert old in SOURCE
    expected = BAD_SOURCES[change]
    names = {
        "{fields}": ", ".join(SourceContract.model_fields),
        "{stream fields}": ", ".join(
            SourceContract.model_fields["streams"].annotation.__args__[0].model_fields
        ),
    }
    wanted = []
    for text in [expected] if isinstance(expected, str) else expected:
        for mark, value in names.items():
            text = text.replace(mark, value)
        wanted.append(text)
    assert faults(SourceContract, write(tmp_path, "sources", "shop", SOURCE.replace(old, new, 1))) == wanted


BAD_SYNCS = {
    "type: postgres > type: ftp": "9: destination.type: not allowed | 'ftp' | postgres, mysql, http, s3",
    "  type: postgres\n > ": "8: destination.type: missing field | nothing | postgres, mysql, http, s3",
    "  table: crm.contacts\n > ": "8: destination.table: missing field | nothing | text. schema.table at the destination",
    "type: postgres > type: http": "11: destination.table: unknown field | 'crm.contacts' | {http}",
    "type: postgres\n  connection: crm\n  table: crm.contacts > type: http\n  connection: crm": "8: destination.path: not"
    " allowed | None | the path of the batch upsert, such as /v1/contacts/batch",
    "type: postgres\n  connection: crm\n  table: crm.contacts > type: http\n  connection: crm\n  api: hubspot": "11:"
    " destination.api: not allowed | 'hubspot' | batch_upsert, hubspot_contacts, salesforce_collections; or a declaration",
    "type: postgres\n  connection: crm\n  table: crm.contacts > type: http\n  connection: crm\n  api: salesforce_collections"
    "\n  parameters: {objekt: Contact}": [
        "12: destination.parameters: not allowed | ['objekt'] | with object",
        "12: destination.parameters.objekt: not allowed | 'Contact' | object, version",
    ],
    "type: postgres\n  connection: crm\n  table: crm.contacts > type: http\n  connection: crm\n  api: {upsert: {path: "
    "'/x/{region}'}}\n  rate_limit: fast": "12: destination.rate_limit: not allowed | 'fast' | a number of requests in a"
    " duration, such as 100/10s",
    "type: postgres\n  connection: crm\n  table: crm.contacts > type: http\n  connection: crm\n  api: {upsert: {path: "
    "'/x/{region}'}}": "11: destination.api: not allowed | '{region}' | a parameter of the declaration, a mapped field, or"
    " what it knows by itself: fields, id, key, key_field, next, record, records",
    "external_id: customer_id > email: customer_id": "13: mapping: not allowed | ['email'] | `external_id: customer_id`:"
    " the destination's key is filled from the model's",
    "external_id: customer_id > external_id: email": "14: mapping.external_id: not allowed | 'email' |"
    " `external_id: customer_id`: the destination's key is filled from the model's",
    "model: contacts > model: contacts\nmode: append": "7: mode: not allowed | 'append' |"
    " upsert, update, insert, mirror: what a destination of type postgres can do",
    "external_id: customer_id > external_id: customer_id\n  a.b: email": "15: mapping.a.b: not allowed | 'a.b' |"
    " no dot: a destination of type postgres has no nested fields",
    "external_id: customer_id > external_id: customer_id\n  name: {template: nobody}": "15: mapping.name.template: not allowed |"
    " 'nobody' | a text with at least one column in braces, such as '{first_name} {last_name}'",
    "external_id: customer_id > external_id: customer_id\n  name: {column: x, type: money}": "15: mapping.name.type: not allowed |"
    " 'money' | text, number, integer, boolean, date, timestamp",
    "model: contacts > model: contacts\npersonal: [mail]": "7: personal[0]: not allowed | 'mail' | a column that the mapping sends",
    "model: contacts > model: contacts\napproval: sometimes": "7: approval: not allowed | 'sometimes' |"
    " never, always; or a mapping with above",
    "model: contacts > model: contacts\nbatch_size: 0": "7: batch_size: not allowed | 0 | a whole number, 1 or more",
}


@pytest.mark.parametrize("change", BAD_SYNCS)
def test_a_bad_sync_is_explained(tmp_path: Path, change: str) -> None:
    from include.core.contracts.destinations import HttpDestination

    old, new = change.split(" > ", 1)
    expected = BAD_SYNCS[change]
    http = ", ".join(HttpDestination.model_fields)
    wanted = [
        text.replace("{http}", http) for text in ([expected] if isinstance(expected, str) else expected)
    ]
    found = faults(SyncContract, write(tmp_path, "syncs", "contacts", SYNC.replace(old, new, 1)))
    assert found == wanted


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"kind: [postgres\nsource: shop\n", "2: (whole file): is not YAML: "),
        (b"", "1: (whole file): is empty or no mapping | None"),
        (b"- a\n", "1: (whole file): is empty or no mapping | ['a']"),
        (b"source: \xff\n", "1: (whole file): is not YAML in UTF-8 |"),
        (b"source: a\x07b\n", "1: (whole file): is not YAML in UTF-8 |"),
        (b"? [a]\n: b\n", "1: (whole file): a field's name must be text |"),
    ],
)
def test_a_file_that_is_no_mapping_is_explained(tmp_path: Path, text: bytes, fault: str) -> None:
    path = write(tmp_path, "sources", "shop", "")
    path.write_bytes(text)
    (found,) = faults(SourceContract, path)
    assert found.startswith(fault)


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        "sources",
        "a",
        SOURCE.replace("source: shop", "source: a").replace("kind: postgres", "kind: x"),
    )
    write(tmp_path, "sources", "b", "source: c\n")
    write(tmp_path, "sources", "shop", SOURCE)
    with pytest.raises(FaultyContract) as caught:
        load_all(SourceContract, tmp_path)
    assert {fault.path.stem for fault in caught.value.faults} == {"a", "b"}
    missing = [fault.field for fault in caught.value.faults if fault.what == "missing field"]
    required = [name for name, field in SourceContract.model_fields.items() if field.is_required()]
    assert missing == [name for name in required if name != "source"]


def test_names_of_columns_are_text_whatever_yaml_makes_of_them(tmp_path: Path) -> None:
    text = SOURCE.replace(
        "      customer_id: {type: bigint}",
        "      customer_id: {type: bigint}\n"
        "      on: {type: a}\n      2024: {type: b}\n      null: {type: c}\n      ~: {type: d}",
    )
    contract = load_one(SourceContract, write(tmp_path, "sources", "shop", text))
    assert list(contract.stream("orders").columns)[3:] == ["on", "2024", "null", "~"]
