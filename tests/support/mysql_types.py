"""Every type of MariaDB: its values as SQL writes them, the type in raw, and what raw then shows as text."""

from __future__ import annotations

#: declared type → type in raw, and pairs of a value and its text in raw
ROUND_TRIPS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "tinyint(4)": ("smallint", [("-128", "-128"), ("127", "127")]),
    "tinyint(1)": ("smallint", [("true", "1"), ("-7", "-7")]),
    "tinyint(3) unsigned": ("smallint", [("255", "255")]),
    "smallint(6)": ("smallint", [("-32768", "-32768")]),
    "smallint(5) unsigned": ("integer", [("65535", "65535")]),
    "mediumint(9)": ("integer", [("-8388608", "-8388608")]),
    "mediumint(8) unsigned": ("integer", [("16777215", "16777215")]),
    "int(11)": ("integer", [("-2147483648", "-2147483648"), ("2147483647", "2147483647")]),
    "int(10) unsigned": ("bigint", [("4294967295", "4294967295")]),
    "int(5) unsigned zerofill": ("bigint", [("42", "42"), ("0", "0")]),
    "bigint(20)": ("bigint", [("-9223372036854775808", "-9223372036854775808")]),
    "bigint(20) unsigned": ("numeric(20,0)", [("18446744073709551615", "18446744073709551615"), ("0", "0")]),
    "decimal(12,2)": ("numeric(12,2)", [("-9999999999.99", "-9999999999.99"), ("0.1", "0.10")]),
    "decimal(38,10)": ("numeric(38,10)", [("9" * 28 + "." + "9" * 10, "9" * 28 + "." + "9" * 10)]),
    "decimal(65,30)": (
        "numeric(65,30)",
        [("-" + "9" * 35 + "." + "9" * 30, "-" + "9" * 35 + "." + "9" * 30), ("1", "1." + "0" * 30)],
    ),
    "decimal(10,0) unsigned": ("numeric(10,0)", [("9999999999", "9999999999")]),
    "float": (
        "real",
        [("16777217", "1.6777216e+07"), ("0.1", "0.1"), ("3.4028234e38", "3.4028235e+38")],
    ),
    "float(7,3)": ("real", [("1234.567", "1234.567")]),
    "double": (
        "double precision",
        [
            ("0.1", "0.1"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
            ("0.1e0 + 0.2e0", "0.30000000000000004"),
            ("9007199254740993", "9.007199254740992e+15"),
            ("-1.2345678901234568e-5", "-1.2345678901234568e-05"),
        ],
    ),
    "double(12,2)": ("double precision", [("1234567890.12", "1234567890.12")]),
    "date": ("date", [("'0001-01-01'", "0001-01-01"), ("'9999-12-31'", "9999-12-31")]),
    "datetime": ("timestamp without time zone", [("'2024-02-29 23:59:59'", "2024-02-29 23:59:59")]),
    "datetime(6)": (
        "timestamp without time zone",
        [
            ("'0001-01-01 00:00:00.000001'", "0001-01-01 00:00:00.000001"),
            ("'9999-12-31 23:59:59.999999'", "9999-12-31 23:59:59.999999"),
        ],
    ),
    "datetime(3)": (
        "timestamp without time zone",
        [("'2024-02-29 23:59:59.123'", "2024-02-29 23:59:59.123")],
    ),
    "timestamp": ("timestamp with time zone", [("'1970-01-01 00:00:01'", "1970-01-01 00:00:01+00")]),
    "timestamp(6)": (
        "timestamp with time zone",
        [
            ("'2038-01-19 03:14:07.999999'", "2038-01-19 03:14:07.999999+00"),
            ("'2024-10-27 01:30:00.5'", "2024-10-27 01:30:00.5+00"),
        ],
    ),
    "time(6)": (
        "interval",
        [
            ("'-838:59:59.000001'", "-838:59:59.000001"),
            ("'838:59:59.999999'", "838:59:59.999999"),
            ("'-00:00:01'", "-00:00:01"),
        ],
    ),
    "time": ("interval", [("'25:00:00'", "25:00:00"), ("'00:00:00'", "00:00:00")]),
    "year(4)": ("smallint", [("2155", "2155"), ("'0000'", "0")]),
    "bit(1)": ("bit(1)", [("b'1'", "1"), ("b'0'", "0")]),
    "bit(10)": ("bit(10)", [("b'101'", "0000000101")]),
    "bit(64)": ("bit(64)", [("b'" + "1" * 64 + "'", "1" * 64)]),
    "char(40)": ("text", [("'Zoë'", "Zoë"), ("''", "")]),
    "varchar(200)": (
        "text",
        [
            ("'a, \"quoted\" one'", 'a, "quoted" one'),
            ("''", ""),
            ("'  '", "  "),
            ("'NULL'", "NULL"),
            ("'\\\\N'", "\\N"),
        ],
    ),
    "text": (
        "text",
        [
            ("'line\\nline\\r\\n\\ttab'", "line\nline\r\n\ttab"),
            ("'\\n'", "\n"),
            ("repeat('é\"', 20000)", 'é"' * 20000),
        ],
    ),
    "longtext": ("text", [("repeat('x', 1000000)", "x" * 1000000), ("'🦀'", "🦀")]),
    "tinytext": ("text", [("'x'", "x")]),
    "mediumtext": ("text", [("'x'", "x")]),
    "enum('a','b, \"c\"')": ("text", [("'b, \"c\"'", 'b, "c"')]),
    "set('x','y','z')": ("text", [("'x,z'", "x,z"), ("''", "")]),
    "binary(4)": ("bytea", [("x'00ff'", "\\x00ff0000")]),
    "varbinary(20)": ("bytea", [("x'00ff0a0d22'", "\\x00ff0a0d22"), ("''", "\\x")]),
    "blob": ("bytea", [("repeat(x'00ff', 30000)", "\\x" + "00ff" * 30000)]),
    "longblob": ("bytea", [("x'89504e47'", "\\x89504e47")]),
    "tinyblob": ("bytea", [("x'01'", "\\x01")]),
    "mediumblob": ("bytea", [("x'01'", "\\x01")]),
    "uuid": ("uuid", [("'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000")]),
    "inet4": ("inet", [("'192.0.2.1'", "192.0.2.1/32")]),
    "inet6": (
        "inet",
        [
            ("'2001:db8::ff00:42:8329'", "2001:db8::ff00:42:8329/128"),
            ("'::ffff:192.0.2.128'", "::ffff:192.0.2.128/128"),
        ],
    ),
}
# Each of these has its letters in a character set of its own.
for charset, letters in {
    "latin1": "é€",
    "latin2": "żółć",
    "utf8mb3": "日本",
    "ucs2": "日本",
    "utf16": "日本🦀",
    "utf32": "🦀",
    "cp1251": "Привет",
    "koi8r": "Привет",
    "greek": "αβγ",
    "hebrew": "שלום",
    "sjis": "日本",
    "cp932": "日本①",
    "ujis": "日本",
    "gbk": "中文",
    "big5": "中文",
    "euckr": "한국",
    "ascii": "plain",
    "cp850": "é",
    "macroman": "é",
}.items():
    ROUND_TRIPS[f"varchar(40) character set {charset}"] = ("text", [(f"'{letters}'", letters)])

#: declared type → a value that is none in raw
REFUSED_VALUES = {
    "date": "'0000-00-00'",
    "datetime(6)": "'2024-00-10 00:00:00'",
    "timestamp": "'0000-00-00 00:00:00'",
    "varchar(10)": r"'a\0b'",
    "datetime": "'0000-05-05 00:00:00'",
}
#: What cannot be carried at all.
REFUSED_TYPES = ("geometry", "point", "polygon")
