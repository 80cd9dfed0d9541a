"""Two gateways on one database under constant load and faults, for as long as wanted: what they use must not grow."""

import json
import os
import pathlib
import time

from http_round import HttpRound, Wrong

EVERY = 2  # seconds between two samples
# How much larger the highest sample of the last quarter may be than that of the second one: a factor and an amount.
LIMITS = {"memory_kb": (1.3, 16 * 1024), "descriptors": (1.0, 12), "disk_kb": (1.5, 64 * 1024), "ledger_rows": (1.5, 200)}


def disk_kb(data):
    """Of everything but the tables, which grow with what is imported."""
    total = 0
    for folder, _, names in os.walk(data):
        for name in names:
            if not name.startswith("tables.db"):
                try:
                    total += os.stat(pathlib.Path(folder) / name).st_blocks // 2
                except FileNotFoundError:
                    pass
    return total


class Soak(HttpRound):
    """
    Node 0 is killed and ended. Node 1 runs from the beginning to the end, with all faults of its destinations and of the network, and is
    measured.
    """

    def __init__(self, directory, seed, seconds, rate):
        super().__init__(directory, seed, seconds, nodes=2, rate=rate, gaps=(1, 10), retention="1m")
        self.samples = []
        self.next_sample = 0
        self.file = open(self.directory / "samples.jsonl", "w", buffering=1)

    def pick_mortal(self):
        return self.nodes[0]

    def step(self):
        super().step()
        if time.monotonic() >= self.next_sample:
            self.next_sample = time.monotonic() + EVERY
            self.sample(self.nodes[1])

    def sample(self, node):
        found = {
            "at": round(time.monotonic() - self.began, 1),
            "memory_kb": node.gateway.memory_kb(),
            "descriptors": len(os.listdir(f"/proc/{node.gateway.process.pid}/fd")),
            "disk_kb": disk_kb(node.data),
        }
        if "database" not in self.busy:
            found["ledger_rows"] = self.server.rows("SELECT count(*) FROM sluice.files")[0][0]
        self.samples.append(found)
        self.file.write(json.dumps(found) + "\n")

    def highest(self, name, first, last):
        """Of the samples between two parts of the whole time."""
        count = len(self.samples)
        return max((one.get(name, 0) for one in self.samples[int(first * count) : int(last * count)]), default=0)

    def check_more(self):
        self.grown = {}
        for name, (factor, amount) in LIMITS.items():
            before, after = self.highest(name, 0.25, 0.5), self.highest(name, 0.75, 1)
            self.grown[name] = (before, after)
            if after > before * factor + amount:
                raise Wrong(f"{name} grew from {before} to {after}")
        self.file.close()
