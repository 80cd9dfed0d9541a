"""A nats-server with JetStream of the test's own: in a temporary directory, on a free loopback port, gone afterwards."""

import json
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

DEADLINE = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class NatsError(Exception):
    """What the server answered to a request of the JetStream API."""


class Nats:
    """
    `settings`: text that is added to its configuration (users, TLS); `login`: fields of the CONNECT that this class itself sends, None where it
    cannot log in (TLS, signatures): then the server counts as ready when it listens. `jetstream`: without it the server has none.
    """

    def __init__(self, settings="", login=(), jetstream=True):
        program = shutil.which("nats-server") or "/usr/sbin/nats-server"
        assert pathlib.Path(program).exists(), "nats-server is not installed: apt-get install nats-server"
        self.program = program
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-nats-"))
        self.port = free_port()
        self.login = None if login is None or not jetstream else dict(login)
        self.process = None
        self.connection = None
        self.inbox = None  # of the connection: a cluster gives an answer to all clients that have its subject
        self.asked = 0  # requests, whose answers are told by this number
        (self.directory / "server.conf").write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            + (f'jetstream {{ store_dir: "{self.directory}/store" }}\n' if jetstream else "")
            + f"{settings}\n"
        )
        self.start()

    @property
    def uri(self):
        return f"nats://127.0.0.1:{self.port}"

    @property
    def log_text(self):
        return (self.directory / "log").read_text(errors="replace")

    def start(self):
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "-c", str(self.directory / "server.conf")], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + DEADLINE
        while True:
            try:
                if self.listens() if self.login is None else self.jetstream("INFO"):
                    return
            except (OSError, NatsError):
                self.disconnect()
            assert self.process.poll() is None, self.log_text
            assert time.monotonic() < end, self.log_text
            time.sleep(0.02)

    def listens(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as plain:
            return plain.recv(5) == b"INFO "

    def stop(self, kind=signal.SIGTERM):
        self.disconnect()
        if self.process:
            self.process.send_signal(kind)
            self.process.wait(timeout=DEADLINE)
            self.process = None

    def restart(self, kind=signal.SIGTERM):
        self.stop(kind)
        self.start()

    def close(self):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- a client of a few lines: the protocol is text --------------------------------------------------------------

    def connect(self):
        if self.connection:
            return
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        self.connection = plain.makefile("rwb")
        plain.close()
        self.inbox = f"inbox-{uuid.uuid4().hex}"
        assert self.connection.readline().startswith(b"INFO "), "not a NATS server"
        options = {"verbose": False, "pedantic": False, "headers": True, "name": "test", **self.login}
        self.connection.write(b"CONNECT " + json.dumps(options).encode() + f"\r\nSUB {self.inbox}.> 1\r\nPING\r\n".encode())
        self.connection.flush()
        self.read_until(b"PONG")

    def disconnect(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def read_until(self, wanted):
        """The subject and the body of the next message, or two times b"" when the line `wanted` comes."""
        while line := self.connection.readline():
            word, *rest = line.split()
            if word == wanted:
                return b"", b""
            if word == b"PING":
                self.connection.write(b"PONG\r\n")
                self.connection.flush()
            elif word == b"-ERR":
                raise NatsError(line.decode().strip())
            elif word in (b"MSG", b"HMSG"):
                size = int(rest[-1])
                head = int(rest[-2]) if word == b"HMSG" else 0
                return rest[0], self.connection.read(size + 2)[head:size]
        raise ConnectionError("the server closed the connection")

    def request(self, subject, data, head=b""):
        """Sends it when the connection is flushed. The number of its answer."""
        self.asked += 1
        reply = f"{self.inbox}.{self.asked}"
        line = f"HPUB {subject} {reply} {len(head)} {len(head) + len(data)}\r\n" if head else f"PUB {subject} {reply} {len(data)}\r\n"
        self.connection.write(line.encode() + head + data + b"\r\n")
        return self.asked

    def answers(self, numbers):
        """{number: answer} of these requests. What comes late of others, whose answers nobody waited for, is left out."""
        self.connection.flush()
        subjects = {f"{self.inbox}.{number}".encode(): number for number in numbers}
        found = {}
        while len(found) < len(subjects):
            subject, body = self.read_until(b"never")
            if subject in subjects:
                answer = found[subjects[subject]] = json.loads(body)
                if "error" in answer:
                    raise NatsError(answer["error"]["description"])
        return found

    def jetstream(self, what, body=None):
        """A request of the JetStream API ("STREAM.CREATE.name"); its answer."""
        self.connect()
        data = json.dumps(body).encode() if body is not None else b""
        number = self.request(f"$JS.API.{what}", data)
        return self.answers([number])[number]

    def create_stream(self, name, subjects, **fields):
        return self.jetstream(f"STREAM.CREATE.{name}", {"name": name, "subjects": subjects, "storage": "file", "retention": "limits", **fields})

    def delete_stream(self, name):
        return self.jetstream(f"STREAM.DELETE.{name}")

    def publish(self, subject, bodies, headers=()):
        """Publishes in order and waits until the stream has stored the last one; its sequence."""
        self.connect()
        head = b""
        if headers:
            head = b"NATS/1.0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in headers) + b"\r\n"
        bodies = [body.encode() if isinstance(body, str) else body for body in bodies]
        last = 0
        for start in range(0, len(bodies), 500):
            numbers = [self.request(subject, body, head) for body in bodies[start : start + 500]]
            last = self.answers(numbers)[numbers[-1]]["seq"]
        return last

    def purge(self, stream, **fields):
        return self.jetstream(f"STREAM.PURGE.{stream}", fields or None)

    def stream(self, name):
        return self.jetstream(f"STREAM.INFO.{name}")

    def consumer(self, stream, name):
        return self.jetstream(f"CONSUMER.INFO.{stream}.{name}")
