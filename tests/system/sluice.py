"""A gateway under test: the real binary in a temporary directory, on free loopback ports."""

import http.client
import json
import os
import pathlib
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SLUICE_BINARY", str(ROOT / "build" / "check" / "sluice"))
DEADLINE = 60  # seconds for anything that should happen at once; sanitizer builds on a busy machine are slow


def wait_until(what, condition, deadline=DEADLINE):
    """Polls until condition() is true and returns its value; fails with `what` after the deadline."""
    end = time.monotonic() + deadline
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:400]!r}>"


def request(address, method, path, body=None, headers=None, timeout=DEADLINE):
    """One request on a connection of its own."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
    try:
        return request_on(connection, method, path, body, headers)
    finally:
        connection.close()


def request_on(connection, method, path, body=None, headers=None):
    connection.request(method, path, body=body, headers=headers or {})
    response = connection.getresponse()
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def raw(address, data, timeout=DEADLINE, half_close=False):
    """Sends bytes as they are and returns all that comes back until the other side closes."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=timeout) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
        return received


class Gateway:
    def __init__(self, directory, config=None, arguments=(), environment=None):
        self.directory = pathlib.Path(directory)
        self.data = self.directory / "data"
        self.binary = BINARY
        self.arguments = list(arguments)
        self.environment = environment or {}
        self.descriptors = None  # as `ulimit -n` would set it
        self.process = None
        self.log_path = self.directory / "sluice.log"
        self.config = None
        if config is not None:
            self.config = self.directory / "sluice.yaml"
            self.config.write_text(config)

    # -- process ---------------------------------------------------------------------------------------------------

    def command(self, *arguments):
        command = [self.binary, "serve", "--data", str(self.data), "--intake", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        command += ["--log-format", "json"]
        if self.config:
            command += ["--config", str(self.config)]
        return command + self.arguments + list(arguments)

    def limit(self):
        if self.descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

    def start(self, *arguments, environment=None):
        with open(self.log_path, "ab") as log:
            start = log.tell()
            self.process = subprocess.Popen(
                self.command(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment, **(environment or {})},
                preexec_fn=self.limit,
            )

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"exit code {self.process.returncode} at start:\n{self.log_text()[-3000:]}")
            text = self.log_path.read_bytes()[start:].decode(errors="replace")
            return re.search(r"takes events on (\S+), admins on (\S+), data in", text)

        found = wait_until("the gateway starts", ready)
        self.intake, self.admin = found.group(1), found.group(2)
        self.token = (self.data / "admin.token").read_text().strip()
        return self

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def stop(self, expected=0):
        """SIGTERM; the exit code must be `expected`."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=DEADLINE)
        assert code == expected, f"exit code {code}:\n{self.log_text()[-5000:]}"

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=DEADLINE)

    def close(self):
        """At the end of a test: whatever state it is in, it ends, and sanitizers had nothing to say."""
        if self.process and self.process.poll() is None:
            self.stop()
        text = self.log_text()
        for mark in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "WARNING: ThreadSanitizer", ": bug: "):
            assert mark not in text, text[text.index(mark) - 200 : text.index(mark) + 4000]

    def memory_kb(self, field="RssAnon"):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise AssertionError(field)

    # -- management API --------------------------------------------------------------------------------------------

    def api(self, method, path, body=None, wait=30, expect=None, token=None, headers=None):
        headers = {"Authorization": f"Bearer {token or self.token}", **(headers or {})}
        if wait:
            headers["Prefer"] = f"wait={wait}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        if not path.startswith("/v1"):
            path = "/v1/branches/default" + path
        answer = request(self.admin, method, path, data, headers)
        if expect is not None:
            assert answer.status == expect, answer
        return answer

    def change(self, method, path, body=None):
        """A request that starts a task; returns the task, which must have succeeded."""
        answer = self.api(method, path, body)
        assert answer.status == 202 or answer.status == 200, answer
        task = answer.json
        deadline = time.monotonic() + DEADLINE
        while not task["isFinished"]:
            assert time.monotonic() < deadline, task
            task = self.api("GET", f"/v1/tasks/{task['taskId']}", expect=200).json
        assert task["status"] == "success", task
        return task

    def add_source(self, source_id, **fields):
        self.change("POST", "/sources", {"sourceId": source_id, "name": source_id, "type": "http", **fields})
        return self.source_url(source_id)

    def source_url(self, source_id):
        url = self.api("GET", f"/sources/{source_id}", expect=200).json["http"]["url"]
        return urllib.parse.urlparse(url).path

    def add_sink(self, source_id, sink_id, columns, settings=None, connection="local", table=None, **fields):
        table_fields = {"connection": connection, "tableId": table or sink_id, "mapping": {"columns": columns}}
        if fields.get("explode"):
            table_fields["mapping"]["explode"] = fields["explode"]
        fields.pop("explode", None)
        for key in ("strategy", "mergeIf", "deleteOn", "onSchemaDrift"):
            if key in fields:
                table_fields[key] = fields.pop(key)
        body = {"sinkId": sink_id, "name": sink_id[:40], "type": "table", "table": table_fields, **fields}
        self.change("POST", f"/sources/{source_id}/sinks", body)
        if settings:
            self.set(f"/sources/{source_id}/sinks/{sink_id}", settings)

    def set(self, owner, settings):
        items = [{"key": key, "value": value} for key, value in settings.items()]
        self.change("PATCH", owner + "/settings", {"settings": items})

    def flush(self, source_id, sink_id):
        return self.change("POST", f"/sources/{source_id}/sinks/{sink_id}/flush")

    def statistics(self, source_id, sink_id):
        return self.api("GET", f"/sources/{source_id}/sinks/{sink_id}/statistics/total", expect=200).json

    # -- intake ----------------------------------------------------------------------------------------------------

    def post(self, path, body, content_type="application/json", headers=None, method="POST"):
        all_headers = {} if content_type is None else {"Content-Type": content_type}
        all_headers.update(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        return request(self.intake, method, path, body, all_headers)

    def connect(self):
        host, port = self.intake.rsplit(":", 1)
        return http.client.HTTPConnection(host, int(port), timeout=DEADLINE)

    # -- the embedded destination ----------------------------------------------------------------------------------

    def rows(self, statement, *parameters):
        """Rows of tables.db; a table that is not there yet has none."""
        path = self.data / "tables.db"
        if not path.exists():
            return []
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            return database.execute(statement, parameters).fetchall()
        except sqlite3.OperationalError as problem:
            if "no such table" in str(problem):
                return []
            raise
        finally:
            database.close()

    def wait_rows(self, table, count, deadline=DEADLINE):
        """Waits until the table has `count` rows."""

        def have():
            found = self.rows(f'SELECT count(*) FROM "{table}"')
            return found[0][0] if found else 0

        wait_until(f"{count} rows in {table}", lambda: have() >= count, deadline)


AT_ONCE = {
    "storage.level.staging.upload.trigger.count": 1,
    "storage.level.target.import.trigger.count": 1,
}
NEVER = {
    "storage.level.staging.upload.trigger.count": 10000000,
    "storage.level.staging.upload.trigger.size": "50MB",
    "storage.level.staging.upload.trigger.interval": "30m",
    "storage.level.target.import.trigger.count": 10000000,
    "storage.level.target.import.trigger.size": "500MB",
    "storage.level.target.import.trigger.interval": "24h",
}
