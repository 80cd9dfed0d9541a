"""Stream manifests: those of tests/streams/, applied as they are, with real brokers; what they become, and what is refused where."""

import json
import os
import re
import subprocess
import sys

import psycopg2
import pytest

from sluice import BINARY, ROOT, wait_until

sys.path.insert(0, str(ROOT / "tests" / "services"))

from kafka import Kafka, Unavailable  # noqa: E402
from nats_server import Nats  # noqa: E402

STREAMS = ROOT / "tests" / "streams"
PASSWORD = "p@ss:w/rd?&#%41{}+ =ü"  # what a URI could not hold as it is

def command(gateway, *arguments, environment=None, expect=0):
    ended = subprocess.run(
        [BINARY, *arguments, "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)],
        capture_output=True, text=True, timeout=120, env={**os.environ, **(environment or {})},
    )
    assert ended.returncode == expect, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def wait_finished(gateway, source):
    def state():
        answer = gateway.api("GET", f"/sources/{source}/bridge").json
        assert answer.get("state") != "stopped", answer
        return answer.get("state") == "finished"

    wait_until(f"{source} is finished", state, 150)


def of(column, table):
    """The values of an inferred column; a value that came before it is in `_rest`."""
    return f"SELECT coalesce({column}, (_rest::jsonb->>'{column}')::bigint) FROM {table} ORDER BY 1"


def orders(first, count, **more):
    return [json.dumps({"id": n, "price": n + 0.5, **more}) for n in range(first, first + count)]


def wait_rows(rows, wanted):
    wanted = list(wanted)
    wait_until("rows", lambda: len(rows()) >= len(wanted), 150)
    assert rows() == wanted


# ---- NATS ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nats():
    login = {"user": "shop", "pass": PASSWORD}
    server = Nats(f"authorization: {{ user: shop, password: {json.dumps(PASSWORD, ensure_ascii=False)} }}", login=login)
    server.create_stream("ORDERS", ["orders.>"])
    yield server
    server.close()


def nats_environment(nats):
    return {"NATS_USERNAME": "shop", "NATS_PASSWORD": PASSWORD, "NATS_HOST": f"127.0.0.1:{nats.port}"}


def warehouse(postgres):
    return f'connections:\n  warehouse: {{type: postgres, uri: "{postgres.uri}"}}\n'


def clean(postgres, *tables):
    for table in (*tables, "sluice.positions"):
        postgres.rows(f"DROP TABLE IF EXISTS {table}")


def test_nats_by_its_uri(gateway_factory, nats, postgres, tmp_path):
    clean(postgres, "raw.messages")
    nats.publish("orders.new", orders(1, 300))
    nats.publish("orders.old", orders(1000, 10))
    gateway = gateway_factory(warehouse(postgres)).start()
    manifest, environment = STREAMS / "nats-uri.yaml", nats_environment(nats)
    said = command(gateway, "apply", "--dry-run", "-f", str(manifest), environment=environment)
    assert re.search(r"\+ connection nats-[0-9a-f]{12}\n", said) and "3 changes (dry run: none was made)" in said
    assert gateway.api("GET", "/sources/orders-nats-uri").status == 404
    said = command(gateway, "apply", "-f", str(manifest), environment=environment)
    assert "orders-nats-uri: ignored: version, tags, spec.compute, spec.sink.address?purpose" in said
    wait_finished(gateway, "orders-nats-uri")

    def rows():
        return [value for (value,) in postgres.rows(of("id", "raw.messages"))]

    assert rows() == list(range(1, 301))
    assert "0 changes" in command(gateway, "apply", "-f", str(manifest), environment=environment)
    own = command(gateway, "get", "orders-nats-uri", "-o", "yaml")
    assert "durable: none" in own and "subject: orders.new" in own and PASSWORD not in own
    # The connection is there after a start, and a start reads what is new.
    nats.publish("orders.new", orders(301, 100))
    gateway.stop()
    gateway.start()
    wait_rows(rows, range(1, 401))


def login_manifest(port, parameters, **options):
    options = {"source_table": "ORDERS", "run_in_loop": True, **options}
    return json.dumps({  # JSON is YAML, too
        "name": "logins", "type": "nilus",
        "spec": {
            "type": "stream",
            "source": {"address": f"nats+jetstream://127.0.0.1:{port}{parameters}", "options": options},
            "sink": {"address": "dataos://local", "options": {"dest_table": "logins", "incremental_strategy": "append"}},
        },
    })


def stored(gateway):
    """What stands in the folder of declared connections, without the names of the connections."""
    return sorted(entry.name.partition(".")[2] for entry in (gateway.data / "connections").iterdir())


def test_a_connection_gets_changes_and_loses_its_login(gateway_factory, tmp_path):
    server = Nats()  # it takes everybody, with any token
    try:
        server.create_stream("ORDERS", ["orders.>"])
        server.publish("orders.new", orders(1, 10))
        gateway = gateway_factory().start()
        manifest = tmp_path / "logins.yaml"
        names = set()
        for parameters, mark, files in [
            ("", "+", ["json"]),
            ("?token=first", "~", ["json", "tokenFile"]),
            ("?token=first", "=", ["json", "tokenFile"]),
            ("?token=second", "~", ["json", "tokenFile"]),
            ("?nkeys_seed=SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY", "~", ["json", "nkeySeedFile"]),
            ("", "~", ["json"]),
        ]:
            manifest.write_text(login_manifest(server.port, parameters))
            said = command(gateway, "apply", "-f", str(manifest))
            (found,) = re.findall(r"^(.) connection (nats-[0-9a-f]{12})$", said, re.M)
            assert found[0] == mark and stored(gateway) == files, (parameters, said)
            names.add(found[1])
        assert len(names) == 1  # so what was read stays read
        gateway.stop()
        gateway.start()
        server.publish("orders.new", orders(11, 5))
        wait_until("rows", lambda: len(gateway.rows("SELECT 1 FROM logins")) >= 15, 150)
        assert len(gateway.rows("SELECT 1 FROM logins")) == 15
    finally:
        server.close()


def test_a_base_column_is_the_key(gateway_factory, tmp_path):
    server = Nats()
    try:
        server.create_stream("ORDERS", ["orders.>"])
        server.publish("orders.new", orders(1, 20))
        gateway = gateway_factory().start()
        manifest = tmp_path / "keys.yaml"
        manifest.write_text(
            login_manifest(server.port, "").replace('"append"', '"merge", "primary_key": ["_sequence"]').replace("true", "false")
        )
        command(gateway, "apply", "-f", str(manifest))
        wait_finished(gateway, "logins")
        assert gateway.rows("SELECT _sequence, id FROM logins ORDER BY 1") == [(n, n) for n in range(1, 21)]
        assert gateway.api("GET", "/sources/logins/sinks/logins/rejects").json["rejects"] == []
        columns = [(name, key) for _, name, _, _, _, key in gateway.rows("PRAGMA table_info(logins)")]
        assert columns == [("_id", 0), ("_at", 0), ("_subject", 0), ("_sequence", 1), ("_rest", 0), ("id", 0), ("price", 0)]
        assert "0 changes" in command(gateway, "apply", "-f", str(manifest))
        own = tmp_path / "own.yaml"
        own.write_text(command(gateway, "get", "logins", "-o", "yaml"))
        assert "0 changes" in command(gateway, "apply", "-f", str(own))
    finally:
        server.close()


def test_a_dry_run_says_what_starts_anew(gateway_factory, tmp_path):
    """Nothing listens there: a dry run does not need the brokers."""
    gateway = gateway_factory().start()
    manifest = tmp_path / "m.yaml"

    def dry_run(text):
        manifest.write_text(text)
        said = command(gateway, "apply", "--dry-run", "-f", str(manifest))
        assert "dry run: none was made" in said
        return said

    first = login_manifest(1, "")
    new = dry_run(first)
    assert re.search(r"^\+ connection nats-[0-9a-f]{12}$", new, re.M) and "+ logins\n" in new and "+ logins/logins\n" in new
    assert 'logins/logins: table "logins" would be created' in new
    command(gateway, "apply", "-f", str(manifest))
    assert "anew" not in dry_run(first)
    anew = "which has changed: it starts again"
    assert f'~ logins: nats.connection\n  logins: What it has read is recorded by "nats.connection", {anew}' in dry_run(login_manifest(2, ""))
    assert f'"nats.stream", {anew}' in dry_run(login_manifest(1, "", source_table="OTHERS"))
    assert "anew" not in dry_run(login_manifest(1, "?token=t"))
    moved = dry_run(first.replace("dataos://local", "postgresql://u:secret@127.0.0.1:1/db"))
    assert 'logins/logins: table "logins" is not checked: its connection does not exist yet' in moved and "Positions belong to the table" in moved
    kafka = lambda address: first.replace("nats+jetstream://127.0.0.1:1", address).replace('"logins"', '"k"')  # noqa: E731
    manifest.write_text(kafka("kafka://?bootstrap_servers=127.0.0.1:1&group_id=g"))
    command(gateway, "apply", "-f", str(manifest))
    assert f'"kafka.groupId", {anew}' in dry_run(kafka("kafka://?bootstrap_servers=127.0.0.1:1&group_id=h"))
    assert f'"kafka.connection", {anew}' in dry_run(kafka("kafka://?bootstrap_servers=127.0.0.1:2&group_id=g"))
    assert sorted(stored(gateway)) == ["json", "json"]
    answer = gateway.api("PUT", "/sources/x/manifest?dryRun=true&assumed=a:kafka", json.loads(json.dumps({
        "type": "nats", "nats": {"connection": "a", "stream": "S"}, "sinks": [{"sinkId": "s", "table": {"tableId": "t", "mapping": {"infer": {}}}}]})))
    assert answer.status == 400 and 'Connection "a" is of type kafka' in answer.json["message"], answer


DEPOTS = """name: n
type: nilus
spec:
  type: stream
  source:
    address: dataos://SOURCE
    options: {source_table: t}
  sink:
    address: dataos://SINK
    options: {dest_table: t, incremental_strategy: append}
"""
OWN = """kind: source
sourceId: a
type: kafka
kafka: {connection: SOURCE, topics: [t]}
sinks:
  - sinkId: x
    table: {tableId: t, connection: SINK, mapping: {infer: {}}}
"""


@pytest.mark.parametrize(
    "text, source, sink, says",
    [
        (DEPOTS, "events", "w", None),
        (DEPOTS, "events", "local", None),
        (DEPOTS, "evnts", "w", '6:14: Field "spec.source.address" names the connection "evnts", which the config file does not have'),
        (DEPOTS, "events", "gone", '9:14: Field "spec.sink.address" names the connection "gone", which the config file does not have'),
        (DEPOTS, "events", "events", '9:14: Field "spec.sink.address" names the connection "events" of type kafka, which is for sources only'),
        (DEPOTS, "w", "w", '6:14: Field "spec.source.address" names the connection "w" of type postgres, but a source of type kafka needs a connection of type kafka'),
        (OWN, "events", "w", None),
        (OWN, "gone", "w", '4:21: Field "kafka.connection" names the connection "gone"'),
        (OWN, "events", "gone", '7:37: Field "sinks[0].table.connection" names the connection "gone"'),
    ],
)
def test_check_knows_the_connections(tmp_path, text, source, sink, says):
    (tmp_path / "c.yaml").write_text('connections:\n  events: {type: kafka, brokers: a}\n  w: {type: postgres, uri: "postgresql://h/db"}\n')
    (tmp_path / "m.yaml").write_text(text.replace("SOURCE", source).replace("SINK", sink))
    run = lambda *words: subprocess.run([BINARY, "check", *words], cwd=tmp_path, capture_output=True, text=True, timeout=60)  # noqa: E731
    ended = run("-f", "m.yaml", "--config", "c.yaml")
    assert ended.returncode == (1 if says else 0), ended
    assert ended.stderr.startswith(f"m.yaml:{says}") if says else ended.stderr == "" and "not checked" not in ended.stdout, ended
    # Without a config file it says what it does not know.
    ended = run("-f", "m.yaml")
    names = sorted({f'"{source}"', f'"{sink}"'} - {'"local"'}, reverse=source > sink)
    assert ended.returncode == 0 and f"m.yaml: not checked without --config: the connection{'s' * (len(names) > 1)} {', '.join(names)}\n" in ended.stdout


def test_an_apply_that_fails_leaves_no_connection(gateway_factory, tmp_path):
    gateway = gateway_factory().start()
    manifest = tmp_path / "fails.yaml"
    manifest.write_text(login_manifest(1, "?token=hunter-22", mask={"email": "hash"}))  # needs the option mask-key-file
    said = command(gateway, "apply", "-f", str(manifest), expect=2)
    (name,) = re.findall(r"^- connection (nats-[0-9a-f]{12})$", said, re.M)
    assert f"+ connection {name}" in said and "hunter" not in said
    assert name not in [item["name"] for item in gateway.api("GET", "/connections").json["connections"]]
    assert stored(gateway) == []


# ---- Kafka -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, and a broker's certificate for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.crt")
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=broker", "-keyout", "broker.key", "-out", "broker.csr")
    openssl("x509", "-req", "-in", "broker.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san", "-out", "broker.crt")
    (folder / "broker.pem").write_text((folder / "broker.key").read_text() + (folder / "broker.crt").read_text())
    return folder


KAFKA_PASSWORD = "correct-horse&battery=staple%21"


@pytest.fixture(scope="module")
def kafka(certificates):
    properties = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": certificates / "broker.pem",
        "sasl.enabled.mechanisms": "SCRAM-SHA-256",
        "listener.name.saslssl.scram-sha-256.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
    }
    try:
        cluster = Kafka(properties=properties, listeners={"SASLSSL": "SASL_SSL"}, scram={"alice": KAFKA_PASSWORD})
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield cluster
    cluster.close()


