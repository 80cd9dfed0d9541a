"""Senders that are slow, rude or many: budgets hold, honest ones get through."""

import contextlib
import pathlib
import resource
import select
import signal
import socket
import threading
import time

import pytest
from sluice import AT_ONCE, NEVER, raw, request, wait_until

COLUMNS = [{"type": "body", "name": "body"}]


def open_socket(address):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=60)


def drain(connection, deadline=60):
    """Everything until the other side closes."""
    received = b""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            chunk = connection.recv(65536)
        except (ConnectionResetError, BrokenPipeError):
            return received
        if not chunk:
            return received
        received += chunk
    raise AssertionError("the connection stays open")


@pytest.fixture
def quick(gateway_factory):
    gateway = gateway_factory(arguments=["--timeouts.head", "1s", "--timeouts.body", "1s", "--timeouts.idle", "3s", "--timeouts.write", "1s"]).start()
    gateway.url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, NEVER)
    return gateway


def test_slow_head_is_ended(quick):
    connection = open_socket(quick.intake)
    connection.sendall(b"POST /stream/1/s/x HTTP/1.1\r\nHost:")
    answer = drain(connection)
    assert answer.startswith(b"HTTP/1.1 408") or answer == b""


def test_slow_body_is_ended_with_408(quick):
    connection = open_socket(quick.intake)
    connection.sendall(f"POST {quick.url} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode())
    end = time.monotonic() + 30
    while time.monotonic() < end:
        readable, _, _ = select.select([connection], [], [], 0.2)
        if readable:
            break
        connection.sendall(b"x")
    assert drain(connection).startswith(b"HTTP/1.1 408")


def test_idle_connection_is_closed(quick):
    connection = open_socket(quick.intake)
    assert drain(connection) == b""


def test_steady_upload_goes_through_a_short_timeout(quick):
    connection = open_socket(quick.intake)
    size = 3_000_000
    connection.sendall(f"POST {quick.url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n".encode())
    sent = 0
    begin = time.monotonic()
    while sent < size:
        part = min(100_000, size - sent)
        connection.sendall(b"x" * part)
        sent += part
        while time.monotonic() - begin < sent / 1_000_000:
            select.select([], [], [], 0.01)
    assert drain(connection).startswith(b"HTTP/1.1 413")  # the event limit is 1 MB: but it was read whole


def test_unknown_sender_is_ended_before_its_body(gateway):
    connection = open_socket(gateway.intake)
    connection.sendall(b"POST /stream/1/nobody/" + b"x" * 48 + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n" + b"y" * 1000)
    assert drain(connection).startswith(b"HTTP/1.1 404")


def test_pipelining_strangers_do_not_hold_up_others(gateway):
    """Hundreds of thousands of small requests are there already; an honest post waits for a few of them only."""
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, NEVER)
    flood = b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n" * 5000
    strangers = [open_socket(gateway.intake) for _ in range(60)]
    for stranger in strangers:
        stranger.setblocking(False)
        stranger.send(flood)
    longest = 0
    for _ in range(10):
        for stranger in strangers:
            try:
                stranger.recv(1 << 20)
                stranger.send(flood)
            except BlockingIOError:
                pass
        begin = time.monotonic()
        assert gateway.post(url, b"honest", content_type="text/plain").status == 200
        longest = max(longest, time.monotonic() - begin)
    for stranger in strangers:
        stranger.close()
    assert longest < 2, longest


@pytest.mark.release
def test_unfinished_bodies_stay_in_their_budget(gateway):
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, NEVER)
    before = gateway.memory_kb()
    hostile = []
    piece = b"x" * 262144
    head = b"POST /stream/1/s/" + b"w" * 48 + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 13000000\r\n\r\n"
    for _ in range(300):
        connection = open_socket(gateway.intake)
        connection.setblocking(False)
        hostile.append([connection, head, 0])
    peak = 0
    honest = None
    end = time.monotonic() + 60
    while time.monotonic() < end and hostile:
        _, writable, _ = select.select([], [h[0] for h in hostile], [], 0.5)
        ready = set(writable)
        for sender in list(hostile):
            if sender[0] not in ready:
                continue
            if sender[2] >= 12_900_000:
                continue
            try:
                data = sender[1] or piece
                count = sender[0].send(data)
                sender[2] += count
                sender[1] = sender[1][count:] if sender[1] else b""
            except (BrokenPipeError, ConnectionResetError):
                sender[0].close()
                hostile.remove(sender)
        peak = max(peak, gateway.memory_kb())
        if honest is None:
            honest = gateway.post(url, b"h" * 1_000_000, content_type="text/plain")
            large = gateway.post(url, b"\n".join([b"z" * 999_000] * 8), content_type="application/x-ndjson")
        if all(sender[2] >= 12_900_000 for sender in hostile):
            break
    for sender in hostile:
        sender[0].close()
    assert honest.status == 200, honest
    assert large.status == 200, large
    # 256 MB of unfinished bodies, and as much again for what sanitizers and the allocator keep.
    assert peak - before < 600 * 1024, f"grew from {before} to {peak} kB"


