"""The process: one a data directory, clear refusals, clean ends."""

import http.client
import json
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest
from load import COLUMNS, Sender, assert_exactly_once
from sluice import AT_ONCE, BINARY, NEVER, wait_until


def refused(gateway, *arguments):
    result = subprocess.run(gateway.command(*arguments), capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    return result


def test_second_start_on_the_same_data_is_refused(gateway):
    result = refused(gateway)
    assert str(gateway.process.pid) in result.stderr and "data" in result.stderr, result.stderr


def test_second_start_is_refused_though_the_lock_file_was_removed(gateway):
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, NEVER)
    assert gateway.post(url, {"n": 1, "text": "t"}).status == 200
    for _ in range(2):  # the first one leaves a new lock file
        (gateway.data / "lock").unlink()
        result = refused(gateway)
        assert "is in use by another process" in result.stderr and str(gateway.data) in result.stderr, result.stderr
    assert gateway.post(url, {"n": 2, "text": "t"}).status == 200
    gateway.flush("s", "rows")
    assert gateway.rows("SELECT count(*) FROM rows") == [(2,)]


def test_taken_port_is_refused(gateway, gateway_factory):
    other = gateway_factory()
    for option, address in (("--intake", gateway.intake), ("--admin", gateway.admin)):
        result = refused(other, option, address)
        assert address in result.stderr, result.stderr


def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=60).close()
        return True
    except ConnectionRefusedError:
        return False


def test_nobody_is_let_in_before_it_is_ready(gateway_factory):
    gateway = gateway_factory()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The ports are bound in the third step, and the start stays before the fifth for a while.
    environment = {**os.environ, "SLUICE_FAILPOINTS": "app.start=wait:3000@5"}
    with open(gateway.log_path, "ab") as log:
        command = gateway.command("--intake", f"127.0.0.1:{port}")
        gateway.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, env=environment)

    def threads():
        return {path.read_text().strip() for path in pathlib.Path(f"/proc/{gateway.process.pid}/task").glob("*/comm")}

    wait_until("a connection", lambda: connects("127.0.0.1", port))
    assert "writer" in threads(), threads()
    wait_until("the start", lambda: "takes events on" in gateway.log_text())


def test_a_name_is_listened_on_at_each_of_its_addresses(gateway_factory, tmp_path):
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n127.0.0.2 localhost\n::1 localhost\n")
    gateway = gateway_factory()
    inside = ["unshare", "-m", "sh", "-c", f'mount --bind {tmp_path}/hosts /etc/hosts && exec "$@"', "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, timeout=60).returncode != 0:
        pytest.skip("a mount is not permitted")
    command = gateway.command("--intake", "localhost:0", "--admin", "localhost:0")
    with open(gateway.log_path, "ab") as log:
        gateway.process = subprocess.Popen([*inside, *command], stdin=subprocess.DEVNULL, stderr=log)
    found = wait_until("the start", lambda: re.search(r"takes events on (\S+), admins on (\S+), data in", gateway.log_text()))
    for addresses in found.groups():
        port = int(addresses.split(",")[0].rsplit(":", 1)[1])
        # Without IPv6 on this machine its address is passed over.
        wanted = {f"127.0.0.1:{port}", f"127.0.0.2:{port}"} | ({f"[::1]:{port}"} if has_ipv6() else set())
        assert set(addresses.split(",")) == wanted, addresses
        for host in ["127.0.0.1", "127.0.0.2"] + (["::1"] if has_ipv6() else []):
            connection = http.client.HTTPConnection(host, port, timeout=60)
            connection.request("GET", "/health-check")
            assert connection.getresponse().read().strip() == b"OK"
            connection.close()
    gateway.stop()


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return True
    except OSError:
        return False


def test_admin_off_loopback_is_refused(gateway_factory):
    result = refused(gateway_factory(), "--admin", "0.0.0.0:0")
    assert result.returncode == 1 and "admin-insecure" in result.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--threads", "many"], ["threads"]),
        (["--limits.body", "100GB"], ["limits.body", "15MB"]),
        (["--config", "/nonexistent.yaml"], ["/nonexistent.yaml"]),
    ],
)
def test_wrong_options_are_named(gateway_factory, arguments, words):
    result = refused(gateway_factory(), *arguments)
    assert result.returncode == 1
    for word in words:
        assert word in result.stderr, result.stderr


