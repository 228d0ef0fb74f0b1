"""How each PostgreSQL type travels: its type in raw, its carrier, and the expression that reads it.

The driver decodes some types inexactly (docs/decisions/0004-types-exact-or-refused.md), so everything that is
not on the short list of proven types is read as the server's own text, which the warehouse reads back.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from include.core.errors import TypeNotExact
from include.core.schema import Column

_NATIVE = {
    "bool": "bool",
    "int2": "int",
    "int4": "int",
    "int8": "int",
    "float4": "float",
    "float8": "float",
    "date": "date",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
    "text": "string",
    "varchar": "string",
    "bpchar": "string",
}
# Names of objects of the source's catalog, or forms that no input function reads: kept as the text they show.
_AS_TEXT = frozenset(
    "regclass regcollation regconfig regdatabase regdictionary regnamespace regoper regoperator regproc"
    " regprocedure regrole regtype aclitem pg_node_tree pg_ndistinct pg_dependencies pg_mcv_list"
    " pg_brin_bloom_summary pg_brin_minmax_multi_summary gtsvector refcursor".split()
)
# What the driver hands out as the very text that `::text` would give, which the server need not make a value of first.
_TEXT_ON_THE_WIRE = frozenset(("json", "jsonb"))
_MAX_DECIMAL_DIGITS = 38


@dataclass(frozen=True)
class CatalogType:
    """One column as the catalog describes it; domains are resolved to the type below them.

    `element_base` is what an array's elements are below any domain.
    """

    column: str
    nullable: bool
    declared: str
    resolved: str
    name: str
    namespace: str
    kind: str
    typmod: int
    element_name: str | None
    element_namespace: str | None
    element_kind: str | None
    element_base: str | None
    number: int = 0


def column_for(found: CatalogType, where: str, as_text: bool = False) -> Column:
    """Decide how a column travels.

    :raises TypeNotExact: the type has no exact text form.
    """
    raw_type, carrier = _decide(found, where)
    if as_text:
        carrier = "text"
    return Column(found.column, found.declared, raw_type, carrier, found.nullable, number=found.number)


def _decide(found: CatalogType, where: str) -> tuple[str, str]:
    if found.kind == "p":
        raise _refused(found, where)
    if found.element_name is not None:
        return _array_type(found, where), "text"
    if found.namespace != "pg_catalog" or found.kind in "ec" or found.name in _AS_TEXT:
        return "text", "text"
    if found.name == "money":
        return "numeric", "text"
    if found.name == "numeric":
        return found.resolved, "decimal" if _fits_decimal(found.typmod) else "text"
    return found.resolved, _NATIVE.get(found.name, "text")


def _array_type(found: CatalogType, where: str) -> str:
    if found.element_base == "money":
        raise _refused(found, where)
    plain = (
        found.element_namespace == "pg_catalog"
        and found.element_kind == "b"
        and found.element_name not in _AS_TEXT
    )
    ranges = found.element_namespace == "pg_catalog" and found.element_kind in ("r", "m")
    return found.resolved if plain or ranges else "text[]"


def _refused(found: CatalogType, where: str) -> TypeNotExact:
    return TypeNotExact(
        f"column {found.column!r} has a type that cannot be carried exactly",
        where=where,
        received=found.declared,
        allowed="any type whose text form does not depend on the server's locale",
        todo="set `ignore: true` for the column in the contract, or read a view that casts it",
    )


def _fits_decimal(typmod: int) -> bool:
    # numeric's typmod: ((precision << 16) | (scale & 0x7ff)) + 4, scale signed in 11 bits; -1: unconstrained.
    if typmod < 4:
        return False
    precision, scale = (typmod - 4) >> 16, (typmod - 4) & 0x7FF
    return scale < 1024 and scale <= precision <= _MAX_DECIMAL_DIGITS


def expression(column: Column) -> sql.Composable:
    """What to select so that the column arrives in its carrier."""
    name = sql.Identifier(column.name_in_source)
    if column.raw_type == "numeric":
        # money, or a domain over it: its own text depends on the server's locale; numeric stays as it is
        return sql.SQL("{}::numeric::text").format(name)
    if column.raw_type in _TEXT_ON_THE_WIRE:
        return name
    if column.carrier in ("decimal", "text"):
        return sql.SQL("{}::text").format(name)
    return name
