#!/usr/bin/env python3
"""The floors look down only, and a vendor's header stands only where it belongs. Walks the #include lines."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

MAY_INCLUDE = {
    "base": {"base"},
    "config": {"base", "config"},
    "mapping": {"base", "config", "mapping"},
    "storage": {"base", "config", "storage"},
    "sinks": {"base", "config", "sinks"},
    "gateway": {"base", "config", "mapping", "storage", "sinks", "gateway"},
}

# header -> files that may include it (regular expressions on the path)
VENDORS = {
    r"h2o(/.*)?\.h": r"gateway/(http_loop|http_reply|http_\w+|intake\w*|admin)\.[ch]",
    r"lmdb\.h": r"storage/.*",
    r"libpq-fe\.h": r"sinks/postgres\w*\.[ch]",
    r"sqlite3\.h": r"sinks/sqlite\w*\.[ch]",
    r"libjsonnet\.h": r"gateway/template_\w+\.[ch]",
    r"rdkafka\.h": r"(gateway/bridge_kafka|sinks/kafka)\.[ch]",
    r"nats\.h": r"(gateway/bridge_nats|sinks/nats)\.[ch]",
    r"yaml\.h": r"config/yaml\w*\.[ch]",
    r"xxhash\.h": r"base/checksum\.c",
    r"zlib\.h": r"gateway/decode\w*\.c",
}

INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', re.M)


def problems():
    seen = 0
    for floor, allowed in MAY_INCLUDE.items():
        for path in sorted((ROOT / floor).rglob("*.[ch]")):
            name = str(path.relative_to(ROOT))
            text = path.read_text()
            for header in INCLUDE.findall(text):
                seen += 1
                first = header.split("/")[0]
                if first in ("tests", "bench"):
                    yield f"{name} includes {header}: nothing includes tests or benchmarks"
                if first in MAY_INCLUDE and first not in allowed:
                    yield f"{name} includes {header}: {floor} may include {', '.join(sorted(allowed))}"
                if first in MAY_INCLUDE and not (ROOT / header).exists():
                    yield f"{name} includes {header}, which does not exist"
                for vendor, where in VENDORS.items():
                    if re.fullmatch(vendor, header) and not re.fullmatch(where, name):
                        yield f"{name} includes {header}, which stands only in {where}"
            if path.suffix == ".h" and "#pragma once" not in text:
                yield f"{name} has no #pragma once"
    if seen < 100:
        yield f"only {seen} include lines were seen: is the tree complete?"


found = list(problems())
print("\n".join(found) or "the include graph holds")
sys.exit(1 if found else 0)
