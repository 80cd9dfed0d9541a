"""What rounds of all brokers share: nodes, a course of faults that a seed chooses, and the comparison of a table with what the broker has."""

import collections
import concurrent.futures
import heapq
import itertools
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
for folder in ("system", "services"):
    sys.path.insert(0, str(ROOT / "tests" / folder))

from postgres import Postgres, programs  # noqa: E402
from sluice import AT_ONCE, BINARY, Gateway  # noqa: E402

SUPPORT = pathlib.Path(BINARY).parent / "tests" / "support"
PATIENCE = 300
SOURCE = "flow"  # of all nodes: a group may be named after it
# Rows of different nodes reach the table in files of different sizes.
CONDITIONS = [
    AT_ONCE,
    {"storage.level.staging.upload.trigger.count": 500, "storage.level.target.import.trigger.count": 2000},
    {"storage.level.staging.upload.trigger.count": 3000, "storage.level.target.import.trigger.count": 1},
    {"storage.level.staging.upload.trigger.interval": "1s", "storage.level.target.import.trigger.count": 10000},
]


class Wrong(Exception):
    """A round cannot go on, or went wrong in another way than by its rows."""


class Node:
    """A gateway with one source and one sink, in a directory of its own that may be lost."""

    def __init__(self, directory, number, config, source, columns, conditions):
        self.name = f"node-{number}"
        directory = directory / self.name
        directory.mkdir()
        self.gateway = Gateway(directory, config, arguments=["--threads", "1"])
        self.source, self.columns, self.conditions = source, columns, conditions
        self.state = "down"  # up, down, stopped (by a signal), ending
        self.defined = False
        self.ends = 0

    def start(self):
        self.gateway.start()
        self.state = "up"
        self.define()

    def define(self):
        """Once in a data directory's life."""
        if self.defined:
            return
        if self.gateway.api("GET", f"/sources/{SOURCE}").status == 404:
            self.gateway.change("POST", "/sources", {"sourceId": SOURCE, "name": SOURCE, **self.source})
        if self.gateway.api("GET", f"/sources/{SOURCE}/sinks/{self.name}").status == 404:
            self.gateway.add_sink(SOURCE, self.name, self.columns, self.conditions, connection="warehouse", table="flow")
        self.defined = True

    def kill(self):
        self.gateway.kill()
        self.state = "down"

    def lose_data(self):
        shutil.rmtree(self.gateway.data)
        self.defined = False

    def signal(self, number):
        self.gateway.process.send_signal(number)

    def waiting(self):
        levels = self.gateway.statistics(SOURCE, self.name)["levels"]
        return levels["local"]["recordsCount"] + levels["staging"]["recordsCount"]

    def look(self):
        """What it says about itself, for people."""
        try:
            return self.gateway.api("GET", f"/sources/{SOURCE}/bridge", wait=0).body.decode(errors="replace")
        except Exception as problem:
            return f"no answer: {problem}"

    def died(self):
        return self.state == "up" and self.gateway.process.poll() is not None