def test_connection_cap_answers_503(gateway_factory):
    """Who is in the middle of a further request with a source and its secret keeps the place; a new one is told to come again."""
    gateway = gateway_factory(arguments=["--limits.connections", "100"]).start()
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, NEVER)
    held = [open_socket(gateway.intake) for _ in range(100)]
    for connection in held:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert sum(b"200 OK" in connection.recv(4096) for connection in held) == 100
    for connection in held:
        connection.sendall(f"POST {url} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n".encode())
    extra = open_socket(gateway.intake)
    answer = drain(extra)
    assert answer.startswith(b"HTTP/1.1 503") and b"Retry-After" in answer
    for connection in held:
        connection.sendall(b"{}")
    assert sum(connection.recv(4096).startswith(b"HTTP/1.1 200") for connection in held) == 100
    for connection in held:
        connection.close()
    wait_until("places are free again", lambda: request(gateway.intake, "GET", "/health").status == 200)


def test_silent_connections_leave_descriptors_for_admin_and_imports(gateway_factory):
    """More silent connections than the process may open descriptors, on both listeners: everybody who says something is heard."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    gateway = gateway_factory()
    gateway.descriptors = 1024
    gateway.start()
    held = []
    try:
        for i in range(1200):
            held.append(open_socket(gateway.intake))
            if i % 3 == 0:
                held[-1].sendall(b"P")
        held += [open_socket(gateway.admin) for _ in range(300)]
        url = gateway.add_source("s")
        gateway.add_sink("s", "rows", COLUMNS, AT_ONCE)
        for i in range(20):
            assert gateway.post(url, f"event {i}", content_type="text/plain").status == 200
        gateway.flush("s", "rows")
        gateway.wait_rows("rows", 20)
        opened = len(list(pathlib.Path(f"/proc/{gateway.process.pid}/fd").iterdir()))
        assert opened < 1024 - 100, opened
        assert "limits.connections is 10000" in gateway.log_text()
    finally:
        for connection in held:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Strangers:
    """A thread that opens one silent connection after another and holds each until the gateway ends it. Some send a byte first."""

    def __init__(self, address, most=2000):
        self.address, self.most = address, most
        self.opened, self.held, self.ending = 0, [], False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.ending:
            with contextlib.suppress(OSError):
                self.held.append(open_socket(self.address))
                self.opened += 1
                if self.opened % 4 == 0:
                    self.held[-1].sendall(b"P")
            if len(self.held) > self.most:
                self.held.pop(0).close()
            select.select([], [], [], 0.001)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending = True
        self.thread.join()
        for connection in self.held:
            connection.close()


@pytest.mark.parametrize("loops", [1, 3])
@pytest.mark.parametrize("chunked", [False, True])
def test_silent_strangers_do_not_end_slow_uploads(gateway_factory, loops, chunked):
    """All places are always taken, by connections that are far younger than the uploads: those bring bytes and have a secret."""
    arguments = ["--threads", str(loops), "--limits.connections", "60"]
    gateway = gateway_factory(arguments=arguments).start()
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, NEVER)
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 3000"
    head = f"POST {url} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n{framing}\r\nConnection: close\r\n\r\n".encode()
    uploads = [open_socket(gateway.intake) for _ in range(8)]
    for upload in uploads:
        upload.sendall(head)
    with Strangers(gateway.intake) as strangers:
        wait_until("all places are taken", lambda: strangers.opened > 100)
        for _ in range(30):
            begin = strangers.opened
            for upload in uploads:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    upload.sendall(b"64\r\n" + b"u" * 100 + b"\r\n" if chunked else b"u" * 100)
            wait_until("30 more came", lambda: strangers.opened > begin + 30)
        if chunked:
            for upload in uploads:
                upload.sendall(b"0\r\n\r\n")
        answers = [drain(upload) for upload in uploads]
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers), answers
    for upload in uploads:
        upload.close()


def test_strangers_that_were_answered_hold_no_place(gateway_factory):
    """One request that nobody knows, its answer, and the first byte of the next: that must not count as a request on its way."""
    gateway = gateway_factory(arguments=["--limits.connections", "50"]).start()
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, NEVER)
    strangers = [open_socket(gateway.intake) for _ in range(50)]
    for stranger in strangers:
        stranger.sendall(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stranger.recv(4096).startswith(b"HTTP/1.1 404")
        stranger.sendall(b"G")
    begin = time.monotonic()
    wait_until("an honest sender has a place", lambda: gateway.post(url, "{}").status == 200)
    assert time.monotonic() - begin < 5, "the strangers' places are held until their heads time out"
    for stranger in strangers:
        stranger.close()


def test_too_few_descriptors_are_refused_with_a_sentence(gateway_factory):
    gateway = gateway_factory()
    gateway.descriptors = 200
    with pytest.raises(AssertionError, match="LimitNOFILE"):
        gateway.start()
    assert gateway.process.returncode == 1
    assert not gateway.data.exists()


def test_large_heads_and_framing_are_told(gateway):
    """The HTTP library has limits of its own, behind which it closes without a word or goes on without end."""
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, NEVER)
    for address, path, error in [(gateway.intake, url, b"stream.in"), (gateway.admin, "/v1/tokens", b"stream.api")]:
        line = f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode()
        many = line + b"".join(b"X%d: y\r\n" % i for i in range(100)) + b"\r\n"
        huge = line + b"X: " + b"x" * 1_000_000
        chunked = line + b"Transfer-Encoding: chunked\r\n\r\n"
        for data in [many, huge, chunked + b"2;" + b"x" * 1_000_000, chunked + b"2\r\nok\r\n0\r\nT: " + b"x" * 1_000_000]:
            connection = open_socket(address)
            try:
                connection.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            answer = drain(connection)
            connection.close()
            assert answer.startswith(b"HTTP/1.1 413") and error + b".headerTooLarge" in answer, (data[:60], answer)


CHUNKS_TAKEN = [
    (b"3\r\nabc\r\n0\r\n\r\n", "abc"),
    (b"003\r\nabc\r\n1;x=y\r\nd\r\n00 ;z\r\nX-Trailer: t\r\n\r\n", "abcd"),
    (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
]
CHUNKS_REFUSED = [
    # sizes
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"3zz\r\nabc\r\n0\r\n\r\n",
    b"+3\r\nabc\r\n0\r\n\r\n",
    b"-3\r\nabc\r\n0\r\n\r\n",
    b" 3\r\nabc\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n",
    b"3\t3\r\nabc\r\n0\r\n\r\n",
    b"\r\n3\r\nabc\r\n0\r\n\r\n",
    b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    # ends of lines
    b"3\nabc\r\n0\r\n\r\n",
    b"3;x\nabc\r\n0\r\n\r\n",
    b"3;x\ry\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\n0\r\n\r\n",
    b"3\r\nabc\r\r\n0\r\n\r\n",
    b"3\r\nabc\r\n0\n\r\n",
    b"3\r\nabc\r\n0\r\n\n",
    b"3\r\nabc\r\n0\r\nX: y\n\r\n",
    # what follows the data, and trailers
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nabc0\r\n\r\n",
    b"3\r\nabc\r\n0\r\nX\r\n\r\n",
    b"3\r\nabc\r\n0\r\n X: y\r\n\r\n",
]


@pytest.fixture
def chunked(gateway_factory):
    """One loop, so that another's answer tells that it has read what was sent before."""
    gateway = gateway_factory(arguments=["--threads", "1"]).start()
    gateway.url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, AT_ONCE)
    gateway.head = f"POST {gateway.url} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n".encode()
    return gateway


