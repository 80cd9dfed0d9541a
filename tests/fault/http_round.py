"""A round of faults for senders of HTTP: the real program, SQLite and PostgreSQL, and a list of what was acknowledged that it cannot see."""

import atexit
import collections
import contextlib
import heapq
import http.client
import itertools
import json
import pathlib
import random
import re
import resource
import shutil
import signal
import sqlite3
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "system"))

import psycopg2  # noqa: E402
from fault_proxy import FaultProxy  # noqa: E402
from postgres import Postgres  # noqa: E402
from sluice import Gateway  # noqa: E402

PATIENCE = 180
SENDERS = 3  # of each gateway
KEYS = 20  # of each sender
STRIDE = 10**9  # between the numbers of two senders
# Rows reach the tables in packs and files of different sizes.
CONDITIONS = [
    (1, 1),
    (20, 100),
    (200, 500),
    (1000, 1),
    (50, 3000),
]
PIECES = ["a,b", '"c"', "é", "\\.", "\n", "\t'", "\\N", "", "日本", "x" * 300]
EVENTS, STATES = ("events_local", "events_warehouse"), ("states_local", "states_warehouse")


def text_of(number):
    """What the event of this number has as its text: bytes that formats on the way could take for something else."""
    return f"{number}:" + PIECES[number % len(PIECES)] * (number % 4) + PIECES[number // 7 % len(PIECES)]


def failpoints():
    """All that docs/testing.md lists, with whether an error has an effect there; the suite `docs` holds the list complete."""
    section = (ROOT / "docs" / "testing.md").read_text().split("\n## Failpoints\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z.-]+)` \| (.*) \|$", section, re.M)
    return [(name, "no `error`" not in meaning) for name, meaning in rows if not name.startswith("app.")]


class Wrong(Exception):
    """The round went wrong."""


class Sender(threading.Thread):
    """
    Posts numbered events on connections that end with the gateway. `fate` has a byte for each number: what became of its event. Nothing is
    sent twice, so a table must have each acknowledged number once, and may have each unknown one once.
    """

    ACKNOWLEDGED, UNKNOWN, REFUSED = 1, 2, 3

    def __init__(self, node, number, seed, rate):
        super().__init__(daemon=True)
        self.node, self.number, self.rate = node, number, rate
        self.chance = random.Random(seed * 1000 + number)
        self.ended = threading.Event()
        self.fate = bytearray()
        self.states = [{"sure": None, "maybe": set()} for _ in range(KEYS)]  # of each key: the last acknowledged value, and later unknown ones
        self.state_count = 0
        self.statuses = collections.Counter()

    def events(self):
        first = len(self.fate)
        numbers = range(first, first + self.chance.choice([1, 1, 5, 20, 100]))
        self.fate += bytes(len(numbers))
        lines = [json.dumps({"n": self.number * STRIDE + number, "text": text_of(number)}) for number in numbers]
        return "\n".join(lines), numbers

    def settle_events(self, numbers, fate):
        self.fate[numbers.start : numbers.stop] = bytes([fate]) * len(numbers)

    def keyed(self):
        changes = []
        for _ in range(self.chance.choice([1, 5, 30])):
            self.state_count += 1
            changes.append((self.chance.randrange(KEYS), self.state_count))
        lines = [json.dumps({"k": f"{self.number}-{key}", "v": value, "text": text_of(value)}) for key, value in changes]
        return "\n".join(lines), changes

    def settle_keyed(self, changes, fate):
        for key, value in changes:
            if fate == self.ACKNOWLEDGED:
                self.states[key] = {"sure": value, "maybe": set()}
        if fate == self.UNKNOWN:  # all of them are there, or none
            for key, value in dict(changes).items():
                self.states[key]["maybe"].add(value)

    def run(self):
        connection = None
        began, done = time.monotonic(), 0
        while not self.ended.is_set():
            is_keyed = self.chance.random() < 0.25
            body, content = self.keyed() if is_keyed else self.events()
            done += len(content)
            settle = self.settle_keyed if is_keyed else self.settle_events
            fate = self.UNKNOWN
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(*self.node.address, timeout=60)
                path = self.node.states_path if is_keyed else self.node.events_path
                connection.request("POST", path, body.encode(), {"Content-Type": "application/x-ndjson"})
                response = connection.getresponse()
                answer = response.read()
                self.statuses[response.status] += 1
                if response.status == 200:
                    fate = self.ACKNOWLEDGED
                elif b"it is not known" not in answer:  # else a commit failed
                    fate = self.REFUSED
                if fate == self.REFUSED:
                    self.ended.wait(0.02)
            except (OSError, http.client.HTTPException):
                if connection:
                    connection.close()
                connection = None
                self.ended.wait(0.02)
            settle(content, fate)
            if self.rate:
                self.ended.wait(max(0, began + done / self.rate - time.monotonic()))


class Node:
    """A gateway with two sources, each of which fills a table of SQLite and one of PostgreSQL."""

    def __init__(self, directory, number, uri, chance, retention):
        directory = directory / f"node-{number}"
        directory.mkdir()
        self.number, self.chance = number, chance
        config = f"connections: {{warehouse: {{type: postgres, uri: '{uri}'}}}}\n"
        arguments = ["--threads", "2", "--loaders", str(chance.randint(1, 4)), "--import-timeout", "5s"]
        self.gateway = Gateway(directory, config, arguments + ["--retention.imported", retention])
        self.failpoint = None

    @property
    def data(self):
        return self.gateway.data

    def start(self, failpoint=None):
        """With a failpoint it may end while it starts, as at any time later."""
        self.failpoint = failpoint
        try:
            self.gateway.start(environment={"SLUICE_FAILPOINTS": failpoint} if failpoint else None)
        except AssertionError:
            if failpoint and not self.is_up():
                return
            raise
        host, port = self.gateway.intake.rsplit(":", 1)
        self.address = (host, int(port))

    def define(self):
        self.events_path = self.gateway.add_source("events", framing="ndjson")
        self.states_path = self.gateway.add_source("states", framing="ndjson")
        text = {"type": "path", "name": "text", "path": "text", "rawString": True}
        events = [{"type": "path", "name": "n", "path": "n", "dataType": "integer"}, text]
        states = [
            {"type": "path", "name": "k", "path": "k", "rawString": True, "primaryKey": True},
            {"type": "path", "name": "v", "path": "v", "dataType": "integer"},
            text,
        ]
        for names, columns in ((EVENTS, events), (STATES, states)):
            for name, connection in zip(names, ("local", "warehouse")):
                source = name.split("_")[0]
                self.gateway.add_sink(source, name, columns, self.conditions(), connection=connection, table=source)

    def conditions(self):
        staging, target = self.chance.choice(CONDITIONS)
        return {
            "storage.level.staging.upload.trigger.count": staging,
            "storage.level.staging.upload.trigger.interval": "1s",
            "storage.level.target.import.trigger.count": target,
        }

    def sinks(self):
        return [(name.split("_")[0], name) for name in EVENTS + STATES]

    def is_up(self):
        return self.gateway.process.poll() is None

    def waiting(self):
        def of(source, sink):
            levels = self.gateway.statistics(source, sink)["levels"]
            return levels["local"]["recordsCount"] + levels["staging"]["recordsCount"]

        return {sink: of(source, sink) for source, sink in self.sinks()}


class Server:
    """A PostgreSQL server for the rounds of this process, one after another."""

    made = None

    @classmethod
    def take(cls):
        if not cls.made:
            cls.made = Postgres({"max_connections": 60})
            atexit.register(cls.made.close)
        if not cls.made.process:
            cls.made.start()
        cls.made.empty()
        return cls.made


class HttpRound:
    def __init__(self, directory, seed, seconds, nodes=1, rate=0, gaps=(0.05, 0.8), retention="1m", only=()):
        self.directory = pathlib.Path(directory)
        self.seed, self.seconds, self.rate, self.gaps, self.retention = seed, seconds, rate, gaps, retention
        self.chance = random.Random(seed)
        self.wanted = [kind for kind in self.kinds if not only or kind in only]
        self.node_count = nodes
        self.nodes, self.senders = [], []
        self.counts = collections.Counter()
        self.course, self.order = [], itertools.count()  # (when, number, step) of what is due later
        self.busy = set()
        self.began = time.monotonic()
        self.story = open(self.directory / "course.log", "w", buffering=1)
        self.server = self.proxy = None

    def say(self, text):
        self.story.write(f"{time.strftime('%H:%M:%S')} {time.monotonic() - self.began:8.2f} {text}\n")

    # -- the course ------------------------------------------------------------------------------------------------

    def after(self, seconds, busy, step):
        def run():
            self.busy.discard(busy)
            step()

        self.busy.add(busy)
        heapq.heappush(self.course, (time.monotonic() + seconds, next(self.order), run))

    def step(self):
        while self.course and self.course[0][0] <= time.monotonic():
            heapq.heappop(self.course)[2]()
        for node in self.nodes:
            self.look_after(node)

    def look_after(self, node):
        """A gateway may end by itself only at a failpoint."""
        code = node.gateway.process.poll()
        if code is None:
            return
        if not node.failpoint or code not in (-9, 2):
            raise Wrong(f"node {node.number} ended by itself with {code}: {node.gateway.log_text()[-2000:]}")
        self.say(f"node {node.number} ended with {code} at {node.failpoint}")
        self.counts["reached"] += 1
        node.start()

    def run_faults(self):
        """At least one kill."""
        end = time.monotonic() + self.seconds
        due = time.monotonic() + self.chance.uniform(*self.gaps)
        weights = [self.often.get(kind, 1) for kind in self.wanted]
        while time.monotonic() < end or ("kill" in self.wanted and not self.counts["kill"]):
            self.step()
            if time.monotonic() >= due:
                due = time.monotonic() + self.chance.uniform(*self.gaps)
                kind = self.chance.choices(self.wanted, weights)[0]
                if self.kinds[kind](self) is not False:
                    self.counts[kind] += 1
            time.sleep(0.01)

    # -- faults ----------------------------------------------------------------------------------------------------

    def pick(self):
        return self.chance.choice(self.nodes)

    def pick_mortal(self):
        """Of those that may be ended."""
        return self.pick()

    def kill(self):
        node = self.pick_mortal()
        self.say(f"node {node.number} kill -9")
        node.gateway.kill()
        time.sleep(self.chance.choice([0, 0, 0.2]))
        node.start()

    def reach_failpoint(self):
        node = self.pick_mortal()
        if not node.is_up():
            return False
        name, fails = self.chance.choice(self.failpoints)
        action = self.chance.choice(["crash", "crash", "crash", "error" if fails else "crash", f"wait:{self.chance.choice([20, 300])}"])
        self.say(f"node {node.number} kill -9, and {name}={action}")
        node.gateway.kill()
        node.start(f"{name}={action}@{self.chance.choice([1, 1, 2, 5, 20])}")

    def end(self):
        node = self.pick_mortal()
        if not node.is_up():
            return False
        self.say(f"node {node.number} SIGTERM")
        node.gateway.process.send_signal(signal.SIGTERM)
        code = node.gateway.process.wait(timeout=60)
        if code != 0 and not (node.failpoint and code in (-9, 2)):
            raise Wrong(f"node {node.number} ended with {code}: {node.gateway.log_text()[-2000:]}")
        node.start()

    def stop(self):
        node = self.pick()
        if not node.is_up():
            return False
        seconds = self.chance.uniform(0.1, 1)
        self.say(f"node {node.number} SIGSTOP for {seconds:.1f} s")
        process = node.gateway.process
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    def crash_database(self):
        if "database" in self.busy:
            return False
        self.say("the database crashes")
        self.server.stop()
        self.after(self.chance.uniform(0, 1), "database", self.server.start)

    def end_sessions(self):
        if "database" in self.busy:
            return False
        return self.server.rows("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'sluice %'")[0][0] > 0

    def cut(self):
        return self.proxy.cut() > 0

    def disturb(self):
        if "network" in self.busy:
            return False
        self.proxy.mode = self.chance.choice(["hole", "slow", "refuse"])
        seconds = self.chance.choice([0.3, 1, 2]) if self.seconds < 60 else self.chance.choice([1, 5, 20])
        self.say(f"the network: {self.proxy.mode} for {seconds} s")

        def restore():
            self.proxy.mode = "pass"
            if self.chance.random() < 0.5:
                self.proxy.cut()

        self.after(seconds, "network", restore)

    def lock_warehouse(self):
        if self.busy & {"database", "warehouse"}:
            return False
        holder = psycopg2.connect(self.server.uri)
        with holder.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
            try:
                cursor.execute(f"LOCK TABLE {self.chance.choice(['events', 'states', 'events, states'])}")
            except psycopg2.Error:
                holder.close()
                return False
        self.say("tables of the warehouse are locked")
        self.after(self.chance.uniform(0.2, 2), "warehouse", holder.close)

    def lock_file(self):
        if "file" in self.busy:
            return False
        database = sqlite3.connect(self.pick().data / "tables.db", isolation_level=None, timeout=1, check_same_thread=False)
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            database.close()
            return False
        self.say("tables.db is locked")
        self.after(self.chance.uniform(0.1, 1), "file", database.close)

    def pause(self):
        """By an admin: of a sink, a source or a connection."""
        if "pause" in self.busy:
            return False
        node = self.pick()
        source, sink = self.chance.choice(node.sinks())
        what = self.chance.choice([f"/sources/{source}/sinks/{sink}", f"/sources/{source}", "/connections/warehouse"])
        if not self.ask(node, f"{what}/pause"):
            return False
        self.say(f"node {node.number}: {what} is paused")

        def resume():
            if not self.ask(node, f"{what}/resume"):
                self.after(0.2, "pause", resume)

        self.after(self.chance.uniform(0.1, 1), "pause", resume)

    def ask(self, node, path):
        """A gateway that dies meanwhile has refused; whether it has done so is asked again."""
        try:
            return node.gateway.api("PUT", path).status in (200, 202)
        except (OSError, http.client.HTTPException):
            return False

    def change_conditions(self):
        node = self.pick()
        source, sink = self.chance.choice(node.sinks())
        with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
            node.gateway.set(f"/sources/{source}/sinks/{sink}", node.conditions())

    kinds = {
        "kill": kill,
        "failpoint": reach_failpoint,
        "end": end,
        "stop": stop,
        "database": crash_database,
        "sessions": end_sessions,
        "cut": cut,
        "network": disturb,
        "lock": lock_warehouse,
        "file": lock_file,
        "pause": pause,
        "conditions": change_conditions,
    }
    often = {"kill": 4, "failpoint": 4}  # times as often as another kind

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self):
        """No fault any more; all rows are imported, and all gateways stop in order."""
        self.say("the faults are over")
        while self.course:
            self.step()
            time.sleep(0.01)
        for sender in self.senders:
            sender.ended.set()
        for sender in self.senders:
            sender.join(timeout=90)
            if sender.is_alive():
                raise Wrong(f"sender {sender.number} got no answer for 90 s")
        for node in self.nodes:
            if node.failpoint:
                node.gateway.kill()
                node.start()
        end = time.monotonic() + PATIENCE
        for node in self.nodes:
            while any(node.waiting().values()):
                if time.monotonic() > end:
                    raise Wrong(f"rows still wait on node {node.number}: {node.waiting()}; {node.gateway.log_text()[-1500:]}")
                for source, sink in node.sinks():
                    node.gateway.api("POST", f"/sources/{source}/sinks/{sink}/flush", wait=10)
            self.check_counts(node)
            node.gateway.close()

    def check_counts(self, node):
        for source, sink in node.sinks():
            total = node.gateway.statistics(source, sink)["levels"]["target"]["recordsCount"]
            rejects = node.gateway.api("GET", f"/sources/{source}/sinks/{sink}/rejects", expect=200).json["rejects"]
            if rejects:
                raise Wrong(f"{sink} has rejects: {rejects[:3]}")
            self.counted[sink] += total

    def tables(self, name):
        """Iterators over (columns…) of each table of this name; the rows of several gateways come together in PostgreSQL."""

        def of_file(node):
            database = sqlite3.connect(node.data / "tables.db")
            with contextlib.closing(database):
                yield from database.execute(f"SELECT * FROM {name}")

        def of_server():
            with contextlib.closing(psycopg2.connect(self.server.uri)) as session, session.cursor("rows") as cursor:
                cursor.itersize = 10000
                cursor.execute(f"SELECT * FROM {name}")
                yield from cursor

        senders = {node.number: [sender for sender in self.senders if sender.node is node] for node in self.nodes}
        for node in self.nodes:
            yield f"SQLite, node {node.number}", of_file(node), senders[node.number]
        yield "PostgreSQL", of_server(), self.senders

    def compare(self):
        """Of all tables together: (rows, lost, doubled, strange)."""
        rows = lost = doubled = strange = 0
        counted = collections.Counter()
        for table, found, senders in self.tables("events"):
            seen = {sender.number: bytearray(len(sender.fate)) for sender in senders}
            fates = {sender.number: sender.fate for sender in senders}
            evidence = []
            for n, text in found:
                rows += 1
                counted["events_warehouse" if table == "PostgreSQL" else "events_local"] += 1
                sender, number = divmod(n, STRIDE)
                if sender not in seen or number >= len(seen[sender]) or fates[sender][number] == Sender.REFUSED or text != text_of(number):
                    strange += 1
                    evidence.append(f"strange {n} {text[:60]!r}")
                elif seen[sender][number]:
                    doubled += 1
                    evidence.append(f"doubled {n}")
                else:
                    seen[sender][number] = 1
            for sender, fate in fates.items():
                missing = [i for i in range(len(fate)) if fate[i] == Sender.ACKNOWLEDGED and not seen[sender][i]]
                lost += len(missing)
                evidence += [f"lost {sender * STRIDE + i}" for i in missing]
            self.keep(f"events, {table}", evidence)
        for table, found, senders in self.tables("states"):
            values = {}
            evidence = []
            for k, v, text in found:
                rows += 1
                if k in values:
                    doubled += 1
                    evidence.append(f"doubled {k}")
                if text != text_of(v):
                    strange += 1
                    evidence.append(f"strange {k} {v} {text[:60]!r}")
                values[k] = v
            for sender in senders:
                for key, state in enumerate(sender.states):
                    value = values.pop(f"{sender.number}-{key}", None)
                    if value != state["sure"] and value not in state["maybe"]:
                        lost += 1
                        evidence.append(f"{sender.number}-{key} is {value}, not {state}")
            strange += len(values)
            evidence += [f"strange {k}" for k in values]
            self.keep(f"states, {table}", evidence)
        for name, count in counted.items():
            if self.counted[name] != count:
                raise Wrong(f"the statistics of {name} count {self.counted[name]} rows, and the table has {count}")
        return rows, lost, doubled, strange

    def keep(self, what, evidence):
        if evidence:
            (self.directory / f"{what}.txt").write_text("\n".join(evidence) + "\n")

    def run(self):
        """{acknowledged, rows, lost, doubled, strange, wrong, faults, seconds}; wrong: a text, if it did not come to its end."""
        result = {"acknowledged": 0, "rows": 0, "lost": None, "doubled": None, "strange": None, "wrong": None}
        self.failpoints = failpoints()
        self.counted = collections.Counter()
        try:
            self.server = Server.take()
            self.proxy = FaultProxy(self.server.port)
            uri = self.server.uri.replace(str(self.server.port), str(self.proxy.port))
            for number in range(self.node_count):
                node = Node(self.directory, number, uri, self.chance, self.retention)
                node.start()
                self.nodes.append(node)
                node.define()
                self.senders += [Sender(node, number * SENDERS + i, self.seed, self.rate) for i in range(SENDERS)]
            for sender in self.senders:
                sender.start()
            self.run_faults()
            self.finish()
            result.update(zip(("rows", "lost", "doubled", "strange"), self.compare()))
            self.check_more()
        except (Wrong, AssertionError, OSError, http.client.HTTPException, sqlite3.Error, psycopg2.Error) as problem:
            whole = f"{type(problem).__name__}: {problem}"
            self.say(whole)
            result["wrong"] = whole if len(whole) < 1000 else f"{whole[:300]} … {whole[-600:]}"
        finally:
            self.close()
        result["acknowledged"] = sum(sender.fate.count(Sender.ACKNOWLEDGED) for sender in self.senders)
        self.say(f"{result} {[dict(sender.statuses) for sender in self.senders]}")
        self.story.close()
        return {**result, "faults": dict(self.counts), "seconds": round(time.monotonic() - self.began)}

    def check_more(self):
        """Of a longer round."""

    def close(self):
        for sender in self.senders:
            sender.ended.set()
        for node in self.nodes:
            if node.gateway.process and node.is_up():
                node.gateway.process.send_signal(signal.SIGCONT)
                node.gateway.kill()
        if self.proxy:
            self.proxy.close()


def main(directory, seconds, only):
    """Runs the seeds that come on the standard input, and answers each with a line of JSON."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers do not stay behind
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        seed = int(line)
        round_directory = pathlib.Path(directory) / f"http-{seed}"
        shutil.rmtree(round_directory, ignore_errors=True)
        round_directory.mkdir(parents=True)
        found = HttpRound(round_directory, seed, float(seconds), only=[kind for kind in only.split(",") if kind]).run()
        if found["wrong"] is None and found["lost"] == found["doubled"] == found["strange"] == 0:
            shutil.rmtree(round_directory)
        print(json.dumps({"seed": seed, **found}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
