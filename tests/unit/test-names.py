#!/usr/bin/env python3
"""
A name has one meaning in the program: no struct, enum or union is defined in two files, and no two headers have the same file name.
"""

import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLOORS = ("base", "config", "mapping", "storage", "sinks", "gateway")
# What the files of one folder share: a folder that has it calls it so.
ONE_A_FOLDER = {"parts.h"}
DEFINED = re.compile(r"^(?:typedef )?(?:struct|enum|union) (\w+) \{|^\} (\w+);", re.M)

places = collections.defaultdict(set)
headers = collections.defaultdict(set)
for floor in FLOORS:
    for path in sorted((ROOT / floor).rglob("*.[ch]")):
        if path.suffix == ".h":
            headers[path.name].add(str(path.relative_to(ROOT)))
        for names in DEFINED.findall(path.read_text()):
            places[names[0] or names[1]].add(str(path.relative_to(ROOT)))

found = [f"{name} is defined in {' and in '.join(sorted(files))}" for name, files in sorted(places.items()) if len(files) > 1]
found += [
    f"headers of one name: {' and '.join(sorted(files))}"
    for name, files in sorted(headers.items())
    if len(files) > 1 and name not in ONE_A_FOLDER
]
if len(places) < 200:
    found.append(f"only {len(places)} types were found: is the tree complete?")
print("\n".join(found) or "each type and each header has one meaning")
sys.exit(1 if found else 0)
