#!/usr/bin/env python3
"""
Makes vectors.json: Avro records as fastavro writes them, and the JSON form that they must get, from what fastavro reads back.
    python3 -m venv V && V/bin/pip install fastavro==1.13.1 && V/bin/python tests/unit/gateway/values/vectors.py [FILE]
Each vector is {"name", "schema", "hex", "json": the exact text}.
"""

import base64
import datetime
import decimal
import io
import json
import math
import pathlib
import struct
import sys
import uuid

import fastavro

UTC = datetime.timezone.utc


def number_text(value, digits):
    """The shortest text that is read as the same number."""
    for count in digits:
        text = f"{value:.{count}g}"
        again = float(text)
        if len(digits) == 4:
            again = struct.unpack("f", struct.pack("f", again))[0]
        if again == value:
            break
    return text if "." in text or "e" in text else text + ".0"


def float_text(value, digits):
    if math.isnan(value):
        return '"NaN"'
    if math.isinf(value):
        return '"Infinity"' if value > 0 else '"-Infinity"'
    return number_text(value, digits)


def fraction(value, logical):
    return f".{value.microsecond // 1000:03}" if logical.endswith("millis") else f".{value.microsecond:06}"


def quote(text):
    """As RFC 8259 asks for, and no more."""
    return json.dumps(text, ensure_ascii=False)


class Renderer:
    def __init__(self):
        self.named = {}
        self.space = ""

    def branch(self, schema, value):
        """fastavro gives (name, value) where it is asked to name the branch of a union."""
        for one in schema:
            name = one if isinstance(one, str) else one.get("name", one["type"])
            if name == value[0] or name.split(".")[-1] == value[0].split(".")[-1]:
                return one
        raise KeyError(value)

    def text(self, schema, value):
        if isinstance(schema, list):
            if value is None:
                return "null"
            if isinstance(value, tuple):
                return self.text(self.branch(schema, value), value[1])
            left = [one for one in schema if one != "null"]
            assert len(left) == 1 or not any(isinstance(one, (dict, list)) for one in left), schema
            for one in left:
                kinds = {"string": str, "int": int, "long": int, "double": float, "float": float, "boolean": bool, "bytes": bytes}
                if len(left) == 1 or type(value) is kinds.get(one):
                    return self.text(one, value)
            raise KeyError(value)
        if isinstance(schema, str):
            if schema in self.named:
                return self.text(self.named[schema], value)
            schema = {"type": schema}
        kind, logical = schema["type"], schema.get("logicalType", "")
        if "name" in schema:
            self.space = schema.get("namespace", self.space)
            self.named[schema["name"]] = self.named[f"{self.space}.{schema['name']}"] = schema
        if isinstance(value, decimal.Decimal):
            return f"{value:f}"
        if isinstance(value, datetime.datetime):
            return f'"{value:%Y-%m-%dT%H:%M:%S}{fraction(value, logical)}Z"'
        if isinstance(value, datetime.date):
            return f'"{value.year:04}-{value:%m-%d}"'
        if isinstance(value, datetime.time):
            return f'"{value:%H:%M:%S}{fraction(value, logical)}"'
        if isinstance(value, uuid.UUID):
            return f'"{value}"'
        if kind == "null":
            return "null"
        if kind == "boolean":
            return "true" if value else "false"
        if kind in ("int", "long"):
            return str(value)
        if kind == "float":
            return float_text(value, range(6, 10))
        if kind == "double":
            return float_text(value, range(15, 18))
        if kind in ("bytes", "fixed"):
            return f'"{base64.b64encode(value).decode()}"'
        if kind in ("string", "enum"):
            return quote(value)
        if kind == "array":
            return "[" + ",".join(self.text(schema["items"], item) for item in value) + "]"
        if kind == "map":
            return "{" + ",".join(f"{quote(key)}:{self.text(schema['values'], item)}" for key, item in value.items()) + "}"
        if kind == "record":
            return "{" + ",".join(f"{quote(f['name'])}:{self.text(f['type'], value[f['name']])}" for f in schema["fields"]) + "}"
        raise KeyError(kind)


def record(name, *fields, **more):
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields], **more}


def logical(kind, logical_type, **more):
    return {"type": kind, "logicalType": logical_type, **more}


