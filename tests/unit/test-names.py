#!/usr/bin/env python3
"""A type has one meaning: no struct, enum or union name is defined in two files of the program."""

import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLOORS = ("base", "config", "mapping", "storage", "sinks", "gateway")
DEFINED = re.compile(r"^(?:typedef )?(?:struct|enum|union) (\w+) \{|^\} (\w+);", re.M)

places = collections.defaultdict(set)
for floor in FLOORS:
    for path in sorted((ROOT / floor).rglob("*.[ch]")):
        for names in DEFINED.findall(path.read_text()):
            places[names[0] or names[1]].add(str(path.relative_to(ROOT)))

found = [f"{name} is defined in {' and in '.join(sorted(files))}" for name, files in sorted(places.items()) if len(files) > 1]
if len(places) < 200:
    found.append(f"only {len(places)} types were found: is the tree complete?")
print("\n".join(found) or "each type has one meaning")
sys.exit(1 if found else 0)
