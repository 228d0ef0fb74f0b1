"""How each type of MariaDB and MySQL travels: its type in raw, its carrier, and the expression that reads it.

The server itself writes each row as one line of CSV (RFC 4180): nothing in quotes is null, anything in quotes is text. It
writes all its types exactly as text but `float`, which it rounds to six digits unless it is made a double first.
"""

from __future__ import annotations

from dataclasses import dataclass

from include.core.errors import TypeNotExact
from include.core.mysql import quoted
from include.core.schema import Column

_INTEGERS = {
    "tinyint": ("smallint", "smallint"),
    "smallint": ("smallint", "integer"),
    "mediumint": ("integer", "integer"),
    "int": ("integer", "bigint"),
    "bigint": ("bigint", "numeric(20,0)"),
}
# Of type in raw and carrier. What PostgreSQL has no equal of is text there.
_OTHERS = {
    "float": ("real", "float"),
    "double": ("double precision", "float"),
    "date": ("date", "date"),
    "datetime": ("timestamp without time zone", "timestamp"),
    "timestamp": ("timestamp with time zone", "timestamptz"),
    "time": ("interval", "text"),
    "year": ("smallint", "int"),
    "uuid": ("uuid", "text"),
    "inet4": ("inet", "text"),
    "inet6": ("inet", "text"),
    "json": ("json", "text"),
    **dict.fromkeys(("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"), ("bytea", "text")),
    **dict.fromkeys(("char", "varchar", "tinytext", "text", "mediumtext", "longtext"), ("text", "string")),
    **dict.fromkeys(("enum", "set"), ("text", "string")),
}
_TIMES = ("date", "timestamp", "timestamptz")
_MAX_DECIMAL_DIGITS = 38
#: PostgreSQL cuts longer names.
MAX_NAME = 63
# All that can be stored in these has an equal in Unicode; of any other set each value is compared with what it became.
_WHOLLY_UNICODE = ("utf8mb4", "utf8mb3", "utf8", "latin1", "ucs2", "utf16", "utf16le", "utf32")


@dataclass(frozen=True)
class CatalogType:
    """One column as the catalog describes it. `charset` is None for what is no text."""

    column: str
    declared: str
    name: str
    nullable: bool
    precision: int | None
    scale: int | None
    charset: str | None
    extra: str = ""
    #: nothing here outlives a rename
    number: int = 0

    @property
    def unsigned(self) -> bool:
        return "unsigned" in self.declared.lower().split("(")[-1]


def column_for(found: CatalogType, where: str, as_text: bool = False) -> Column:
    """Decide how a column travels.

    :raises TypeNotExact: the type has no exact text form, or raw cannot have its name.
    """
    if len(found.column.encode()) > MAX_NAME:
        raise TypeNotExact(
            "a column's name is longer than raw can keep",
            where=where,
            received=found.column,
            allowed=f"{MAX_NAME} bytes in UTF-8",
            todo="set `ignore: true` for the column in the contract, or have it renamed",
        )
    raw_type, carrier = _decide(found, where)
    if as_text:
        # A date such as 0000-00-00 is none in PostgreSQL, so what is carried as text for its sake stays text.
        raw_type, carrier = ("text" if carrier in _TIMES else raw_type), "text"
    return Column(found.column, found.declared, raw_type, carrier, found.nullable)


def _decide(found: CatalogType, where: str) -> tuple[str, str]:
    if found.name in _INTEGERS:
        raw_type = _INTEGERS[found.name][found.unsigned]
        return raw_type, "decimal" if raw_type.startswith("numeric") else "int"
    if found.name == "decimal":
        assert found.precision is not None
        carrier = "decimal" if found.precision <= _MAX_DECIMAL_DIGITS else "text"
        return f"numeric({found.precision},{found.scale or 0})", carrier
    if found.name == "bit":
        return f"bit({found.precision or 1})", "text"
    if found.name in _OTHERS:
        return _OTHERS[found.name]
    raise TypeNotExact(
        f"column {found.column!r} has a type that cannot be carried exactly",
        where=where,
        received=found.declared,
        allowed="numbers, dates and times, text, binary, enum, set, bit, json, uuid, inet4 and inet6",
        todo="set `ignore: true` for the column in the contract, or add a generated column that casts it",
    )


def field(found: CatalogType, column: Column) -> str:
    """The expression that writes one column's value as a field of CSV, null as an empty one."""
    name = quoted(found.column)
    written = _written(found, column, name)
    if found.charset is None or found.charset in _WHOLLY_UNICODE:
        return f"ifnull({written}, '')"
    # Null for a value that is another one after the way to Unicode and back, which makes the whole row null.
    back = f"convert(convert({name} using utf8mb4) using {found.charset})"
    return f"case when {name} is null then '' when binary {back} = binary {name} then {written} end"


def _written(found: CatalogType, column: Column, name: str) -> str:
    if column.raw_type == "bytea":
        return rf"concat(char(92 using utf8mb4), 'x', hex({name}))"
    if found.name == "bit":
        return f"lpad(bin({name} + 0), {found.precision or 1}, '0')"
    if found.name == "float":
        return f"cast({name} as double)"
    if found.name in _INTEGERS and "zerofill" in found.declared.lower():
        return f"cast({name} as {'unsigned' if found.unsigned else 'signed'})"
    if column.carrier == "text" and found.name == "timestamp":
        return f"concat({name}, '+00')"
    if found.name in ("uuid", "inet4", "inet6"):  # beside these an empty text would have to be one
        return f"cast({name} as char)"
    if found.charset is None and found.name != "json":
        return name
    text = f"convert({name} using utf8mb4) collate utf8mb4_bin"
    return f"""concat('"', replace({text}, '"', '""'), '"')"""


def line(fields: list[str]) -> str:
    """The expression that writes a row; in bytes, so that nobody on the way decodes it."""
    return "cast(concat(" + ", ',', ".join(fields) + ", '') as binary)"
