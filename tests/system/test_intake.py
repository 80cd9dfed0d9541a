"""The intake's contract: forms of URL, credentials, framings, encodings, statuses, errors and receipts."""

import base64
import gzip
import http.client
import json
import re
import time
import zlib

import pytest
import zstandard
from sluice import AT_ONCE, NEVER, raw, request

COLUMNS = [
    {"type": "id", "name": "id"},
    {"type": "path", "name": "a", "path": "a", "rawString": True},
]
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    from sluice import Gateway

    gateway = Gateway(tmp_path_factory.mktemp("intake")).start()
    for source, fields in {
        "single": {},
        "lines": {"framing": "ndjson"},
        "many": {"framing": "array"},
        "minimal": {"errorDetail": "minimal"},
    }.items():
        gateway.add_source(source, **fields)
        gateway.add_sink(source, f"{source}-rows", COLUMNS, NEVER)
    yield gateway
    gateway.close()


def parts(url):
    _, stream, project, source, secret = url.split("/")
    return f"/{stream}/{project}/{source}", secret


def stored(gateway, source):
    return gateway.statistics(source, f"{source}-rows")["levels"]["local"]["recordsCount"]


def assert_error(answer, status, name):
    assert answer.status == status, answer
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json["statusCode"] == status and answer.json["error"] == f"stream.in.{name}", answer
    assert answer.json["message"]
    assert UUID.fullmatch(answer.headers["x-request-id"])
    assert answer.headers["access-control-allow-origin"] == "*"


def test_receipts(shared):
    answer = shared.post(shared.source_url("single"), {"a": 1})
    assert (answer.status, answer.body) == (200, b"OK")
    assert UUID.fullmatch(answer.headers["x-request-id"]) and UUID.fullmatch(answer.headers["sluice-event-id"])
    assert answer.headers["sluice-events"] == "1"
    assert answer.headers["access-control-allow-origin"] == "*"


def test_credentials_in_headers(shared):
    path, secret = parts(shared.source_url("single"))
    basic = base64.b64encode(f"user:{secret}".encode()).decode()
    for headers in ({"Authorization": f"Bearer {secret}"}, {"Authorization": f"Basic {basic}"}, {"X-Api-Key": secret}):
        assert shared.post(path, {"a": 1}, headers=headers).status == 200, headers
    wrong = shared.post(path, {"a": 1}, headers={"X-Api-Key": "x" * 48})
    assert wrong.status == 401 and "www-authenticate" in wrong.headers
    assert shared.post(path, {"a": 1}).status == 401


def test_wrong_secret_and_unknown_source_look_the_same(shared):
    path, secret = parts(shared.source_url("single"))
    wrong = shared.post(f"{path}/{'x' * len(secret)}", {"a": 1})
    unknown = shared.post(f"/stream/1/nowhere/{secret}", {"a": 1})
    assert_error(wrong, 404, "noSourceFound")
    assert_error(unknown, 404, "noSourceFound")
    assert wrong.json["message"].replace("single", "S") == unknown.json["message"].replace("nowhere", "S")
    assert shared.post(f"/stream/2/single/{secret}", {"a": 1}).status == 404


@pytest.mark.parametrize(
    "method, path, status, name",
    [
        ("POST", "/", 404, "routeNotFound"),
        ("GET", "/nothing", 404, "routeNotFound"),
        ("POST", "/stream", 404, "routeNotFound"),
        ("POST", "/stream/abc/single/" + "x" * 48, 400, "badRequest"),
        ("GET", "URL", 405, "methodNotAllowed"),
        ("PUT", "URL", 405, "methodNotAllowed"),
        ("DELETE", "URL", 405, "methodNotAllowed"),
    ],
)
def test_routes(shared, method, path, status, name):
    path = shared.source_url("single") if path == "URL" else path
    answer = request(shared.intake, method, path, b"{}")
    assert_error(answer, status, name)
    if status == 405:
        assert answer.headers["allow"] == "OPTIONS, POST"


def test_options_and_health(shared):
    answer = request(shared.intake, "OPTIONS", shared.source_url("single"))
    assert answer.status == 200 and answer.headers["allow"] == "OPTIONS, POST"
    assert answer.headers["access-control-allow-methods"]
    for path in ("/health-check", "/health"):
        answer = request(shared.intake, "GET", path)
        assert (answer.status, answer.body) == (200, b"OK")
    assert request(shared.intake, "GET", "/ready").status == 200


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "text/json", "application/vnd.x+json", None])
def test_json_content_types(shared, content_type):
    assert shared.post(shared.source_url("single"), '{"a":1}', content_type=content_type).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw deflate", "zstd", "two gzip members"])
