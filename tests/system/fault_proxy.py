"""A proxy between the gateway and a server that can break what passes through it."""

import select
import socket
import threading
import time

LOOK = 0.02  # seconds between two looks at the mode


class FaultProxy:
    """
    Passes bytes on between clients and the server, in a thread for each connection. `mode` may change at any time and holds for all
    connections: "pass"; "hole": nothing is passed on, in no direction, and no connection is closed; "slow": `pace` bytes a second in each
    direction; "refuse": new connections are closed at once.
    `cut()` resets all connections.
    """

    def __init__(self, port, pace=2000):
        self.target = port
        self.mode = "pass"
        self.pace = pace
        self.pairs = []
        self.lock = threading.Lock()
        self.ending = False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while not self.ending:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.mode == "refuse":
                client.close()
                continue
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            while self.mode == "hole" and not self.ending:
                time.sleep(LOOK)
            server = socket.create_connection(("127.0.0.1", self.target), timeout=10)
        except OSError:
            client.close()
            return
        pair = (client, server)
        with self.lock:
            self.pairs.append(pair)
        try:
            self.relay(client, server)
        except OSError:
            pass
        finally:
            with self.lock:
                self.pairs.remove(pair)
            client.close()
            server.close()

    def relay(self, client, server):
        while not self.ending:
            readable, _, _ = select.select([client, server], [], [], LOOK)
            for source in readable:
                while self.mode == "hole" and not self.ending:
                    time.sleep(LOOK)
                slow = self.mode == "slow"
                data = source.recv(max(1, int(self.pace * LOOK)) if slow else 65536)
                if not data:
                    return
                (server if source is client else client).sendall(data)
                if slow:
                    time.sleep(LOOK)

    def cut(self):
        """Returns the number of connections that were cut."""
        with self.lock:
            for pair in self.pairs:
                for end in pair:
                    try:
                        end.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass
            return len(self.pairs)

    def close(self):
        self.ending = True
        self.listener.close()
        self.cut()
