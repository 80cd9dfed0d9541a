#!/usr/bin/env python3
"""
What the Markdown files name exists: the target and heading of each relative link, and in code marks each path, file, function, command,
option and environment variable. Files that comments of the code name exist as well. Lines of prose have at most 100 columns.
"""

import collections
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLOORS = "base|config|mapping|storage|sinks|gateway|tests|bench|docs|\\.ci"
LINK = re.compile(r"\]\(([^)\s]+)\)")
TEST_LINK = re.compile(r"\[`(test_\w+)`\]\(([^)\s]+)\)")  # the file defines a test of that name
CODE = re.compile(r"`([^`\n]+)`")
# "storage/pack.c", "tests/system/test_api.py::test_settings", "base/{log,metrics}.c" is left out: braces and stars are patterns.
# "storage/pack_writer.c:pack_finish": that file defines the function, or the table of that name.
PATH = re.compile(rf"^(?:\./)?((?:{FLOORS})/[\w./-]+?)(?:(::?)(\w+))?$")
FILE = re.compile(r"^[\w-]+\.(?:c|h|py)$")
NAME = re.compile(r"^[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?:\(\))?$")
OPTION = re.compile(r"^(?:limits|timeouts|disk|retention|templates)\.(?!(?:json|yaml)$)[a-z-]+$")
VARIABLE = re.compile(r"^SLUICE_[A-Z_]+$")
# Of other programs, and examples of names.
FOREIGN_FILES = {"avro.h", "h2o.h", "lmdb.h", "conn.c", "x.h", "x.c"}
FOREIGN_NAMES = re.compile(r"^(?:pg_\w+|ignore_startup_parameters|(?:query|query_wait|idle_transaction)_timeout|ret_x|take_x|module_verb)$")
NO_COMMANDS = {"takes", "cannot", "record"}  # "sluice cannot start" is a message, "sluice record id" a text that is hashed
COMMENT_FILE = re.compile(r"(?<![\w./<\"-])((?:[\w-]+/)*[\w-]+\.(?:c|h|md))\b(?!\()")


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


def tracked():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    return [name for name in names if (ROOT / name).is_file()]


def commands():
    table = re.search(r"commands\[\] = \{(.*?)\};", (ROOT / "gateway/app/program.c").read_text(), re.S).group(1)
    return set(re.findall(r"&command_(\w+)", table))


def prose_and_code(text):
    """The spans in code marks, and the lines of code blocks."""
    code = False
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            code = not code
        elif code or line.startswith("    "):
            yield line.strip(), True
        else:
            for span in CODE.findall(line):
                yield span, False


def problems_of_names():
    """Names in code marks that no file, function, command, option or variable has."""
    names = tracked()
    if not names:
        return
    files = {name.rsplit("/", 1)[-1] for name in names}
    code = [name for name in names if name.endswith((".c", ".h", ".py", ".build", ".json", ".java")) or name in ("check", "run")]
    words = set(re.findall(r"\w+", "\n".join((ROOT / name).read_text() for name in code)))
    options = (ROOT / "config/options_table.c").read_text()
    known = commands()
    seen = collections.Counter()
    for document in documents():
        where = document.relative_to(ROOT)
        for span, is_block in prose_and_code(document.read_text()):
            for command in re.findall(r"(?:^|[/`])sluice ([a-z]+)\b", span):
                seen["command"] += 1
                if command not in known | NO_COMMANDS:
                    yield f"{where}: there is no command sluice {command}"
            if is_block:
                continue
            if FILE.match(span) and span not in FOREIGN_FILES and "NAME" not in span and "MODULE" not in span:
                seen["file"] += 1
                if span not in files:
                    yield f"{where}: there is no file {span}"
            elif NAME.match(span) and not FOREIGN_NAMES.match(span.removesuffix("()")):
                seen["name"] += 1
                if span.removesuffix("()") not in words:
                    yield f"{where}: nothing is called {span}"
            elif OPTION.match(span):
                seen["option"] += 1
                if f'"{span}"' not in options:
                    yield f"{where}: there is no option {span}"
            elif VARIABLE.match(span) and span not in words and span != "SLUICE_OPTION":
                option = span.removeprefix("SLUICE_").lower()
                if not any(re.sub(r"[.-]", "_", name) == option for name in re.findall(r'"([a-z][a-z.-]*)"', options)):
                    yield f"{where}: nothing reads {span}"
    for kind in ("command", "file", "name", "option"):
        if seen[kind] < 5:
            yield f"only {seen[kind]} names of the kind {kind} were seen"
    for name in names:
        if name.endswith((".c", ".h")):
            for comment in re.findall(r"/\*.*?\*/", (ROOT / name).read_text(), re.S):
                for file in COMMENT_FILE.findall(comment):
                    last = file.rsplit("/", 1)[-1]
                    if last not in FOREIGN_FILES and (last not in files or "/" in file and not any(each.endswith(file) for each in names)):
                        yield f"{name}: a comment names {file}, which is not there"


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
        for test, path in TEST_LINK.findall(text):
            target = document.parent / path
            if target.exists() and not re.search(rf"^(?:def|static void) {test}\b", target.read_text(), re.M):
                yield f"{name}: {path} has no test {test}"
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


found = [*problems(), *problems_of_names()]
print("\n".join(found) or "every link leads somewhere")
sys.exit(1 if found else 0)
