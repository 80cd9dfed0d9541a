"""A PostgreSQL server of the test's own: in a temporary directory, on a free loopback port, gone afterwards."""

import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import tempfile
import time

import psycopg2


def programs():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    assert found, "PostgreSQL is not installed: apt-get install postgresql"
    return found[-1].parent


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """PostgreSQL refuses to run as root: then it runs as `postgres` or `nobody`. `settings`: beside those of start()."""

    def __init__(self, settings=None):
        self.settings = settings or {}
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-pg-"))
        self.user = None
        if os.getuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            self.user = account.pw_name
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        self.port = free_port()
        self.process = None
        self.run("initdb", "-D", self.data, "-U", "sluice", "--auth=trust", "-E", "UTF8", "--no-sync")
        self.start()

    @property
    def data(self):
        return str(self.directory / "db")

    def command(self, name, *arguments):
        prefix = ["setpriv", f"--reuid={self.user}", "--clear-groups"] if self.user else []
        return prefix + [str(programs() / name), *arguments]

    def run(self, name, *arguments):
        subprocess.run(self.command(name, *arguments), check=True, capture_output=True, cwd=self.directory)

    def start(self):
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.directory,
            "fsync": "off",
            "max_connections": 50,
            **self.settings,
        }
        arguments = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen(
            self.command("postgres", "-D", self.data, *arguments), stdout=log, stderr=log, cwd=self.directory, start_new_session=True
        )
        log.close()
        end = time.monotonic() + 60
        while True:
            try:
                psycopg2.connect(self.uri).close()
                return
            except psycopg2.OperationalError:
                assert self.process.poll() is None, (self.directory / "log").read_text()
                assert time.monotonic() < end, (self.directory / "log").read_text()
                time.sleep(0.05)

    @property
    def uri(self):
        return f"postgresql://sluice@127.0.0.1:{self.port}/postgres"

    def stop(self):
        """Immediate shutdown: as a crash."""
        if self.process:
            self.process.send_signal(3)
            self.process.wait(timeout=60)
            self.process = None

    def rows(self, statement, *parameters):
        connection = psycopg2.connect(self.uri)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def empty(self):
        """Removes all schemas with what is in them, and makes the schema "public" again."""
        schemas = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        things = "SELECT 1 FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'public'::regnamespace LIMIT 1"
        if self.rows(schemas) == [("public",)] and not self.rows(things):
            return
        for (schema,) in self.rows(schemas):
            self.rows(f'SET lock_timeout = 20000; DROP SCHEMA "{schema}" CASCADE')
        self.rows("CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public")

    def close(self):
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
