"""
A schema registry of the test's own: Apicurio, in memory, on a free loopback port, gone afterwards; and a Python with fastavro.

Both come into the cache outside the checkout, as Kafka does (kafka.py): the registry from Maven Central, fastavro from PyPI. Where one of
them cannot be had, Unavailable says why.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request

from cache import Unavailable, made_once, need, run
from kafka import DEADLINE, free_ports

VERSION = "2.6.13.Final"
JAVA_LEAST = 17
FASTAVRO = "1.13.1"


def fetch_apicurio(target):
    need("mvn")
    artifact = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
    run("mvn", "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={target}")
    archive = next(target.glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(target)
    archive.unlink()


def fetch():
    """The folder with the registry."""
    need("java")
    version = re.search(r'version "(\d+)', run("java", "-version"))
    if not version or int(version[1]) < JAVA_LEAST:
        raise Unavailable(f"Apicurio {VERSION} needs Java {JAVA_LEAST}")
    return made_once(f"apicurio-{VERSION}", fetch_apicurio)


def make_python(target):
    run(sys.executable, "-m", "venv", target)
    run(target / "bin" / "pip", "install", "-q", "--disable-pip-version-check", f"fastavro=={FASTAVRO}")


def python_with_fastavro():
    """The path of an interpreter."""
    return made_once(f"fastavro-{FASTAVRO}", make_python) / "bin" / "python"


class Refused(Exception):
    """What the registry answered."""


class Registry:
    """Up when the constructor returns. It keeps nothing: restart() gives an empty one at the same URL."""

    def __init__(self):
        self.program = next(fetch().glob("*-runner.jar"))
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-registry-"))
        [self.port] = free_ports(1)
        self.process = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    @property
    def log_text(self):
        return (self.directory / "log").read_text(errors="replace")[-3000:]

    def start(self):
        environment = {**os.environ, "QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(self.port)}
        command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", str(self.program)]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, start_new_session=True
            )
        end = time.monotonic() + DEADLINE
        while True:
            try:
                self.call("GET", "/subjects")
                return
            except (OSError, Refused):
                assert self.process.poll() is None, self.log_text
                assert time.monotonic() < end, self.log_text
                time.sleep(0.1)

    def stop(self, kind=signal.SIGKILL):
        if self.process:
            self.process.send_signal(kind)
            self.process.wait(timeout=DEADLINE)
            self.process = None

    def close(self):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"} if data else {}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as problem:
            raise Refused(f"{method} {path}: {problem.code} {problem.read().decode(errors='replace')}") from problem

    def register(self, subject, schema, kind=None, references=None):
        """Its number. `schema`: text, or what is JSON."""
        body = {"schema": schema if kind == "PROTOBUF" else json.dumps(schema)}
        if kind:
            body["schemaType"] = kind
        if references:
            body["references"] = references
        return self.call("POST", f"/subjects/{subject}/versions", body)["id"]
