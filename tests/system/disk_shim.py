"""The program with tests/support/disk-shim.c in front of libc."""

import os
import pathlib
import struct
import subprocess

from sluice import BINARY, ROOT


def library(directory):
    """Of the build of the program; made anew if that build has no tests."""
    built = pathlib.Path(BINARY).parent / "tests/support/disk-shim.so"
    if built.exists():
        return built
    made = pathlib.Path(directory) / "disk-shim.so"
    source = ROOT / "tests/support/disk-shim.c"
    subprocess.run(["cc", "-std=gnu17", "-O1", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", made, source, "-ldl", "-lpthread"], check=True)
    return made


class Shim:
    """Around one data directory. `log`: what happens is recorded there."""

    def __init__(self, directory, data, log=None):
        self.state = pathlib.Path(directory) / "shim.state"
        self.log = log
        self.variables = {
            "LD_PRELOAD": str(library(directory)),
            "SLUICE_SHIM_ROOT": str(data),
            "SLUICE_SHIM_STATE": str(self.state),
            # The shim is in front of the library of AddressSanitizer, too.
            "ASAN_OPTIONS": ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"])),
        }
        if log:
            self.variables["SLUICE_SHIM_LOG"] = str(log)

    def environment(self, plan=None):
        """For the next start, which counts from 0."""
        self.state.write_bytes(bytes(128))
        return {**self.variables, **({"SLUICE_SHIM_FAIL": plan} if plan else {})}

    def counted(self):
        """(calls on files of LMDB and SQLite, how many of them failed, the first that failed)"""
        calls, failed = struct.unpack_from("<QQ", self.state.read_bytes())
        return calls, failed, self.state.read_bytes()[16:].split(b"\0")[0].decode()