@pytest.mark.kafka
def test_kafka_by_a_connection(gateway_factory, kafka, postgres, tmp_path):
    clean(postgres, "raw.orders")
    kafka.create_topic("shop.orders", partitions=3)
    kafka.produce("shop.orders", orders(1, 500))
    gateway = gateway_factory(warehouse(postgres) + f'  events: {{type: kafka, brokers: "{kafka.brokers}"}}\n').start()
    manifest = STREAMS / "kafka-connection.yaml"
    said = command(gateway, "apply", "-f", str(manifest))
    assert "ignored: version, tags, spec.compute, spec.resources, spec.logLevel, spec.source.address?purpose, spec.sink.address?purpose" in said
    assert "+ connection " not in said  # it declares none
    wait_finished(gateway, "orders-kafka-depot")

    def rows():
        return [value for (value,) in postgres.rows(of("id", "raw.orders"))]

    assert rows() == list(range(1, 501))
    # What it became, applied as it is, is the same.
    assert "0 changes" in command(gateway, "apply", "-f", str(manifest))
    own = tmp_path / "own.yaml"
    own.write_text(command(gateway, "get", "orders-kafka-depot", "-o", "yaml"))
    assert "0 changes" in command(gateway, "apply", "-f", str(own))
    # A source that goes on.
    goes_on = tmp_path / "goes-on.yaml"
    goes_on.write_text(manifest.read_text().replace("source-table: shop.orders", "source-table: shop.orders\n      run-in-loop: true"))
    assert "~ orders-kafka-depot: kafka.loop\n" in command(gateway, "apply", "-f", str(goes_on))
    kafka.produce("shop.orders", orders(501, 100))
    wait_rows(rows, range(1, 601))
    assert gateway.api("GET", "/sources/orders-kafka-depot/bridge").json["state"] == "running"


