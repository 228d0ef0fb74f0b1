"""Expectations as queries: of more than one table, and of columns whose names Great Expectations cannot say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from include.core.contracts.stream import ColumnRule
from include.core.quoting import identifier, literal

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

#: Stands for the batch in a query; no name in Postgres has it.
BATCH = "\0"
#: Where an expectation keeps the query for its bad rows.
ROWS = "rows"
# It writes names into a small language of its own, col("name").notnull(), which has no way to write these, and into names of
# parameters, where white space ends them (1.24: ExecutionEngine.add_column_row_condition).
_UNSAID = re.compile(r'["\\]|[^\S ]')


def unsaid(*names: str) -> bool:
    """Whether a rule on any of these columns has to be a query."""
    return any(_UNSAID.search(name) for name in names)


def no_rows(query: str, *, rows: str = "", description: str, severity: str = "critical") -> Expectation:
    """The query, with BATCH where it reads the batch, finds nothing.

    :param rows: a query for the `ctid` of each row that is to blame; none when it is the batch as a whole.
    """
    import great_expectations.expectations as gxe

    # a name may look like a field of str.format or like a parameter of SQLAlchemy's text()
    escaped = query.replace("{", "{{").replace("}", "}}").replace(":", "\\:").replace(BATCH, "{batch}")
    return gxe.UnexpectedRowsExpectation(
        unexpected_rows_query=escaped, severity=severity, description=description, meta={ROWS: rows}
    )


def plain(query: str) -> str:
    """A query as Great Expectations shows it, in SQL that can be run: it doubles each % in a name, for a driver that takes
    parameters, and in a literal it does not."""
    quoted = r"""'(?:[^']|'')*'|"(?:[^"]|"")*\""""
    return re.sub(quoted, lambda m: m[0].replace("%%", "%") if m[0][0] == '"' else m[0], query).rstrip("; ")


def twice(key: tuple[str, ...]) -> str:
    """A query for the `ctid` of each row whose key is also another row's."""
    columns = ", ".join(identifier(name) for name in key)
    more = f"select {columns} from {BATCH} group by {columns} having count(*) > 1"
    return f"select ctid from {BATCH} where ({columns}) in ({more})"


def key_rules(key: tuple[str, ...], unique: str | None) -> list[Any]:
    """Each column of a key has a value; and, when there is a description of that, no key comes twice."""
    rules = [
        no_rows(
            f"select {identifier(name)} from {BATCH} where {identifier(name)} is null",
            rows=f"select ctid from {BATCH} where {identifier(name)} is null",
            description=f"primary key {name} is not null",
        )
        for name in key
    ]
    if unique:
        columns = ", ".join(identifier(name) for name in key)
        query = f"select {columns}, count(*) from {BATCH} group by {columns} having count(*) > 1"
        rules.append(no_rows(query, rows=twice(key), description=unique))
    return rules


def column_rules(name: str, rule: ColumnRule, tolerated: float, descriptions: dict[str, str]) -> list[Any]:
    """What a contract says of a column. Nulls break no rule but `not_null`.

    :param tolerated: share of the values that may break a rule. :param descriptions: by the rule's field.
    """
    column = identifier(name)
    limits = [
        f"{column} {sign} {bound!r}"
        for sign, bound in (("<", rule.min), (">", rule.max))
        if bound is not None
    ]
    allowed = ", ".join(map(literal, rule.values or ()))
    broken = {
        "not_null": f"{column} is null",
        "values": f"{column}::text not in ({allowed})",
        "limits": " or ".join(limits),
        "pattern": f"{column}::text !~ {literal(rule.pattern or '')}",
    }
    return [
        no_rows(
            f"with b as (select {column} from {BATCH}) select * from b where ({broken[field]}) and"
            f" (select count(*) filter (where {broken[field]}) > {tolerated!r}"
            f" * count({'*' if field == 'not_null' else column}) from b)",
            rows=f"select ctid from {BATCH} where {broken[field]}",
            description=description,
        )
        for field, description in descriptions.items()
    ]