def rows_are(gateway, expected):
    """Nothing else came: an event that was lost after its 200 would be as wrong as one too many."""
    gateway.flush("s", "rows")
    assert sorted(row[0] for row in gateway.rows('SELECT body FROM "rows"')) == sorted(expected)


def answer_to(address, pieces, between=lambda: None):
    """The answer when the pieces come one after another; the gateway may end the connection before the last."""
    connection = open_socket(address)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for piece in pieces:
            connection.sendall(piece)
            between()
    answer = drain(connection)
    connection.close()
    return answer


def test_chunks_that_are_not_sound_are_refused(chunked):
    for body in CHUNKS_REFUSED:
        answer = answer_to(chunked.intake, [chunked.head + b"\r\n" + body])
        assert answer.startswith(b"HTTP/1.1 400") and b"stream.in.badRequest" in answer, (body, answer)
    for body, _ in CHUNKS_TAKEN:
        assert answer_to(chunked.intake, [chunked.head + b"\r\n" + body]).startswith(b"HTTP/1.1 200"), body
    rows_are(chunked, [text for _, text in CHUNKS_TAKEN])


def test_chunks_that_come_byte_by_byte(chunked):
    def read():
        assert request(chunked.intake, "GET", "/health").status == 200

    def come(body):
        return answer_to(chunked.intake, [chunked.head + b"\r\n", *(bytes([byte]) for byte in body)], read)

    for body in CHUNKS_REFUSED:
        answer = come(body)
        assert answer.startswith(b"HTTP/1.1 400") and b"stream.in.badRequest" in answer, (body, answer)
    for body, _ in CHUNKS_TAKEN:
        assert come(body).startswith(b"HTTP/1.1 200"), body
    rows_are(chunked, [text for _, text in CHUNKS_TAKEN])


