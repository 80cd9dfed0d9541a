"""
Instructions that an event takes on its whole way, by thread and by function: the gateway under callgrind, with a load whose turns are the same in
each run. docs/performance.md says what is counted.
"""

import collections
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile

from harness import BUILD, COLUMNS, EVENT

from sluice import NEVER, Gateway, wait_until  # found through harness

SMALL = '{"issue":{"id":7,"key":"K-7","fields":{"summary":"a short text"}},"user":{"name":"Ada"},"amount":12.5,"kind":"x"}'
CONNECTIONS = 16
LOADS = {  # framing, content type, body, its events, rounds of a POST on each connection
    "P1": ("single", "application/json", EVENT, 1, 640),
    f"P1, event of {len(SMALL)} B": ("single", "application/json", SMALL, 1, 640),
    "P3": ("ndjson", "application/x-ndjson", "\n".join([EVENT] * 100), 100, 32),
}
RUNS = 3
THREADS = {"intake": "HTTP loop", "writer": "writer"}
FUNCTIONS_SHOWN = 12
MAPPING_FUNCTION = "mapper_map"
MAPPING = "(mapping)"  # what that function does, and what it calls
PARTS = ("intake", "mapping", "commit", "all")


class CountedGateway(Gateway):
    """Under callgrind, a file of counts for each thread."""

    def command(self, *arguments):
        out = f"--callgrind-out-file={self.directory}/counts"
        return ["valgrind", "--tool=callgrind", "--separate-threads=yes", out, *super().command(*arguments)]

    def control(self, action):
        subprocess.run(["callgrind_control", action, str(self.process.pid)], stdout=subprocess.DEVNULL, check=True, timeout=120)

    def threads(self):
        return sorted(pathlib.Path(f"/proc/{self.process.pid}/task").iterdir(), key=lambda task: int(task.name))

    def is_asleep(self):
        return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "S" for task in self.threads())


def post(gateway, connections, request, rounds):
    """All requests of a round arrive while the gateway is stopped: they are one turn of its loop and one commit, in each run."""
    for _ in range(rounds):
        wait_until("all threads wait", gateway.is_asleep)
        gateway.process.send_signal(signal.SIGSTOP)
        os.waitpid(gateway.process.pid, os.WUNTRACED)
        for connection in connections:
            connection.sendall(request)
        gateway.process.send_signal(signal.SIGCONT)
        for connection in connections:
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"OK"), answer
    wait_until("all threads wait", gateway.is_asleep)


def read_counts(path):
    """Instructions by function, without those of what it calls; those of the mapping with them as MAPPING."""
    counts, names, function, of_call = collections.Counter(), {}, None, False
    for line in path.read_text().splitlines():
        name = re.match(r"c?fn=(\(\d+\))(?: (.*))?", line)
        if name:
            names.setdefault(name.group(1), name.group(2))
            function = function if line[0] == "c" else names[name.group(1)]
        elif line.startswith("calls="):
            of_call = True  # the next line is what the call cost
        elif re.match(r"[0-9+*-]", line) and function:
            counts[function] += 0 if of_call else int(line.split()[1])
            counts[MAPPING] += int(line.split()[1]) if function == MAPPING_FUNCTION else 0
            of_call = False
    return counts


def count_once(binary, load):
    """{thread: {function: instructions per event}}"""
    framing, content_type, body, events, rounds = LOADS[load]
    directory = pathlib.Path(tempfile.mkdtemp(prefix="sluice-counts-"))
    gateway = CountedGateway(directory, arguments=["--threads", "1", "--disk.budget", "4GB"])  # valgrind maps no terabytes
    gateway.binary = str(binary)
    try:
        gateway.start()
        path = gateway.add_source("s", framing=framing)
        gateway.add_sink("s", "rows", COLUMNS, NEVER)
        host, port = gateway.intake.rsplit(":", 1)
        connections = [socket.create_connection((host, int(port)), timeout=60) for _ in range(CONNECTIONS)]
        head = f"POST {path} HTTP/1.1\r\nHost: {gateway.intake}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        post(gateway, connections, (head + body).encode(), max(rounds // 10, 3))
        gateway.control("--zero")
        post(gateway, connections, (head + body).encode(), rounds)
        gateway.control("--dump")
        counts = {}
        for number, task in enumerate(gateway.threads(), start=1):
            thread = THREADS.get((task / "comm").read_text().strip(), "others")
            for file in directory.glob(f"counts.*-{number:02}"):
                counts.setdefault(thread, collections.Counter()).update(read_counts(file))
        count = rounds * CONNECTIONS * events
        return {thread: collections.Counter({name: n / count for name, n in functions.items()}) for thread, functions in counts.items()}
    finally:
        gateway.kill()
        shutil.rmtree(directory, ignore_errors=True)


def sums_of(counts):
    sums = {thread: sum(functions.values()) - functions[MAPPING] for thread, functions in counts.items()}
    return {**sums, "all": sum(sums.values())}


def parts_of(counts):
    """{part: instructions per event}: intake is what the HTTP loop does besides the mapping."""
    sums, loop = sums_of(counts), counts[THREADS["intake"]]
    return {"intake": sums[THREADS["intake"]] - loop[MAPPING], "mapping": loop[MAPPING], "commit": sums[THREADS["writer"]], "all": sums["all"]}


def count_parts():
    """{load: {part: instructions per event}}, medians."""
    counted = {}
    for load in LOADS:
        runs = [parts_of(count_once(BUILD / "sluice", load)) for _ in range(RUNS)]
        counted[load] = {part: statistics.median(run[part] for run in runs) for part in PARTS}
    return counted


def by_function(counts):
    total = collections.Counter()
    for functions in counts.values():
        total.update(functions)
    del total[MAPPING]
    return total


def print_functions(counts, baseline):
    """Where most is done; with another program: where the two differ most."""
    ours, theirs = by_function(counts), by_function(baseline) if baseline else {}
    names = sorted({*ours, *theirs}, key=lambda name: -abs(ours.get(name, 0) - theirs.get(name, 0)))
    for name in names[:FUNCTIONS_SHOWN]:
        difference = f" {ours.get(name, 0) - theirs.get(name, 0):+9.1f}" if baseline else ""
        print(f"    {ours.get(name, 0):9.1f}{difference}  {name}")


def count_path(baseline):
    """`baseline`: another sluice program to compare with, or None."""
    binaries = [BUILD / "sluice"] + ([baseline] if baseline else [])
    for load in LOADS:
        runs = {binary: [count_once(binary, load) for _ in range(RUNS)] for binary in binaries}
        totals = []
        print(f"\n{load}: instructions per event, median of {RUNS} runs")
        for binary in binaries:
            sums = [sums_of(counts) for counts in runs[binary]]
            medians = {name: statistics.median(s[name] for s in sums) for name in (*THREADS.values(), "others", "all")}
            spread = max(s["all"] for s in sums) / min(s["all"] for s in sums) - 1
            totals.append(medians["all"])
            print("  " + ", ".join(f"{name} {n:,.1f}" for name, n in medians.items()) + f" (spread {100 * spread:.2f} %)  {binary}")
        if baseline:
            print(f"  {100 * (totals[0] / totals[1] - 1):+.2f} %")
        print_functions(runs[binaries[0]][0], runs[binaries[1]][0] if baseline else None)
