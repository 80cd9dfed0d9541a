"""README's commands, as written: run in a network namespace of their own, so that the default ports are free. And ./run."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from sluice import BINARY, ROOT

# What is not for a test: installing, building, and servers that the reader starts.
NOT_HERE = re.compile(r"^(\./run|\./check)|--config config/examples|examples/postgres\.yaml|get demo-postgres")


def blocks():
    """The shell blocks of README, without the lines that are not for a test."""
    text = (ROOT / "README.md").read_text()
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        lines = [line for line in block.splitlines() if not NOT_HERE.search(line)]
        if any(line and not line.startswith("#") for line in lines):
            yield "\n".join(lines)


SCRIPT = """\
set -eu
ip link set lo up
build/release/sluice serve >sluice.log 2>&1 &
server=$!
trap 'kill -TERM $server; wait $server' EXIT
for _ in $(seq 600); do curl -fs -o /dev/null http://127.0.0.1:7001/ready && break; sleep 0.05; done
build/release/sluice apply -f config/examples/demo.yaml
set -o pipefail
"""


def test_commands_work_as_written(tmp_path):
    if os.getuid() != 0 or subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode != 0:
        pytest.skip("network namespaces are not allowed here")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "release").symlink_to(pathlib.Path(BINARY).parent)
    (tmp_path / "config").symlink_to(ROOT / "config")
    script = SCRIPT
    found = list(blocks())
    assert len(found) >= 4, found
    for number, block in enumerate(found):
        script += f"echo; echo '== block {number}'\n{block}\n"
    result = subprocess.run(["unshare", "--net", "bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    said = result.stdout + result.stderr + (tmp_path / "sluice.log").read_text()[-3000:]
    assert result.returncode == 0, said
    assert "HTTP/1.1 200 OK" in result.stdout and "HTTP/1.1 4" not in result.stdout and '"statusCode":4' not in result.stdout, said
    assert result.stdout.count("HTTP/1.1 200 OK") >= 3, said
    assert '"status":"success"' in result.stdout.replace(" ", ""), said
    assert "recordsCount" in result.stdout and "hello" in result.stdout, said


def test_run_leaves_another_gateway_alone(gateway, tmp_path):
    """./run itself, in a tree whose packages are there and whose release is the binary under test."""
    shutil.copy(ROOT / "run", tmp_path / "run")
    (tmp_path / "config").symlink_to(ROOT / "config")
    (tmp_path / "build/release").mkdir(parents=True)
    (tmp_path / "build/release/build.ninja").touch()
    (tmp_path / "build/release/sluice").symlink_to(BINARY)
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/packages").write_text("BUILD_PACKAGES=() USE_PACKAGES=()\n")
    for tool, line in ((".ci/install", "true"), ("ninja", "echo no work to do")):
        (tmp_path / tool).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / tool).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    # A token that the other gateway takes: only the script keeps the demo from it.
    (tmp_path / "data").mkdir(mode=0o700)
    shutil.copy(gateway.data / "admin.token", tmp_path / "data/admin.token")
    command = ["./run", "--data", "data", "--intake", "127.0.0.1:0", "--admin", gateway.admin]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment)
    assert result.returncode == 2 and "is in use by another program" in result.stdout + result.stderr, result
    assert "Sluice is running" not in result.stdout, result
    command = [BINARY, "get", "--admin", gateway.admin, "--data", str(gateway.data)]
    assert json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)["sources"] == []
