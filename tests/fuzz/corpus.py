#!/usr/bin/env python3
"""A corpus is a text file, an input a line, escaped; libFuzzer wants a folder of files.

    corpus.py unpack FILE FOLDER     each line to a file of its own, named by its hash
    corpus.py pack FOLDER FILE       back, behind the line FOUND and instead of what is there; the lines before it stay. In all about
                                     192 KB: the smallest inputs, and of the others as many as fit
    corpus.py add FILE INPUT...      puts files before that line
"""

import hashlib
import pathlib
import re
import sys

CORPUS_BYTES_MAX = 192 << 10
FOUND = "# What campaigns found, minimised: tests/fuzz/run TARGET merge makes it anew."


def escape(data):
    names = {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x5C: "\\\\"}
    line = "".join(names.get(b) or (chr(b) if 0x20 <= b < 0x7F else f"\\x{b:02x}") for b in data)
    return "\\x23" + line[1:] if line.startswith("#") else line


def unescape(line):
    names = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}

    def one(match):
        text = match.group(1)
        return (bytes([int(text[1:], 16)]) if text[0] == "x" else names[text]).decode("latin-1")

    return re.sub(r"\\(x[0-9a-fA-F]{2}|.)", one, line).encode("latin-1")


def lines(path):
    """The lines before FOUND, and those behind it."""
    everything = path.read_bytes().decode("latin-1").split("\n")[:-1]
    at = everything.index(FOUND) if FOUND in everything else len(everything)
    return everything[:at], everything[at + 1 :]


def write(path, given, found):
    path.write_text("".join(line + "\n" for line in given + [FOUND] + found))


def main(verb, *names):
    paths = [pathlib.Path(name) for name in names]
    if verb == "unpack":
        paths[1].mkdir(parents=True, exist_ok=True)
        given, found = lines(paths[0])
        for line in given + found:
            if line.startswith("#"):
                continue
            data = unescape(line)
            (paths[1] / hashlib.sha1(data).hexdigest()).write_bytes(data)
    elif verb == "pack":
        given, _ = lines(paths[1])
        inputs = {escape(file.read_bytes()) for file in paths[0].iterdir()}
        found = sorted(inputs - set(given), key=lambda line: (len(line), line))
        most = max(0, CORPUS_BYTES_MAX - sum(map(len, given)))
        kept, size = 0, 0
        while kept < len(found) and size + len(found[kept]) < most * 3 // 4:
            size += len(found[kept]) + 1
            kept += 1
        step = 1 + sum(map(len, found[kept:])) * 4 // most
        write(paths[1], given, found[:kept] + found[kept:][::-1][::step][::-1])
        print(f"{paths[1]}: {len(given)} given, {len(found)} found, {paths[1].stat().st_size} bytes")
    elif verb == "add":
        given, found = lines(paths[0])
        write(paths[0], given + [escape(path.read_bytes()) for path in paths[1:]], found)
    else:
        sys.exit(__doc__)


if len(sys.argv) < 4:
    sys.exit(__doc__)
main(*sys.argv[1:])