def test_config_file_errors_have_a_place(gateway_factory):
    gateway = gateway_factory("threads: 2\nconnexions: {}\n")
    result = refused(gateway)
    assert "sluice.yaml:2:1" in result.stderr, result.stderr


def test_term_drains(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("load", framing="ndjson")
    gateway.add_sink("load", "rows", COLUMNS, NEVER)
    stop = threading.Event()
    senders = [Sender(gateway.intake, url, f"s{i}", stop=stop) for i in range(4)]
    for sender in senders:
        sender.start()
    wait_until("load", lambda: sum(len(sender.acknowledged) for sender in senders) > 200)
    gateway.stop()
    stop.set()
    for sender in senders:
        sender.join(timeout=60)
    gateway.start()
    gateway.flush("load", "rows")
    acknowledged = [name for sender in senders for name in sender.acknowledged]
    assert_exactly_once(gateway.rows("SELECT n, text FROM rows"), acknowledged, [n for s in senders for n in s.unknown])


def test_a_silent_destination_does_not_hold_up_the_end(gateway_factory):
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(8)
        uri = f"postgresql://sluice@127.0.0.1:{hole.getsockname()[1]}/d"
        gateway = gateway_factory(f"shutdown-deadline: 2s\nconnections: {{hole: {{type: postgres, uri: '{uri}'}}}}\n").start()
        gateway.add_source("s")
        table = {"connection": "hole", "tableId": "k", "mapping": {"columns": COLUMNS}}
        gateway.api("POST", "/sources/s/sinks", {"sinkId": "k", "name": "K", "table": table}, wait=0, expect=202)
        silent, _ = hole.accept()  # kept: it stays open
        start = time.monotonic()
        gateway.stop()
        assert time.monotonic() - start < 10  # the driver alone would wait for 15 s
        gateway.start()
        assert gateway.api("GET", "/sources/s/sinks").json["sinks"] == []


def test_hangup_reloads(gateway_factory):
    gateway = gateway_factory("log-level: info\n").start()
    gateway.add_source("first")
    gateway.config.write_text("log-level: warning\nthreads: 7\nlimits: {sources: 1, body: 2MB}\npublic-url: https://events.example.com\n")
    gateway.process.send_signal(signal.SIGHUP)
    wait_until("the reload is told", lambda: "need a restart: threads, limits.body" in gateway.log_text())
    # What can be changed without a restart is changed.
    answer = gateway.api("POST", "/sources", {"name": "second", "type": "http"})
    assert answer.status == 422 and "limits.sources" in answer.json["message"], answer
    assert gateway.api("GET", "/sources/first").json["http"]["url"].startswith("https://events.example.com/stream/")
    before = gateway.log_text()
    gateway.change("PATCH", "/sources/first", {"description": "told to nobody"})
    assert "source.update" not in gateway.log_text()[len(before) :]
    # The defaults are what they were: nothing to tell.
    gateway.config.write_text("log-level: info\n")
    gateway.process.send_signal(signal.SIGHUP)
    wait_until("the second reload is told", lambda: '"the options are reloaded"' in gateway.log_text())
    assert gateway.source_url("first") and b"events.example.com" not in gateway.api("GET", "/sources/first").body
    gateway.config.write_text("log-level: nonsense\n")
    gateway.process.send_signal(signal.SIGHUP)
    wait_until("the mistake is told", lambda: "sluice.yaml:1" in gateway.log_text())
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, AT_ONCE)
    assert gateway.post(url, {"n": 1, "text": "t"}).status == 200


