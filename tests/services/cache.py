"""
What tests of services fetch: into a cache outside the checkout ($SLUICE_TEST_CACHE, else ~/.cache/sluice-test), once. Where it cannot be had,
Unavailable says why: the test is skipped, and counted as skipped.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess

CACHE = pathlib.Path(os.environ.get("SLUICE_TEST_CACHE", pathlib.Path.home() / ".cache" / "sluice-test"))


class Unavailable(Exception):
    """The service cannot be had on this machine; the text says why."""


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Unavailable(f"{program} is not installed")


def run(*command):
    """What it printed; Unavailable when it fails."""
    try:
        ended = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise Unavailable(f"{command[0]}: {problem}") from problem
    if ended.returncode != 0:
        raise Unavailable(f"{' '.join(map(str, command))}: {(ended.stdout + ended.stderr)[-600:]}")
    return ended.stdout + ended.stderr


def made_once(name, make):
    """The folder `name` of the cache, made by make(folder) unless it is there whole; another process that makes it is waited for."""
    target = CACHE / name
    done = target / "complete"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            make(target)
            done.write_text(name + "\n")
    return target
