#!/usr/bin/env python3
"""A corpus is a text file, an input a line, escaped; libFuzzer wants a folder of files.

    corpus.py unpack FILE FOLDER     each line to a file of its own, named by its hash
    corpus.py pack FOLDER... FILE    back, the smallest inputs first, as far as 128 KB go
    corpus.py add FILE INPUT...      appends files as they are
"""

import hashlib
import pathlib
import re
import sys

CORPUS_BYTES_MAX = 128 << 10


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
    return [line for line in path.read_bytes().decode("latin-1").split("\n") if not line.startswith("#")][:-1]


def main(verb, *names):
    paths = [pathlib.Path(name) for name in names]
    if verb == "unpack":
        paths[1].mkdir(parents=True, exist_ok=True)
        for line in lines(paths[0]):
            data = unescape(line)
            (paths[1] / hashlib.sha1(data).hexdigest()).write_bytes(data)
    elif verb == "pack":
        inputs = {file.read_bytes() for folder in paths[:-1] for file in folder.iterdir()}
        kept = [line for line in paths[-1].read_text().split("\n") if line.startswith("#")] if paths[-1].exists() else []
        size = 0
        for data in sorted(inputs, key=lambda data: (len(data), data)):
            size += len(escape(data)) + 1
            if size <= CORPUS_BYTES_MAX:
                kept.append(escape(data))
        paths[-1].write_text("".join(line + "\n" for line in kept))
        print(f"{paths[-1]}: {len(kept)} of {len(inputs)} inputs, {paths[-1].stat().st_size} bytes")
    elif verb == "add":
        with paths[0].open("a") as corpus:
            for path in paths[1:]:
                corpus.write(escape(path.read_bytes()) + "\n")
    else:
        sys.exit(__doc__)


if len(sys.argv) < 4:
    sys.exit(__doc__)
main(*sys.argv[1:])
