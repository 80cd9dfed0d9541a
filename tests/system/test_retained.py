"""A start after a long life: what is retained and who is defined must not delay the first answer."""

import http.client
import os
import pathlib
import socket
import statistics
import subprocess
import time

from load import COLUMNS
from sluice import AT_ONCE, BINARY

# In ./check a small one. SLUICE_RETAINED_PACKS=1000000 SLUICE_RETAINED_SINKS=10000 with a release build measures the real one.
PACKS = int(os.environ.get("SLUICE_RETAINED_PACKS", "20000"))
SINKS = int(os.environ.get("SLUICE_RETAINED_SINKS", "100"))
LATER_MOST = 1.0 if "SLUICE_RETAINED_PACKS" in os.environ else 5.0  # seconds; sanitizers on a busy machine are slow
STARTS = 3
RETAINED = pathlib.Path(BINARY).parent / "tests" / "support" / "retained"


def first_answer(gateway, url, address):
    """Seconds from the start of the process to the first 200."""
    log = open(gateway.log_path, "ab")
    began = time.monotonic()
    gateway.process = subprocess.Popen(gateway.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    while True:
        assert gateway.process.poll() is None, gateway.log_text()[-3000:]
        assert time.monotonic() - began < 120
        connection = http.client.HTTPConnection(*address, timeout=60)
        try:
            connection.request("POST", url, b'{"n":"first","text":"x"}', {"Content-Type": "application/json"})
            if connection.getresponse().status == 200:
                return time.monotonic() - began
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.005)


def measure(gateway, url, address):
    times = []
    for _ in range(STARTS):
        times.append(first_answer(gateway, url, address))
        gateway.stop()
    return times


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_the_first_answer_does_not_wait_for_what_is_retained(gateway_factory):
    port = free_port()  # known before the process says so
    gateway = gateway_factory(arguments=["--intake", f"127.0.0.1:{port}", "--disk.budget", "16GB"]).start()
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, AT_ONCE)
    gateway.stop()
    empty = measure(gateway, url, ("127.0.0.1", port))
    subprocess.run([RETAINED, gateway.data, str(SINKS), str(PACKS)], check=True, timeout=1800)
    full = measure(gateway, url, ("127.0.0.1", port))
    print(f"{PACKS} packs, {SINKS} sinks: {full} s to the first 200, {empty} s without them")
    assert max(full) - statistics.median(empty) < LATER_MOST, (empty, full)
    # Nothing of it was taken for an orphan, and new rows arrive.
    assert not list((gateway.data / "staging" / "orphans").iterdir())
    gateway.start()
    gateway.flush("s", "rows")
    assert len(gateway.rows("SELECT n FROM rows")) == 2 * STARTS