class Round:
    """
    One round. Subclasses have `kinds` (name of a fault -> method), `begin`, `flowing` (are records still produced?), `close`, and `list_broker`,
    which writes what the broker has as CSV (partition, offset, n) and returns {partition: offset behind the last}.
    """

    kinds = {}
    while_flowing = set()  # kinds that are of no meaning later
    seldom = {"broker", "database", "producer"}  # while they last, little is in motion

    def __init__(self, directory, seed, records, rate, only=None, gaps=(0.3, 3.0)):
        self.directory = pathlib.Path(directory)
        self.seed, self.records, self.rate, self.gaps = seed, records, rate, gaps
        self.chance = random.Random(seed)
        self.wanted = [kind for kind in self.kinds if not only or kind in only]
        self.counts = collections.Counter()
        self.course = []  # (when, step) of what is due later
        self.order = itertools.count()
        self.busy = set()  # "broker", "database": what a fault holds at the moment
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.futures = []
        self.nodes = []
        self.server = None
        self.began = time.monotonic()
        self.story = open(self.directory / "course.log", "w", buffering=1)

    def say(self, text):
        self.story.write(f"{time.strftime('%H:%M:%S')} {time.monotonic() - self.began:8.2f} {text}\n")

    # -- the course ------------------------------------------------------------------------------------------------

    def after(self, seconds, step):
        heapq.heappush(self.course, (time.monotonic() + seconds, next(self.order), step))

    def step_course(self):
        while self.course and self.course[0][0] <= time.monotonic():
            heapq.heappop(self.course)[2]()
        for future in [future for future in self.futures if future.done()]:
            self.futures.remove(future)
            future.result()
        for node in self.nodes:
            if node.died():
                raise Wrong(f"{node.name} ended by itself with {node.gateway.process.returncode}: {node.gateway.log_text()[-3000:]}")

    def in_background(self, thing, work):
        self.busy.add(thing)

        def run():
            try:
                work()
            finally:
                self.busy.discard(thing)

        self.futures.append(self.pool.submit(run))

    def quiet(self):
        return not self.course and not self.futures and not self.busy

    def do_one(self, kind):
        """False: it cannot be done now."""
        done = self.kinds[kind](self)
        if done:
            self.counts[kind] += 1
        return done

    def run_faults(self):
        """Each kind once in an order of the seed's, then what comes, as long as records flow; then all that was begun comes to its end."""
        plan = list(self.wanted)
        self.chance.shuffle(plan)
        plan.sort(key=lambda kind: kind not in self.while_flowing)
        due = time.monotonic() + self.chance.uniform(*self.gaps)
        end = time.monotonic() + PATIENCE + (2 * self.records / self.rate if self.rate else PATIENCE)
        while self.flowing() or plan or not self.quiet():
            if not self.flowing():
                plan = [kind for kind in plan if kind not in self.while_flowing]
            self.step_course()
            if time.monotonic() > end:
                raise Wrong(f"the course does not end: flowing {self.flowing()}, not done {plan}, at work {self.busy}, due {len(self.course)}")
            if self.wanted and time.monotonic() >= due and (plan or self.flowing()):
                due = time.monotonic() + self.chance.uniform(*self.gaps)
                weights = [1 if kind in self.seldom else 4 for kind in self.wanted]
                for kind in plan or self.chance.choices(self.wanted, weights):
                    if self.do_one(kind):
                        if kind in plan:
                            plan.remove(kind)
                        break
            time.sleep(0.02)

    # -- faults of nodes and of the database -----------------------------------------------------------------------

    def pick(self):
        up = [node for node in self.nodes if node.state == "up" and node.defined]
        return self.chance.choice(up) if up else None

    def start_node(self, node):
        def begin():
            if "database" in self.busy and not node.defined:
                self.after(0.5, begin)
                return
            try:
                if node.state == "down":
                    node.start()
                    self.say(f"{node.name} is back")
                else:
                    node.define()
            except AssertionError as problem:  # a definition may be refused as long as the destination is away
                self.say(f"{node.name} is not ready: {str(problem)[:300]}")
                if node.gateway.process.poll() is not None:
                    raise
                self.after(1, begin)

        return begin

    def kill_node(self):
        node = self.pick()
        if not node:
            return False
        self.say(f"{node.name} kill -9")
        node.kill()
        self.after(self.chance.uniform(0, 3), self.start_node(node))
        return True

    def empty_node(self):
        node = self.pick()
        if not node:
            return False
        self.say(f"{node.name} kill -9, its data directory is lost")
        node.kill()
        node.lose_data()
        self.after(self.chance.uniform(0, 3), self.start_node(node))
        return True

    def stop_node(self, longest):
        node = self.pick()
        if not node:
            return False
        seconds = self.chance.uniform(1, 4) + (longest if self.chance.random() < 0.8 else 0)
        self.say(f"{node.name} SIGSTOP for {seconds:.1f} s")
        node.signal(signal.SIGSTOP)
        node.state = "stopped"

        def go_on():
            node.signal(signal.SIGCONT)
            node.state = "up"
            self.say(f"{node.name} SIGCONT")

        self.after(seconds, go_on)
        return True

    def end_node(self):
        node = self.pick()
        if not node:
            return False
        self.say(f"{node.name} SIGTERM")
        node.signal(signal.SIGTERM)
        node.state = "ending"
        limit = time.monotonic() + 90
        pause = self.chance.uniform(0, 2)

        def look():
            code = node.gateway.process.poll()
            if code is None:
                if time.monotonic() > limit:
                    raise Wrong(f"{node.name} does not end")
                self.after(0.1, look)
            elif code != 0:
                raise Wrong(f"{node.name} ended with {code}: {node.gateway.log_text()[-3000:]}")
            else:
                node.state = "down"
                node.ends += 1
                self.after(pause, self.start_node(node))

        look()
        return True

    def restart_database(self):
        if "database" in self.busy:
            return False
        self.busy.add("database")
        self.say("the database crashes")
        self.server.stop()

        def again():
            self.server.start()
            self.busy.discard("database")
            self.say("the database is back")

        self.after(self.chance.uniform(0, 3), again)
        return True

    def end_sessions(self):
        if "database" in self.busy:
            return False
        ended = self.server.rows("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'sluice %'")[0][0]
        if ended:
            self.say(f"{ended} sessions are ended")
        return ended > 0

    # -- the end ---------------------------------------------------------------------------------------------------

    def poll(self, what, condition, patience=PATIENCE):
        end = time.monotonic() + patience
        while not condition():
            if time.monotonic() > end:
                raise Wrong(f"{what} was not so within {patience} s")
            self.step_course()
            time.sleep(0.5)

    def make_table(self):
        """Rows know which session brought them: evidence for when something is wrong."""
        self.server.rows(
            'CREATE TABLE flow ("partition" bigint, "offset" bigint, n bigint, '
            "node text DEFAULT current_setting('application_name'), tx bigint DEFAULT txid_current(), at timestamptz DEFAULT clock_timestamp())"
        )

    def copy(self, statement, path):
        psql = [str(programs() / "psql"), "-q", "-v", "ON_ERROR_STOP=1", self.server.uri, "-c", f"\\copy {statement} '{path}' (FORMAT csv)"]
        ended = subprocess.run(psql, capture_output=True, text=True)
        if ended.returncode != 0:
            raise Wrong(ended.stderr)

    def take_broker(self):
        """Puts what the broker has into a table; {partition: end}."""
        path = self.directory / "broker.csv"
        ends = self.list_broker(path)
        self.server.rows('CREATE TABLE broker ("partition" bigint, "offset" bigint, n bigint)')
        self.copy("broker FROM", path)
        self.server.rows('CREATE UNIQUE INDEX ON broker ("partition", "offset")')
        self.server.rows("ANALYZE broker")
        return ends

    def count(self, statement):
        return int(self.server.rows(statement)[0][0])

    def compare(self):
        """(records, lost, doubled, strange): strange rows are of no record, or have another value."""
        self.server.rows("ANALYZE flow")
        same = 'r."partition" = b."partition" AND r."offset" = b."offset"'
        return (
            self.count("SELECT count(*) FROM broker"),
            self.count(f"SELECT count(*) FROM broker b WHERE NOT EXISTS (SELECT FROM flow r WHERE {same})"),
            self.count('SELECT count(*) - count(DISTINCT ("partition", "offset")) FROM flow'),
            self.count(f"SELECT count(*) FROM flow r WHERE NOT EXISTS (SELECT FROM broker b WHERE {same} AND r.n = b.n)"),
        )

    def positions(self):
        if self.server.rows("SELECT to_regclass('sluice.positions')") == [(None,)]:
            return {}
        return dict(self.server.rows("SELECT partition, next_offset FROM sluice.positions ORDER BY 1"))

    def finish(self):
        """All nodes up, all imported, all nodes stopped in order; then the comparison."""
        self.say("the records are there")
        ends = self.take_broker()
        for node in self.nodes:
            node.gateway.set(f"/sources/{SOURCE}/sinks/{node.name}", AT_ONCE)
        self.poll_imported(ends)
        self.poll("nothing waits on a node", lambda: not any(node.waiting() for node in self.nodes))
        for node in self.nodes:
            node.gateway.close()
            node.state = "down"
        return self.compare()

    def poll_imported(self, ends):
        records = self.count("SELECT count(*) FROM broker")
        self.poll("all rows are there", lambda: self.count("SELECT count(*) FROM flow") >= records)

    def keep_evidence(self, why):
        """Beside the data directories and logs of the nodes."""
        (self.directory / "why").write_text(f"{why}\n")
        for node in self.nodes:
            if node.state == "stopped":
                node.signal(signal.SIGCONT)
            if node.state != "down" and node.gateway.process.poll() is None:
                (self.directory / f"{node.name}.bridge.json").write_text(node.look())
        if not self.server or not self.server.process:
            return
        same = 'r."partition" = b."partition" AND r."offset" = b."offset"'
        for name, statement in {
            "lost": f"(SELECT b.* FROM broker b WHERE NOT EXISTS (SELECT FROM flow r WHERE {same}) ORDER BY 1, 2)",
            "doubled": '(SELECT * FROM flow WHERE ("partition", "offset") IN '
            '(SELECT "partition", "offset" FROM flow GROUP BY 1, 2 HAVING count(*) > 1) ORDER BY 1, 2, at)',
            "strange": f"(SELECT r.* FROM flow r WHERE NOT EXISTS (SELECT FROM broker b WHERE {same} AND r.n = b.n) ORDER BY 1, 2)",
            "imports": '(SELECT node, tx, min(at), "partition", min("offset"), max("offset"), count(*) FROM flow GROUP BY 1, 2, 4 ORDER BY 3)',
            "positions": "sluice.positions",
            "ledger": "sluice.files",
        }.items():
            try:
                self.copy(f"{statement} TO", self.directory / f"{name}.csv")
            except Wrong as problem:
                self.say(f"no {name}: {problem}")

    def run(self):
        """{records, lost, doubled, strange, wrong, faults, seconds}; wrong: a text, when it did not come to its end."""
        result = {"records": 0, "lost": None, "doubled": None, "strange": None, "wrong": None}
        try:
            self.server = Postgres({"max_connections": 100})
            self.make_table()
            self.begin()
            for node in self.nodes:
                node.start()
            self.run_faults()
            values = self.finish()
            result.update(zip(("records", "lost", "doubled", "strange"), values))
            if any(values[1:]):
                self.keep_evidence(str(result))
        except (Wrong, AssertionError, OSError) as problem:
            result["wrong"] = f"{type(problem).__name__}: {problem}"[:2000]
            self.say(result["wrong"])
            try:
                if self.server and self.server.process and self.server.rows("SELECT to_regclass('broker')") != [(None,)]:
                    result.update(zip(("records", "lost", "doubled", "strange"), self.compare()))
                self.keep_evidence(result["wrong"])
            except Exception as more:
                self.say(f"evidence is incomplete: {more}")
        finally:
            self.end_all()
        return {**result, "faults": dict(self.counts), "seconds": round(time.monotonic() - self.began)}

    def end_all(self):
        for node in self.nodes:
            if node.gateway.process and node.gateway.process.poll() is None:
                node.gateway.kill()
        self.pool.shutdown(wait=True)
        self.close()
        if self.server:
            self.server.close()
        self.story.close()
