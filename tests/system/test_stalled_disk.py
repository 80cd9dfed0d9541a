"""A local disk that hangs in a commit: nobody waits for it longer than disk.stall-timeout, and nothing is lost."""

import threading
import time

from load import COLUMNS
from sluice import NEVER, request, wait_until

HANGS_SECONDS = 20
QUICK = 8  # seconds that no answer may take, while the disk hangs for much longer


class Post(threading.Thread):
    def __init__(self, gateway, url, number):
        super().__init__()
        self.send = lambda: gateway.post(url, {"id": f"e{number}", "text": "x", "n": number})
        self.status = None

    def run(self):
        self.status = self.send().status


def timed(what, call):
    began = time.monotonic()
    answer = call()
    assert time.monotonic() - began < QUICK, f"{what} waited for the disk"
    return answer


def test_a_disk_that_hangs_is_told_and_not_waited_for(gateway_factory):
    gateway = gateway_factory(
        arguments=["--disk.stall-timeout", "500ms"],
        environment={"SLUICE_FAILPOINTS": f"storage.before-commit=wait:{HANGS_SECONDS * 1000}@40"},
    ).start()
    url = gateway.add_source("load")
    gateway.add_sink("load", "rows", COLUMNS, NEVER)

    def is_ready():
        return request(gateway.admin, "GET", "/ready").status == 200

    stored, hanging = 0, None
    while not hanging:
        assert stored < 100
        post = Post(gateway, url, stored)
        post.start()
        post.join(timeout=1)
        if post.is_alive() and not is_ready():
            hanging = post
            break
        post.join(timeout=60)
        assert post.status == 200
        stored += 1

    ready = timed("/ready", lambda: request(gateway.admin, "GET", "/ready"))
    assert ready.status == 503 and ready.json["error"] == "stream.api.diskStalled" and "retry-after" in ready.headers
    refused = timed("a request", lambda: gateway.post(url, {"id": "no", "text": "x", "n": 0}))
    assert refused.status == 503 and refused.json["error"] == "stream.in.overloaded" and "retry-after" in refused.headers
    levels = timed("statistics", lambda: gateway.statistics("load", "rows"))["levels"]
    assert levels["local"]["recordsCount"] == stored
    removal = timed("a removal", lambda: gateway.api("DELETE", "/sources/load/sinks/rows/rejects"))
    assert removal.status == 503 and removal.json["error"] == "stream.api.diskStalled"
    assert hanging.is_alive()

    wait_until("the disk goes on", is_ready)
    hanging.join(timeout=60)
    assert hanging.status == 200
    assert gateway.post(url, {"id": "after", "text": "x", "n": 1}).status == 200
    gateway.flush("load", "rows")
    assert gateway.rows("SELECT count(*) FROM rows") == [(stored + 2,)]
