"""The steps of docs/bridges.md as written, from a broker with records to rows in SQLite. Only addresses differ, and the test waits where a reader would."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from sluice import BINARY, ROOT

sys.path.insert(0, str(ROOT / "tests" / "services"))

from kafka import Kafka, Unavailable, free_ports  # noqa: E402

WAIT_READY = "for _ in $(seq 1200); do curl -fs -o /dev/null http://$SLUICE_ADMIN/ready && break; sleep 0.05; done"
WAIT_ROWS = "for _ in $(seq 1200); do [ \"$(sqlite3 data/tables.db 'SELECT count(*) FROM orders')\" = 1000 ] && break; sleep 0.1; done"


def steps():
    """The files that the page has written, and its commands, in their order."""
    text = (ROOT / "docs/bridges.md").read_text()
    for before, kind, block in re.findall(r"([^\n]*)\n\n *```(yaml|sh)\n(.*?)```", text, re.S):
        block = re.sub(r"^ {3}", "", block, flags=re.M)
        named = re.search(r"Put this into `([^`]+)`", before)
        if kind == "sh":
            yield None, block
        elif named:
            yield named.group(1), block


@pytest.fixture(scope="module")
def kafka():
    if not shutil.which("kcat") or not shutil.which("sqlite3"):
        pytest.skip("kcat and sqlite3 are needed")
    try:
        cluster = Kafka()
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield cluster
    cluster.close()


@pytest.mark.kafka
def test_the_steps_work_as_written(kafka, tmp_path):
    kafka.create_topic("shop.orders")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "release").symlink_to(pathlib.Path(BINARY).parent)
    intake, admin = free_ports(2)
    environment = {**os.environ, "SLUICE_INTAKE": f"127.0.0.1:{intake}", "SLUICE_ADMIN": f"127.0.0.1:{admin}"}
    script = "set -eu\ntrap 'jobs -p | xargs -r kill -TERM; wait' EXIT\n"
    files = 0
    for name, block in steps():
        block = block.replace("127.0.0.1:9092", kafka.brokers)
        if name:
            (tmp_path / name).write_text(block)
            files += 1
            continue
        if "sqlite3" in block:
            block = f"{WAIT_ROWS}\n{block}"
        for line in block.splitlines():
            script += f"echo {shlex.quote('== ' + line)}\n{line}\n"
            if " serve " in line:
                script += WAIT_READY + "\n"
    assert files == 2 and script.count("build/release/sluice") >= 4, script
    result = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    shown = result.stdout.split("== ")[-1]
    assert [line.split()[0] for line in shown.splitlines()[1:] if line.strip()][0] == "_bridge", said
    rows = [line.split() for line in shown.splitlines() if line.startswith("kafka:shop.orders:0:")]
    assert [row[0] for row in rows] == [f"kafka:shop.orders:0:{offset}" for offset in range(5)], said
    assert [row[1:] for row in rows] == [[str(n), f"{n}.50", "Ann"] for n in range(1, 6)], said
    assert "ok" in said, said
