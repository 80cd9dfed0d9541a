"""sluice map, and POST .../test: what they take, say and end with. That their rows are the intake's is in test_mapping_cases.py."""

import gzip
import json
import os
import resource
import subprocess
import threading

import pytest
from sluice import BINARY, NEVER, request

MANIFEST = """\
kind: source
sourceId: shop
name: Shop
framing: array
sinks:
  - sinkId: orders
    name: Orders
    table:
      tableId: orders
      mapping:
        columns:
          - {name: id, type: id}
          - {name: who, type: path, path: user.name, rawString: true}
          - {name: who_up, type: template, rawString: true, template: {language: jsonnet, content: "std.asciiUpper(Body('user.name'))"}}
  - sinkId: raw
    name: Raw
    table:
      tableId: raw
      mapping:
        columns: [{name: b, type: body}]
---
kind: source
sourceId: other
name: Other
sinks:
  - sinkId: raw
    name: Raw
    table: {tableId: raw2, mapping: {columns: [{name: h, type: headers}, {name: ip, type: ip}, {name: n, type: path, path: n}]}}
"""
COLUMNS = "- {name: a, type: path, path: a, rawString: true}\n- {name: b, type: body}\n"


def sluice_map(*arguments, stdin=b"", **options):
    return subprocess.run([BINARY, "map", *map(str, arguments)], input=stdin, capture_output=True, timeout=120, **options)


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def columns(tmp_path):
    path = tmp_path / "columns.yaml"
    path.write_text(COLUMNS)
    return path


