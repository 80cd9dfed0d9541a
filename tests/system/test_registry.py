"""Values of records with a real schema registry, and fastavro as the producer. Skipped where they cannot be had."""

import http.server
import json
import os
import pathlib
import ssl
import subprocess
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
VALUES = ROOT / "tests" / "unit" / "gateway" / "values"
READ_VALUES = pathlib.Path(os.environ["SLUICE_BINARY"]).parent / "tests" / "support" / "read-values"

sys.path.insert(0, str(ROOT / "tests" / "services"))

from kafka import Unavailable  # noqa: E402
from registry import Registry, python_with_fastavro  # noqa: E402

pytestmark = pytest.mark.registry


@pytest.fixture(scope="module")
def registry():
    try:
        server = Registry()
    except Unavailable as problem:
        pytest.skip(str(problem))
    yield server
    server.close()


@pytest.fixture(scope="module")
def fastavro():
    try:
        return python_with_fastavro()
    except Unavailable as problem:
        pytest.skip(str(problem))


class Reader:
    """The code of a bridge, one value after the other."""

    def __init__(self, url, kind):
        self.process = subprocess.Popen(
            [str(READ_VALUES), url, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def read(self, number, value):
        """(result, text) of a value in the Confluent wire format."""
        return self.read_bytes(b"\0" + number.to_bytes(4, "big") + value)

    def read_bytes(self, value):
        self.process.stdin.write(value.hex() + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return tuple(line.rstrip("\n").split(" ", 1))

    def close(self):
        _, said = self.process.communicate(timeout=60)
        assert self.process.returncode == 0 and "Sanitizer" not in said, said


@pytest.fixture
def reader(registry):
    made = []

    def make(kind):
        made.append(Reader(registry.url, kind))
        return made[-1]

    yield make
    for one in made:
        one.close()


def vectors(fastavro, tmp_path):
    """As fastavro writes them now."""
    path = tmp_path / "vectors.json"
    ended = subprocess.run([str(fastavro), str(VALUES / "vectors.py"), str(path)], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return json.loads(path.read_text())


def test_avro_of_fastavro(registry, fastavro, reader, tmp_path):
    read = reader("avro")
    made = vectors(fastavro, tmp_path)
    assert made == json.loads((VALUES / "vectors.json").read_text()), "vectors.json is not what vectors.py makes"
    numbers = [registry.register(f"vector-{i}", vector["schema"]) for i, vector in enumerate(made)]
    for _ in range(2):
        for number, vector in zip(numbers, made):
            assert read.read(number, bytes.fromhex(vector["hex"])) == ("read", vector["json"]), vector["name"]


def test_versions_of_a_schema(registry, reader):
    read = reader("avro")

    def schema(*fields):
        return {"type": "record", "name": "Order", "fields": [{"name": name, "type": kind, "default": None} for name, kind in fields]}

    first = registry.register("orders-value", schema(("id", ["null", "long"])))
    second = registry.register("orders-value", schema(("id", ["null", "long"]), ("note", ["null", "string"])))
    assert first != second
    assert read.read(first, b"\x02\x0e") == ("read", '{"id":7}')
    assert read.read(second, b"\x02\x0e\x02\x04hi") == ("read", '{"id":7,"note":"hi"}')
    assert read.read(first, b"\x02\x0e\x00") == ("poison", f"not a record of schema {first}: bytes follow the record's end: it was written with another schema")


def test_what_is_not_there_or_not_avro(registry, reader):
    read = reader("avro")
    assert read.read(4000000, b"\x02") == ("unknown", "the schema registry has no schema 4000000")
    assert read.read_bytes(b'{"id":1}')[0] == "poison"
    number = registry.register("a-json", {"type": "object", "properties": {}}, "JSON")
    assert read.read(number, b"{}") == ("poison", f"schema {number} is of type JSON, not AVRO")
    number = registry.register("a-protobuf", 'syntax = "proto3"; message A { int32 a = 1; }', "PROTOBUF")
    assert read.read(number, b"\0") == ("poison", f"schema {number} is of type PROTOBUF, not AVRO")


def test_references_are_named(registry, reader):
    registry.register("address", {"type": "record", "name": "Address", "namespace": "shop", "fields": [{"name": "city", "type": "string"}]})
    customer = {"type": "record", "name": "Customer", "namespace": "shop", "fields": [{"name": "home", "type": "shop.Address"}]}
    number = registry.register("customer", customer, references=[{"name": "shop.Address", "subject": "address", "version": 1}])
    result = reader("avro").read(number, b"\x04hi")
    assert result == ("poison", f"schema {number} has references to other schemas, which are not supported")


def test_json_schema(registry, reader):
    read = reader("jsonSchema")
    number = registry.register("b-json", {"type": "object", "properties": {"id": {"type": "integer"}}}, "JSON")
    assert read.read(number, b'{"id": "not checked"}') == ("read", '{"id": "not checked"}')
    assert read.read(4000001, b"{}") == ("unknown", "the schema registry has no schema 4000001")
    avro = registry.register("b-avro", "string")
    assert read.read(avro, b"\x02a") == ("poison", f"schema {avro} is of type AVRO, not JSON")


def test_a_registry_that_is_killed(registry, reader):
    read = reader("avro")
    number = registry.register("killed", {"type": "map", "values": "int"})
    value = b"\x02\x02a\x02\x00"
    assert read.read(number, value) == ("read", '{"a":1}')
    registry.stop()
    assert read.read(number, value) == ("read", '{"a":1}')
    result, why = read.read(4000002, value)
    assert result == "later" and f"127.0.0.1:{registry.port}" in why
    registry.start()
    end = time.monotonic() + 90  # pauses between lookups grow to 30 s
    while (answer := read.read(4000002, value))[0] == "later":
        assert time.monotonic() < end, answer
        time.sleep(0.1)
    assert answer == ("unknown", "the schema registry has no schema 4000002")


def test_a_certificate_that_nobody_trusts_is_refused(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    heard = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(self.path)

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    read = Reader(f"https://127.0.0.1:{server.server_port}", "avro")
    result, why = read.read(1, b"\x02")
    read.close()
    server.shutdown()
    thread.join()
    server.server_close()
    assert result == "later" and "certificate" in why and not heard