def test_files_and_their_modes(gateway):
    assert stat.S_IMODE(os.stat(gateway.data / "admin.token").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(gateway.data).st_mode) == 0o700
    names = {path.name for path in pathlib.Path(gateway.data).iterdir()}
    assert {"admin.token", "format", "lock", "sluice.mdb", "staging"} <= names, names
    assert json.loads((gateway.data / "format").read_text())


def test_what_is_made_is_private_whatever_the_umask(gateway_factory):
    gateway = gateway_factory()
    umask = os.umask(0)
    try:
        gateway.start()
    finally:
        os.umask(umask)
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, AT_ONCE)
    assert gateway.post(url, {"n": 1, "text": "t"}).status == 200
    gateway.wait_rows("rows", 1)
    assert {"tables.db", "tables.db-wal", "tables.db-shm"} <= {path.name for path in gateway.data.iterdir()}
    for path in [gateway.data, *gateway.data.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, (path, oct(path.stat().st_mode))
    assert "by other users" not in gateway.log_text()


def test_what_others_can_read_is_a_warning(gateway_factory):
    uri = "postgresql://sluice@127.0.0.1:1/d"
    gateway = gateway_factory(f"connections: {{w: {{type: postgres, uri: '{uri}', passwordFile: password}}}}\n").start()
    gateway.stop()
    assert "by other users" not in gateway.log_text()
    gateway.data.chmod(0o750)
    (gateway.data / "admin.token").chmod(0o604)
    (gateway.data / "password").write_text("hidden")
    (gateway.data / "password").chmod(0o640)
    gateway.start()
    for what in ("the data directory", "the file of the admin token, admin.token,", 'the passwordFile of connection \\"w\\"'):
        assert f'"message":"{what} can be read by other users' in gateway.log_text(), gateway.log_text()
    command = [BINARY, "get", "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and "admin.token can be read by other users" in result.stderr, result
    (gateway.data / "admin.token").chmod(0o600)
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stderr == ""


def test_newer_format_is_refused(gateway_factory):
    gateway = gateway_factory().start()
    gateway.stop()
    path = gateway.data / "format"
    content = json.loads(path.read_text())
    newer = content["format"] + 1
    path.write_text(json.dumps({**content, "format": newer}))
    result = refused(gateway)
    assert f"has format {newer}" in result.stderr
    path.write_text(json.dumps(content))
    gateway.start()


def test_staging_without_environment_is_refused(gateway_factory):
    gateway = gateway_factory().start()
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, {**NEVER, "storage.level.staging.upload.trigger.count": 1})
    gateway.post(url, {"n": 1, "text": "t"})
    wait_until("a pack", lambda: list((gateway.data / "staging").glob("*.pack")))
    gateway.stop()
    (gateway.data / "sluice.mdb").rename(gateway.data / "elsewhere")
    result = refused(gateway)
    assert "sluice.mdb" in result.stderr, result.stderr
    (gateway.data / "elsewhere").rename(gateway.data / "sluice.mdb")
    gateway.start()


def test_unknown_pack_becomes_an_orphan(gateway_factory):
    gateway = gateway_factory().start()
    gateway.stop()
    pack = gateway.data / "staging" / "01900000-0000-7000-8000-000000000000.pack"
    pack.write_bytes(b"nothing that anybody wrote")
    gateway.start()
    orphans = gateway.data / "staging" / "orphans"
    wait_until("it is an orphan", lambda: len(list(orphans.glob("*" + pack.name))) == 1 and not pack.exists())


def test_print_config_and_version():
    shown = subprocess.run([BINARY, "serve", "--print-config", "--threads", "3"], capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0 and "threads: 3" in shown.stdout and "intake: " in shown.stdout
    version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, timeout=60)
    assert version.returncode == 0 and version.stdout.startswith("sluice ")
    assert subprocess.run([BINARY, "nonsense"], capture_output=True, timeout=60).returncode == 2
