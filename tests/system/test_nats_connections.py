"""Connections of type nats against real servers: each kind of login, TLS, and what a test of a connection says is wrong."""

import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from sluice import BINARY

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "services"))

from nats_keys import Accounts, Key  # noqa: E402
from nats_server import Nats, free_port  # noqa: E402

SECRET = "correct-horse-battery"


@pytest.fixture
def servers():
    made = []

    def start(*arguments, **fields):
        made.append(Nats(*arguments, **fields))
        return made[-1]

    yield start
    for server in made:
        server.close()


def write(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


def config_of(connections):
    return "connections:\n" + "".join(f"  {name}: {{type: nats, {fields}}}\n" for name, fields in connections.items())


def faults_of(gateway, names):
    """{name: fault}; each answer is held to what all have."""
    found = {}
    for name in names:
        answer = gateway.api("POST", f"/connections/{name}/test", expect=200).json
        assert answer["type"] == "nats" and answer["ok"] == (answer["fault"] is None) == (answer["message"] is None), answer
        assert answer["ok"] or (answer["message"].endswith(".") and f'"{name}"' in answer["message"]), answer
        assert answer["version"] == (None if answer["fault"] in ("login", "tls", "unreachable") else "NATS"), answer
        assert SECRET not in str(answer)
        found[name] = answer["fault"]
    return found


def certificate(directory, name, subject, issuer=None, alternatives=None):
    """A key and a certificate; the paths of both."""
    key, request, result = (directory / f"{name}.{kind}" for kind in ("key", "csr", "pem"))

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)

    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={subject}")
    if issuer is None:
        openssl("x509", "-req", "-in", request, "-signkey", key, "-days", 2, "-out", result, "-extfile", write(directory / "ca.cnf", "basicConstraints=CA:TRUE\n"))
    else:
        names = write(directory / f"{name}.cnf", f"subjectAltName={alternatives}\n" if alternatives else "basicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", request, "-CA", issuer[1], "-CAkey", issuer[0], "-CAcreateserial", "-days", 2, "-out", result, "-extfile", names)
    return key, result