def test_content_encodings(shared, encoding):
    body = b'{"a":"' + b"x" * 50000 + b'"}'
    if encoding == "gzip":
        data = gzip.compress(body)
    elif encoding == "two gzip members":
        data = gzip.compress(body[:1000]) + gzip.compress(body[1000:])
    elif encoding == "deflate":
        data = zlib.compress(body)
    elif encoding == "raw deflate":
        packer = zlib.compressobj(wbits=-15)
        data = packer.compress(body) + packer.flush()
    else:
        data = zstandard.compress(body)
    header = {"raw deflate": "deflate", "two gzip members": "gzip"}.get(encoding, encoding)
    answer = shared.post(shared.source_url("single"), data, headers={"Content-Encoding": header})
    assert answer.status == 200, answer


def test_encoding_errors(shared):
    url = shared.source_url("single")
    before = stored(shared, "single")
    unknown = shared.post(url, b"{}", headers={"Content-Encoding": "br"})
    assert_error(unknown, 415, "unsupportedMediaType")
    assert "gzip" in unknown.headers["accept-encoding"] and "zstd" in unknown.headers["accept-encoding"]
    for name, data in {
        "gzip": [b"not gzip", gzip.compress(b'{"a":1}')[:-4], gzip.compress(b'{"a":1}') + b"junk", b""],
        "zstd": [b"not zstd", zstandard.compress(b'{"a":1}' * 100)[:-4]],
        "deflate": [b"\xff\xff\xff"],
    }.items():
        for body in data:
            assert_error(shared.post(url, body, headers={"Content-Encoding": name}), 400, "badRequest")
    # 60 MB of zeros in 60 KB: ended while it inflates.
    bomb = gzip.compress(b'{"a":"' + b"0" * 60_000_000 + b'"}')
    assert_error(shared.post(url, bomb, headers={"Content-Encoding": "gzip"}), 413, "bodyTooLarge")
    assert stored(shared, "single") == before


def test_framings(shared):
    lines, many = shared.source_url("lines"), shared.source_url("many")
    for url, body, kind, count in [
        (lines, '{"a":1}\n{"a":2}\n', "application/json", 2),
        (lines, '{"a":1}\r\n{"a":2}', "application/json", 2),
        (lines, '\n{"a":1}\n\n', "application/x-ndjson", 1),
        (many, '[{"a":1}, {"a":[1,"]"]}]', "application/json", 2),
        (many, '{"a":1}', "application/json", 1),
        (many, "[]", "application/json", 0),
        (many, '{"a":1}\n{"a":2}', "application/x-ndjson", 2),
        (many, '{"a":1}\n{"a":2}', "application/jsonl", 2),
    ]:
        answer = shared.post(url, body, content_type=kind)
        assert answer.status == 200 and answer.headers["sluice-events"] == str(count), (body, answer)
    assert_error(shared.post(many, '[{"a":1}', content_type="application/json"), 400, "badRequest")
    assert_error(shared.post(many, '[{"a":1}] x', content_type="application/json"), 400, "badRequest")


def test_reject_refuses_the_whole_request(shared):
    url = shared.source_url("single")
    before = stored(shared, "single")
    for body in ("not json", '{"b":1}', '{"a":1} x', "", '{"a":NaN}', '{"a":"\\ud800"}', b'{"a":"\xff"}', "[" * 200 + "]" * 200):
        answer = shared.post(url, body)
        assert_error(answer, 422, "unprocessableContent")
    missing = shared.post(url, '{"b":1}').json
    sink = missing["sources"][0]["sinks"][0]
    assert sink["sinkId"] == "single-rows" and sink["statusCode"] == 422 and '"a"' in sink["message"], missing
    assert stored(shared, "single") == before


def test_minimal_error_detail_tells_little(shared):
    answer = shared.post(shared.source_url("minimal"), '{"b":1}')
    assert_error(answer, 422, "unprocessableContent")
    assert "single-rows" not in answer.body.decode() and "sinks" not in answer.json


