"""What a disk may hold after the power was lost, from the record of tests/support/disk-shim.c.

A record says in order what the program wrote, synced, renamed and removed. A crash after its first N entries keeps for certain
  - what was written to a file before its last sync, and writes with O_DSYNC (LMDB writes its meta pages so);
  - the names that were made, changed or removed in a folder before that folder was synced.
Of everything else each sector of 512 bytes of each write, each truncation and each change of a name may be kept or lost by itself, with these
bounds: a rename is atomic, and a change of a name is kept only if the earlier ones of this name are. A sector is written as a whole or not at
all. LMDB needs this for its meta pages: what it changes of one lies in one sector.
"""

import os
import pathlib
import struct

SECTOR = 512
# Memory that processes share through files: LMDB and SQLite make them anew.
SHARED = ("lock.mdb", "tables.db-shm", "lock")


class Entry:
    __slots__ = ("what", "inode", "offset", "data", "end", "certain")

    def __init__(self, what, inode, offset, data, end):
        self.what, self.inode, self.offset, self.data, self.end = what, inode, offset, data, end
        self.certain = False  # of a change of a name: its folder was synced

    def names(self):
        return self.data.decode().split("\n")


def read_log(path):
    """The entries; `end`: how long the record was with this entry."""
    data = pathlib.Path(path).read_bytes()
    entries, at = [], 0
    while at < len(data):
        inode, offset, size = struct.unpack_from("<QQQ", data, at + 1)
        begin = at + 25
        at = begin + size
        entries.append(Entry(chr(data[begin - 25]), inode, offset, data[begin:at], at))
    return entries


def apply_write(content, offset, data):
    if len(content) < offset + len(data):
        content.extend(bytes(offset + len(data) - len(content)))
    content[offset : offset + len(data)] = data


class File:
    def __init__(self):
        self.durable = bytearray()
        self.pending = []

    def add(self, entry):
        self.pending.append(entry)

    def sync(self):
        for entry in self.pending:
            self.keep(self.durable, entry)
        self.pending = []

    def keep(self, content, entry, chance=None, share=1.0):
        if entry.what == "T":
            if chance is None or chance.random() < share:
                if entry.offset < len(content):
                    del content[entry.offset :]
                else:
                    content.extend(bytes(entry.offset - len(content)))
            return
        if chance is None:
            apply_write(content, entry.offset, entry.data)
            return
        at = 0
        while at < len(entry.data):
            size = min(SECTOR - (entry.offset + at) % SECTOR, len(entry.data) - at)
            if chance.random() < share:
                apply_write(content, entry.offset + at, entry.data[at : at + size])
            at += size

    def after_crash(self, chance, share):
        content = bytearray(self.durable)
        for entry in self.pending:
            self.keep(content, entry, chance, share)
        return content


class Disk:
    """The disk while the entries of a record happen."""

    def __init__(self):
        self.files = {}  # inode: File
        self.folders = {}  # inode of a folder that was opened: its path
        self.names = {"": None}  # path: inode, None for a folder; durable
        self.pending = []  # changes of names

    def file(self, inode):
        return self.files.setdefault(inode, File())

    def happen(self, entry):
        if entry.what == "W" or entry.what == "T":
            self.file(entry.inode).add(entry)
        elif entry.what == "D":
            apply_write(self.file(entry.inode).durable, entry.offset, entry.data)
        elif entry.what == "S":
            self.file(entry.inode).sync()
        elif entry.what == "F":
            self.sync_folder(entry.names()[0].lstrip("/"))
        else:
            if entry.what == "C":
                self.files[entry.inode] = File()
            self.pending.append(entry)

    @staticmethod
    def changed_names(entry):
        return [name.lstrip("/") for name in entry.names() if name]

    def sync_folder(self, folder):
        """The changes in it are durable, as soon as the folder itself is."""
        for entry in self.pending:
            if any(os.path.dirname(name) == folder for name in self.changed_names(entry)):
                entry.certain = True
        left = []
        for entry in self.pending:
            if not entry.certain or not self.change(self.names, entry):
                left.append(entry)
        self.pending = left

    def change(self, names, entry):
        """Whether the change was possible."""
        changed = self.changed_names(entry)
        if any(os.path.dirname(name) not in names for name in changed):
            return False
        if entry.what == "R":
            if changed[0] not in names:
                return False
            names[changed[1]] = names.pop(changed[0])
        elif entry.what == "U":
            names.pop(changed[0], None)
        else:
            names[changed[0]] = entry.inode if entry.what == "C" else None
        return True

    def crash(self, directory, chance, share):
        """Writes what is left into a new directory. share: of what is not durable, how much is kept."""
        names, lost = dict(self.names), set()
        for entry in self.pending:
            changed = self.changed_names(entry)
            if lost.intersection(changed) or not (entry.certain or chance.random() < share) or not self.change(names, entry):
                lost.update(changed)
        directory = pathlib.Path(directory)
        for name, inode in sorted(names.items()):
            path = directory / name
            if inode is None:
                path.mkdir(mode=0o700, exist_ok=True)
            elif os.path.basename(name) not in SHARED:
                path.write_bytes(self.file(inode).after_crash(chance, share))
                path.chmod(0o600)