def test_chunks_behind_another_request(chunked):
    """They are read together with it, before its answer is written."""
    before = f"POST {chunked.url} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nbefore".encode()
    for body in CHUNKS_REFUSED:
        answer = answer_to(chunked.intake, [before + chunked.head + b"\r\n" + body])
        assert answer.startswith(b"HTTP/1.1 200") and answer.count(b"HTTP/1.1 ") == 2 and b"HTTP/1.1 400" in answer, (body, answer)
    for body, _ in CHUNKS_TAKEN:
        answer = answer_to(chunked.intake, [before + chunked.head + b"\r\n" + body])
        assert answer.count(b"HTTP/1.1 200") == 2, (body, answer)
    rows_are(chunked, [text for _, text in CHUNKS_TAKEN] + ["before"] * (len(CHUNKS_REFUSED) + len(CHUNKS_TAKEN)))


def test_chunks_behind_a_continue(chunked):
    """The HTTP library writes "100 Continue" and reads on by itself."""
    head = chunked.head + b"Expect: 100-continue\r\n\r\n"

    def come(body, begin):
        connection = open_socket(chunked.intake)
        connection.sendall(head + body[:begin])
        told = b"HTTP/1.1 100 Continue\r\n\r\n"
        answer = b""
        while len(answer) < len(told):
            piece = connection.recv(len(told) - len(answer))
            if not piece:
                return answer
            answer += piece
        if answer != told:
            return answer + drain(connection)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(body[begin:])
        return drain(connection)

    for begin in (0, 1, 5):
        for body in CHUNKS_REFUSED:
            answer = come(body, begin)
            assert answer.startswith(b"HTTP/1.1 400"), (body, begin, answer)
        for body, _ in CHUNKS_TAKEN:
            assert come(body, begin).startswith(b"HTTP/1.1 200"), (body, begin)
    rows_are(chunked, [text for _, text in CHUNKS_TAKEN] * 3)


def test_clients_that_die_before_their_answer(gateway):
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, NEVER)
    body = b"x" * 1000
    for _ in range(200):
        connection = open_socket(gateway.intake)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        connection.sendall(f"POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        connection.close()
    assert gateway.post(url, body, content_type="text/plain").status == 200


def test_large_unfinished_requests_get_the_answer_that_small_ones_get(gateway):
    """The sweep refuses them by their head alone, with the status that they would have had in the end."""
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, NEVER)
    without_secret = url.rsplit("/", 1)[0]
    for method, path, header, status, held in [
        ("POST", without_secret, "Authorization: Bearer wrong\r\n", 401, b"WWW-Authenticate: "),
        ("POST", without_secret + "/wrong", "", 404, b"stream.in.noSourceFound"),
        ("POST", "/nowhere", "", 404, b"stream.in.routeNotFound"),
        ("POST", "/stream/abc/s/x", "", 400, b"Invalid project ID"),
        ("PUT", url, "", 405, b"Allow: OPTIONS, POST\r\n"),
        ("POST", "/health", "", 405, b"Allow: OPTIONS, GET, HEAD\r\n"),
    ]:
        connection = open_socket(gateway.intake)
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{header}Content-Length: 1000000\r\n\r\n"
        connection.sendall(head.encode() + b"x" * 40_000)
        answer = drain(connection)
        connection.close()
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()) and held in answer, (path, answer)
        assert b"X-Request-Id: " in answer and b"Access-Control-Allow-Origin: *" in answer, answer


