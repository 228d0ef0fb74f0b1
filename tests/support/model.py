"""What raw has to hold after each publication, worked out in plain Python from what the source held when it was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from psycopg import sql

from tests.support.pipeline import Pipeline

#: A row as text by column; a value that is null is left out, so that a column that did not exist yet is one that was null.
Row = dict[str, str]
#: The rows of a table by the text of their key.
Picture = dict[tuple[str, ...], Row]

_MICROSECONDS = st.integers(0, 999_999)
_TIMES = st.builds(
    "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}".format,
    st.integers(1, 9999), st.integers(1, 12), st.integers(1, 28),
    st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), _MICROSECONDS,
)  # fmt: skip
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
_DECIMAL = st.decimals(-(10**15) + 1, 10**15 - 1, places=5).map(str)
#: Types as the catalog names them, and values of each as text.
VALUES: dict[str, st.SearchStrategy[str]] = {
    "integer": st.integers(-(2**31), 2**31 - 1).map(str),
    "bigint": st.integers(-(2**63), 2**63 - 1).map(str),
    "numeric(20,5)": _DECIMAL,
    "numeric": st.one_of(_DECIMAL, st.builds("{}e{}".format, st.integers(-99, 99), st.integers(-40, 40))),
    "real": st.floats(width=32).map(repr),
    "double precision": st.floats().map(repr),
    "boolean": st.sampled_from(["true", "false"]),
    "text": _TEXT,
    "character varying(12)": _TEXT,
    "bytea": st.binary(max_size=8).map(lambda value: "\\x" + value.hex()),
    "date": _TIMES.map(lambda time: time[:10]),
    "timestamp without time zone": _TIMES,
    "timestamp with time zone": _TIMES.map(lambda time: time + "+00"),
    "interval": st.builds("{} months {} days {} microseconds".format, *[st.integers(-(10**6), 10**6)] * 3),
    "uuid": st.uuids().map(str),
    "inet": st.ip_addresses().map(str),
    "jsonb": st.recursive(
        st.sampled_from(["null", "true", '"ä"', "1.10", "12345678901234567890.123"]),
        lambda inner: st.lists(inner, max_size=2).map(lambda values: f"[{','.join(values)}]"),
        max_leaves=4,
    ),
    "integer[]": st.sampled_from(["{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "[0:1]={7,8}"]),
}
NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12
).filter(lambda name: name not in ("_load_id", "_loaded_at", "_deleted_at", "_change", "changed"))  # fmt: skip


@dataclass
class Table:
    """A table of the source, how its contract has it read, and what raw must hold of it."""

    name: str
    key: dict[str, str]
    columns: dict[str, str]
    reading: dict[str, Any]
    live: Picture = field(default_factory=dict)
    tombstones: Picture = field(default_factory=dict)
    history: list[tuple[str, Row]] = field(default_factory=list)
    #: The columns that raw has: those of the newest load that was published.
    carried: tuple[str, ...] = ()

    @property
    def types(self) -> dict[str, str]:
        return {**self.key, "changed": "timestamp with time zone", **self.columns}

    def stream(self, schema: str) -> dict[str, Any]:
        """It as a stream of a contract."""
        return {
            "name": self.name,
            "table": f'{schema}."{self.name}"',
            "primary_key": list(self.key),
            "columns": {name: {"type": kind} for name, kind in self.types.items()},
            "max_delete_share": 1,
            **self.reading,
        }

    def published(self, columns: tuple[str, ...], picture: Picture) -> None:
        """A load that read this picture, with these columns, has been published."""
        self.carried = columns
        for key, row in picture.items():
            if self.live.get(key) != row:
                # one that comes back is an update of its tombstone
                known = key in self.live or self.tombstones.pop(key, None) is not None
                self.history.append(("update" if known else "insert", row))
        gone = {key: row for key, row in self.live.items() if key not in picture}
        if self.reading["deletes"] == "none":
            self.live = gone | picture
            return
        self.history += [("delete", row) for row in gone.values()]
        if self.reading["deleted_rows"] == "tombstone":
            self.tombstones |= gone
        self.live = dict(picture)

    def source(self, pipeline: Pipeline, schema: str) -> Picture:
        """What the table holds now."""
        return self._picture(
            pipeline.at_source, sql.Identifier(schema, self.name), sql.SQL("true"), tuple(self.types)
        )

    def agrees(self, pipeline: Pipeline, schema: str) -> None:
        """Raw and its history hold what they must."""
        raw = sql.Identifier(schema, self.name)
        held = [
            self._picture(pipeline.at_warehouse, raw, sql.SQL(f"_deleted_at is {state}"), self.carried)
            for state in ("null", "not null")
        ]
        assert held == [self.live, self.tombstones]
        if self.reading["history"] == "append":
            history, columns = sql.Identifier(schema, f"{self.name}__history"), (*self.carried, "_change")
            rows = self._rows(pipeline.at_warehouse, history, sql.SQL("true"), columns)
            changes = [(row.pop("_change"), row) for row in rows]
            assert sorted(changes, key=_ordered) == sorted(self.history, key=_ordered)

    def _picture(
        self, ask: Any, relation: sql.Identifier, where: sql.SQL, columns: tuple[str, ...]
    ) -> Picture:
        rows = self._rows(ask, relation, where, columns)
        picture = {tuple(row[name] for name in self.key): row for row in rows}
        assert len(picture) == len(rows), "a key comes twice"
        return picture

    def _rows(
        self, ask: Any, relation: sql.Identifier, where: sql.SQL, columns: tuple[str, ...]
    ) -> list[Row]:
        texts = (sql.SQL("{}::text").format(sql.Identifier(column)) for column in columns)
        statement = sql.SQL("select {} from {} where {}").format(sql.SQL(", ").join(texts), relation, where)
        return [
            {name: value for name, value in zip(columns, row, strict=True) if value is not None}
            for row in ask(statement.as_string(None))
        ]


def _ordered(change: tuple[str, Row]) -> str:
    return repr((change[0], sorted(change[1].items())))