def test_quarantine_keeps_the_event(gateway):
    url = gateway.add_source("mixed", framing="ndjson")
    gateway.add_sink("mixed", "strict", COLUMNS, NEVER)
    gateway.add_sink("mixed", "loose", [{"type": "body", "name": "body"}], AT_ONCE)
    answer = gateway.post(url + "?verbose=true", '{"a":1}\nbroken\n{"a":3}\n')
    assert answer.status == 200, answer
    assert answer.headers["sluice-events"] == "3"
    events = answer.json["events"]
    assert events["accepted"] == 3 and events["rejected"] == 1, answer  # in at least one sink each
    gateway.wait_rows("loose", 3)
    assert gateway.statistics("mixed", "strict")["levels"]["local"]["recordsCount"] == 2
    rejects = gateway.api("GET", "/sources/mixed/sinks/strict/rejects", expect=200).json["rejects"]
    assert len(rejects) == 1 and rejects[0]["event"] == "broken" and rejects[0]["reason"], rejects


def test_verbose(shared):
    answer = shared.post(shared.source_url("single") + "?verbose=true", {"a": 1})
    body = answer.json
    assert answer.status == 200 and body["statusCode"] == 200
    source = body["sources"][0]
    assert source["sourceId"] == "single" and source["projectId"] in (1, "1") and source["branchId"] == "default"
    assert source["sinks"][0]["sinkId"] == "single-rows" and source["sinks"][0]["statusCode"] == 200


def test_source_without_an_enabled_sink(gateway):
    refused = gateway.post(gateway.add_source("empty"), {"a": 1})
    assert_error(refused, 503, "noEnabledSink")
    assert 1 <= int(refused.headers["retry-after"]) <= 60

    url = gateway.add_source("off")
    gateway.add_sink("off", "rows", COLUMNS, AT_ONCE)
    task = gateway.change("PUT", "/sources/off/sinks/rows/disable")
    assert "refused with 503" in task["result"]
    answer = gateway.post(url, {"a": 1})
    assert_error(answer, 503, "noEnabledSink")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    gateway.change("PUT", "/sources/off/sinks/rows/enable")
    assert gateway.post(url, {"a": 1}).status == 200
    gateway.change("PUT", "/sources/off/disable")
    assert_error(gateway.post(url, {"a": 1}), 404, "disabledSource")


def metric(gateway, name):
    text = request(gateway.admin, "GET", "/metrics", headers={"Authorization": f"Bearer {gateway.token}"}).body.decode()
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


def test_a_source_that_discards(gateway):
    url = gateway.add_source("bin", framing="ndjson", discard=True)
    assert gateway.api("GET", "/sources/bin").json["discard"] is True
    for _ in range(20):
        answer = gateway.post(url, '{"a":1}\n{"a":2}\n')
        assert answer.status == 200 and answer.headers["sluice-events"] == "0"
    answer = gateway.post(url + "?verbose=true", {"a": 1})
    assert answer.status == 200 and "No enabled sink found" in answer.json["message"]
    assert metric(gateway, "sluice_events_without_sink_total") == 41
    lines = [line for line in gateway.log_text().splitlines() if "discarded" in line]
    assert 1 <= len(lines) <= 4 and '"bin' in lines[0].replace("\\", ""), lines  # a line of each loop

    gateway.add_sink("bin", "rows", COLUMNS, NEVER)
    assert gateway.post(url, {"a": 1}).headers["sluice-events"] == "1"
    task = gateway.change("PUT", "/sources/bin/sinks/rows/disable")
    assert "discarded" in task["result"]
    assert gateway.post(url, {"a": 1}).headers["sluice-events"] == "0"
    gateway.change("PATCH", "/sources/bin", {"discard": False})
    assert_error(gateway.post(url, {"a": 1}), 503, "noEnabledSink")


def test_a_disabled_sink_counts_what_it_did_not_get(gateway):
    url = gateway.add_source("two", framing="ndjson")
    for sink in ("on", "off"):
        gateway.add_sink("two", sink, COLUMNS, NEVER)
    gateway.post(url, '{"a":1}')
    assert gateway.statistics("two", "off")["skippedEvents"] == 0
    task = gateway.change("PUT", "/sources/two/sinks/off/disable")
    assert "skippedEvents" in task["result"]
    for _ in range(3):
        assert gateway.post(url, '{"a":1}\n{"a":2}\n').headers["sluice-events"] == "2"
    assert gateway.statistics("two", "off")["skippedEvents"] == 6
    assert gateway.statistics("two", "on")["skippedEvents"] == 0
    gateway.stop()
    gateway.start()
    assert gateway.statistics("two", "off")["skippedEvents"] == 6
    gateway.change("PUT", "/sources/two/sinks/off/enable")
    gateway.post(gateway.source_url("two"), '{"a":1}')
    assert gateway.statistics("two", "off")["skippedEvents"] == 6


