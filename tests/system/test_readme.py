"""README's commands, as written: run in a network namespace of their own, so that the default ports are free. And ./run."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess

import pytest
from sluice import BINARY, ROOT, wait_until

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


@pytest.fixture
def run(tmp_path):
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

    def start(*arguments):
        return subprocess.Popen(["./run", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, env=environment)

    return start


def test_help_of_run_installs_and_builds_nothing(run, tmp_path):
    (tmp_path / ".ci/install").write_text("#!/bin/sh\ntouch installed\n")
    for option in ("--help", "-h"):
        process = run("--data", "data", option)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and said.startswith("./run [OPTION...]\n") and "--intake ADDR:PORT" in said, said
    assert not (tmp_path / "installed").exists() and not (tmp_path / "data").exists()


def test_run_prints_a_line_that_sends_an_event(run, tmp_path):
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0)), other.bind(("127.0.0.1", 0))
        intake, admin = (f"127.0.0.1:{listener.getsockname()[1]}" for listener in (one, other))
    process = run("--data", "data", "--intake", intake, "--admin", admin)
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        said = "".join(lines)
        assert "Sluice is running" in said, said
        [curl] = [line.strip() for line in lines if line.strip().startswith("curl ")]
        assert subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=60).stdout == "OK", curl
        [query] = [line.strip() for line in lines if line.strip().startswith("sqlite3 ")]
        rows = lambda: subprocess.run(["bash", "-c", query], capture_output=True, text=True, timeout=60, cwd=tmp_path).stdout
        wait_until("the row", lambda: "my first event" in rows())
        [status] = [line.strip() for line in lines if line.strip().startswith("build/release/sluice status")]
        assert f" --admin {admin}" in status and " --data data" in status, status
        seen = subprocess.run(["bash", "-c", status], capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert seen.returncode == 0 and "demo/orders" in seen.stdout, seen
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


NAMESPACE = """\
ip link set lo up
SLUICE_TOKEN=anothers ./run >run.log 2>&1 &
server=$!
trap 'kill -TERM $server; wait $server' EXIT
for _ in $(seq 1200); do grep -q Ctrl-C run.log && break; sleep 0.05; done
eval "$(grep -A 2 'second terminal' run.log | tail -n 1)"
eval "$(grep -m 1 ' curl ' run.log)"
build/release/sluice flush demo
build/release/sluice status -o json
"""


def test_after_run_the_demo_is_seen_without_options(run, tmp_path):
    if os.getuid() != 0 or subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode != 0:
        pytest.skip("network namespaces are not allowed here")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for name in ("SLUICE_ADMIN", "SLUICE_DATA", "SLUICE_TOKEN"):
        environment.pop(name, None)
    ended = subprocess.run(["unshare", "--net", "bash", "-c", NAMESPACE], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180)
    said = ended.stdout + ended.stderr + (tmp_path / "run.log").read_text()
    assert ended.returncode == 0 and "    build/release/sluice status\n" in (tmp_path / "run.log").read_text(), said
    assert "demo/orders" in ended.stdout.split("OK")[0], said
    assert "demo/orders: imported" in ended.stdout and '"sinkId": "orders"' in ended.stdout, said


def test_run_leaves_another_program_alone(run):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        process = run("--data", "data", "--intake", "127.0.0.1:0", "--admin", f"127.0.0.1:{listener.getsockname()[1]}")
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 2 and "is in use by another program" in said and "Sluice is running" not in said, said
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has even connected
            listener.accept()


def test_run_leaves_another_gateway_alone(run, gateway, tmp_path):
    # A token that the other gateway takes: only the script keeps the demo from it.
    (tmp_path / "data").mkdir(mode=0o700)
    shutil.copy(gateway.data / "admin.token", tmp_path / "data/admin.token")
    process = run("--data", "data", "--intake", "127.0.0.1:0", "--admin", gateway.admin)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 2 and "is in use by another program" in said and "Sluice is running" not in said, said
    command = [BINARY, "get", "--admin", gateway.admin, "--data", str(gateway.data)]
    assert json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)["sources"] == []
