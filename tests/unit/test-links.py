#!/usr/bin/env python3
"""Every relative link, and every path in code marks, of the Markdown files leads to something in the tree; so does every heading in a link."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLOORS = "base|config|mapping|storage|sinks|gateway|tests|bench|docs|\\.ci"
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
# "storage/pack.c", "tests/system/test_api.py::test_settings", "base/{log,metrics}.c" is left out: braces and stars are patterns.
PATH = re.compile(rf"^(?:\./)?((?:{FLOORS})/[\w./-]+?)(?:::(\w+))?$")


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


def problems():
    seen = 0
    for document in documents():
        text = document.read_text()
        name = document.relative_to(ROOT)
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
            path, test = ROOT / match[1], match[2]
            if "NAME" in code or "MODULE" in code or "FLOOR" in code:
                continue
            # A module may be named without its suffix.
            if not path.exists() and not list(path.parent.glob(path.name + ".[ch]")):
                yield f"{name}: there is no {match[1]}"
            elif test and not re.search(rf"\b{test}\b", path.read_text()):
                yield f"{name}: {match[1]} has no {test}"
    if seen < 20:
        yield f"only {seen} links and paths were seen"


found = list(problems())
print("\n".join(found) or "every link leads somewhere")
sys.exit(1 if found else 0)