def test_uses_of_defaults_are_counted(gateway):
    url = gateway.add_source("lacks", framing="ndjson")
    columns = [
        {"type": "path", "name": "a", "path": "a", "defaultValue": None},
        {"type": "path", "name": "b", "path": "b", "dataType": "integer", "defaultValue": 7},
        {"type": "path", "name": "c", "path": "c", "optional": True},
        {"type": "path", "name": "must", "path": "must"},
    ]
    gateway.add_sink("lacks", "rows", columns, NEVER, onInvalid="reject")
    assert gateway.statistics("lacks", "rows")["defaultsUsed"] == {"a": 0, "b": 0, "c": 0}
    gateway.post(url, '{"must":1}\n{"must":1,"a":1}\n{"must":1,"b":2,"c":null}\n')
    assert gateway.statistics("lacks", "rows")["defaultsUsed"] == {"a": 2, "b": 2, "c": 2}
    assert gateway.post(url, '{"must":1}\n{"a":1}\n').status == 422  # refused as a whole
    assert gateway.statistics("lacks", "rows")["defaultsUsed"] == {"a": 2, "b": 2, "c": 2}
    gateway.change("PATCH", "/sources/lacks/sinks/rows", {"onInvalid": "quarantine", "table": {"mapping": {"columns": columns[1:] + columns[:1]}}})
    gateway.post(url, '{"must":1}\n{"a":1}\n')
    assert gateway.statistics("lacks", "rows")["defaultsUsed"] == {"a": 3, "b": 3, "c": 3}


def test_rows_that_were_promised_and_are_lost_are_counted_and_logged(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("fast", framing="ndjson")
    for sink in ("one", "two"):
        gateway.add_sink("fast", sink, COLUMNS, {"storage.level.local.encoding.sync.wait": False})
    gateway.stop()
    gateway.start(environment={"SLUICE_FAILPOINTS": "storage.before-commit=error@20"})
    promised = 0
    deadline = time.monotonic() + 60
    while gateway.process.poll() is None and time.monotonic() < deadline:
        try:
            promised += gateway.post(url, '{"a":1}\n{"a":2}\n').status == 202
        except (OSError, http.client.HTTPException):
            break
    assert gateway.process.wait(timeout=60) == 2 and promised > 0
    lines = re.findall(r"(\d+) rows were answered with 202 and are lost", gateway.log_text())
    assert lines and all(int(count) % 4 == 0 for count in lines), gateway.log_text()[-2000:]  # two events into two sinks a request


def test_too_large(gateway_factory):
    gateway = gateway_factory(arguments=["--limits.event", "100KB", "--limits.body", "1MB", "--limits.row", "150KB"]).start()
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "rows", COLUMNS + [{"type": "body", "name": "body"}], NEVER, onInvalid="reject")
    assert gateway.post(url, '{"a":"%s"}' % ("x" * 60_000)).status == 200
    answer = gateway.post(url, '{"a":"%s"}' % ("x" * 200_000))
    assert_error(answer, 413, "bodyTooLarge")
    assert "event" in answer.json["message"]
    row = gateway.post(url, '{"a":"%s"}' % ("x" * 90_000))
    assert_error(row, 413, "payloadTooLarge")
    connection = gateway.connect()
    connection.request("POST", url, b"x" * 1_200_000)
    answer = connection.getresponse()
    assert answer.status == 413 and json.loads(answer.read())["error"] == "stream.in.bodyTooLarge"
    header = gateway.post(url, "{}", headers={"X-Big": "h" * 20_000})
    assert header.status in (400, 413)


def test_rate_limit(gateway):
    url = gateway.add_source("slow", rate={"events": 1, "burst": 3})
    gateway.add_sink("slow", "rows", COLUMNS, NEVER)
    statuses = [gateway.post(url, {"a": 1}) for _ in range(8)]
    refused = [answer for answer in statuses if answer.status == 429]
    assert statuses[0].status == 200 and refused
    assert_error(refused[0], 429, "tooManyRequests") if refused[0].json["error"].endswith("tooManyRequests") else None
    assert 1 <= int(refused[0].headers["retry-after"]) <= 60


