"""The promises of README's table to HTTP senders, each in a test of its own. Brokers have theirs in test_bridge_faults.py."""

import http.client
import json
import threading

import pytest
from load import COLUMNS, TEXT
from sluice import NEVER, wait_until

KEYED = [{**column, "primaryKey": column["name"] == "n"} for column in COLUMNS if column["name"] != "id"]
KILLS = 3


class Client(threading.Thread):
    """Sends numbered events on one connection and waits for each answer. With `retries` an event is sent until the answer is 200 or 202."""

    def __init__(self, gateway, path, name, count=None, retries=False):
        super().__init__(daemon=True)
        self.gateway, self.path, self.name_of_client, self.count, self.retries = gateway, path, name, count, retries
        self.sent = []  # events that were sent at least once
        self.answered = []
        self.stop = threading.Event()
        self.connection = None

    def run(self):
        while not self.stop.is_set() and (self.count is None or len(self.answered) < self.count):
            name = f"{self.name_of_client}-{len(self.answered)}"
            if not self.sent or self.sent[-1] != name:
                self.sent.append(name)
            if self.send(name) in (200, 202):
                self.answered.append(name)
            elif not self.retries:
                return

    def send(self, name):
        try:
            if self.connection is None:
                host, port = self.gateway.intake.rsplit(":", 1)  # another port after each start
                self.connection = http.client.HTTPConnection(host, int(port), timeout=60)
            body = json.dumps({"n": name, "text": TEXT})
            self.connection.request("POST", self.path, body, {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            if self.connection:
                self.connection.close()
            self.connection = None
            self.stop.wait(0.01)
            return None


def test_at_most_once_loses_only_the_end(gateway_factory):
    """Without sync.wait a crash loses the rows behind the last finished commit: what a client sent before a row that is there is there, too."""
    gateway = gateway_factory().start()
    url = gateway.add_source("load")
    gateway.add_sink("load", "rows", COLUMNS, {**NEVER, "storage.level.local.encoding.sync.wait": False})
    clients = [Client(gateway, url, f"c{i}") for i in range(3)]
    for client in clients:
        client.start()
    wait_until("some load", lambda: all(len(client.answered) >= 50 for client in clients))
    gateway.kill()
    for client in clients:
        client.stop.set()
        client.join(timeout=60)
    gateway.start()
    gateway.flush("load", "rows")
    found = [name for (name,) in gateway.rows("SELECT n FROM rows")]
    assert len(found) == len(set(found)) > 0
    for client in clients:
        mine = [name for name in client.sent if name in set(found)]
        assert mine == client.sent[: len(mine)], "a row is missing in the middle"
    assert set(found) <= {name for client in clients for name in client.sent}


@pytest.mark.parametrize("destination", ["sqlite", "postgres"])
def test_a_primary_key_and_retries_are_exactly_once(gateway_factory, request, destination):
    """A client that repeats each event until it is answered, through kills: the table has each event once, by its key."""
    config = None
    if destination == "postgres":
        server = request.getfixturevalue("postgres")
        config = f"connections:\n  warehouse:\n    type: postgres\n    uri: {server.uri}\n"
    gateway = gateway_factory(config).start()
    url = gateway.add_source("load")
    small = {"storage.level.staging.upload.trigger.count": 20, "storage.level.target.import.trigger.count": 20}
    gateway.add_sink("load", "rows", KEYED, small, connection="warehouse" if config else "local")
    clients = [Client(gateway, url, f"c{i}", count=40 * (KILLS + 1), retries=True) for i in range(3)]
    for client in clients:
        client.start()
    for kill in range(KILLS):
        wait_until("some load", lambda: all(len(client.answered) >= 40 * (kill + 1) for client in clients))
        gateway.kill()
        gateway.start()
    for client in clients:
        client.join(timeout=120)
        assert len(client.answered) == 40 * (KILLS + 1)
    gateway.flush("load", "rows")
    statement = "SELECT n, text FROM rows ORDER BY n"
    found = [tuple(row) for row in (server.rows(statement) if config else gateway.rows(statement))]
    assert found == [(name, TEXT) for name in sorted(name for client in clients for name in client.answered)]
