"""Requests of many events into many sinks, and the small requests of others meanwhile."""

import json
import threading
import time

from sluice import NEVER

COLUMNS = [{"type": "id", "name": "id"}, {"type": "body", "name": "body"}]
SINKS = 20


def send_all(gateway, url, body, times, answers):
    """Each until it is taken."""
    for _ in range(times):
        deadline = time.monotonic() + 120
        while (answer := gateway.post(url, body)).status == 503 and time.monotonic() < deadline:
            pass
        answers.append(answer)


def test_the_fan_out_of_one_source_refuses_no_other_source(gateway_factory):
    gateway = gateway_factory(arguments=["--limits.in-flight", "4MB", "--threads", "2"]).start()
    fan, small = gateway.add_source("fan", framing="ndjson"), gateway.add_source("small")
    for number in range(SINKS):
        gateway.add_sink("fan", f"fan{number}", COLUMNS, NEVER)
    gateway.add_sink("small", "small", COLUMNS, NEVER)
    lines = b"".join(json.dumps({"n": n, "text": "x" * 250}).encode() + b"\n" for n in range(3000))
    answers, refused, served = [], [], 0
    sender = threading.Thread(target=send_all, args=(gateway, fan, lines, 5, answers))
    sender.start()
    while sender.is_alive():
        answer = gateway.post(small, {"a": 1})
        served += answer.status == 200
        if answer.status != 200:
            refused.append(answer)
    sender.join()
    assert [answer.headers["sluice-events"] for answer in answers] == ["3000"] * 5, answers
    assert not refused, (len(refused), served, refused[0])
    assert gateway.statistics("fan", "fan7")["total"]["recordsCount"] == 15000
    assert gateway.statistics("small", "small")["total"]["recordsCount"] == served
