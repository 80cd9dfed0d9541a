#!/usr/bin/env python3
"""
What the documents name is what the code has, both ways: error ids and their statuses (docs/errors.md), metrics, routes and roles of the
management API (docs/operations.md), failpoints (docs/testing.md), what stops a bridge (docs/errors.md, docs/bridges.md).
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A name of an error as it stands in the code: "badRequest", beside a status, in a structure, or chosen by a condition.
NAME = r'"([a-z][a-zA-Z]+)"'
STATUS_THEN_NAME = re.compile(rf"\b([1-5]\d\d),\s*{NAME}")
STATUS_AND_NAME = re.compile(rf"\.status = (\d\d\d),\s*\.name = {NAME}")
ASSIGNED = re.compile(rf"(?:\bname|\.name|->name) = {NAME}")
CHOSEN = re.compile(rf'(?:\bname|\.name|->name) = [^;"]*\? {NAME} : (?:{NAME}|NULL)')
CHOSEN_ARGUMENT = re.compile(rf"(?:fail|refuse|result)\([^;]*?\? {NAME} : (?:{NAME}|NULL)", re.S)
RETURNED = re.compile(r"(?:why|api)_not_ready\(.*?\n}", re.S)


def read(path):
    return (ROOT / path).read_text()


def sources(*patterns):
    return {str(path): path.read_text() for pattern in patterns for path in sorted((ROOT / "gateway").glob(pattern))}


def names_of(files):
    """{name: set of statuses that stand beside it}"""
    names = {}

    def add(name, status=None):
        if name:
            names.setdefault(name, set()).update({int(status)} if status else ())

    for text in files.values():
        for pattern in (STATUS_THEN_NAME, STATUS_AND_NAME):
            for status, name in pattern.findall(text):
                add(name, status)
        for pattern in (CHOSEN, CHOSEN_ARGUMENT):
            for pair in pattern.findall(text):
                for name in pair:
                    add(name)
        for name in ASSIGNED.findall(text):
            add(name)
        for body in RETURNED.findall(text):
            for name in re.findall(rf"return {NAME};", body):
                add(name)
    return names


def code_errors():
    common = sources("http/*.c")  # under both listeners
    intake = names_of({**sources("intake/*.c"), **common})
    admin = names_of({**sources("api/*.c", "control/*.c"), **common})
    return {"stream.in.": intake, "stream.api.": admin}


def documented_errors():
    """{prefix: {name: set of statuses}} of the rows `| 400 | `stream.in.badRequest` | …`."""
    found = {"stream.in.": {}, "stream.api.": {}}
    for status, prefix, name in re.findall(r"^\| (\d{3}) \| `(stream\.(?:in|api)\.)(\w+)` \|", read("docs/errors.md"), re.M):
        found[prefix].setdefault(name, set()).add(int(status))
    return found


def problems_of_errors():
    code, documents = code_errors(), documented_errors()
    for prefix, names in code.items():
        if len(names) < 10:
            yield f"only {len(names)} names of {prefix}* were found in the code: does this test still know how they are passed?"
        for name, statuses in sorted(names.items()):
            if name not in documents[prefix]:
                yield f"docs/errors.md lacks {prefix}{name}"
                continue
            for status in sorted(statuses - documents[prefix][name]):
                yield f"docs/errors.md lacks {prefix}{name} with status {status}"
        for name in sorted(set(documents[prefix]) - set(names)):
            yield f"docs/errors.md has {prefix}{name}, which no code has"
    # What tests expect is what exists; and the prose names nothing else.
    expected = {}
    for path in sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "tests").rglob("*.c")) + sorted((ROOT / "docs").glob("*.md")):
        for prefix, name in re.findall(r"(stream\.(?:in|api)\.)([a-z][a-zA-Z]+)", path.read_text()):
            expected[(prefix, name)] = path.relative_to(ROOT)
    for (prefix, name), path in sorted(expected.items()):
        if name not in documents[prefix]:
            yield f"{path} names {prefix}{name}, which docs/errors.md lacks"


def problems_of_metrics():
    """The tables are made by test-documentation; this is about the prose."""
    code = set(re.findall(r'\{"(sluice_\w+)"', read("base/metrics.c")))
    if not code:
        yield "no metric was found in base/metrics.c"
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for name in set(re.findall(r"\bsluice_[a-z_]*(?:_total|_bytes|_seconds|_failing|_paused|_up)\b", path.read_text())) - code:
            yield f"{path.relative_to(ROOT)} names the metric {name}, which no code has"


def problems_of_routes():
    text = read("gateway/api/router.c")
    defines = dict(re.findall(r'#define (BRANCH|SOURCE|SINK) (.*)', text))

    def expand(path):
        for _ in range(3):
            for word, value in defines.items():
                path = re.sub(rf"\b{word}\b(?![}}\w])", value, path)
        return "".join(re.findall(r'"([^"]*)"', path))

    code = {}
    for method, path, role, flags in re.findall(r'^    \{"([A-Z]+)",\s+([^,]+?),\s+ROLE_(\w+),\s+API_\w+,\s+([^,]+),\s+api_', text, re.M):
        code[(method, expand(path))] = "none" if "API_PUBLIC" in flags else role.lower()
    if len(code) < 20:
        yield f"only {len(code)} routes were found in gateway/api/router.c"
    documents = {}
    for method, path, role in re.findall(r"^\| `([A-Z]+) (/[^` ?]*)[^`]*` \| (\w+) \|", read("docs/operations.md"), re.M):
        documents[(method, path.replace("…/", "/v1/branches/{branch}/"))] = role
    # The document writes …/ for /v1/branches/{branch}/.
    for method, path, role in re.findall(r"^\| `([A-Z]+) (…/[^` ?]*)[^`]*` \| (\w+) \|", read("docs/operations.md"), re.M):
        documents[(method, path.replace("…/", "/v1/branches/{branch}/"))] = role
    for route, role in sorted(code.items()):
        if documents.get(route) != role:
            yield f"docs/operations.md lacks the endpoint {route[0]} {route[1]} with role {role} (it has {documents.get(route)})"
    for method, path in sorted(set(documents) - set(code)):
        yield f"docs/operations.md has the endpoint {method} {path}, which no code has"


def problems_of_failpoints():
    code = set()
    for floor in ("base", "config", "mapping", "storage", "sinks", "gateway"):
        for path in sorted((ROOT / floor).rglob("*.c")):
            code |= set(re.findall(r'\b(?:failpoint_hit|failpoint_error|sink_failpoint)\("([\w.-]+)"', path.read_text()))
    documents = set(re.findall(r"^\| `([a-z]+\.[a-z-]+)` \|", read("docs/testing.md"), re.M))
    if not code:
        yield "no failpoint was found in the code"
    for name in sorted(code - documents):
        yield f"docs/testing.md lacks the failpoint {name}"
    for name in sorted(documents - code):
        yield f"docs/testing.md has the failpoint {name}, which no code has"


def problems_of_stops():
    code = set()
    for path in sorted((ROOT / "gateway/sources").glob("*.c")):
        text = path.read_text()
        code |= set(re.findall(rf"(?:->|\.)stopped = (?:\w+ \? \w+ : )?{NAME}", text))
        code |= set(re.findall(rf"\bpart_stop\([^;]*?{NAME}", text))
        for body in re.findall(r"\bid_of\(.*?\n}", text, re.S):
            code |= set(re.findall(rf"return {NAME};", body))
    if len(code) < 10:
        yield f"only {len(code)} ids of what stops a bridge were found in gateway/sources"
    for document, heading in (("docs/errors.md", "What stops the reading of a broker"), ("docs/bridges.md", "When a source stops")):
        section = re.search(rf"^## {heading}\n(.*?)(?=^##|\Z)", read(document), re.M | re.S).group(1)
        rows = re.findall(r"^\| (`.*?) \|", section, re.M)
        documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
        for name in sorted(code - documented):
            yield f"{document} lacks what stops a bridge: {name}"
        for name in sorted(documented - code):
            yield f"{document} has {name}, which stops no bridge in the code"


def problems_of_imports():
    code = set()
    for floor in ("sinks", "gateway/delivery", "gateway/sources", "storage"):
        for path in sorted((ROOT / floor).rglob("*.c")):
            code |= set(re.findall(r'"([a-z]+[A-Z][A-Za-z]+): ', path.read_text()))
    section = re.search(r"^## What stops the imports of a sink\n(.*?)(?=^##|\Z)", read("docs/errors.md"), re.M | re.S).group(1)
    documented = set(re.findall(r"^\| `(\w+)` \|", section, re.M))
    if len(code) < 4:
        yield f"only {len(code)} ids of failed imports were found in the code"
    for name in sorted(code ^ documented):
        yield f"docs/errors.md and the code differ in what stops imports: {name}"


CHECKS = (problems_of_imports, problems_of_errors, problems_of_metrics, problems_of_routes, problems_of_failpoints, problems_of_stops)
found = [problem for check in CHECKS for problem in check()]
print("\n".join(found) or "the documents name what the code has")
sys.exit(1 if found else 0)
