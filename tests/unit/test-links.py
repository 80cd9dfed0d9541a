#!/usr/bin/env python3
"""
Every relative link, and every path in code marks, of the Markdown files leads to something in the tree; so does every heading in a link.
Lines of prose have at most 100 columns.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLOORS = "base|config|mapping|storage|sinks|gateway|tests|bench|docs|\\.ci"
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
# "storage/pack.c", "tests/system/test_api.py::test_settings", "base/{log,metrics}.c" is left out: braces and stars are patterns.
# "storage/pack_writer.c:pack_finish": that file defines the function, or the table of that name.
PATH = re.compile(rf"^(?:\./)?((?:{FLOORS})/[\w./-]+?)(?:(::?)(\w+))?$")


def documents():
    try:
        names = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        names = []
    found = {ROOT / name for name in names} | set(ROOT.glob("*.md")) | set((ROOT / "docs").glob("*.md"))
    return sorted(path for path in found if path.exists())


def anchors(text):
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.M):
        plain = re.sub(r"[^\w\- ]", "", heading.lower().replace("`", ""))
        found.add(plain.strip().replace(" ", "-"))
    return found


def defines(path, name):
    """A function whose body begins here, or a variable at file scope."""
    return re.search(rf"^[a-z_A-Z][^;\n]*\b{name}(?:\((?:[^;]|\n)*?\)\s*\{{|(?:\[\w*\])?\s*=)", path.read_text(), re.M)


def long_lines(text):
    """Numbers of the lines of prose that are too long. Tables and code may be longer."""
    code = False
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and len(line) > 100 and not line.lstrip().startswith("|") and not line.startswith("    "):
            yield number


def problems():
    seen = 0
    in_task_table = 0
    for document in documents():
        text = document.read_text()
        name = document.relative_to(ROOT)
        for number in long_lines(text):
            yield f"{name}:{number}: the line has over 100 columns"
        for link in LINK.findall(text):
            if re.match(r"[a-z]+:", link):
                continue
            seen += 1
            path, _, anchor = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            if not target.exists():
                yield f"{name}: the link {link} leads nowhere"
            elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
                yield f"{name}: {link} names a heading that is not there"
        for code in CODE.findall(text):
            match = PATH.match(code)
            if not match:
                continue
            seen += 1
            in_task_table += document.name == "architecture.md" and match[2] == ":"
            path, mark, place = ROOT / match[1], match[2], match[3]
            if "NAME" in code or "MODULE" in code or "FLOOR" in code:
                continue
            # A module may be named without its suffix.
            if not path.exists() and not list(path.parent.glob(path.name + ".[ch]")):
                yield f"{name}: there is no {match[1]}"
            elif mark == "::" and not re.search(rf"\b{place}\b", path.read_text()):
                yield f"{name}: {match[1]} has no {place}"
            elif mark == ":" and not defines(path, place):
                yield f"{name}: {match[1]} does not define {place}"
    if in_task_table < 20:
        yield f"docs/architecture.md names only {in_task_table} places as file:function"
    if seen < 20:
        yield f"only {seen} links and paths were seen"


found = list(problems())
print("\n".join(found) or "every link leads somewhere")
sys.exit(1 if found else 0)
