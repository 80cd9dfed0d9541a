"""What the mapping accepts, the destinations accept, and they read back exactly what was meant.

Every edge text goes to a column of every dataType, by path and as the body, into SQLite and into a real PostgreSQL. An oracle of Python's
own (json, decimal, float, datetime) says what is accepted and what the column then means; nothing accepted may be refused at import, and
what is refused stands among the sink's rejects as it came. The edges are the values `a` of the cases in tests/mapping/values.json, of
whatever type they are a case of, and what is generated here. Random cells: SLUICE_SEED repeats a run.
"""

import base64
import collections
import datetime
import decimal
import functools
import json
import os
import random
import re
import struct
import time
import uuid

import psycopg2
import psycopg2.extras
import pytest
from mapping_cases import cases
from sluice import NEVER, request_on

TYPES = ["text", "integer", "number", "decimal", "boolean", "timestamp", "date", "json", "bytes", "uuid", "jsonText"]
JSON_TYPES = ("json", "jsonText")
DESTINATIONS = ["local", "warehouse"]
REFUSED = "refused"
ROW_LIMIT = 1536 << 10
EVENT_LIMIT = 1 << 20

# ---- the oracle: what a text means to a dataType, or that it does not fit ----------------------------------------------------------------

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]| UTC|([+-])([0-9]{2})(?::?([0-9]{2}))?)"
)
UTC = datetime.timezone.utc


def number_parts(text):
    """Digits before and behind the point, and the exponent."""
    match = NUMBER.fullmatch(text)
    if not match:
        return None
    return match[1], match[2] or "", int(decimal.Decimal(match[3] or "0"))


def as_integer(text):
    parts = number_parts(text)
    if not parts:
        return REFUSED
    digits, power = parts[0] + parts[1], parts[2] - len(parts[1])
    power += len(digits) - len(digits.rstrip("0"))
    digits = digits.strip("0")
    if not digits:
        return 0
    if power < 0 or power + len(digits) > 19:
        return REFUSED
    value = int(digits) * 10**power * (-1 if text[0] == "-" else 1)
    return value if -(2**63) <= value < 2**63 else REFUSED


def as_number(text):
    value = float(text) if number_parts(text) else float("inf")
    return REFUSED if value in (float("inf"), float("-inf")) else value


def as_decimal(text):
    parts = number_parts(text)
    if not parts or max(1, len(parts[0]) + parts[2]) + max(0, len(parts[1]) - parts[2]) > 1000:
        return REFUSED
    return text


def as_boolean(text):
    return {"true": True, "false": False}.get(text, REFUSED)


def as_date(text):
    try:
        return datetime.date.fromisoformat(text) if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else REFUSED
    except ValueError:
        return REFUSED


def as_timestamp(text):
    """Minutes since 0001-01-01T00:00Z as a plain number, so that a day of the year 0 may come before it is in UTC."""
    match = TIMESTAMP.fullmatch(text)
    if not match:
        return REFUSED
    day, clock, second, fraction, sign, hours, minutes = match.groups()
    hour, minute = map(int, clock.split(":"))
    offset = int(hours or 0) * 60 + int(minutes or 0)
    if hour > 23 or minute > 59 or int(second) > 60 or int(hours or 0) > 23 or int(minutes or 0) > 59:
        return REFUSED
    # The year 0 has the days of the year 400, 146,097 of them later.
    shift = 146097 if day.startswith("0000") else 0
    date = as_date("0400" + day[4:] if shift else day)
    if date == REFUSED:
        return REFUSED
    total = (date.toordinal() - shift - 1) * 1440 + hour * 60 + minute - (-offset if sign == "-" else offset)
    if second == "60":
        if total % 1440 != 1439:
            return REFUSED
        second, total = "0", total + 1
    try:
        start = datetime.datetime(1, 1, 1, tzinfo=UTC) + datetime.timedelta(minutes=total)
    except OverflowError:
        return REFUSED
    return start.replace(second=int(second), microsecond=int(((fraction or "") + "000000")[:6]))


def refuse_constant(name):
    raise ValueError(name)