def test_each_kind_of_login(gateway_factory, servers, tmp_path):
    key, stranger = Key("user"), Key("user")
    accounts = Accounts()
    users = servers(
        f'authorization {{ users: [ {{user: shop, password: "{SECRET}"}}, {{nkey: {key.public}}}, '
        f'{{user: narrow, password: "{SECRET}", permissions: {{publish: ["orders.>"], subscribe: [">"]}}}} ] }}',
        {"user": "shop", "pass": SECRET},
    )
    token = servers(f'authorization {{ token: "{SECRET}" }}', {"auth_token": SECRET})
    signed = servers(accounts.settings, login=None)
    bare = servers(jetstream=False)
    password = write(tmp_path / "password", SECRET + "\n")
    wrong = write(tmp_path / "wrong", "wrong")
    seed, other_seed = write(tmp_path / "seed", key.seed + "\n"), write(tmp_path / "other-seed", stranger.seed)
    user = f'servers: "{users.uri}", user: shop'
    connections = {
        "user": f'{user}, passwordFile: "{password}"',
        "user-wrong": f'{user}, passwordFile: "{wrong}"',
        "user-missing": f'{user}, passwordFile: "{tmp_path}/missing"',
        "user-none": f'servers: "{users.uri}"',
        "user-narrow": f'servers: "{users.uri}", user: narrow, passwordFile: "{password}"',
        "token": f'servers: "{token.uri}", tokenFile: "{password}"',
        "token-wrong": f'servers: "{token.uri}", tokenFile: "{wrong}"',
        "seed": f'servers: "{users.uri}", nkeySeedFile: "{seed}"',
        "seed-other": f'servers: "{users.uri}", nkeySeedFile: "{other_seed}"',
        "seed-broken": f'servers: "{users.uri}", nkeySeedFile: "{password}"',
        "signed": f'servers: "{signed.uri}", credentialsFile: "{write(tmp_path / "creds", accounts.credentials("one"))}"',
        "signed-other": f'servers: "{signed.uri}", credentialsFile: "{write(tmp_path / "other-creds", Accounts().credentials("two"))}"',
        "signed-broken": f'servers: "{signed.uri}", credentialsFile: "{password}"',
        "bare": f'servers: "{bare.uri}"',
        "nobody": f'servers: "nats://127.0.0.1:{free_port()}"',
        "second": f'servers: "nats://127.0.0.1:{free_port()}, {users.uri}", user: shop, passwordFile: "{password}"',
    }
    gateway = gateway_factory(config_of(connections)).start()
    assert faults_of(gateway, connections) == {
        "user": None,
        "user-wrong": "login",
        "user-missing": "login",
        "user-none": "login",
        "user-narrow": "rights",
        "token": None,
        "token-wrong": "login",
        "seed": None,
        "seed-other": "login",
        "seed-broken": "login",
        "signed": None,
        "signed-other": "login",
        "signed-broken": "login",
        "bare": "database",
        "nobody": "unreachable",
        "second": None,
    }
    listed = gateway.api("GET", "/connections", expect=200)
    assert SECRET not in str(listed.json) and SECRET not in gateway.log_text() and key.seed not in gateway.log_text()

    # secrets are read at each connect
    write(password, "changed")
    assert faults_of(gateway, ["user", "token", "second"]) == {"user": "login", "token": "login", "second": "login"}
    write(password, SECRET)
    assert faults_of(gateway, ["user", "token", "second"]) == {"user": None, "token": None, "second": None}

    # the command says the same
    command = [BINARY, "connections", "test", "user-narrow", "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert told.returncode != 0 and "$JS.API.INFO" in told.stdout + told.stderr, told

    # it is for sources only: nothing is imported into it
    gateway.add_source("shop")
    columns = [{"type": "path", "name": "a", "path": "a", "rawString": True}]
    body = {"sinkId": "orders", "name": "orders", "type": "table", "table": {"connection": "user", "tableId": "orders", "mapping": {"columns": columns}}}
    answer = gateway.api("POST", "/sources/shop/sinks", body)
    assert answer.status == 400 and "is for sources only" in str(answer.json), answer


def test_the_streams_of_sources_are_looked_for(gateway_factory, servers, tmp_path):
    """A source without sinks reads nothing, but a test of its connection asks for its stream and its consumer."""
    password = write(tmp_path / "password", SECRET)
    api = '"$JS.API.INFO", "$JS.API.STREAM.INFO.>", "$JS.API.ACCOUNT.INFO"'
    server = servers(
        f'authorization {{ users: [ {{user: shop, password: "{SECRET}"}}, '
        f'{{user: reader, password: "{SECRET}", permissions: {{publish: [{api}], subscribe: [">"]}}}} ] }}',
        {"user": "shop", "pass": SECRET},
    )
    server.create_stream("ORDERS", ["orders.>"])
    connections = {name: f'servers: "{server.uri}", user: {name}, passwordFile: "{password}"' for name in ("shop", "reader")}
    gateway = gateway_factory(config_of(connections)).start()
    assert faults_of(gateway, connections) == {"shop": None, "reader": None}

    def add(source, **nats):
        gateway.change("POST", "/sources", {"sourceId": source, "type": "nats", "nats": nats})

    add("one", connection="shop", stream="ORDERS")
    add("two", connection="shop", stream="ORDERS", durable="none")
    assert faults_of(gateway, ["shop"]) == {"shop": None}
    add("three", connection="shop", stream="GONE")
    answer = gateway.api("POST", "/connections/shop/test", expect=200).json
    assert answer["fault"] == "topic" and "GONE" in answer["message"], answer
    gateway.change("DELETE", "/sources/three")
    assert faults_of(gateway, ["shop"]) == {"shop": None}
    add("four", connection="reader", stream="ORDERS")
    answer = gateway.api("POST", "/connections/reader/test", expect=200).json
    assert answer["fault"] == "rights" and "$JS.API.CONSUMER" in answer["message"], answer


def test_tls(gateway_factory, servers, tmp_path):
    authority = certificate(tmp_path, "ca", "Authority")
    other = certificate(tmp_path, "other-ca", "Another authority")
    named = certificate(tmp_path, "server", "server", authority, "DNS:localhost,IP:127.0.0.1")
    elsewhere = certificate(tmp_path, "elsewhere", "elsewhere", authority, "DNS:elsewhere.example")
    client = certificate(tmp_path, "client", "client", authority)
    intruder = certificate(tmp_path, "intruder", "intruder", other)
    tls = 'tls {{ cert_file: "{}", key_file: "{}", ca_file: "{}", verify: {} }}'
    mutual = servers(tls.format(named[1], named[0], authority[1], "true"), login=None)
    one_way = servers(tls.format(named[1], named[0], authority[1], "false"), login=None)
    misnamed = servers(tls.format(elsewhere[1], elsewhere[0], authority[1], "false"), login=None)
    plain = servers()

    def fields(server, scheme="nats", ca=authority, shown=None, host="localhost"):
        text = f'servers: "{scheme}://{host}:{server.port}"'
        text += f', tlsCa: "{ca[1]}"' if ca else ""
        return text + (f', tlsCertificate: "{shown[1]}", tlsKey: "{shown[0]}"' if shown else "")

    connections = {
        "mutual": fields(mutual, shown=client),
        "mutual-none": fields(mutual),
        "mutual-intruder": fields(mutual, shown=intruder),
        "one-way": fields(one_way),
        "one-way-scheme": fields(one_way, "tls"),
        "one-way-untrusted": fields(one_way, ca=other),
        "one-way-system": fields(one_way, ca=None),
        "address": fields(one_way, host="127.0.0.1"),
        "misnamed": fields(misnamed),
        "misnamed-address": fields(misnamed, host="127.0.0.1"),
        "plain-demanded": fields(plain, "tls", ca=None),
        "plain-ca": fields(plain),
        "no-file": fields(one_way, ca=(None, tmp_path / "missing")),
        "no-certificate": fields(one_way, ca=(None, named[0])),
    }
    gateway = gateway_factory(config_of(connections)).start()
    expected = dict.fromkeys(connections, "tls")
    expected.update({"mutual": None, "one-way": None, "one-way-scheme": None, "address": None})
    assert faults_of(gateway, connections) == expected


@pytest.mark.parametrize("greeting", [b"", b"INFO ", b'INFO {"server_id":"x","max_payload":1000}\r\n', b'INFO {"server_id":"x","tls_required":true}\r\n'])
def test_a_server_that_falls_silent(gateway_factory, greeting):
    """libnats itself waits without a limit in most of these places."""
    listener = socket.create_server(("127.0.0.1", 0))
    gateway = gateway_factory(config_of({"silent": f'servers: "nats://127.0.0.1:{listener.getsockname()[1]}"'})).start()
    listener.settimeout(60)
    answers = []
    began = time.monotonic()
    tester = threading.Thread(target=lambda: answers.append(faults_of(gateway, ["silent"])))
    tester.start()
    connection, _ = listener.accept()
    connection.sendall(greeting)
    tester.join(timeout=60)
    assert answers == [{"silent": "unreachable"}]
    assert time.monotonic() - began < 30
    gateway.stop()
    connection.close()
    listener.close()


def test_a_server_that_is_stopped(gateway_factory, servers):
    server = servers()
    gateway = gateway_factory(config_of({"server": f'servers: "{server.uri}"'})).start()
    assert faults_of(gateway, ["server"]) == {"server": None}
    server.process.send_signal(signal.SIGSTOP)
    assert faults_of(gateway, ["server"]) == {"server": "unreachable"}
    server.process.send_signal(signal.SIGCONT)
    assert faults_of(gateway, ["server"]) == {"server": None}
    server.stop()
    assert faults_of(gateway, ["server"]) == {"server": "unreachable"}


def test_what_a_connection_must_not_say(gateway_factory):
    wrong = {
        'servers: "nats://u:p@127.0.0.1:4222"': "must not contain a login",
        'servers: "http://127.0.0.1:4222"': "nats://",
        'servers: "nats://127.0.0.1:0"': "a host and a port",
        'servers: "nats://127.0.0.1:4222,"': "nats://",
        'servers: "nats://127.0.0.1:4222", user: a': "passwordFile",
        'servers: "nats://127.0.0.1:4222", passwordFile: a': "user\\",
        'servers: "nats://127.0.0.1:4222", password: a': "is not allowed here",
        'servers: "nats://127.0.0.1:4222", token: a': "is not allowed here",
        'servers: "nats://127.0.0.1:4222", tokenFile: a, nkeySeedFile: b': "one login",
        'servers: "nats://127.0.0.1:4222", tlsKey: a': "tlsCertificate",
        'servers: "nats://127.0.0.1:4222", uri: a': "is only for connections of type",
        "user: a": "servers",
    }
    for fields, words in wrong.items():
        gateway = gateway_factory(config_of({"events": fields}))
        told = subprocess.run(gateway.command(), capture_output=True, text=True, timeout=60)
        assert told.returncode != 0 and words in told.stderr, (fields, told)
