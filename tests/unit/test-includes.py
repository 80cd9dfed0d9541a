#!/usr/bin/env python3
"""
The floors look down only, the rooms of the gateway too, and a vendor's header stands only where it belongs. Walks the #include lines.
Headers include each other in no circle. In most rooms that holds for a header together with its source file, too.
A vendor's header that a room is apart from does not reach it by way of other headers either.
Private headers (parts.h) stay in their folder, and the management API sees the part of control that is meant for it.
"""

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

# The rooms of the gateway by level: a room may include itself and the rooms of the levels before its own.
ROOMS = [
    {"flow"},
    {"http", "templates", "delivery", "values"},
    {"rows"},
    {"intake", "sources", "control"},
    {"api", "commands"},
    {"app"},
]
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}

# Rooms in which x.h and x.c together include no others in a circle.
WITHOUT_CIRCLES = {"flow", "http", "delivery", "values", "rows", "templates", "api", "commands", "app"}

# The circles that remain in these rooms -> a private header that counts as a part of the module that it belongs to.
PART_OF = {
    # It holds what the four files of an evaluator share: they work on the struct that evaluator.h defines.
    "gateway/templates/evaluator_parts": "gateway/templates/evaluator",
}

# A header that others see through -> the headers of its folder that it may include: who needs more includes that by name.
WALLS = {"gateway/delivery/writer/state.h": {"writer_options"}}

# What a room shows to another one that is above it: no other header of it is for that room.
SHOWS = {("control", "api"): {"call.h", "service.h"}}

# Headers that the files of one folder share; for them alone.
PRIVATE = re.compile(r"(\w+_)?parts\.h")

# header -> files that may include it (regular expressions on the path)
VENDORS = {
    r"h2o(/.*)?\.h": r"gateway/(http/.*|intake/.*|api/admin)\.[ch]",
    r"lmdb\.h": r"storage/.*",
    r"libpq-fe\.h": r"sinks/postgres\w*\.[ch]",
    r"sqlite3\.h": r"sinks/sqlite\w*\.[ch]",
    r"libjsonnet(_fmt)?\.h": r"gateway/templates/\w+\.[ch]",
    r"(librdkafka/)?rdkafka(_mock)?\.h": r"sinks/kafka_parts\.h",
    r"nats/nats\.h": r"sinks/nats_parts\.h",
    r"yaml\.h": r"config/yaml\w*\.[ch]",
    r"avro(\.h|/.*)": r"gateway/values/avro_form\w*\.[ch]",
    r"curl/curl\.h": r"base/http_client\.c",
    r"xxhash\.h": r"base/checksum\.c",
    r"zlib\.h": r"gateway/http/decode\.c",
}

# Files that a vendor's header does not reach, by way of our own headers either.
APART = [("gateway/rows", r"h2o(/.*)?\.h"), ("gateway/flow", r"h2o(/.*)?\.h"), ("gateway", r"(librdkafka/)?rdkafka(_mock)?\.h"), ("gateway", r"nats/nats\.h")]

INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', re.M)


def problem_of_rooms(name, header):
    here, there = name.split("/")[1], header.split("/")[1]
    for room, of in ((here, name), (there, header)):
        if room not in LEVEL:
            yield f"{of} is in no room of the gateway: {', '.join(sorted(LEVEL))}"
            return
    if here != there and LEVEL[there] >= LEVEL[here]:
        allowed = sorted(room for room in LEVEL if LEVEL[room] < LEVEL[here])
        yield f"{name} includes {header}: gateway/{here} may include {', '.join(allowed) or 'no other room'}"
    shown = SHOWS.get((there, here))
    if shown and pathlib.PurePath(header).name not in shown:
        yield f"{name} includes {header}: gateway/{there} shows {', '.join(sorted(shown))} to gateway/{here}"


def circles_of(includes):
    done = set()

    def walk(one, way):
        if one in way:
            yield " includes ".join([*way[way.index(one) :], one]) + ": a circle"
        elif one not in done:
            for other in includes.get(one, ()):
                yield from walk(other, [*way, one])
            done.add(one)

    for one in includes:
        yield from walk(one, [])


def circles():
    """Headers that include each other, by way of others too."""
    includes = {}
    for floor in MAY_INCLUDE:
        for path in sorted((ROOT / floor).rglob("*.h")):
            includes[str(path.relative_to(ROOT))] = [h for h in INCLUDE.findall(path.read_text()) if h.split("/")[0] in MAY_INCLUDE]
    return circles_of(includes)


def circles_of_modules(room):
    """The same for a header together with its source file."""

    def of(name):
        return PART_OF.get(name[:-2], name[:-2])

    includes = {}
    for path in sorted((ROOT / "gateway" / room).rglob("*.[ch]")):
        module = of(str(path.relative_to(ROOT)))
        inside = [of(h) for h in INCLUDE.findall(path.read_text()) if h.startswith(f"gateway/{room}/")]
        includes.setdefault(module, []).extend(m for m in inside if m != module)
    return circles_of(includes)


def holes_in_walls():
    for name, allowed in WALLS.items():
        folder = name.rsplit("/", 1)[0]
        for header in INCLUDE.findall((ROOT / name).read_text()):
            if header.startswith(folder) and pathlib.PurePath(header).stem not in allowed:
                yield f"{name} includes {header}: it only points to what that defines"


def reached(name):
    """All headers that a file includes, by way of our own too, each with the way to it."""
    done = set()

    def walk(file, way):
        for header in INCLUDE.findall((ROOT / file).read_text()):
            if header in done:
                continue
            done.add(header)
            yield header, [*way, header]
            if header.split("/")[0] in MAY_INCLUDE and (ROOT / header).exists():
                yield from walk(header, [*way, header])

    yield from walk(name, [name])


def meetings():
    """Files that a header reaches from which they are apart."""
    for folder, vendor in APART:
        files = sorted((ROOT / folder).rglob("*.[ch]"))
        if not files:
            yield f"{folder} has no file: is it named otherwise now?"
        for path in files:
            for header, way in reached(str(path.relative_to(ROOT))):
                if re.fullmatch(vendor, header):
                    yield " includes ".join(way) + f": nothing of {folder} may know it"


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
                inside = pathlib.PurePath(header)
                if PRIVATE.fullmatch(inside.name) and inside.parent != pathlib.PurePath(name).parent:
                    yield f"{name} includes {header}, which is for files of its own folder"
                if floor == "gateway" and first == "gateway":
                    yield from problem_of_rooms(name, header)
                for vendor, where in VENDORS.items():
                    if re.fullmatch(vendor, header) and not re.fullmatch(where, name):
                        yield f"{name} includes {header}, which stands only in {where}"
            if path.suffix == ".h" and "#pragma once" not in text:
                yield f"{name} has no #pragma once"
    yield from circles()
    for room in sorted(WITHOUT_CIRCLES):
        yield from circles_of_modules(room)
    yield from holes_in_walls()
    yield from meetings()
    if seen < 100:
        yield f"only {seen} include lines were seen: is the tree complete?"


found = list(problems())
print("\n".join(found) or "the include graph holds")
sys.exit(1 if found else 0)