def holders(folder, secret):
    """The files below the folder that hold it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()}


@pytest.mark.kafka
def test_kafka_by_its_uri_with_a_login(gateway_factory, kafka, postgres, certificates, tmp_path):
    clean(postgres, "raw.states")
    kafka.create_topic("shop.states", partitions=2)
    for price in (1, 2):
        kafka.produce("shop.states", [json.dumps({"id": n, "price": price}) for n in range(200)], partition=0)
    gateway = gateway_factory().start()
    manifest = STREAMS / "kafka-uri.yaml"
    warehouse_password = "of-the-warehouse"
    environment = {
        "KAFKA_BROKERS": f"127.0.0.1:{kafka.listener_ports['SASLSSL']}",
        "KAFKA_CA": str(certificates / "ca.crt"),
        "KAFKA_PASSWORD_FILE": str(tmp_path / "password"),
        "WAREHOUSE_HOST": f"127.0.0.1:{postgres.port}",
        "WAREHOUSE_PASSWORD": warehouse_password,
    }
    (tmp_path / "password").write_text("a-wrong-password\n")
    said = command(gateway, "apply", "-f", str(manifest), environment=environment)
    assert said.count("+ connection ") == 2 and "4 changes" in said
    wait_until("the login is refused", lambda: "uthentication failed" in json.dumps(gateway.api("GET", "/sources/orders-kafka-uri/bridge").json), 90)
    # Another password is read at the next connect; nothing else changes by it.
    (tmp_path / "password").write_text(KAFKA_PASSWORD + "\n")
    said = command(gateway, "apply", "-f", str(manifest), environment=environment)
    assert said.count("~ connection kafka-") == 1 and "1 change\n" in said
    wait_finished(gateway, "orders-kafka-uri")
    assert postgres.rows("SELECT id, price FROM raw.states ORDER BY 1") == [(n, 2) for n in range(200)]
    assert "0 changes" in command(gateway, "apply", "-f", str(manifest), environment=environment)
    source = gateway.api("GET", "/sources/orders-kafka-uri").json
    assert source["kafka"]["groupId"] == "orders-etl" and source["kafka"]["loop"] is False
    # Secrets stand in their own files alone, which are private.
    names = {one["type"]: one["name"] for one in gateway.api("GET", "/connections").json["connections"] if one.get("declared")}
    for secret, file in ((KAFKA_PASSWORD, f"{names['kafka']}.saslPasswordFile"), (warehouse_password, f"{names['postgres']}.passwordFile")):
        assert holders(gateway.data, secret) == {f"connections/{file}"}
        assert (gateway.data / "connections" / file).stat().st_mode & 0o777 == 0o600
        assert secret not in gateway.log_text()
        assert secret not in command(gateway, "get", "orders-kafka-uri", "-o", "yaml")
        for path in ("/connections", "/sources/orders-kafka-uri", "/sources/orders-kafka-uri/sinks"):
            assert secret.encode() not in gateway.api("GET", path).body
    assert gateway.api("POST", f"/connections/{names['kafka']}/test").json["ok"]


# ---- what is refused, and where ----------------------------------------------------------------------------------------


def check(path, environment):
    return subprocess.run([BINARY, "check", "-f", str(path)], capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


CASES = json.loads((STREAMS / "errors.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["about"] for case in CASES])
def test_errors_say_where(case, tmp_path):
    """Each case changes tests/streams/nats-uri.yaml: pairs of what stands there and what stands there instead."""
    text = (STREAMS / "nats-uri.yaml").read_text()
    for old, new in zip(case["change"][::2], case["change"][1::2]):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "m.yaml").write_text(text)
    ended = check(tmp_path / "m.yaml", {"NATS_USERNAME": "shop", "NATS_PASSWORD": PASSWORD, "NATS_HOST": "127.0.0.1:4222"})
    assert ended.returncode == 1, ended.stdout
    assert ended.stderr.startswith(f"{tmp_path}/m.yaml:{case['says']}"), ended.stderr
    assert PASSWORD not in ended.stderr


# ---- declared connections ----------------------------------------------------------------------------------------------


KAFKA_FIELDS = {"type": "kafka", "brokers": "127.0.0.1:1", "securityProtocol": "sasl_plaintext", "saslMechanism": "PLAIN", "saslUsername": "u"}


def declare(gateway, name, body, query=""):
    return gateway.api("PUT", f"/connections/{name}{query}", body)


def test_connections_are_declared(gateway_factory):
    gateway = gateway_factory("connections:\n  events: {type: kafka, brokers: b}\n").start()
    one = {**KAFKA_FIELDS, "files": {"saslPasswordFile": "hunter-22"}}
    assert declare(gateway, "one", one, "?dryRun=true").json == {"name": "one", "action": "create"}
    assert "one" not in [item["name"] for item in gateway.api("GET", "/connections").json["connections"]]
    assert declare(gateway, "one", one).json["action"] == "create"
    assert declare(gateway, "one", one).json["action"] == "none"
    assert declare(gateway, "one", {**one, "files": {"saslPasswordFile": "hunter-33"}}, "?dryRun=true").json["action"] == "update"
    assert declare(gateway, "one", one).json["action"] == "none"
    assert declare(gateway, "one", {**one, "files": {"saslPasswordFile": "hunter-33"}}).json["action"] == "update"
    stored = gateway.data / "connections" / "one.saslPasswordFile"
    assert stored.read_text() == "hunter-33" and stored.stat().st_mode & 0o777 == 0o600
    assert (gateway.data / "connections").stat().st_mode & 0o777 == 0o700
    answer = declare(gateway, "one", {**one, "brokers": "127.0.0.1:2"})
    assert (answer.status, answer.json["error"]) == (409, "stream.api.connectionExists") and '"brokers"' in answer.json["message"]
    assert declare(gateway, "one", {"type": "nats", "servers": "nats://127.0.0.1:1"}).json["error"] == "stream.api.connectionExists"
    # The same place with another login, or without one.
    assert declare(gateway, "one", {"type": "kafka", "brokers": "127.0.0.1:1"}, "?dryRun=true").json["action"] == "update"
    assert declare(gateway, "one", {"type": "kafka", "brokers": "127.0.0.1:1"}).json["action"] == "update"
    assert declare(gateway, "one", {"type": "kafka", "brokers": "127.0.0.1:1"}).json["action"] == "none"
    assert not stored.exists()
    assert declare(gateway, "one", {**one, "saslUsername": "v"}).json["action"] == "update"
    answer = declare(gateway, "events", one)
    assert (answer.status, answer.json["error"]) == (409, "stream.api.connectionInConfig")
    # It can be named at once, and is there after a start.
    gateway.change("POST", "/sources", {"sourceId": "s", "name": "s", "type": "kafka", "kafka": {"connection": "one", "topics": ["t"]}})
    answer = gateway.api("DELETE", "/connections/one")
    assert (answer.status, answer.json["error"]) == (409, "stream.api.connectionInUse")
    listed = {item["name"]: item for item in gateway.api("GET", "/connections").json["connections"]}
    assert listed["one"]["declared"] is True and "declared" not in listed["events"] and listed["one"]["brokers"] == "127.0.0.1:1"
    gateway.stop()
    (gateway.data / "connections" / "broken.json").write_text("{")
    (gateway.data / "connections" / "events.json").write_text(json.dumps({"type": "kafka", "brokers": "other"}))
    folder, left = gateway.data / "connections", ["one.sslKey", "one.saslPasswordFile.new", "gone.tokenFile", "gone.json.new"]
    kept = ["broken.tokenFile", "events.saslPasswordFile", "one.saslPasswordFile"]
    for name in (*left, *kept):
        (folder / name).write_text("hunter-22")
    gateway.start()
    assert [name for name in left if (folder / name).exists()] == [] and [name for name in kept if not (folder / name).exists()] == []
    listed = {item["name"]: item for item in gateway.api("GET", "/connections").json["connections"]}
    assert listed["one"]["declared"] is True and "broken" not in listed and "declared" not in listed["events"]
    assert "connections/broken.json is ignored" in gateway.log_text() and "connections/events.json is ignored" in gateway.log_text()
    assert declare(gateway, "two", {"type": "nats", "servers": "nats://127.0.0.1:1"}).json["action"] == "create"
    assert gateway.api("DELETE", "/connections/two").status == 200
    assert gateway.api("DELETE", "/connections/two").status == 404
    assert not (gateway.data / "connections" / "two.json").exists()
    assert declare(gateway, "two", {"type": "nats", "servers": "nats://127.0.0.1:2"}).json["action"] == "create"
    assert gateway.api("POST", "/connections/two/test").json["fault"] == "unreachable"
    assert gateway.api("DELETE", "/connections/events").json["error"] == "stream.api.connectionInConfig"
    assert "hunter" not in gateway.log_text()


@pytest.mark.parametrize(
    "name, body, says",
    [
        ("a", {}, 'needs a "type"'),
        ("a", {"type": "sqlite", "path": "/tmp/x.db"}, 'is "sqlite": connections of type kafka, nats and postgres can be declared here'),
        ("A b", {"type": "nats", "servers": "nats://a"}, ""),
        ("a", {"type": "nats", "servers": "nats://a", "passwordFile": "/etc/shadow", "user": "u"}, "must not name a file of the gateway's host"),
        ("a", {"type": "kafka", "brokers": "a", "sslCa": "/etc/x"}, "must not name a file of the gateway's host"),
        ("a", {"type": "kafka", "brokers": "a", "properties": {"ssl.keystore.location": "/x"}}, "can be given in the config file only"),
        ("a", {"type": "kafka", "brokers": "a", "files": {"brokers": "x"}}, "is not a file of a connection of type kafka"),
        ("a", {"type": "kafka", "brokers": "a", "files": {"sslCa": 5}}, "must be a string"),
        ("a", {"type": "kafka", "brokers": "a", "files": {"sslCa": "x" * 70000}}, "must have 1 to 65536 bytes"),
        ("a", {"type": "kafka", "brokers": "a", "files": {"saslPasswordFile": "x"}}, "has no effect without"),
        ("a", {"type": "kafka"}, 'needs "brokers"'),
        ("a", {"type": "kafka", "brokers": "a", "what": 1}, '"what" is not known here'),
        ("a", {"type": "postgres", "uri": "postgresql:///db"}, "must name a host"),
        ("a", {"type": "postgres", "uri": "postgresql://%2Fvar%2Frun/db"}, "must name a host"),
        ("a", {"type": "postgres", "uri": "postgresql://h,/db"}, "must name a host"),
        ("a", {"type": "postgres", "uri": "postgresql://u@/db"}, "must name a host"),
        ("a", {"type": "postgres", "uri": "postgresql://h/db?host=/var/run"}, 'the parameter "host"'),
        ("a", {"type": "postgres", "uri": "postgresql://h/db?sslmode=disable&%70assfile=/x"}, "which can be given in the config file only"),
        ("a", {"type": "postgres", "uri": "postgresql://u:p@h/db"}, "must not contain a password"),
        ("a", {"type": "postgres", "uri": "postgresql://u@%2Fvar%2Frun,x@h/db"}, "must have at most one '@'"),
        ("a", {"type": "postgres", "uri": "postgresql://a?sslmode=x@%2Fvar%2Frun/db"}, "must have at most one '@'"),
        ("a", {"type": "postgres", "uri": "postgresql://u:p?sslmode=x@h/db"}, "must have at most one '@'"),
        ("a", {"type": "postgres", "uri": "postgresql://u:p/x@h/db"}, "must not contain a password"),
    ],
)
def test_what_cannot_be_declared(one_gateway, name, body, says):
    answer = declare(one_gateway, name.replace(" ", "%20"), body)
    assert answer.status == 400 and says in answer.json["message"], answer
    assert not (one_gateway.data / "connections" / f"{name}.json").exists()


@pytest.fixture(scope="module")
def one_gateway(tmp_path_factory):
    from sluice import Gateway

    gateway = Gateway(tmp_path_factory.mktemp("declared")).start()
    yield gateway
    gateway.close()
