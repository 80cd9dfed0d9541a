"""Senders for the tests of delivery: they keep their own list of what was acknowledged."""

import http.client
import json
import threading


class Sender(threading.Thread):
    """Posts numbered events on one connection until `stop` is set or `count` are done; remembers the numbers that were answered 200.
    `pause`: seconds between two posts."""

    def __init__(self, address, path, prefix, count=None, batch=1, stop=None, pause=0):
        super().__init__(daemon=True)
        self.address, self.path, self.prefix = address, path, prefix
        self.count, self.batch, self.pause = count, batch, pause
        self.stop = stop or threading.Event()
        self.acknowledged = []
        self.unknown = []  # sent, and the connection ended before an answer, or the answer says that it is not known
        self.refused = 0

    def names(self, first):
        return [f"{self.prefix}-{n}" for n in range(first, first + self.batch)]

    def run(self):
        host, port = self.address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        sent = 0
        while not self.stop.is_set() and (self.count is None or sent < self.count):
            if self.pause and sent:
                self.stop.wait(self.pause)
            names = self.names(sent)
            sent += self.batch
            body = "\n".join(json.dumps({"n": name, "text": "a,b\n\"c\" é \\."}) for name in names)
            try:
                connection.request("POST", self.path, body.encode(), {"Content-Type": "application/x-ndjson"})
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException):
                self.unknown += names
                connection.close()
                if self.count is None:
                    return
                connection = http.client.HTTPConnection(host, int(port), timeout=60)
                continue
            if response.status == 200:
                self.acknowledged += names
            elif b"it is not known" in answer:  # the commit failed
                self.unknown += names
            else:
                self.refused += 1


COLUMNS = [
    {"type": "id", "name": "id"},
    {"type": "path", "name": "n", "path": "n", "rawString": True},
    {"type": "path", "name": "text", "path": "text", "rawString": True},
]
TEXT = 'a,b\n"c" é \\.'


def assert_exactly_once(rows, acknowledged, unknown):
    """`rows`: (n, text) of the table. Each acknowledged name once, nothing twice, nothing that was never sent, every byte right."""
    names = [row[0] for row in rows]
    seen = set(names)
    assert len(names) == len(seen), f"doubled: {sorted(n for n in seen if names.count(n) > 1)[:10]}"
    lost = set(acknowledged) - seen
    assert not lost, f"{len(lost)} of {len(acknowledged)} acknowledged are lost: {sorted(lost)[:10]}"
    strange = seen - set(acknowledged) - set(unknown)
    assert not strange, f"never sent, or refused: {sorted(strange)[:10]}"
    assert all(row[1] == TEXT for row in rows)
