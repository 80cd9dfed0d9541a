"""Connections of type kafka through the program: what the config file takes, and what a test of one says, with real brokers."""

import concurrent.futures
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import pytest

from sluice import BINARY, ROOT, wait_until

sys.path.insert(0, str(ROOT / "tests" / "services"))

from kafka import Kafka, Unavailable, free_ports  # noqa: E402

PASSWORD = "correct-horse-battery"


def test_one(gateway, name, expect=200):
    return gateway.api("POST", f"/connections/{name}/test", expect=expect).json


test_one.__test__ = False


def config(**connections):
    return "connections:\n" + "".join(f"  {name}: {json.dumps(fields)}\n" for name, fields in connections.items())


def test_it_serves_sources_only(gateway_factory):
    gateway = gateway_factory(config(events={"type": "kafka", "brokers": "127.0.0.1:1"})).start()
    gateway.add_source("shop")
    table = {"connection": "events", "tableId": "t", "mapping": {"columns": [{"name": "b", "type": "body"}]}}
    answer = gateway.api("POST", "/sources/shop/sinks", {"sinkId": "s", "name": "S", "type": "table", "table": table})
    assert answer.status == 400
    assert answer.json["message"] == 'Connection "events" is of type kafka: it is for sources only, and no sink can import there.'
    listed = {one["name"]: one for one in gateway.api("GET", "/connections", expect=200).json["connections"]}
    assert listed["events"]["type"] == "kafka" and listed["events"]["brokers"] == "127.0.0.1:1"


