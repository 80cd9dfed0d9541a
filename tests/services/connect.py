"""
A Kafka Connect worker (standalone) of the test's own, beside a broker of kafka.py: in a temporary directory, on a free loopback port, gone
afterwards. Its connectors: Camel's HTTP sink, Debezium's source for PostgreSQL, and JdkHttpSink.java in place of Aiven's HTTP sink.

Their jars come from Maven Central into the cache (cache.py).
"""

import hashlib
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from cache import made_once, need, run
from kafka import DEADLINE, free_ports
from kafka import fetch as fetch_kafka

HERE = pathlib.Path(__file__).parent
POM = HERE / "connect-pom.xml"
STAND_IN = HERE / "JdkHttpSink.java"
STAND_IN_CLASS = "sluice.tests.JdkHttpSink"


def fetch():
    """The folder for plugin.path. Another one when what is in it has changed."""
    need("java")
    jars = fetch_kafka("3.9") / "lib"

    def make(target):
        need("mvn", "javac")
        for connector in ("camel", "debezium"):
            command = ["mvn", "-q", "-B", "-f", POM, "-P", connector, "dependency:copy-dependencies"]
            # what the worker itself has
            run(*command, f"-DoutputDirectory={target / connector}", "-DincludeScope=runtime", "-DexcludeGroupIds=org.apache.kafka,org.slf4j")
        run("javac", "-d", target / "stand-in", "-cp", f"{jars}/*", STAND_IN)
        # The manifests of plugins that have none, so that a worker need not look at all classes when it starts.
        run("java", "-cp", f"{jars}/*", "org.apache.kafka.tools.ConnectPluginPath", "sync-manifests", "--plugin-path", target)

    contents = hashlib.sha256(POM.read_bytes() + STAND_IN.read_bytes()).hexdigest()[:12]
    return made_once(f"connect-{contents}", make)


def write_properties(path, properties):
    def escape(value):
        return str(value).replace("\\", "\\\\").replace("\n", "\\n")

    path.write_text("".join(f"{name}={escape(value)}\n" for name, value in properties.items()))
    return path


class Connect:
    """
    Up when start() returns. `properties`: of the worker; where it listens and where its plugins are stands here. Connectors that were added are
    there again after a restart; what they have read so far is known to the broker, or lost with a worker that was killed.
    """

    def __init__(self, kafka, properties):
        plugins = fetch()
        self.kafka = kafka
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-connect-"))
        [self.port] = free_ports(1)
        self.process = None
        self.connectors = {}
        self.properties = {
            **properties,
            "bootstrap.servers": kafka.brokers,
            "offset.storage.file.filename": self.directory / "offsets",
            "plugin.path": plugins,
            "plugin.discovery": "service_load",
            "listeners": f"http://127.0.0.1:{self.port}",
            # a worker that was killed may come back at once
            "consumer.session.timeout.ms": 3000,
            "consumer.heartbeat.interval.ms": 500,
        }

    @property
    def log_text(self):
        path = self.directory / "log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def call(self, method, path, body=None):
        """None: the worker is still busy with what was asked before."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=DEADLINE) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as problem:
            if problem.code in (404, 409, 500, 503):
                return None
            raise AssertionError(f"{method} {path}: {problem.code} {problem.read().decode(errors='replace')}") from problem

    def wait(self, what, condition):
        end = time.monotonic() + DEADLINE
        while True:
            try:
                value = condition()
            except OSError:
                value = None
            if value:
                return value
            assert self.process.poll() is None, f"the worker ended: {self.log_text}"
            assert time.monotonic() < end, f"not in time: {what}: {self.log_text}"
            time.sleep(0.1)

    def start(self):
        files = [write_properties(self.directory / "worker.properties", self.properties)]
        files += [write_properties(self.directory / f"{name}.properties", config) for name, config in self.connectors.items()]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.kafka.command("org.apache.kafka.connect.cli.ConnectStandalone", *files, heap="-Xmx256m"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )
        self.wait("the worker answers", lambda: self.call("GET", "/"))
        for name in self.connectors:
            self.wait_running(name)
        return self

    def stop(self, kind=signal.SIGTERM):
        if self.process:
            self.process.send_signal(kind)
            self.process.wait(timeout=DEADLINE)
            self.process = None

    def close(self):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def add(self, properties):
        name = properties["name"]
        self.connectors[name] = properties
        self.wait(f"{name} is there", lambda: self.call("PUT", f"/connectors/{name}/config", {key: str(value) for key, value in properties.items()}))
        self.wait_running(name)

    def remove(self, name):
        """Commits the offsets of what it has sent."""
        del self.connectors[name]
        self.wait(f"{name} is gone", lambda: self.call("DELETE", f"/connectors/{name}") is not None)

    def tasks(self, name):
        """[(state, trace)]"""
        status = self.call("GET", f"/connectors/{name}/status")
        return [(task["state"], task.get("trace", "")) for task in status["tasks"]] if status else []

    def wait_running(self, name):
        def running():
            tasks = self.tasks(name)
            assert not any(state == "FAILED" for state, _ in tasks), tasks
            return tasks and all(state == "RUNNING" for state, _ in tasks)

        self.wait(f"{name} runs", running)

    def assert_running(self, name):
        assert [state for state, _ in self.tasks(name)] == ["RUNNING"], self.tasks(name)

    def restart_task(self, name):
        self.wait(f"{name} starts again", lambda: self.call("POST", f"/connectors/{name}/tasks/0/restart") is not None)
