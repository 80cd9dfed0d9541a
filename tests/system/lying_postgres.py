"""A server that speaks the PostgreSQL protocol and answers every statement in one wrong way: no real server does, a broken proxy may."""

import socket
import struct
import threading


def message(kind, body=b""):
    return kind + struct.pack(">I", len(body) + 4) + body


def ready(state):
    return message(b"Z", state)


def rows(columns, values):
    names = b"".join(b"c%d\0" % i + struct.pack(">IHIHIH", 0, 0, 25, 65535, 0xFFFFFFFF, 0) for i in range(columns))
    out = message(b"T", struct.pack(">H", columns) + names)
    for row in values:
        cells = b"".join(struct.pack(">i", -1) if cell is None else struct.pack(">i", len(cell)) + cell for cell in row)
        out += message(b"D", struct.pack(">H", columns) + cells)
    return out + message(b"C", b"SELECT %d\0" % len(values))


LIES = {
    "no transaction": lambda state: message(b"C", b"SELECT 0\0") + ready(b"I"),
    "always a transaction": lambda state: rows(4, [[b"7"] * 4]) + ready(b"T"),
    "no rows": lambda state: message(b"C", b"OK\0") + ready(state),
    "no columns": lambda state: rows(0, []) + ready(state),
    "only NULL": lambda state: rows(4, [[None] * 4]) + ready(state),
    "too many rows": lambda state: rows(12, [[b"9" * 21] * 12] * 3) + ready(state),
    "a failed transaction": lambda state: rows(4, [[b"t"] * 4]) + ready(b"E"),
    "an error without words": lambda state: message(b"E", b"\0") + ready(state),
    "wants rows": lambda state: message(b"G", b"\0\0\0"),
    "sends rows": lambda state: message(b"H", b"\0\0\0"),
    "nothing to do": lambda state: message(b"I") + ready(state),
}


class LyingPostgres:
    def __init__(self, lie):
        self.lie = LIES[lie]
        self.statements = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.ending = False
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    @property
    def uri(self):
        return f"postgresql://user@127.0.0.1:{self.port}/database?sslmode=disable"

    def accept(self):
        while not self.ending:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def answer(self, text):
        self.statements += 1
        if "show transaction" in text.lower():
            return rows(1, [[b"off"]]) + ready(b"I")
        return self.lie(b"T" if text.startswith("BEGIN") else b"I")

    def serve(self, connection):
        stream = connection.makefile("rwb")
        connection.close()
        try:
            while True:
                (size,) = struct.unpack(">I", stream.read(4))
                (code,) = struct.unpack(">I", stream.read(size - 4)[:4])
                if code == 196608:
                    break
                stream.write(b"N")
                stream.flush()
            stream.write(message(b"R", struct.pack(">I", 0)))
            for name, value in ((b"server_version", b"16.1"), (b"client_encoding", b"UTF8"), (b"standard_conforming_strings", b"on")):
                stream.write(message(b"S", name + b"\0" + value + b"\0"))
            stream.write(message(b"K", struct.pack(">II", 1, 2)) + ready(b"I"))
            stream.flush()
            text = ""
            while kind := stream.read(1):
                (size,) = struct.unpack(">I", stream.read(4))
                body = stream.read(size - 4)
                if kind == b"X":
                    return
                if kind == b"Q":
                    stream.write(self.answer(body.rstrip(b"\0").decode()))
                elif kind == b"P":
                    text = body.split(b"\0")[1].decode()
                elif kind == b"S":
                    stream.write(message(b"1") + message(b"2") + self.answer(text))
                stream.flush()
        except (OSError, struct.error):
            pass
        finally:
            stream.close()

    def close(self):
        self.ending = True
        self.listener.close()
