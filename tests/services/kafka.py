"""
A Kafka broker (KRaft, one node or several) of the test's own: in a temporary directory, on free loopback ports, gone afterwards.

Its jars come from Maven Central into the cache (cache.py).
"""

import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

from cache import Unavailable, made_once, need, run  # noqa: F401

HERE = pathlib.Path(__file__).parent
VERSIONS = {"3.9": "3.9.2", "4": "4.4.0"}
DEADLINE = 120


def fetch(version="3.9"):
    """The folder with the jars."""
    need("java")
    number = VERSIONS[version]

    def copy(target):
        need("mvn")
        command = ["mvn", "-q", "-B", "-f", HERE / "kafka-pom.xml", f"-Dkafka={number}"]
        command += ["-P", "reload4j" if version.startswith("3") else "log4j2", "dependency:copy-dependencies"]
        run(*command, f"-DoutputDirectory={target / 'lib'}", "-DincludeScope=runtime")

    return made_once(f"kafka-{number}", copy)


def free_ports(count):
    """Ports that nobody listens on now; all are held until all are chosen, so that they differ."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Node:
    """One broker, which is a controller as well."""

    def __init__(self, cluster, number, port, controller_port):
        self.cluster, self.number, self.port, self.controller_port = cluster, number, port, controller_port
        self.directory = cluster.directory / f"node-{number}"
        self.directory.mkdir()
        self.process = None

    @property
    def log_text(self):
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def write_properties(self):
        cluster = self.cluster
        voters = ",".join(f"{node.number}@127.0.0.1:{node.controller_port}" for node in cluster.nodes)
        copies = min(3, len(cluster.nodes))
        listeners = {"PLAINTEXT": self.port, "CONTROLLER": self.controller_port, **cluster.listener_ports}
        protocols = {"CONTROLLER": "PLAINTEXT", "PLAINTEXT": "PLAINTEXT", **cluster.listener_protocols}
        properties = {
            "process.roles": "broker,controller",
            "node.id": self.number,
            "controller.quorum.voters": voters,
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
            "advertised.listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items() if name != "CONTROLLER"),
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
            "log.dirs": self.directory / "logs",
            "num.partitions": 4,
            "default.replication.factor": copies,
            "min.insync.replicas": 1 if copies < 3 else 2,
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "log.retention.check.interval.ms": 1000,
            "log.initial.task.delay.ms": 500,
            # a broker that was killed may come back at once
            "broker.session.timeout.ms": 2000,
            "broker.heartbeat.interval.ms": 500,
            **cluster.properties,
        }
        path = self.directory / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        return path

    def format(self):
        self.cluster.java("kafka.tools.StorageTool", "format", "-t", self.cluster.id, "-c", self.write_properties(), *self.cluster.format_arguments)

    def start(self):
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.cluster.command("kafka.Kafka", self.directory / "server.properties", heap="-Xmx256m"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )

    def stop(self, kind=signal.SIGTERM):
        """SIGTERM ends it in order, SIGKILL as a crash."""
        if self.process:
            self.process.send_signal(kind)
            try:
                self.process.wait(timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
            self.process = None


class Kafka:
    """
    A cluster that is up when the constructor returns. `properties`: of all nodes, beside those above. `listeners`: name -> security protocol
    of further listeners, whose ports are in `listener_ports` (one node only). `scram`: name -> password of users of SCRAM-SHA-256 and -512.
    """

    def __init__(self, version="3.9", nodes=1, properties=None, listeners=None, scram=None):
        self.version = version
        self.jars = fetch(version) / "lib"
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-kafka-"))
        self.properties = properties or {}
        self.listener_protocols = listeners or {}
        ports = free_ports(2 * nodes + len(self.listener_protocols))
        self.listener_ports = dict(zip(self.listener_protocols, ports[2 * nodes :]))
        self.format_arguments = []
        for name, password in (scram or {}).items():
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                self.format_arguments += ["--add-scram", f"{mechanism}=[name={name},password={password}]"]
        self.write_logging()
        self.nodes = []
        self.nodes = [Node(self, i + 1, ports[2 * i], ports[2 * i + 1]) for i in range(nodes)]
        self.id = self.java("kafka.tools.StorageTool", "random-uuid").strip().splitlines()[-1]
        try:
            for node in self.nodes:
                node.format()
            self.start()
        except BaseException:
            self.close()
            raise

    def write_logging(self):
        if self.version.startswith("3"):
            path = self.directory / "log4j.properties"
            path.write_text(
                "log4j.rootLogger=WARN, console\nlog4j.appender.console=org.apache.log4j.ConsoleAppender\n"
                "log4j.appender.console.layout=org.apache.log4j.PatternLayout\nlog4j.appender.console.layout.ConversionPattern=%d %p %c %m%n\n"
            )
            self.logging = f"-Dlog4j.configuration=file:{path}"
        else:
            path = self.directory / "log4j2.properties"
            path.write_text(
                "rootLogger.level=WARN\nrootLogger.appenderRefs=console\nrootLogger.appenderRef.console.ref=console\n"
                "appender.console.type=Console\nappender.console.name=console\nappender.console.layout.type=PatternLayout\n"
                "appender.console.layout.pattern=%d %p %c %m%n\n"
            )
            self.logging = f"-Dlog4j2.configurationFile={path}"

    def command(self, main, *arguments, heap="-Xmx128m"):
        java = ["java", "-Xms64m", heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", self.logging, "-cp", f"{self.jars}/*"]
        return [*java, main, *map(str, arguments)]

    def java(self, main, *arguments):
        """One of Kafka's command-line tools; what it printed."""
        ended = subprocess.run(self.command(main, *arguments), capture_output=True, text=True, timeout=DEADLINE, cwd=self.directory)
        if ended.returncode != 0:
            raise AssertionError(f"{main} {' '.join(map(str, arguments))}: {ended.stdout}{ended.stderr}")
        return ended.stdout

    @property
    def brokers(self):
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self):
        for node in self.nodes:
            if not node.process:
                node.start()
        self.wait_ready()

    def wait_ready(self):
        end = time.monotonic() + DEADLINE
        wanted = f"{len(self.nodes)} brokers:"
        while True:
            listed = subprocess.run(["kcat", "-b", self.brokers, "-L", "-m", "2"], capture_output=True, text=True, timeout=30)
            if listed.returncode == 0 and wanted in listed.stdout:
                return
            logs = "".join(node.log_text[-3000:] for node in self.nodes)
            dead = [node.number for node in self.nodes if node.process.poll() is not None]
            assert not dead, f"node {dead} ended: {logs}"
            assert time.monotonic() < end, f"Kafka is not ready: {listed.stdout}{listed.stderr}{logs}"
            time.sleep(0.1)

    def stop(self, kind=signal.SIGTERM):
        for node in self.nodes:
            node.stop(kind)

    def restart(self, kind=signal.SIGTERM):
        self.stop(kind)
        self.start()

    def close(self):
        for node in self.nodes:
            node.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- topics and records ----------------------------------------------------------------------------------------

    def topic_command(self, *arguments):
        return self.java("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", self.brokers, *arguments)

    def create_topic(self, topic, partitions=1, copies=1, **settings):
        extra = [part for key, value in settings.items() for part in ("--config", f"{key.replace('_', '.')}={value}")]
        self.topic_command("--create", "--topic", topic, "--partitions", partitions, "--replication-factor", copies, *extra)

    def add_partitions(self, topic, partitions):
        """So that it has `partitions` in all."""
        self.topic_command("--alter", "--topic", topic, "--partitions", partitions)

    def delete_topic(self, topic):
        self.topic_command("--delete", "--topic", topic)

    def delete_records(self, offsets):
        """{(topic, partition): first offset that stays}: as retention does it."""
        items = ",".join(f'{{"topic":"{topic}","partition":{partition},"offset":{offset}}}' for (topic, partition), offset in offsets.items())
        path = self.directory / f"delete-{uuid.uuid4()}.json"
        path.write_text(f'{{"partitions":[{items}],"version":1}}')
        self.java("org.apache.kafka.tools.DeleteRecordsCommand", "--bootstrap-server", self.brokers, "--offset-json-file", path)

    def produce(self, topic, values, key=None, partition=None, headers=(), arguments=()):
        """Sends each value (text without a line end) as a record, in order."""
        command = ["kcat", "-b", self.brokers, "-P", "-t", topic, "-X", "acks=all", *arguments]
        if key is not None:
            command += ["-k", key]
        if partition is not None:
            command += ["-p", str(partition)]
        for name, value in headers:
            command += ["-H", f"{name}={value}"]
        data = "".join(value + "\n" for value in values).encode()
        ended = subprocess.run(command, input=data, capture_output=True, timeout=DEADLINE)
        assert ended.returncode == 0, ended.stderr.decode()

    def offsets(self, topic):
        """{partition: end offset} as the broker says it."""
        tool = "org.apache.kafka.tools.GetOffsetShell"
        text = self.java(tool, "--bootstrap-server", self.brokers, "--topic", topic)
        return {int(line.split(":")[1]): int(line.split(":")[2]) for line in text.splitlines() if line.startswith(topic + ":")}

    def records(self, topic):
        """[(partition, offset, value)] of all committed records."""
        command = ["kcat", "-b", self.brokers, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p %o %s\n"]
        command += ["-X", "isolation.level=read_committed"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
        assert ended.returncode == 0, ended.stderr
        rows = [line.split(" ", 2) for line in ended.stdout.splitlines()]
        return [(int(partition), int(offset), value) for partition, offset, value in rows]
