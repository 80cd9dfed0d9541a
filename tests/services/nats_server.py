"""A nats-server with JetStream of the test's own: in a temporary directory, on a free loopback port, gone afterwards."""

import json
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

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
        self.inbox = "inbox"  # another one for each further client
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
        """The body of the next message, or b"" when the line `wanted` comes."""
        while line := self.connection.readline():
            word = line.split(b" ", 1)[0].strip()
            if word == wanted:
                return b""
            if word == b"PING":
                self.connection.write(b"PONG\r\n")
                self.connection.flush()
            elif word == b"-ERR":
                raise NatsError(line.decode().strip())
            elif word in (b"MSG", b"HMSG"):
                size = int(line.split()[-1])
                head = int(line.split()[-2]) if word == b"HMSG" else 0
                return self.connection.read(size + 2)[head:size]
        raise ConnectionError("the server closed the connection")

    def jetstream(self, what, body=None):
        """A request of the JetStream API ("STREAM.CREATE.name"); its answer."""
        self.connect()
        data = json.dumps(body).encode() if body is not None else b""
        self.connection.write(f"PUB $JS.API.{what} {self.inbox}.api {len(data)}\r\n".encode() + data + b"\r\n")
        self.connection.flush()
        answer = json.loads(self.read_until(b"never"))
        if "error" in answer:
            raise NatsError(answer["error"]["description"])
        return answer

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
            part = bodies[start : start + 500]
            for body in part:
                if head:
                    line = f"HPUB {subject} {self.inbox}.ack {len(head)} {len(head) + len(body)}\r\n"
                else:
                    line = f"PUB {subject} {self.inbox}.ack {len(body)}\r\n"
                self.connection.write(line.encode() + head + body + b"\r\n")
            self.connection.flush()
            for _ in part:
                answer = json.loads(self.read_until(b"never"))
                if "error" in answer:
                    raise NatsError(answer["error"]["description"])
                last = answer["seq"]
        return last

    def purge(self, stream, **fields):
        return self.jetstream(f"STREAM.PURGE.{stream}", fields or None)

    def stream(self, name):
        return self.jetstream(f"STREAM.INFO.{name}")

    def consumer(self, stream, name):
        return self.jetstream(f"CONSUMER.INFO.{stream}.{name}")