def test_nobody_there(gateway_factory):
    [port] = free_ports(1)
    gateway = gateway_factory(config(events={"type": "kafka", "brokers": f"127.0.0.1:{port}"})).start()
    answer = test_one(gateway, "events")
    assert not answer["ok"] and answer["fault"] == "unreachable"
    assert answer["message"].startswith('Connection "events": ') and "Connection refused" in answer["message"]
    assert answer["message"].count(". ") == 0 and answer["message"].endswith(".")
    command = [BINARY, "connections", "test", "events", "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0 and "Connection refused" in ended.stdout + ended.stderr


def test_a_broker_that_hangs_leaves_nothing_behind(gateway_factory):
    """Each test ends within its limit, its threads with it, and a stop does not wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = "127.0.0.1:%d" % silent.getsockname()[1]
        gateway = gateway_factory(config(events={"type": "kafka", "brokers": place})).start()
        threads = count_threads(gateway)
        began = time.monotonic()
        answer = test_one(gateway, "events")
        assert answer["fault"] == "unreachable", answer
        assert answer["duration"] < 15000 and time.monotonic() - began < 30
        wait_until("its threads have ended", lambda: count_threads(gateway) <= threads)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = pool.submit(gateway.api, "POST", "/connections/events/test")
            wait_until("a test is under way", lambda: count_threads(gateway) > threads)
            began = time.monotonic()
            gateway.stop()
            assert time.monotonic() - began < 20
            try:
                assert asked.result().status in (200, 503)
            except OSError:
                pass  # the gateway was gone before it answered


def count_threads(gateway):
    with open(f"/proc/{gateway.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Threads:"))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, a broker's certificate for 127.0.0.1, one of a client, and another authority that signed none of them."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other-ca"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("broker", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "san", "-out", f"{name}.crt")
    (folder / "broker.pem").write_text((folder / "broker.key").read_text() + (folder / "broker.crt").read_text())
    openssl("rsa", "-aes256", "-passout", f"pass:{PASSWORD}", "-in", "client.key", "-out", "client-locked.key")
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "wrong-password").write_text("battery-horse-correct\n")
    return folder


@pytest.fixture(scope="module")
def kafka(certificates):
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="{PASSWORD}" user_bob="{PASSWORD}";'
    properties = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": certificates / "broker.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": certificates / "ca.crt",
        "listener.name.mtls.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",
    }
    for listener in ("saslssl", "saslpt"):
        for mechanism in ("scram-sha-256", "scram-sha-512"):
            properties[f"listener.name.{listener}.{mechanism}.sasl.jaas.config"] = scram
        properties[f"listener.name.{listener}.plain.sasl.jaas.config"] = plain
    listeners = {"TLS": "SSL", "MTLS": "SSL", "SASLSSL": "SASL_SSL", "SASLPT": "SASL_PLAINTEXT"}
    try:
        cluster = Kafka(properties=properties, listeners=listeners, scram={"alice": PASSWORD})
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield cluster
    cluster.close()


@pytest.mark.kafka
def test_every_login(gateway_factory, kafka, certificates):
    def place(listener):
        return f"127.0.0.1:{kafka.listener_ports[listener]}"

    def login(mechanism, listener, protocol, password="password", **more):
        return {"type": "kafka", "brokers": place(listener), "securityProtocol": protocol, "saslMechanism": mechanism, "saslUsername": "alice",
                "saslPasswordFile": str(certificates / password), **more}

    ca = {"sslCa": str(certificates / "ca.crt")}
    pair = {"sslCertificate": str(certificates / "client.crt"), "sslKey": str(certificates / "client.key")}
    locked = {**pair, "sslKey": str(certificates / "client-locked.key"), "sslKeyPasswordFile": str(certificates / "password")}
    plain = {"type": "kafka", "brokers": kafka.brokers}
    tls = {"type": "kafka", "brokers": place("TLS"), "securityProtocol": "ssl"}
    mtls = {"type": "kafka", "brokers": place("MTLS"), "securityProtocol": "ssl", **ca}
    sound = {
        "plaintext": plain,
        "plain": login("PLAIN", "SASLPT", "sasl_plaintext"),
        "scram-256": login("SCRAM-SHA-256", "SASLPT", "sasl_plaintext"),
        "scram-512": login("SCRAM-SHA-512", "SASLSSL", "SASL_SSL", **ca),
        "tls": {**tls, **ca},
        "mtls": {**mtls, **pair},
        "mtls-locked": {**mtls, **locked},
    }
    wrong = {
        "wrong-password": (login("PLAIN", "SASLPT", "sasl_plaintext", "wrong-password"), "login", "uthentication failed"),
        "wrong-scram": (login("SCRAM-SHA-512", "SASLSSL", "sasl_ssl", "wrong-password", **ca), "login", "uthentication failed"),
        "no-file": (login("PLAIN", "SASLPT", "sasl_plaintext", "gone"), "login", "No such file"),
        "other-ca": ({**tls, "sslCa": str(certificates / "other-ca.crt")}, "tls", "certificate"),
        "system-ca": (tls, "tls", "certificate"),
        "no-ca-file": ({**tls, "sslCa": "gone.crt"}, "tls", "No such file"),
        "no-certificate": (mtls, "tls", ""),
        "wrong-key-password": ({**mtls, **locked, "sslKeyPasswordFile": str(certificates / "wrong-password")}, "tls", ""),
        "plain-to-tls": ({**plain, "brokers": place("TLS")}, "tls", ""),
        "plain-to-login": ({**plain, "brokers": place("SASLPT")}, "login", ""),
        "tls-to-plain": ({**plain, **ca, "securityProtocol": "ssl"}, "tls", ""),
    }
    gateway = gateway_factory(config(**sound, **{name: fields for name, (fields, _, _) in wrong.items()})).start()
    threads = count_threads(gateway)
    for name in sound:
        answer = test_one(gateway, name)
        assert answer["ok"], (name, answer)
        assert answer["version"] == f"Kafka, cluster {kafka.id}" and answer["duration"] < 10000
    for name, (_, fault, words) in wrong.items():
        answer = test_one(gateway, name)
        assert (answer["ok"], answer["fault"]) == (False, fault), (name, answer)
        assert answer["message"].startswith(f'Connection "{name}": ') and answer["message"].endswith("."), answer
        assert words in answer["message"], answer
        assert PASSWORD not in json.dumps(answer) and "battery-horse" not in json.dumps(answer)
        assert answer["duration"] < 15000, answer
    # A password is read at each connect.
    (certificates / "gone").write_text(PASSWORD)
    try:
        assert test_one(gateway, "no-file")["ok"]
    finally:
        (certificates / "gone").unlink()
    wait_until("all threads of the tests have ended", lambda: count_threads(gateway) <= threads)
    assert PASSWORD not in gateway.log_text()


@pytest.mark.kafka
def test_the_topics_of_sources_are_looked_for(gateway_factory, kafka, certificates):
    """A source without sinks reads nothing, but a test of its connection asks for its topics."""
    for topic in ("listed.one", "listed.two"):
        kafka.create_topic(topic)
    acl = ("kafka.admin.AclCommand", "--bootstrap-server", kafka.brokers, "--add", "--allow-principal", "User:alice")
    kafka.java(*acl, "--operation", "Describe", "--topic", "listed.two")
    login = {"securityProtocol": "sasl_plaintext", "saslMechanism": "PLAIN", "saslUsername": "alice", "saslPasswordFile": str(certificates / "password")}
    alice = {"type": "kafka", "brokers": f"127.0.0.1:{kafka.listener_ports['SASLPT']}", **login}
    gateway = gateway_factory(config(events={"type": "kafka", "brokers": kafka.brokers}, alice=alice)).start()
    assert "permissions on topics were not tested" in test_one(gateway, "events")["note"]

    def add(source, connection, *topics):
        gateway.change("POST", "/sources", {"sourceId": source, "type": "kafka", "kafka": {"connection": connection, "topics": topics}})

    add("one", "events", "listed.one", r"^listed\..*")
    add("two", "events", "listed.one")
    answer = test_one(gateway, "events")
    assert answer["ok"] and answer["note"] is None, answer
    add("three", "events", "listed.absent")
    answer = test_one(gateway, "events")
    assert answer["fault"] == "topic" and 'the topic "listed.absent" is missing' in answer["message"], answer
    gateway.change("DELETE", "/sources/three")
    assert test_one(gateway, "events")["ok"]
    add("four", "alice", "listed.two")
    answer = test_one(gateway, "alice")
    assert answer["fault"] == "rights" and 'lacks Read on the topic "listed.two"' in answer["message"], answer


@pytest.fixture(scope="module")
def broker_names(kafka, certificates):
    """What the C programs that run on the broker are told; alice may read one topic, and describe another one."""
    for topic in ("readable", "described", "hidden"):
        kafka.create_topic(topic)
    acl = ("kafka.admin.AclCommand", "--bootstrap-server", kafka.brokers, "--add", "--allow-principal", "User:alice")
    kafka.java(*acl, "--operation", "Read", "--topic", "readable")
    kafka.java(*acl, "--operation", "Describe", "--topic", "described")
    return {
        "KAFKA_BROKERS": kafka.brokers,
        "KAFKA_LOGIN_BROKERS": f"127.0.0.1:{kafka.listener_ports['SASLPT']}",
        "KAFKA_PASSWORD_FILE": str(certificates / "password"),
    }


def run_program(path, names):
    program = pathlib.Path(BINARY).parent / "tests/unit" / path
    ended = subprocess.run([program], env={**os.environ, **names}, capture_output=True, text=True, timeout=300)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.kafka
def test_the_client_on_a_real_broker(kafka, broker_names):
    """Transactions, times, rights and a full queue: tests/unit/sinks/test-kafka-broker.c."""
    for topic in ("transactions", "times", "many"):
        kafka.create_topic(topic)
    run_program("sinks/test-kafka-broker", broker_names)


@pytest.mark.kafka
def test_the_client_of_sources_on_a_real_broker(broker_names):
    """Large records, topics that come and go, retention, times, rights: tests/unit/gateway/sources/test-kafka-bridge-broker.c."""
    run_program("gateway/test-kafka-bridge-broker", broker_names)