def cases():
    for value in (None,):
        yield "null", "null", value
    for value in (True, False):
        yield f"boolean {value}", "boolean", value
    for value in (0, -1, 1, 63, 64, -64, -65, 8191, 8192, 2**31 - 1, -(2**31)):
        yield f"int {value}", "int", value
    for value in (0, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 12345678901234567):
        yield f"long {value}", "long", value
    for value in (0.0, -0.0, 1.0, 0.1, 1e20, 3.4028234663852886e38, 1.401298464324817e-45, 16777216.0, math.nan, math.inf, -math.inf):
        yield f"float {value}", "float", value
    for value in (0.0, -0.0, 1.0, 0.1, 1 / 3, 1e15, 1e16, 1e22, 5e-324, 1.7976931348623157e308, 123456789.125, math.nan, math.inf, -math.inf):
        yield f"double {value}", "double", value
    for value in ("", "a", 'q"b\\s/', "\x00\x01\x1f\t\r\n\x7f", "Grüße, 世界 😀", "x" * 300):
        yield f"string of {len(value)} {value[:1]!r}", "string", value
    for value in (b"", b"a", b"ab", b"abc", bytes(range(256))):
        yield f"bytes of {len(value)}", "bytes", value
    yield "fixed", {"type": "fixed", "name": "F", "size": 4}, b"\x00\xff\x80\x7f"
    for value in ("ADDED", "GONE"):
        yield f"enum {value}", {"type": "enum", "name": "E", "symbols": ["ADDED", "CHANGED", "GONE"]}, value
    ints, words = {"type": "array", "items": "int"}, {"type": "map", "values": "string"}
    for value in ([], [1], [1, 2, 3], list(range(1000))):
        yield f"array of {len(value)}", ints, value
    yield "arrays in arrays", {"type": "array", "items": ints}, [[], [1], [2, 3]]
    yield "array of nulls", {"type": "array", "items": "null"}, [None] * 5
    yield "array of empty records", {"type": "array", "items": record("Nothing")}, [{}] * 3
    for value in ({}, {"a": "1"}, {"b": "2", "a": "1", "ü": "", 'k"': "x"}, {"": "empty", "nul\x00key": "y"}):
        yield f"map of {len(value)} {list(value)[:1]}", words, value
    yield "map of maps", {"type": "map", "values": words}, {"a": {}, "b": {"c": "d"}}
    yield "record without fields", record("Nothing"), {}
    yield "record in record", record("A", ("x", record("B", ("y", record("Nothing")), ("z", "int"))), ("w", record("C"))), {
        "x": {"y": {}, "z": 7},
        "w": {},
    }
    yield "record ends with an array", record("A", ("x", ints)), {"x": [1]}
    yield "records in an array in a record", record("A", ("x", {"type": "array", "items": record("B", ("y", ints))}), ("z", "null")), {
        "x": [{"y": []}, {"y": [1, 2]}],
        "z": None,
    }
    optional = ["null", "string"]
    for value in (None, "text"):
        yield f"union {value}", optional, value
    many = ["null", "int", "string", "double", "boolean", "bytes"]
    for value in (None, 5, "text", 1.5, True, b"\x01"):
        yield f"union of many {value}", many, value
    two = [record("A", ("x", "int")), record("B", ("y", "string"))]
    for value in (("A", {"x": 1}), ("B", {"y": "2"})):
        yield f"union of records {value[0]}", two, value
    chain = record("Node", ("v", "long"), ("next", ["null", "Node"]))
    yield "a list of itself", chain, {"v": 1, "next": {"v": 2, "next": {"v": 3, "next": None}}}
    tree = record("Tree", ("name", "string"), ("below", {"type": "array", "items": "Tree"}), ("last", "int"))
    leaf = {"name": "leaf", "below": [], "last": 3}
    yield "a tree of itself", tree, {"name": "root", "below": [leaf, {"name": "twig", "below": [leaf], "last": 2}], "last": 1}
    shared = record(
        "Order",
        ("state", {"type": "enum", "name": "State", "symbols": ["NEW", "OLD"]}),
        ("before", ["null", "State"]),
        ("id", {"type": "fixed", "name": "Id", "size": 2}),
        ("other", "shop.Id"),
        namespace="shop",
    )
    yield "names in a namespace", shared, {"state": "NEW", "before": "OLD", "id": b"ab", "other": b"cd"}

    number = decimal.Decimal
    money = logical("bytes", "decimal", precision=20, scale=2)
    for value in ("0", "0.05", "-0.05", "1", "12.50", "-12.50", "1.28", "-1.28", "-1.29", "327.68", "-327.68", "123456789012345678.99", "-99999999999999999.99"):
        yield f"decimal {value}", money, number(value).quantize(number("0.01"))
    with decimal.localcontext() as context:
        context.prec = 2000
        long = number(-(10**400) + 1).scaleb(-100)
        yield "decimal of 400 digits", logical("bytes", "decimal", precision=400, scale=100), long
        yield "decimal of 1000 digits", logical("bytes", "decimal", precision=1000), number(10**1000 - 1)
    whole = logical("bytes", "decimal", precision=30)
    for value in ("0", "255", "-256", "123456789012345678901234567890"):
        yield f"decimal without scale {value}", whole, number(value)
    fixed = logical("fixed", "decimal", name="D", size=8, precision=18, scale=4)
    for value in ("0.0000", "1.2345", "-1.2345", "99999999999999.9999"):
        yield f"fixed decimal {value}", fixed, number(value)
    for value in ((1970, 1, 1), (1969, 12, 31), (2000, 2, 29), (1900, 3, 1), (2024, 12, 31), (9999, 12, 31), (1, 1, 1), (2100, 2, 28)):
        yield f"date {value}", logical("int", "date"), datetime.date(*value)
    for name, kind in (("time-millis", "int"), ("time-micros", "long")):
        for value in ((0, 0, 0), (23, 59, 59, 999000), (12, 34, 56, 1000)):
            yield f"{name} {value}", logical(kind, name), datetime.time(*value)
    for name in ("timestamp-millis", "timestamp-micros"):
        for value in ((1970, 1, 1), (1969, 12, 31, 23, 59, 59, 999000), (2024, 2, 29, 12, 0, 0, 123000), (9999, 12, 31, 23, 59, 59), (1000, 1, 1)):
            yield f"{name} {value}", logical("long", name), datetime.datetime(*value, tzinfo=UTC)
            yield f"local-{name} {value}", logical("long", f"local-{name}"), datetime.datetime(*value)
    yield "uuid", logical("string", "uuid"), uuid.UUID("0189f7ea-ae2c-7809-8aeb-b819cf5e9e7f")
    for value in (None, number("1.50")):
        yield f"optional decimal {value}", ["null", money], value
    yield "unknown logical type", logical("string", "colour"), "red"
    seven = record(
        "Order",
        ("id", "long"),
        ("customer", "string"),
        ("placed", logical("long", "timestamp-millis")),
        ("amount", money),
        ("state", {"type": "enum", "name": "State", "symbols": ["NEW", "PAID", "SENT"]}),
        ("note", ["null", "string"]),
        ("tags", {"type": "array", "items": "string"}),
    )
    yield "seven fields", seven, {
        "id": 4711,
        "customer": "Jane Doe, 12 Harbour Street, Portsmouth, Hampshire, England",
        "placed": datetime.datetime(2024, 5, 17, 9, 30, 15, 250000, tzinfo=UTC),
        "amount": number("1249.90"),
        "state": "PAID",
        "note": "Please leave the parcel with the neighbours at number 14 when nobody opens the door, " * 2 + "and thank you.",
        "tags": ["express", "gift", "fragile", "customer-since-2016", "europe"],
    }


def main():
    vectors = []
    for name, schema, value in cases():
        out = io.BytesIO()
        parsed = fastavro.parse_schema(json.loads(json.dumps(schema)))
        fastavro.schemaless_writer(out, parsed, value)
        union = isinstance(schema, list) and any(isinstance(one, dict) and one["type"] == "record" for one in schema)
        back = fastavro.schemaless_reader(io.BytesIO(out.getvalue()), parsed, None, return_named_type=union)
        vectors.append({"name": name, "schema": schema, "hex": out.getvalue().hex(), "json": Renderer().text(schema, back)})
    text = "[\n" + ",\n".join(json.dumps(vector) for vector in vectors) + "\n]\n"
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("vectors.json")
    path.write_text(text)
    print(f"{len(vectors)} vectors, {max(len(v['hex']) // 2 for v in vectors)} bytes the longest")


if __name__ == "__main__":
    main()