def rows(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_rows_of_every_sink(manifest):
    lines = "".join(json.dumps({"user": {"name": name}, "n": None}) + "\n" for name in ("Ann", 'B,"ob"')).encode()
    result = sluice_map("-f", manifest, stdin=lines)
    assert result.returncode == 0, result.stderr
    found = rows(result)
    assert [(row["sinkId"], row["tableId"]) for row in found] == [("orders", "orders"), ("raw", "raw"), ("raw", "raw2")] * 2
    assert found[0]["row"]["who"] == "Ann" and found[3]["row"]["who_up"] == 'B,"OB"' and len(found[0]["row"]["id"]) == 36
    assert found[0]["row"]["id"] < found[3]["row"]["id"]
    assert found[2]["row"] == {"h": "{}", "ip": "127.0.0.1", "n": None}


def test_one_sink_as_csv(manifest):
    lines = b'{"user":{"name":"B,\\"ob\\""}}\n{"user":{"name":null}}\n'
    both = sluice_map("-f", manifest, "--format", "csv", stdin=lines)
    assert both.returncode == 1 and b"choose one with --source and --sink" in both.stderr and both.stdout == b""
    result = sluice_map("-f", manifest, "--source", "shop", "--sink", "raw", "--format", "csv", stdin=lines)
    assert result.returncode == 0, result.stderr
    assert result.stdout == b'"{""user"":{""name"":""B,\\""ob\\""""}}"\n"{""user"":{""name"":null}}"\n'
    for wrong in (["--sink", "nobody"], ["--source", "nobody"], ["--source", "other", "--sink", "orders"]):
        result = sluice_map("-f", manifest, *wrong)
        assert result.returncode == 1 and b"declares no" in result.stderr, wrong


def test_refused_lines_have_a_place(manifest, columns):
    result = sluice_map("--columns", columns, "--format", "csv", stdin=b'{"a":1}\n\n{"b":1}\r\n{"a":01}\n \n{"a":2}')
    assert result.returncode == 1 and result.stdout == b'1,"{""a"":1}"\n2,"{""a"":2}"\n'
    told = result.stderr.decode().splitlines()
    assert told[0].startswith('standard input:3: sink sink: Column "a": ') and '"a"' in told[0]
    assert told[1].startswith("standard input:4: sink sink: The body is not JSON at byte 6")
    assert told[2] == "sluice map: 2 of 4 events could not be mapped"

    many = sluice_map("-f", manifest, stdin=b'{"user":{"name":"x"},"n":1}\n{"user":1}\n')
    assert many.returncode == 1 and len(many.stdout.splitlines()) == 4
    assert b"standard input:2: source shop, sink orders: Column" in many.stderr
    assert b"standard input:2: source other, sink raw: Column" in many.stderr and b"1 of 2 events" in many.stderr


def test_blank_lines_are_events_of_framing_lines_only(manifest):
    text = MANIFEST.replace("framing: array", "framing: lines").replace("[{name: b, type: body}]", "[{name: n, type: path, path: n}]")
    manifest.write_text(text)
    result = sluice_map("-f", manifest, "--sink", "raw", stdin=b'{"n":1}\n \n\n{"n":2}\n{"m":1}\n')
    told = result.stderr.decode().splitlines()
    assert [(row["tableId"], row["row"]["n"]) for row in rows(result)] == [("raw", "1"), ("raw2", "1"), ("raw", "2"), ("raw2", "2")]
    assert [line.split(", ")[0] for line in told[:-1]] == [
        "standard input:2: source shop", "standard input:5: source shop", "standard input:5: source other",
    ]
    assert told[-1] == "sluice map: 2 of 4 events could not be mapped"


def test_a_body_is_read_by_its_framing(manifest, tmp_path):
    body = tmp_path / "body.json"
    body.write_bytes(b'[{"user":{"name":"a"}},\n {"user":{"name":"b"}},{"user":\n3}]\n')
    result = sluice_map("-f", manifest, "--source", "shop", "--sink", "orders", "--event", body)
    assert [row["row"]["who"] for row in rows(result)] == ["a", "b"] and result.returncode == 1
    assert f"{body}:2: event 2, sink orders: ".encode() in result.stderr
    body.write_bytes(b"[1,")
    result = sluice_map("-f", manifest, "--source", "shop", "--event", body)
    assert result.returncode == 1 and f"{body}: The body does not fit the source's framing at byte 3".encode() in result.stderr


def test_a_body_of_many_refused_events_ends(tmp_path):
    """All in one line: where an event begins is not looked for from the start again, which would take longer than the deadline."""
    count = 600_000
    body, manifest = tmp_path / "body.json", tmp_path / "shop.yaml"
    body.write_bytes(b"[" + b",".join([b'{"m":1}'] * count) + b"]")
    manifest.write_text(MANIFEST.replace("[{name: b, type: body}]", "[{name: n, type: path, path: n}]"))
    refused = sluice_map("-f", manifest, "--source", "shop", "--sink", "raw", "--event", body)
    told = refused.stderr.splitlines()
    assert refused.returncode == 1 and refused.stdout == b"" and len(told) == count + 1
    assert told[-2].startswith(f"{body}:1: event {count - 1}, sink raw: ".encode())


def test_content_type_headers_and_encoding(manifest, columns):
    form = sluice_map("--columns", columns, "--content-type", "application/x-www-form-urlencoded", stdin=b"a=x+y&b=1\n2")
    assert rows(form)[0]["row"] == {"a": "x y", "b": "a=x+y&b=1\n2"}
    again = sluice_map("--columns", columns, "--header", "content-type:application/x-www-form-urlencoded", stdin=b"a=x+y")
    assert rows(again)[0]["row"]["a"] == "x y"
    pretty = sluice_map("--columns", columns, "--event", "-", stdin=b'{\n"a": 1}')
    assert rows(pretty)[0]["row"]["a"] == "1"
    lines = sluice_map("--columns", columns, "--content-type", "application/x-ndjson", stdin=b'{"a":1}\n{"a":2}\n')
    assert [row["row"]["a"] for row in rows(lines)] == ["1", "2"]
    packed = sluice_map("--columns", columns, "--header", "Content-Encoding: gzip", stdin=gzip.compress(b'{"a":5}'))
    assert rows(packed)[0]["row"]["a"] == "5", packed.stderr
    for encoding, body, reason in (("gzip", b"{}", b"not valid gzip"), ("br", b"{}", b"not supported")):
        wrong = sluice_map("--columns", columns, "--header", f"Content-Encoding: {encoding}", stdin=body)
        assert wrong.returncode == 1 and reason in wrong.stderr
    named = sluice_map("-f", manifest, "--source", "other", "--header", "X-b: 2", "--header", "x-B: 3 ", "--header", "A:1", "--header", "Cookie: c", stdin=b'{"n":1}')
    assert json.loads(rows(named)[0]["row"]["h"]) == {"A": "1", "X-B": "2, 3"}


def test_mistakes(columns, tmp_path):
    def ends(code, reason, *arguments, **options):
        result = sluice_map(*arguments, **options)
        assert result.returncode == code and reason in result.stderr.decode() and result.stdout == b"", result

    ends(2, "name a manifest with -f")
    ends(2, "cannot be combined", "-f", columns, "--columns", columns)
    ends(2, 'json, not "xml"', "--columns", columns, "--format", "xml")
    ends(2, 'there is no option --evnt: did you mean "event"?', "--columns", columns, "--evnt")
    ends(2, "--header needs", "--columns", columns, "--header", "none")
    ends(1, "No such file", "--columns", columns, "--event", tmp_path / "none")
    ends(1, "No such file", "--columns", tmp_path / "none")
    ends(2, "Is a directory", "--columns", columns, "--event", tmp_path)
    with open("/dev/full", "wb") as full:
        result = subprocess.run([BINARY, "map", "--columns", columns], input=b'{"a":1}', stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert result.returncode == 2 and b"cannot be written" in result.stderr
    for text, reason in {
        "[{name: t, typ: body}]": 'columns[0].typ',
        "column: []": ":1:1: a list of columns as in a sink",
        "[{": ":2:1: ",
        "[]": "columns",
        "": "document",
        "[{name: t, type: path, path: 'a['}]": "path",
    }.items():
        columns.write_text(text)
        ends(1, reason, "--columns", columns)
    columns.write_text("[{name: t, type: template, template: {language: jsonnet, content: 'Body(1) +'}}]")
    ends(1, 'template of column "t": line 1, column 10', "--columns", columns, stdin=b"{}\n{}")
    columns.write_text(  # equal texts are checked once
        "[{name: a, type: template, template: &one {language: jsonnet, content: '1'}}, {name: b, type: template, template: *one},"
        " {name: c, type: template, template: {language: jsonnet, content: 'nope'}}]"
    )
    ends(1, 'template of column "c": line 1, column 1: Unknown variable: nope', "--columns", columns, stdin=b"{}\n{}")


def test_limits_come_from_options(columns, tmp_path):
    config = tmp_path / "sluice.yaml"
    config.write_text("limits: {event: 1KB, row: 1KB}\n")
    long = json.dumps({"a": "x" * 1100}).encode()
    most = b'{"a":"' + b"x" * 1016 + b'"}'
    assert len(most) == 1024
    text = b"\n".join([long, b'{"a":1}', b'{"a":"' + b"y" * 600 + b'"}', most + b"\r", most + b" ", b'{"a":2}', long])
    result = sluice_map("--columns", columns, "--config", config, "--format", "csv", stdin=text)
    told = result.stderr.decode().splitlines()
    assert [row.split(b",")[0] for row in result.stdout.splitlines()] == [b"1", b"2"] and result.returncode == 1
    assert [line.split(":")[1] for line in told[:-1]] == ["1", "3", "4", "5", "7"], told
    assert "more than 1024 bytes (option limits.event)" in told[0] and told[4].endswith("(option limits.event)")
    assert 'makes the row larger than 1024 bytes' in told[1] and "makes the row larger" in told[2] and "limits.event" in told[3]
    assert told[-1] == "sluice map: 5 of 7 events could not be mapped"
    whole = sluice_map("--columns", columns, "--config", config, "--event", "-", stdin=long)
    assert whole.returncode == 1 and b"limits.event" in whole.stderr
    # A CR is part of the last line where no LF follows: that line alone is too long.
    last = sluice_map("--columns", columns, "--config", config, "--format", "csv", stdin=b'{"a":1}\n' + most + b"\r")
    assert [row.split(b",")[0] for row in last.stdout.splitlines()] == [b"1"] and last.returncode == 1
    assert last.stderr.decode().splitlines() == [told[4].replace(":7:", ":2:"), "sluice map: 1 of 2 events could not be mapped"]
    # As at the intake, a request's body has its own limit.
    config.write_text("limits: {event: 1KB, body: 2KB}\n")
    for size, code in ((2048, 0), (2049, 1)):
        body = sluice_map("--columns", columns, "--config", config, "--content-type", "application/jsonl", "--event", "-", stdin=b'{"a":1}'.ljust(size, b"\n"))
        assert body.returncode == code and (b"more than 2048 bytes (option limits.body)" in body.stderr) == bool(code), body


def test_rows_come_while_the_input_goes_on(columns):
    process = subprocess.Popen([BINARY, "map", "--columns", columns], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for n in range(3):
        process.stdin.write(b'{"a":%d}\n{"a":' % n)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["row"]["a"] == str(n)
        process.stdin.write(b'"half"}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["row"]["a"] == "half"
    process.stdin.close()
    assert process.stdout.read() == b"" and process.wait(timeout=60) == 0


def feed(process, lines, times):
    with process.stdin as pipe:
        for _ in range(times):
            pipe.write(lines)


def run_and_measure(columns, times):
    """Rows and the most memory, KB."""
    lines = b"".join(json.dumps({"a": "x" * (i % 200), "n": i}).encode() + b"\n" for i in range(2000))
    process = subprocess.Popen([BINARY, "map", "--columns", columns, "--format", "csv"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    feeder = threading.Thread(target=feed, args=(process, lines, times))
    feeder.start()
    count = sum(chunk.count(b"\n") for chunk in iter(lambda: process.stdout.read(1 << 20), b""))
    feeder.join()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return count, usage.ru_maxrss


def test_memory_does_not_grow_with_the_input(columns):
    few, small = run_and_measure(columns, 10)
    many, large = run_and_measure(columns, 100)
    assert (few, many) == (20_000, 200_000)
    # A sanitizer keeps freed memory aside (256 MB at most); without one there is next to no difference.
    sanitized = b"__asan" in open(BINARY, "rb").read()
    assert large < small + (300_000 if sanitized else 4_000), (small, large)


def test_templates_of_many_lines(columns):
    columns.write_text("[{name: t, type: template, template: {language: jsonnet, content: \"Body('a') + 1\"}}]")
    lines = b"".join(b'{"a":%d}\n' % n if n % 100 else b"{}\n" for n in range(3000))
    result = sluice_map("--columns", columns, "--format", "csv", stdin=lines)
    assert [int(row) for row in result.stdout.split()] == [n + 1 for n in range(3000) if n % 100]
    told = result.stderr.decode().splitlines()
    assert len(told) == 31 and told[1].startswith("standard input:101: sink sink: Column \"t\"")
    assert told[-1] == "sluice map: 30 of 3000 events could not be mapped"


def test_the_api_says_why_not(gateway_factory):
    gateway = gateway_factory("limits: {event: 1KB}\n").start()
    gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "k", [{"name": "a", "type": "path", "path": "a"}, {"name": "h", "type": "headers"}], NEVER)

    def test(body, status, content_type="application/json", **headers):
        all_headers = {"Authorization": f"Bearer {gateway.token}", "Content-Type": content_type, **headers}
        answer = request(gateway.admin, "POST", "/v1/branches/default/sources/s/test", body, all_headers)
        assert answer.status == status, answer
        return answer.json

    # As the intake does: events of ndjson are JSON whatever the Content-Type says, each may have limits.event bytes, all of it may be packed.
    lines = b"".join(b'{"a":"%s"}\n' % (b"x" * 900) for _ in range(10))
    assert len(test(lines, 200, "application/octet-stream")["tables"][0]["rows"]) == 10
    packed = {"Content-Encoding": "gzip"}
    assert len(test(gzip.compress(lines), 200, **packed)["tables"][0]["rows"]) == 10
    assert "not valid gzip" in test(lines, 400, **packed)["message"]
    assert "not supported" in test(lines, 415, **{"Content-Encoding": "br"})["message"]
    assert "Event 1 has" in test(b'{"a":1}\n{"a":"%s"}' % (b"x" * 1024), 413)["message"]
    assert "at most 1000" in test(b'{"a":1}\n' * 1001, 413)["message"]
    shown = test(b'{"a":1}', 200, Cookie="c=1", **{"Proxy-Authorization": "p", "X-StorageApi-Token": gateway.token, "X-Y": "z"})
    headers = json.loads(shown["tables"][0]["rows"][0]["columns"][1]["value"])
    assert headers["X-Y"] == "z" and headers["Content-Length"] == "7" and not {"Cookie", "Proxy-Authorization", "Authorization"} & headers.keys()
    assert test(b'{"a":1}\n{}', 422)["message"].startswith('Event 1, sink "k": Column "a": ')


MARK = b"\xef\xbb\xbf"
# framing, body, the values of column a; or the byte at which the body does not fit
FITS = [
    ("array", b'[{"a":1},{"a":2}]', ["1", "2"]),
    ("array", MARK + b'[{"a":1}]', ["1"]),
    ("array", b' {"a":3}\n', ["3"]),
    ("array", b'{"a":1}\n{"a":2}\n', 8),
    ("array", b"<html><body>[1]</body></html>", 0),
    ("array", b"\n a=1&b=2", 2),
    ("array", b'{"a":1', 0),
    ("array", b'[{"a":1}', 8),
    ("array", b'[{"a":1}] x', 10),
    ("array", MARK + MARK + b"[]", 3),
    ("concatenated", MARK + b'{"a":1}{"a":2}', ["1", "2"]),
    ("concatenated", b"<html>", 0),
    ("ndjson", MARK + b'{"a":1}\n{"a":2}\n', ["1", "2"]),
    ("single", MARK + b'{"a":1}', ["1"]),
]
# Events that can be cut out, of which the second is not JSON.
MISFITS = [
    ("array", b'[{"a":1},<b>,{"a":3}]'),
    ("array", b'[{"a":1},{"a" 2},{"a":3}]'),
    ("array", b'[{"a":1},{"a":2} x,{"a":3}]'),
    ("concatenated", b'{"a":1} x {"a":3}'),
    ("ndjson", b'{"a":1}\n' + MARK + b'{"a":2}\n{"a":3}\n'),
]


def test_intake_dry_run_and_map_agree_on_framings(gateway, tmp_path):
    columns = [{"name": "a", "type": "path", "path": "a"}]
    body_file, manifest = tmp_path / "body", tmp_path / "m.yaml"
    manifest.write_text("---".join(
        f"\nkind: source\nsourceId: {framing}\nname: s\nframing: {framing}\nsinks: [{{sinkId: k, name: k, table: {{tableId: {framing}, "
        "mapping: {columns: [{name: a, type: path, path: a}]}}}]\n"
        for framing in ("array", "concatenated", "ndjson", "single")
    ))
    sources = {}
    for framing in ("array", "concatenated", "ndjson", "single"):
        sources[framing] = gateway.add_source(framing, framing=framing)
        gateway.add_sink(framing, "k", columns, NEVER, table=framing)

    def tested(framing, body):
        headers = {"Authorization": f"Bearer {gateway.token}", "Content-Type": "application/json"}
        return request(gateway.admin, "POST", f"/v1/branches/default/sources/{framing}/test", body, headers)

    def mapped(framing, body):
        body_file.write_bytes(body)
        return sluice_map("-f", manifest, "--source", framing, "--event", body_file)

    for framing, body, expected in FITS:
        answers = gateway.post(sources[framing], body), tested(framing, body)
        result = mapped(framing, body)
        if isinstance(expected, int):
            place = f"The body does not fit the source's framing at byte {expected}: "
            assert [answer.status for answer in answers] == [400, 400] and result.returncode == 1, (framing, body, answers)
            assert all(place in answer.json["message"] for answer in answers) and place in result.stderr.decode(), (body, answers, result)
            assert answers[0].json["message"] == answers[1].json["message"]
        else:
            assert [answer.status for answer in answers] == [200, 200] and result.returncode == 0, (framing, body, answers, result)
            assert [row["columns"][0]["value"] for row in answers[1].json["tables"][0]["rows"]] == expected
            assert [row["row"]["a"] for row in rows(result)] == expected and answers[0].headers["sluice-events"] == str(len(expected))
    for framing, body in MISFITS:
        taken, answer, result = gateway.post(sources[framing], body), tested(framing, body), mapped(framing, body)
        assert taken.status == 200 and taken.json["events"] == {"accepted": 2, "rejected": 1, "duplicate": 0}, (body, taken)
        assert taken.json["rejected"][0]["index"] == 1 and "is not JSON at byte" in taken.json["rejected"][0]["message"]
        assert answer.status == 422 and answer.json["message"].startswith('Event 1, sink "k": The body is not JSON at byte'), answer
        assert [row["row"]["a"] for row in rows(result)] == ["1", "3"] and b"The body is not JSON at byte" in result.stderr


def test_a_byte_order_mark_is_skipped_once_however_long_the_input(columns):
    """Standard input is read in parts; only the first one begins it."""
    lines = b"".join(b'{"a":%d}\n' % n for n in range(2500))
    result = sluice_map("--columns", columns, "--format", "csv", stdin=MARK + lines)
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 2500, result.stderr
    for at in (1, 1000, 2000):
        parts = lines.splitlines(keepends=True)
        result = sluice_map("--columns", columns, "--format", "csv", stdin=b"".join([*parts[:at], MARK, *parts[at:]]))
        assert result.returncode == 1 and len(result.stdout.splitlines()) == 2499, at
        assert f"standard input:{at + 1}: sink sink: The body is not JSON at byte 0: a byte order mark".encode() in result.stderr