def is_json(data):
    """RFC 8259 and at most 128 deep."""
    try:
        text = data.decode()
        json.loads(text, parse_int=str, parse_float=str, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return False
    depth = deepest = 0
    for mark in re.findall(r"[][{}]", re.sub(r'"[^"\\]*(?:\\.[^"\\]*)*"', "", text)):
        depth += 1 if mark in "[{" else -1
        deepest = max(deepest, depth)
    return deepest <= 128


@functools.cache
def compact(token):
    return re.sub(rb'("[^"\\]*(?:\\.[^"\\]*)*")|[ \t\r\n]+', lambda match: match[1] or b"", token)


def as_uuid(text):
    digits = "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}"
    match = re.fullmatch(rf"(?:[uU][rR][nN]:[uU][uU][iI][dD]:)?({digits})|{{({digits})}}", text)
    found = match and (match[1] or match[2])
    return str(uuid.UUID(found)) if found and found.count("-") in (0, 4) else REFUSED


class Refused(Exception):
    pass


def as_json(text):
    """The text without repeated members. \\u0000, half a surrogate pair and numbers beyond numeric have no value in a database."""
    blanks = re.compile(r"[ \t\r\n]*")

    def string(at):
        value, end = json.decoder.scanstring(text, at + 1, True)
        if "\0" in value or re.search("[\ud800-\udfff]", value):
            raise Refused
        return value, end

    def skip(at):
        return blanks.match(text, at).end()

    def value(at):
        """The text of the value at `at`, blanks before it included, and where it ends."""
        start, at = at, skip(at)
        before = text[start:at]
        if text[at] == '"':
            _, end = string(at)
            return before + text[at:end], end
        if text[at] in "{[":
            return container(before, at)
        match = NUMBER.match(text, at)
        if not match:
            word = re.match("[a-z]+", text[at:])[0]
            return before + word, at + len(word)
        whole, fraction, power = number_parts(match[0])
        if len(whole) + power > 131072 or len(fraction) - power > 16383:
            raise Refused
        return before + match[0], match.end()

    def container(before, at):
        is_object, out, seen, lead = text[at] == "{", before + text[at], set(), ""
        at += 1
        while text[skip(at)] not in "}]":
            start = at
            if is_object:
                key, at = string(skip(at))
                at = skip(at) + 1
            item, end = value(at)
            if not is_object or key not in seen:
                out += lead + text[start:at] + item
            if is_object:
                seen.add(key)
            at = skip(end)
            tail = text[end:at]
            if text[at] == ",":
                lead, at = tail + ",", at + 1
            else:
                return out + tail + text[at], at + 1
        return out + text[at : skip(at) + 1], skip(at) + 1

    try:
        found, end = value(0)
    except Refused:
        return REFUSED
    return found + text[end:]


ORACLES = {
    "uuid": as_uuid,
    "integer": as_integer,
    "number": as_number,
    "decimal": as_decimal,
    "boolean": as_boolean,
    "timestamp": as_timestamp,
    "date": as_date,
}


def meaning(kind, data):
    """Of bytes in a column of this dataType."""
    if kind == "bytes":
        return data if 2 * len(data) < ROW_LIMIT - 100 else REFUSED  # hexadecimal digits
    if kind in JSON_TYPES:
        return (as_json if kind == "json" else str)(data.decode()) if is_json(data) else REFUSED
    try:
        text = data.decode()
    except ValueError:
        return REFUSED
    if kind == "text":
        return REFUSED if "\0" in text else text
    return ORACLES[kind](text)


def meaning_at_path(kind, raw, token):
    """Of one JSON value, the bytes as sent, in a path column. The whole event is known to be JSON."""
    token = compact(token)
    if token == b"null":
        return None
    if token.startswith(b'"') and (raw or kind not in ("text", *JSON_TYPES)):
        content = json.loads(token)
        if re.search("[\ud800-\udfff]", content):
            return REFUSED
        token = content.encode()
    elif kind in ("text", "jsonText"):
        return token.decode()
    return meaning(kind, token)


# ---- what the destinations should give back --------------------------------------------------------------------------------------------


def comparable(value):
    if isinstance(value, float):
        return struct.pack(">d", value)
    if isinstance(value, decimal.Decimal):
        return "numeric " + format(abs(value) if value == 0 else value, "f")
    if isinstance(value, memoryview):
        value = bytes(value)
    return type(value).__name__, value


def expected(destination, kind, meant):
    if meant is None:
        return comparable(None)
    if destination == "warehouse" and kind == "json":
        return comparable(by_value(meant))
    if destination == "warehouse":
        return comparable(decimal.Decimal(meant) if kind == "decimal" else meant)
    if kind == "number":
        return comparable(meant + 0.0)  # SQLite has no -0.0
    if kind == "boolean":
        return comparable(int(meant))
    if kind == "timestamp":
        return comparable(meant.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z")
    if kind == "date":
        return comparable(meant.isoformat())
    return comparable(meant)


def by_value(text):
    """JSON as a text that is equal for equal values."""

    def number(digits):
        value = decimal.Decimal(digits)
        return "number " + (format(value.normalize(decimal.Context(prec=200000)), "f") if value else "0")

    return json.dumps(json.loads(text, parse_int=number, parse_float=number), sort_keys=True)


class Tables:
    """The gateway under test with both of its destinations."""

    def __init__(self, gateway, server):
        self.gateway, self.server = gateway, server
        self.schema = f"values_{gateway.intake.rsplit(':')[-1]}"

    def add_source(self, source, **fields):
        url = self.gateway.add_source(source, **fields)
        self.gateway.set(f"/sources/{source}", NEVER)
        return url

    def add_sink(self, source, destination, table, columns, **fields):
        name = f"{source}_{table}" if destination == "local" else f"in.{self.schema}.{source}_{table}"
        fields.setdefault("onInvalid", "quarantine")
        self.gateway.add_sink(source, f"{destination}-{table}", columns, connection=destination, table=name, **fields)

    def rows(self, source, destination, table, columns):
        """Imports what waits and reads the table."""
        self.gateway.flush(source, f"{destination}-{table}")
        if destination == "local":
            return self.gateway.rows(f"SELECT {columns} FROM {source}_{table}")
        connection = psycopg2.connect(self.server.uri, options="-c TimeZone=UTC")
        psycopg2.extras.register_default_json(connection, loads=lambda text: text)
        psycopg2.extras.register_default_jsonb(connection, loads=by_value)
        try:
            with connection.cursor() as cursor:
                cursor.execute(f'SELECT {columns} FROM "in.{self.schema}".{source}_{table}')
                return cursor.fetchall()
        finally:
            connection.close()

    def rejects(self, source, destination, table):
        found, after = [], ""
        while True:
            path = f"/sources/{source}/sinks/{destination}-{table}/rejects?limit=100&afterId={after}"
            answer = self.gateway.api("GET", path, expect=200).json
            if not answer["rejects"]:
                return found
            found += answer["rejects"]
            after = answer["page"]["lastId"]


def event_of(reject):
    return base64.b64decode(reject["eventBase64"]) if "eventBase64" in reject else reject["event"].encode()


@pytest.fixture(scope="module")
def tables(tmp_path_factory, postgres_server):
    from sluice import Gateway

    config = f"connections:\n  warehouse:\n    type: postgres\n    uri: {postgres_server.uri}\n"
    postgres_server.empty()
    gateway = Gateway(tmp_path_factory.mktemp("values"), config).start()
    yield Tables(gateway, postgres_server)
    gateway.close()


@pytest.fixture
def chance():
    seed = int(os.environ.get("SLUICE_SEED", time.time_ns()))
    print(f"SLUICE_SEED={seed}")
    return random.Random(seed)


# ---- the edges -------------------------------------------------------------------------------------------------------------------------


def edges_of_cases():
    """The value of `a`, byte for byte, of each case of values.json whose event is {"a":value} and nothing else."""
    for case in cases("values"):
        if case.body.startswith(b'{"a":') and case.body.endswith(b"}") and case.columns[0].get("path") == "a":
            token = case.body[5:-1]
            if is_json(token) or not is_json(case.body):
                yield token


def generated_edges():
    """As JSON, some of it broken."""
    digits = "12345678901234567890" * 150
    numbers = [str(sign * (2**63 + step)) for sign in (1, -1) for step in (-2, -1, 0, 1)]
    numbers += [f"{digits[:size]}{tail}" for size in (999, 1000, 1001, 2047, 2048, 2049) for tail in ("", ".5", "e1", "e-1", "e-999")]
    numbers += [f"0.{digits[:size]}" for size in (998, 999, 1000, 2045, 2046, 3000)]
    for power in (-1001, -1000, -999, -1, 0, 17, 18, 19, 308, 998, 999, 1000):
        numbers += [f"{sign}{first}e{power}" for sign in ("", "-") for first in ("0", "1", "9.5", "0.1", "100")]
    numbers += [f"{first}E{sign}{'0' * 2500}{power}" for first in ("0", "7", "1.5") for sign in "+-" for power in (0, 1, 3)]
    numbers += [f"1{'0' * 300}.{'0' * 3000}", f"0.{'0' * 3000}1e3001", f"-0.{'0' * 400}1", "0e999999999", "-0e-999999999", "1e-999999999"]
    yield from (text.encode() for text in numbers)

    strings = numbers + [
        "NaN", "nan", "Infinity", "-Infinity", "inf", "1e", "+1", ".5", "1.", "0x10", "1_0", "1,000", "１２", "٣", "true", "True", "t",
    ]
    for day in (
        "0000-12-31", "0001-01-01", "1900-02-28", "1900-02-29", "2000-02-29", "2016-12-31", "2024-02-29", "2023-02-29", "9999-12-31",
    ):
        strings += [day, day + " ", day + "T00:00:00Z"]
        for clock in ("00:00:00", "23:59:59.9999999", "23:59:60", "23:58:60", "24:00:00", "13:59:60.25"):
            for offset in ("Z", "+14:00", "-23:59", "+23:59", "+24:00", "-00:00", "-10:00"):
                strings.append(f"{day}T{clock}{offset}")
    for rest in ("Z", "z", ".1234567z", ".Z", "", "z ", "+0100"):
        strings += [f"2006-01-02{joint}15:04:05{rest}" for joint in ("T", "t", " ", "_", "  ", "\\t")]
    strings += [
        "2006-01-02T15:04:05." + "9" * 3000 + "Z", "12006-01-02T00:00:00Z", "-0001-01-01T00:00:00Z", "infinity", "epoch", "now", "today",
    ]
    codes = (*range(0x21), 0x7F, 0x85, 0xA0, 0x2028, 0xD7FF, 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xFEFF, 0xFFFE, 0xFFFF)
    strings += [f"\\u{code:04x}" for code in codes]
    strings += [
        "\\ud83d\\ude00", "\\ude00\\ud83d", "\\udbff\\udfff", "\\ud83f\\udffe", "😀", "\U0010ffff", "\ufffe\uffff", "\ufeffx", "\ufdd0", "é",
        "e\u0301",
    ]
    strings += [
        "", " ", "  \\t ", "\\\\N", "\\\\.", "a\\n\\\\.\\nb", "NULL", "null", "\\\"", "\\\"\\\"", "'", "\\r", "\\n", "\\r\\n", "a\\rb",
        "x\\\\", "\\\\", ",", ",,",
    ]
    strings += [
        " a", "a ", "\\ta", "a\\t", "\\\\x", "\\\\x41", "\\\\x4", "a,b", "\\/", "{}", "[1, 2]", "{\\\"x\\\": 1, \\\"x\\\":2}", "\\\"s\\\"",
        " 1 ", "\\u0000", "a\\u0000b",
    ]
    strings += ["[" * depth + "]" * depth for depth in (127, 128, 129)]
    strings += ["x" * 1000000, "\\n" * 100000]
    yield from (f'"{text}"'.encode() for text in strings)

    values = [
        "true", "false", "null", "{}", "[]", "[ ]", "{ }", '{"b":1,"b":2}', '{ "z" : [ 1 , 2.50 , 1e400 ] , "b" : "x  y" }', '["\\u0000"]',
    ]
    values += [
        '["\\ud800"]', "[123456789012345678901234567890]", '{"a":{"a":"\\\\.\\r\\n"}}', '\n[\r\n1,\t2 ]\n', '[[" , : { } [ ] \\" "]]',
        '{"":null}', '{"a":1,"\\u0061":{"b":1,"b":2},"c":[{"d":1,"d":1}, {"d":1} ]}', "[1e131071]", "1e131072", "[1e-16383]", "1e-16384",
    ]
    values += ["[" * depth + "1" + "]" * depth for depth in (126, 127, 128)]
    values += ["[" + "1, " * 200000 + "1]"]
    values += [
        "NaN", "-Infinity", "01", "-", "1.", ".5", "1e", "+1", "0x1", "tru", "True", "'x'", "1 2", '"\\x41"', '"\\u12"', '"\\ud83', "[1,]",
        "{,}", "[", "]", "",
    ]
    yield from (text.encode() for text in values)
    yield from (b'"%c"' % code for code in (0, 1, 9, 0x1F, 0x7F, 0x80, 0xC0, 0xFF))
    yield from (b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"', b"\xef\xbb\xbf1", b"\xc2\xa01")


def edges():
    return list(dict.fromkeys([*edges_of_cases(), *generated_edges()]))


def post(connection, url, body, content_type):
    answer = request_on(connection, "POST", url, body, {"Content-Type": content_type})
    assert answer.status == 200, (answer, body[:200])
    return answer


def batches(events, bytes_max=4 << 20, events_max=500):
    batch, size = [], 0
    for event in events:
        if batch and (size + len(event) > bytes_max or len(batch) == events_max):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += len(event)
    if batch:
        yield batch


def check_table(tables, source, destination, table, kind, sent, stored):
    """`sent`: key -> (event, meaning); `stored`: key -> what came back."""
    place = f"{source}, {destination}, {table}"
    wrong = []
    for key, (event, meant) in sent.items():
        if (meant is REFUSED) != (key not in stored):
            wrong.append((event[:200], meant, stored.get(key, "not stored")))
        elif meant is not REFUSED and comparable(stored[key]) != expected(destination, kind, meant):
            wrong.append((event[:200], meant, stored[key]))
    rejects = tables.rejects(source, destination, table)
    assert not wrong, (place, len(wrong), str(wrong)[:3000])
    assert not stored.keys() - sent.keys(), place
    at_import = [reject for reject in rejects if reject["kind"] != "event"]
    assert not at_import, (place, str(at_import)[:2000])
    refused = collections.Counter(event for event, meant in sent.values() if meant is REFUSED)
    assert collections.Counter(map(event_of, rejects)) == refused, place
    assert all(len(reject["reason"]) > 10 for reject in rejects), place
    return len(stored), len(rejects)


# ---- the tests -------------------------------------------------------------------------------------------------------------------------

PATH_TABLES = {**{kind.lower(): (kind, False) for kind in TYPES}, "text_raw": ("text", True), "json_raw": ("json", True), "json_text_raw": ("jsonText", True)}


def check_at_path(tables, source, destination, shapes, tokens):
    """Each token as the value of `a` into one table for each shape; returns how many were taken and refused in all, by table."""
    url = tables.add_source(source, framing="ndjson")
    for table, (kind, raw) in shapes.items():
        columns = [
            {"type": "path", "name": "n", "path": "n", "dataType": "integer"},
            {"type": "path", "name": "c", "path": "a", "dataType": kind, "rawString": raw},
        ]
        tables.add_sink(source, destination, table, columns)
    events = [b'{"n":%d,"a":%s}' % (n, token) for n, token in enumerate(tokens)]
    connection = tables.gateway.connect()
    with_lines = [event for event in events if b"\n" in event or event.endswith(b"\r")]
    for batch in batches([event for event in events if event not in with_lines]):
        post(connection, url, b"\n".join(batch), "application/json")
    for event in with_lines:  # this content type is one event in any framing
        post(connection, url, event, "application/cloudevents+json")
    connection.close()
    valid = [is_json(event) for event in events]
    counts = {}
    for table, (kind, raw) in shapes.items():
        stored = dict(tables.rows(source, destination, table, "n, c"))
        meant = [meaning_at_path(kind, raw, token) if ok else REFUSED for token, ok in zip(tokens, valid)]
        sent = dict(enumerate(zip(events, meant)))
        counts[table] = check_table(tables, source, destination, table, kind, sent, stored)
        assert sum(counts[table]) == len(tokens)
    return counts


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_every_edge_at_a_path_in_every_type(tables, destination):
    shapes = {**{kind.lower(): (kind, False) for kind in TYPES}, "text_raw": ("text", True), "json_raw": ("json", True), "json_text_raw": ("jsonText", True)}
    tokens = edges()
    assert len(tokens) > 1000
    counts = check_at_path(tables, f"paths_{destination}", destination, shapes, tokens)
    assert all(taken > 4 and refused > 20 for taken, refused in counts.values()), counts


def random_number(chance):
    text = chance.choice(("", "", "-")) + str(chance.choice((0, 1, 9, 2**63, 10**18, chance.getrandbits(chance.choice((8, 63, 64, 80))))))
    if chance.random() < 0.5:
        text += "." + chance.choice(("0", "00", "5", str(chance.getrandbits(60)), "0" * 30 + "1"))
    if chance.random() < 0.6:
        size = chance.choice((chance.randrange(25), chance.randrange(285, 330), chance.randrange(960, 1005)))
        text += chance.choice("eE") + chance.choice(("", "+", "-")) + str(size)
    return text


def random_time(chance):
    def two(*choices):
        return f"{chance.choice(choices):02}"

    year = chance.choice((0, 1, 4, 1600, 1900, 1999, 2000, 2023, 2024, 9999))
    day = f"{year:04}-{two(1, 2, 2, 3, 4, 12, 12, 13)}-{two(0, 1, 1, 28, 29, 30, 31, 31, 32)}"
    if chance.random() < 0.2:
        return day
    text = f"{day}{chance.choice('TTTt ')}{two(0, 0, 12, 23, 23, 24)}:{two(0, 0, 29, 59, 59, 60)}:{two(0, 30, 59, 60, 60, 61)}"
    if chance.random() < 0.5:
        text += "." + "".join(chance.choices("0123456789", k=chance.choice((1, 3, 6, 7, 9))))
    return text + chance.choice(("Z", "Z", "z", f"{chance.choice('+-')}{two(0, 0, 1, 14, 23, 24)}:{two(0, 1, 30, 59, 60)}"))


def test_random_numbers_and_times(tables, chance):
    tokens = []
    for _ in range(800):
        text = chance.choice((random_number, random_time))(chance)
        if chance.random() < 0.15:
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice("0123456789+-.:TZeE ") + text[at + chance.randrange(2) :]
        tokens.append(text.encode() if NUMBER.fullmatch(text) and chance.random() < 0.7 else b'"' + text.encode() + b'"')
    shapes = {kind: (kind, False) for kind in ("integer", "number", "decimal", "timestamp", "date")}
    for destination in DESTINATIONS:
        counts = check_at_path(tables, f"random_{destination}", destination, shapes, tokens)
        assert all(taken > 10 and refused > 10 for taken, refused in counts.values()), counts


def bodies():
    """What is between the quotes of a string, all else as it stands, and what is no text."""
    for token in edges():
        is_string = token.startswith(b'"') and is_json(token)
        yield json.loads(token).encode(errors="surrogatepass") if is_string else token
    yield from (
        b'"x"', b'"', b'"\\ud800"', b"\xff\xfe", b"\x00", b"a\x00b", bytes(range(256)), b"\\.\n", b'{"a": 1}\n', b"\xef\xbb\xbf",
        b"\xef\xbb\xbf{}",
    )


def test_every_edge_as_the_body_in_every_type(tables):
    """The row of the bytes column, which takes all, says which body has which id; the id is the same in every table."""
    url = tables.add_source("bodies", framing="lines")
    places = [(destination, kind) for destination in DESTINATIONS for kind in TYPES]
    places = [place for place in places if place not in (("local", "uuid"), ("local", "jsonText"))]  # a source has at most 20 sinks
    for destination, kind in places:
        columns = [{"type": "id", "name": "id"}, {"type": "body", "name": "c", "dataType": kind}]
        tables.add_sink("bodies", destination, kind.lower(), columns)
    connection = tables.gateway.connect()
    events = [body for body in dict.fromkeys(bodies()) if 0 < len(body) < ROW_LIMIT / 3]
    with_lines = [body for body in events if b"\n" in body or body.endswith(b"\r")]
    for batch in batches([body for body in events if body not in with_lines]):
        post(connection, url, b"\n".join(batch), "application/octet-stream")
    for body in with_lines:
        post(connection, url, body, "application/cloudevents+json")
    connection.close()
    ids = {bytes(body): key for key, body in tables.rows("bodies", "local", "bytes", "id, c")}
    assert ids.keys() == set(events), str([*(ids.keys() ^ set(events))])[:2000]
    assert len(set(ids.values())) == len(events)
    for destination, kind in places:
        stored = dict(tables.rows("bodies", destination, kind.lower(), "id, c"))
        sent = {ids[body]: (body, meaning(kind, body)) for body in events}
        check_table(tables, "bodies", destination, kind.lower(), kind, sent, stored)


PIECES = [
    "\\.", "\\", "\\N", "\\x", '"', '""', "'", ",", ";", "\r", "\n", "\r\n", "\n\\.\n", " ", "\t", "\v", "\f", "\x01", "\x1a", "\x7f",
    "\x85",
]
PIECES += [
    "\ufeff", "\u2028", "\uffff", "\ufdd0", "é", "日本", "😀", "\U0010ffff", "NULL", "null", "a", "bc", "0", "COPY", "--", "/*", "$1", "{}",
    "%s",
]


def random_text(chance):
    return "".join(chance.choices(PIECES, k=chance.choice((0, 1, 1, 1, 2, 3, 5, 8, 20, 60, 1500 if chance.random() < 0.1 else 1))))


def as_bytes(rows):
    return [tuple(bytes(cell) if isinstance(cell, memoryview) else cell for cell in row) for row in rows]


def assert_same_rows(found, meant, place):
    """In any order: PostgreSQL puts rows where there is room."""
    found, meant = collections.Counter(found), collections.Counter(meant)
    assert found == meant, (place, "not meant:", str(list(found - meant)[:3])[:1500], "not found:", str(list(meant - found)[:3])[:1500])


def test_random_cells_come_back(tables, chance):
    url = tables.add_source("cells", framing="ndjson")

    def path(name, kind="text", **fields):
        return {"type": "path", "name": name, "path": name, "dataType": kind, **fields}

    shapes = {
        "plain": [
            path("n", "integer"), path("t", rawString=True), path("q"), path("b", "bytes"), path("j", "jsonText"),
            {"type": "body", "name": "e"},
        ],
        "numbered": [path("k", "integer", primaryKey=True), path("n", "integer"), path("t", rawString=True), path("b", "bytes")],
        "named": [
            path("q", rawString=True, primaryKey=True), path("b", "bytes", primaryKey=True), path("n", "integer"),
            path("t", rawString=True),
        ],
        "text_alone": [path("t", rawString=True)],
        "bytes_alone": [path("t", "bytes")],
        "quoted_alone": [path("t")],
    }
    for destination in DESTINATIONS:
        for table, columns in shapes.items():
            tables.add_sink("cells", destination, table, columns, onInvalid="reject")
    rows, events = [], []
    for n in range(4000):
        row = {
            "n": n,
            "k": chance.randrange(500),
            "t": chance.choice((None, "", "\\.", random_text(chance), random_text(chance), random_text(chance))),
            "q": random_text(chance)[:300],
            "b": "".join(map(chr, chance.choices(range(256), k=chance.choice((0, 1, 2, 30))))),
            "j": {"x": random_text(chance), "": [None, chance.random()]},
        }
        rows.append(row)
        events.append(json.dumps(row, ensure_ascii=chance.random() < 0.5, separators=chance.choice(((",", ":"), (", ", " : ")))).encode())
    connection = tables.gateway.connect()
    for batch in batches(events, events_max=chance.choice((1, 40, 700)) + 300):
        post(connection, url, b"\n".join(batch), "application/json")
    connection.close()

    strings = {key: re.compile(rb'"%c" ?: ?("(?:[^"\\]|\\.)*"|null)' % ord(key)) for key in "tq"}
    tokens = [{key: pattern.search(event)[1].decode() for key, pattern in strings.items()} for event in events]
    meant = {
        "plain": [
            (row["n"], row["t"], token["q"], row["b"].encode(), compact(re.search(rb'"j" ?: ?(.*)\}', event)[1]).decode(), event.decode())
            for row, token, event in zip(rows, tokens, events)
        ],
        "numbered": {row["k"]: (row["k"], row["n"], row["t"], row["b"].encode()) for row in rows}.values(),
        "named": {(row["q"], row["b"]): (row["q"], row["b"].encode(), row["n"], row["t"]) for row in rows}.values(),
        "text_alone": [(row["t"],) for row in rows],
        "bytes_alone": [(None if row["t"] is None else row["t"].encode(),) for row in rows],
        "quoted_alone": [(None if row["t"] is None else token["t"],) for row, token in zip(rows, tokens)],
    }
    for destination in DESTINATIONS:
        for table, columns in shapes.items():
            names = ", ".join(column["name"] for column in columns)
            found = as_bytes(tables.rows("cells", destination, table, names))
            assert_same_rows(found, meant[table], (destination, table))
            assert tables.rejects("cells", destination, table) == []


def test_key_too_long_for_the_index_of_postgres_is_not_lost(tables, chance):
    """An entry of PostgreSQL's index takes 2,704 bytes. Such a row is refused with the reason, by itself, and SQLite has it."""
    url = tables.add_source("keys", framing="ndjson")
    columns = [{"type": "path", "name": "k", "path": "k", "rawString": True, "primaryKey": True}]
    for destination in DESTINATIONS:
        tables.add_sink("keys", destination, "rows", columns)
    keys = [chance.randbytes(size).hex() for size in (1, 1300, 2000, 5000, 10)]
    answer = tables.gateway.post(url, "\n".join(json.dumps({"k": key}) for key in keys))
    assert answer.status == 200, answer
    assert_same_rows(tables.rows("keys", "local", "rows", "k"), [(key,) for key in keys], "local")
    stored = {key for (key,) in tables.rows("keys", "warehouse", "rows", "k")}
    refused = tables.rejects("keys", "warehouse", "rows")
    assert {keys[0], keys[1], keys[4]} <= stored and keys[3] not in stored
    assert stored | {reject["row"].rstrip("\n") for reject in refused} == set(keys)
    assert all(reject["kind"] == "row" and "index row" in reject["reason"] for reject in refused), refused


def test_random_bytes_come_back(tables, chance):
    url = tables.add_source("blobs")
    body = {"type": "body", "name": "c", "dataType": "bytes"}
    shapes = {
        "plain": [{"type": "id", "name": "id"}, body], "alone": [body],
        "keyed": [{**body, "primaryKey": True}, {"type": "id", "name": "id"}],
    }
    for destination in DESTINATIONS:
        for table, columns in shapes.items():
            tables.add_sink("blobs", destination, table, columns, onInvalid="reject")
    special = b'\\.\r\n", \t\0\xff\xefx'
    connection = tables.gateway.connect()
    sent = []
    for _ in range(250):
        size = chance.choice((1, 1, 2, 3, 8, 100, 2000))
        blob = chance.randbytes(size) if chance.random() < 0.5 else bytes(chance.choices(special, k=size))
        answer = post(connection, url, blob, chance.choice(("application/octet-stream", "image/png", "application/json")))
        sent.append((answer.headers["sluice-event-id"], blob))
    connection.close()
    for destination in DESTINATIONS:
        for table, meant in (
            ("plain", sent), ("alone", [(blob,) for _, blob in sent]), ("keyed", {blob: (key, blob) for key, blob in sent}.values()),
        ):
            found = as_bytes(tables.rows("blobs", destination, table, "c" if table == "alone" else "id, c"))
            assert_same_rows(found, meant, (destination, table))


def test_row_of_exactly_the_limit(tables):
    url = tables.add_source("large")
    columns = [
        {"type": "path", "name": "b", "path": "b", "dataType": "bytes"},
        {"type": "path", "name": "t", "path": "t", "rawString": True},
    ]
    for destination in DESTINATIONS:
        tables.add_sink("large", destination, "rows", columns, onInvalid="reject")
    # The row: quote, \x, two digits a byte, quote, comma, text, newline.
    size = 786000
    rest = ROW_LIMIT - (1 + 2 + 2 * size + 1 + 1 + 1)
    for text, column in (("x" * rest, None), ("x" * (rest + 1), "t"), ("x" * (rest - 3) + "\\", None), ("x" * (rest - 2) + ",", "t")):
        answer = tables.gateway.post(url, {"b": "b" * size, "t": text})
        assert answer.status == (413 if column else 200), (answer, len(text))
        assert column is None or (f'\\"{column}\\"' in answer.body.decode() and "payloadTooLarge" in answer.body.decode()), answer
    size = (ROW_LIMIT - 4) // 2
    assert size < EVENT_LIMIT
    answer = tables.gateway.post(url, {"b": "b" * size, "t": ""})
    assert answer.status == 413 and '\\"b\\"' in answer.body.decode(), answer
    for destination in DESTINATIONS:
        lengths = tables.rows("large", destination, "rows", "length(b), length(t)")
        assert lengths == [(786000, rest), (786000, rest - 2)], (destination, lengths)
        assert tables.rejects("large", destination, "rows") == []