def test_refused_requests_of_many_events_leave_nothing_behind(gateway_factory):
    """Each takes far more than it brings while it is mapped; several of them in one turn do not add up."""
    gateway = gateway_factory(arguments=["--threads", "1"], environment={"ASAN_OPTIONS": "quarantine_size_mb=1"}).start()
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "kept", [{"type": "path", "name": "a", "path": "a"}], NEVER, onInvalid="quarantine")
    gateway.add_sink("s", "strict", COLUMNS + [{"type": "path", "name": "b", "path": "b", "defaultValue": "x"}], NEVER, onInvalid="reject")
    body = b"{}\n" * 150_000 + b"not json"

    def refuse(count):
        senders = [threading.Thread(target=lambda: answers.append(gateway.post(url, body))) for _ in range(count)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()

    answers = []
    refuse(1)
    one = gateway.memory_kb("VmHWM")
    refuse(8)
    assert len(answers) == 9 and all(answer.status == 422 for answer in answers), answers
    assert answers[0].json["events"] == {"accepted": 0, "rejected": 1, "duplicate": 0}
    rejected = answers[0].json["rejected"]
    assert [(item["index"], item["sinkId"], item["error"]) for item in rejected] == [(150_000, "strict", "stream.in.unprocessableContent")]
    assert gateway.memory_kb("VmHWM") < 2 * one + 100_000, (one, gateway.memory_kb("VmHWM"))


def test_short_events_that_wait_for_templates_count_in_full(gateway_factory):
    """Three bytes of text take hundreds while they wait: the budget of bytes in flight sees those."""
    gateway = gateway_factory(arguments=["--limits.in-flight", "1MB"]).start()
    url = gateway.add_source("s", framing="ndjson")
    template = {"type": "template", "name": "t", "template": {"language": "jsonnet", "content": "Body()"}}
    gateway.add_sink("s", "rows", [template], NEVER)
    answers = []
    senders = [threading.Thread(target=lambda: answers.append(gateway.post(url, b"{}\n" * 20_000))) for _ in range(16)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    refused = [answer for answer in answers if answer.status == 503]
    assert len(refused) < 16 and {answer.status for answer in answers} == {200, 503}, answers
    assert refused[0].json["error"] == "stream.in.overloaded" and 1 <= int(refused[0].headers["retry-after"]) <= 60
    wait_until("there is room again", lambda: gateway.post(url, b"{}\n" * 20_000).status == 200)


def test_a_stop_does_not_wait_for_strangers(gateway):
    """Nothing, one byte, half a head, half a body, a reader that does not read: none of them holds a stop up, and who comes meanwhile is told."""
    url = gateway.add_source("s")
    gateway.add_sink("s", "rows", COLUMNS, NEVER)
    head = f"POST {url} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n".encode()
    strangers = [open_socket(gateway.intake) for _ in range(5)]
    strangers[1].sendall(b"P")
    strangers[2].sendall(head[:40])
    strangers[3].sendall(head + b"half")
    strangers[4].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    strangers[4].setblocking(False)
    unread = b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n" * 20000
    sent = 0

    def full():
        nonlocal sent
        try:
            sent += strangers[4].send(unread[sent % len(unread) :])
        except BlockingIOError:
            return True

    wait_until("nothing more goes into the connection", full)
    assert gateway.post(url, b"kept", content_type="text/plain").status == 200
    begin = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    wait_until("the stop begins", lambda: "stopping: requests" in gateway.log_text())
    for stranger in strangers[:3]:
        assert drain(stranger).startswith(b"HTTP/1.1 503")
    told = raw(gateway.intake, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 503") and b"Retry-After" in told and b"stream.in.shutdown" in told
    assert drain(strangers[3]).startswith(b"HTTP/1.1 503")
    assert gateway.process.wait(timeout=60) == 0
    assert time.monotonic() - begin < 9
    for stranger in strangers:
        stranger.close()
    with pytest.raises(ConnectionRefusedError):
        open_socket(gateway.intake)
    assert "the shutdown deadline passed" not in gateway.log_text()