HEADS = {
    "both lengths": b"Host: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    "two lengths": b"Host: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n",
    "two equal lengths": b"Host: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n",
    "list of lengths": b"Host: x\r\nContent-Length: 2, 2\r\n",
    "signed length": b"Host: x\r\nContent-Length: +2\r\n",
    "two encodings": b"Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunked and more": b"Host: x\r\nTransfer-Encoding: chunked, identity\r\n",
    "no Host": b"Content-Length: 2\r\n",
    "two Hosts": b"Host: x\r\nHost: y\r\nContent-Length: 2\r\n",
    "obs-fold": b"Host: x\r\nX-A: b\r\n c\r\nContent-Length: 2\r\n",
    "space before colon": b"Host: x\r\nContent-Length : 2\r\n",
}


@pytest.mark.parametrize("name", HEADS)
def test_unsound_heads_are_refused_and_closed(shared, name):
    url = shared.source_url("single")
    before = stored(shared, "single")
    body = b"2\r\n{}\r\n0\r\n\r\n" if b"chunked" in HEADS[name] else b"{}"
    smuggled = b"POST " + url.encode() + b' HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n{"a":1}'
    answer = raw(shared.intake, b"POST " + url.encode() + b" HTTP/1.1\r\n" + HEADS[name] + b"\r\n" + body + smuggled)
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert stored(shared, "single") == before


def test_pipelined_and_chunked_and_h2c(shared):
    url = shared.source_url("single").encode()
    one = b"POST " + url + b' HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n{"a":1}'
    last = one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    answer = raw(shared.intake, one + one + last)
    assert answer.count(b"HTTP/1.1 200") == 3, answer
    chunked = b"POST " + url + b' HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n'
    answer = raw(shared.intake, chunked)
    assert answer.startswith(b"HTTP/1.1 200") and b"close" in answer.lower()
    upgrade = last.replace(b"Host: x", b"Host: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__")
    assert raw(shared.intake, upgrade).startswith(b"HTTP/1.1 200")
    assert raw(shared.intake, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").startswith((b"HTTP/1.1 4", b""))


def test_a_closing_connection_ends_with_its_answer(shared):
    """Not with the next tick of the loop: 100 of those would take 10 s."""
    url = shared.source_url("single").encode()
    post = b"POST " + url + b' HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 7\r\n\r\n{"a":1}'
    begin = time.monotonic()
    for _ in range(50):
        assert raw(shared.intake, post).startswith(b"HTTP/1.1 200")
        assert raw(shared.admin, b"GET /health-check HTTP/1.0\r\n\r\n")
    assert time.monotonic() - begin < 9


def test_headers_that_hold_secrets_reach_nothing(gateway):
    secret = "of-somebody-else-0123456789"
    url = gateway.add_source("secrets")
    names = ["Authorization", "Proxy-Authorization", "X-Api-Key", "X-StorageApi-Token", "Cookie"]
    columns = [{"name": "h", "type": "headers"}]
    content = "std.join(',', std.objectFields(Header())) + ',' + std.toString(Header())"
    columns.append({"name": "all", "type": "template", "template": {"language": "jsonnet", "content": content}})
    text = ", ".join(f"Header('{name}', 'gone')" for name in names)
    columns.append({"name": "each", "type": "template", "template": {"language": "jsonnet", "content": f"std.join(' ', [{text}]) + ' ' + HeaderStr()"}})
    gateway.add_sink("secrets", "rows", columns, AT_ONCE)
    # An event that goes to the rejects, with what it came with.
    gateway.add_sink("secrets", "strict", [{"name": "p", "type": "path", "path": "not_there"}], AT_ONCE, onInvalid="quarantine")
    headers = {name: f"Bearer {secret}" for name in names}
    headers["X-Other"] = "seen"
    answer = gateway.post(url, {"n": 1}, headers=headers)
    assert answer.status == 200, answer
    gateway.wait_rows("rows", 1)
    row = gateway.rows("SELECT h, \"all\", \"each\" FROM rows")[0]
    assert "seen" in row[0] and "seen" in row[1], row
    assert row[2].strip('"').startswith("gone " * len(names)) and "seen" in row[2], row
    rejects = gateway.api("GET", "/sources/secrets/sinks/strict/rejects", expect=200).body.decode()
    assert "not_there" in rejects
    tried = gateway.api("POST", "/sources/secrets/test", {"n": 1}, headers={"X-Api-Key": f"Bearer {secret}", "Cookie": secret})
    for shown in (str(row), rejects, tried.body.decode(), gateway.log_text()):
        assert secret not in shown and gateway.token not in shown, shown
