"""Rows of imports of rows that are staged already: P6 and P7. The baseline is psql with the same rows as CSV."""

import subprocess
import time

from harness import COLUMNS, EVENT, alternate, row

from postgres import Postgres, programs  # found through harness
from sluice import NEVER, Gateway, wait_until

NDJSON = "application/x-ndjson"
BATCH = 5000
KEYED = [{**column, "primaryKey": True} if column["name"] == "issue_id" else column for column in COLUMNS]
# Of 5 events 1 has a key that another one has, too.
KEYS_OF_FIVE = 4
UPSERT = """
    CREATE TEMP TABLE sent (LIKE copied);
    \\copy sent FROM '{csv}' (FORMAT csv)
    INSERT INTO copied SELECT DISTINCT ON (issue_id) * FROM sent ORDER BY issue_id, ctid DESC
        ON CONFLICT (issue_id) DO UPDATE SET {updates};
    INSERT INTO ledger DEFAULT VALUES;
    DROP TABLE sent;
"""


class Staging:
    """A gateway whose sink `rows` imports into the table `rows` when it is asked to; and the same rows as CSV, for its baseline."""

    def __init__(self, directory, columns, bodies, count):
        self.server = Postgres({"max_wal_size": "4GB"})
        self.bodies, self.count, self.csv = bodies, count, directory / "rows.csv"
        directory.mkdir()
        config = f"connections:\n  warehouse:\n    type: postgres\n    uri: {self.server.uri}\n"
        self.gateway = Gateway(directory, config, arguments=["--threads", "1"]).start()
        self.add("plain", COLUMNS)
        self.add("rows", columns)
        self.stage("plain")
        self.gateway.flush("plain", "plain")
        self.psql(f"\\copy plain TO '{self.csv}' (FORMAT csv)")
        self.server.rows("DROP TABLE plain")

    def add(self, name, columns):
        path = self.gateway.add_source(name, framing="ndjson")
        self.gateway.add_sink(name, name, columns, NEVER, connection="warehouse", table=name)
        self.gateway.set(f"/sources/{name}/sinks/{name}", {"storage.level.staging.upload.trigger.size": "20MB"})
        return path

    def stage(self, name="rows"):
        path, sink = self.gateway.source_url(name), f"/sources/{name}/sinks/{name}"
        for body in self.bodies():
            answer = self.gateway.post(path, body, content_type=NDJSON)
            assert answer.status == 200, answer
        self.gateway.set(sink, {"storage.level.staging.upload.trigger.interval": "1s"})
        wait_until("all is staged", lambda: self.gateway.statistics(name, name)["levels"]["local"]["recordsCount"] == 0, 120)
        self.gateway.set(sink, {"storage.level.staging.upload.trigger.interval": "30m"})

    def psql(self, script):
        arguments = ["-q", "-X", "-1", "-v", "ON_ERROR_STOP=1", self.server.uri]
        subprocess.run([str(programs() / "psql"), *arguments], input=script, text=True, check=True)

    def timed(self, work, table, rows):
        """Rows a second; the table has `rows` afterwards."""
        begin = time.monotonic()
        work()
        took = time.monotonic() - begin
        assert self.server.rows(f"SELECT count(*) FROM {table}") == [(rows,)]
        return self.count / took

    def close(self):
        self.gateway.close()
        self.server.close()


def measure_copy(options, directory):
    """P6: into a table without a key."""
    count = options.import_rows
    batch = "\n".join([EVENT] * BATCH)
    staging = Staging(directory / "P6", COLUMNS, lambda: [batch] * (count // BATCH), count)
    server = staging.server
    server.rows("CREATE TABLE copied (LIKE rows INCLUDING ALL)")

    def ours():
        server.rows("TRUNCATE rows")
        staging.stage()
        return staging.timed(lambda: staging.gateway.flush("rows", "rows"), "rows", count)

    def theirs():
        server.rows("TRUNCATE copied")
        return staging.timed(lambda: staging.psql(f"\\copy copied FROM '{staging.csv}' (FORMAT csv)"), "copied", count)

    figures = alternate(options.rounds, {"sluice": ours, "copy": theirs})
    staging.close()
    options.rates["P6"] = figures["sluice"]
    what = f"import of {count:,} rows, 7 columns, into PostgreSQL"
    return [row("P6", what, "psql \\copy, same CSV", figures["sluice"], figures["copy"], "rows/s", "0.95")]


def keyed_bodies(count):
    """Events with keys in no order: each call gives the same ones."""
    keys = count * KEYS_OF_FIVE // 5
    before, after = EVENT.split('"issue":{"id":123456', 1)
    for first in range(0, count, BATCH):
        yield "\n".join(f'{before}"issue":{{"id":{number * 7919 % keys}{after}' for number in range(first, first + BATCH))


def measure_upsert(options, directory):
    """P7: into a table with a key that has all keys already, as most upserts find it."""
    count = options.upsert_rows
    staging = Staging(directory / "P7", KEYED, lambda: keyed_bodies(count), count)
    server, keys = staging.server, count * KEYS_OF_FIVE // 5
    staging.stage()
    staging.gateway.flush("rows", "rows")
    server.rows("CREATE TABLE copied (LIKE rows INCLUDING ALL); INSERT INTO copied SELECT * FROM rows")
    server.rows("CREATE TABLE ledger (id bigserial PRIMARY KEY, at timestamptz DEFAULT now())")
    updates = ", ".join(f'{column["name"]} = EXCLUDED.{column["name"]}' for column in KEYED if "primaryKey" not in column)
    script = UPSERT.format(csv=staging.csv, updates=updates)

    def ours():
        staging.stage()
        server.rows("VACUUM rows")
        return staging.timed(lambda: staging.gateway.flush("rows", "rows"), "rows", keys)

    def theirs():
        server.rows("VACUUM copied")
        return staging.timed(lambda: staging.psql(script), "copied", keys)

    figures = alternate(options.rounds, {"sluice": ours, "script": theirs})
    staging.close()
    what = f"upsert of {count:,} rows by primary key, 7 columns, into PostgreSQL"
    limit = "psql: \\copy, DISTINCT ON, ON CONFLICT, a row of a ledger"
    return [row("P7", what, limit, figures["sluice"], figures["script"], "rows/s", "0.9")]


def rate_of_imports(options, directory):
    """That of P6, or of one round if P6 was not measured."""
    if "P6" not in options.rates:
        rounds, options.rounds = options.rounds, 1
        measure_copy(options, directory)
        options.rounds = rounds
    return options.rates["P6"]


def measure_imports(options, directory):
    rows = []
    for name, measure in (("P6", measure_copy), ("P7", measure_upsert)):
        if name in options.rows:
            rows += measure(options, directory)
    return rows
