"""What the rows of a table are, in a few numbers that two servers compute alike: tables are compared, and nothing moves.

Each row has a digest (md5 of all its columns as text), and falls into a bucket by the digest of its key. A bucket is
told by how many rows it has and by the sum of their digests, which does not depend on their order. Where a bucket differs,
only its rows have to be looked at. The idea is that of https://github.com/datafold/data-diff; by hash instead of by ranges
of keys, because two servers need not sort text alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from include.core.schema import StreamSchema

#: As the server numbers them: by 12 bits of the key's digest. Small tables are told in fewer (`Checksum.of`).
_BUCKETS = 4096
#: Rows to a bucket, about.
_ROWS = 256


@dataclass(frozen=True)
class Checksum:
    """How many rows a table has, and of each of `count` buckets its rows and the sum of their digests.

    A bucket without rows is left out. `columns` are those that it speaks of.
    """

    rows: int
    columns: tuple[str, ...]
    count: int
    buckets: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, columns: Sequence[str], found: Sequence[tuple[int, int, int]], count: int = 0) -> Checksum:
        """From bucket, rows and sum, as `bucket_query` finds them. :param count: of buckets; as its rows need when 0."""
        rows = sum(number for _, number, _ in found)
        if not count:
            count = 1
            while count < _BUCKETS and count * _ROWS < rows:
                count *= 2
        buckets: dict[str, tuple[int, int]] = {}
        for bucket, number, digest in found:
            name = str(bucket % count)
            held = buckets.get(name, (0, 0))
            buckets[name] = (held[0] + number, held[1] + digest)
        return cls(rows, tuple(columns), count, buckets)

    def held(self, bucket: int) -> int:
        """The rows of a bucket."""
        return self.buckets.get(str(bucket), (0, 0))[0]

    def differing(self, other: Checksum) -> list[int]:
        """The buckets in which two tables do not hold the same rows."""
        names = set(self.buckets) | set(other.buckets)
        return sorted(int(name) for name in names if self.buckets.get(name) != other.buckets.get(name))

    def to_json(self) -> dict[str, object]:
        # sums are beyond 64 bits
        buckets = {name: [rows, str(digest)] for name, (rows, digest) in self.buckets.items()}
        return {"rows": self.rows, "columns": list(self.columns), "count": self.count, "buckets": buckets}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Checksum:
        buckets = {name: (rows, int(digest)) for name, (rows, digest) in data["buckets"].items()}  # type: ignore[attr-defined]
        return cls(data["rows"], tuple(data["columns"]), data["count"], buckets)  # type: ignore[arg-type]


def comparable(schema: StreamSchema, names: Sequence[str]) -> StreamSchema:
    """The stream with these columns only, and without a key when a column of it is not among them."""
    key = schema.primary_key if set(schema.primary_key) <= set(names) else ()
    return replace(schema.only(tuple(names)), primary_key=key)


def text_of(value: str, raw_type: str) -> str:
    """PostgreSQL's SQL for the text of a value, the same whether its column has this type or a wider one.

    :param value: an expression.
    """
    if raw_type.startswith("numeric") and not raw_type.endswith("[]"):
        return f"trim_scale(({value})::numeric)::text"
    if raw_type == "real":
        return f"({value})::double precision::text"
    return f"({value})::text"


def bucket_query(relation: str, texts: Sequence[str], key: Sequence[str], where: str = "true") -> str:
    """PostgreSQL's SQL for bucket, rows, and the sum of digests as text.

    :param relation: quoted. :param texts: every column as an expression of type text. :param key: those of the key; all
        columns where there is none.
    """
    return (
        "select bucket, count(*)::bigint as rows, sum(digest)::text as digest"
        f" from ({_digests(relation, texts, key, where)}) as each group by bucket"
    )


def row_query(
    relation: str, texts: Sequence[str], key: Sequence[str], where: str, count: int, wanted: Sequence[int]
) -> str:
    """The same rows one by one, of these buckets out of so many: their key, and the sum of the digests that it has."""
    listed = ", ".join(map(str, wanted))
    return (
        f"select key, sum(digest)::text as digest from ({_digests(relation, texts, key, where)}) as each"
        f" where bucket % {count} in ({listed}) group by key"
    )


def _digests(relation: str, texts: Sequence[str], key: Sequence[str], where: str) -> str:
    # A row as text is unambiguous: it quotes what it has to, and null is not the empty text. Servers may keep text in
    # different encodings.
    image, keyed = (f"row({', '.join(names)})::text" for names in (texts, key or texts))
    return (
        f"select {keyed} as key, ('x' || substr(md5(convert_to({keyed}, 'UTF8')), 1, 3))::bit(12)::int as bucket,"
        f" ('x' || substr(md5(convert_to({image}, 'UTF8')), 1, 15))::bit(60)::bigint as digest"
        f" from {relation} where {where}"
    )
