"""
Runs pages of the documentation as a reader would: the blocks of a section in their order, in a directory of their own.

A block `yaml` is written into the file that is named last before it, as `NAME.yaml`. A block `sh` is run by bash. A block `text` behind it is what it
prints: `…` stands for anything within a line, a line `…` for any lines. A block of the one command `sqlite3`, `psql` or `sluice status` is run until
it prints that, since rows come a moment later. Blocks of other kinds are not run.
"""

import os
import pathlib
import re
import shlex
import subprocess
import textwrap

from sluice import BINARY, ROOT, wait_until

LONG = 120  # seconds, for what comes a moment later
LATER = re.compile(r"(sqlite3|psql|sluice status)\b")


def sections(page):
    """{heading: text} of the headings `##`."""
    text = (ROOT / "docs" / page).read_text()
    return {head: body for head, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.M | re.S)}


def blocks(section):
    """(kind, text, file name) in order."""
    for block in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```", section, re.M | re.S):
        kind, text = block.group(2), textwrap.dedent(block.group(3))
        names = re.findall(r"`([\w-]+\.(?:yaml|ndjson|html))`", section[: block.start()])
        yield kind, text, names[-1] if names else None


def prints(said, wanted):
    """Does `said` match a block of the page?"""
    pattern = ""
    for line in wanted.rstrip("\n").split("\n"):
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += "[^\n]*".join(re.escape(part.rstrip() if last else part) for part, last in marked(line)) + r"[ \t]*\n"
    said = "".join(f"{line.rstrip()}\n" for line in said.rstrip("\n").split("\n"))
    return re.fullmatch(pattern, said) is not None


def marked(line):
    parts = line.split("…")
    return [(part, n + 1 == len(parts)) for n, part in enumerate(parts)]


class Page:
    """`texts`: what the page has, and what stands there instead of it in the test, such as addresses."""

    def __init__(self, gateway, texts=None, environment=None):
        self.gateway, self.texts, self.environment = gateway, texts or {}, environment or {}
        self.directory = gateway.directory
        (self.directory / "build").mkdir(exist_ok=True)
        link = self.directory / "build" / "release"
        if not link.exists():
            link.symlink_to(pathlib.Path(BINARY).resolve().parent)
        self.state = self.directory / "state.sh"  # variables that a block sets hold in the next one
        self.state.write_text("")

    def follow(self, section):
        """Returns how many blocks were run."""
        count, command, expected = 0, None, None
        for kind, text, name in [*blocks(section), ("end", "", None)]:
            for written, there in self.texts.items():
                text = text.replace(written, there)
            if kind == "text" and command:
                expected, kind = text, "done"
            if command and kind in ("done", "sh", "yaml", "end"):
                self.expect(command, expected)
                command, expected = None, None
            if kind in ("yaml", "html"):
                assert name, text
                (self.directory / name).write_text(text)
            elif kind == "sh":
                command, count = text, count + 1
        return count

    def expect(self, command, wanted):
        if wanted is None:
            self.shell(command)
            return
        last = []

        def holds():
            last[:] = [self.shell(command, check=not LATER.match(command))]
            return prints(last[0], wanted)

        if not LATER.match(command):
            assert holds(), f"{command}\nprinted\n{last[0]}\ninstead of\n{wanted}"
            return
        try:
            wait_until(command, holds, LONG)
        except AssertionError:
            raise AssertionError(f"{command}\nprinted\n{last[0]}\ninstead of\n{wanted}{self.gateway.log_text()[-2000:]}") from None

    def shell(self, text, check=True):
        environment = {**os.environ, **self.environment, "SLUICE_ADMIN": f"http://{self.gateway.admin}", "SLUICE_DATA": str(self.gateway.data)}
        script = f". {shlex.quote(str(self.state))}\nset -a\n{text}\nset +a\n{{ export -p; declare -f; }} >{shlex.quote(str(self.state))}\n"
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=LONG)
        said = done.stdout + done.stderr
        assert not check or done.returncode == 0, f"{text}\n{said}{self.gateway.log_text()[-3000:]}"
        return said
