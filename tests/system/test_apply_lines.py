"""What `sluice apply` prints of a source that it made or changed: the URL, a curl line that works, or what the source reads."""

import os
import subprocess

import pytest
from sluice import AT_ONCE, BINARY

COLUMNS = """
          - { name: k, type: path, path: $.order.id, dataType: uuid, primaryKey: true }
          - { name: at, type: path, path: order.at, dataType: timestamp, format: unixMs }
          - { name: day, type: path, path: day, dataType: date }
          - { name: what, type: path, path: what, rawString: true }
          - { name: count, type: path, path: count, dataType: integer, defaultValue: 7 }
          - { name: price, type: path, path: price, dataType: decimal }
          - { name: more, type: path, path: order.more, dataType: json }
          - { name: yes, type: path, path: yes, dataType: boolean }"""


def source(source_id, columns=COLUMNS, **fields):
    more = "".join(f"{key}: {value}\n" for key, value in fields.items())
    table = f"table:\n      tableId: {source_id}\n      mapping:\n        columns:{columns}\n"
    return f"kind: source\nsourceId: {source_id}\n{more}sinks:\n  - sinkId: k\n    {table}"


def apply(gateway, path, *arguments, **environment):
    command = [BINARY, "apply", "-f", str(path), "--admin", f"http://{gateway.admin}", "--data", str(gateway.data), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
    assert ended.returncode == 0, ended
    return [line for line in ended.stdout.splitlines() if line.startswith(("  send events to ", "  curl ", "  reads "))]


@pytest.mark.parametrize("framing", ["single", "ndjson", "array", "concatenated", "lines"])
def test_the_curl_line_sends_an_event(gateway, tmp_path, framing):
    manifest = tmp_path / "s.yaml"
    columns = "\n          - { name: body, type: body }" if framing == "lines" else COLUMNS
    manifest.write_text(source("s", columns, framing=framing))
    assert apply(gateway, manifest, "--dry-run") == []
    url, curl = apply(gateway, manifest)
    assert url == f"  send events to http://{gateway.intake}{gateway.source_url('s')}"
    gateway.set("/sources/s", AT_ONCE)
    (tmp_path / "events.txt").write_text("one line\n")
    sent = subprocess.run(["bash", "-c", curl + " -sS -w ' %{http_code}'"], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert sent.stdout == "OK 200", (curl, sent)
    gateway.wait_rows("s", 1)

    assert apply(gateway, manifest) == []
    manifest.write_text(manifest.read_text().replace("sinkId: k", "sinkId: k\n    name: other"))
    assert apply(gateway, manifest) == [url, curl]
    assert gateway.source_url("s").rsplit("/", 1)[1] not in gateway.log_text()


def test_events_that_are_not_known(gateway, tmp_path):
    """Where the manifest does not say what an event looks like, the line names a file."""
    manifest = tmp_path / "s.yaml"
    unknown = (
        "\n          - { name: a, type: path, path: 'a[0]' }",
        "\n          - { name: a, type: path, path: a, dataType: date, format: '%d.%m.%Y' }",
        "\n          - { name: a, type: path, path: a }\n          - { name: b, type: path, path: a.b }",
        "\n          - { name: a, type: template, template: { language: jsonnet, content: 'Body()' } }",
    )
    for number, columns in enumerate(unknown):
        manifest.write_text(source(f"s{number}", columns))
        assert " --data-binary @event.json " in apply(gateway, manifest)[1]


def test_a_secret_of_the_environment_is_not_shown(gateway, tmp_path):
    manifest = tmp_path / "s.yaml"
    secret = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnop"
    manifest.write_text(source("s", secret="${ENV:SHOP_SECRET}"))
    assert apply(gateway, manifest, SHOP_SECRET=secret) == [f"  send events to http://{gateway.intake}/stream/1/s/${{ENV:SHOP_SECRET}}"]
    assert gateway.source_url("s").endswith(secret)


def test_what_a_source_reads(gateway_factory, tmp_path):
    gateway = gateway_factory(
        'connections:\n  logs: {type: kafka, brokers: "127.0.0.1:1"}\n  events: {type: nats, servers: "nats://127.0.0.1:1"}\n'
    ).start()
    manifest = tmp_path / "s.yaml"
    body = "\n          - { name: body, type: body }"
    sources = {
        "a": ("kafka", '{connection: logs, topics: [x, "^y.*"], groupId: g}'),
        "b": ("nats", "{connection: events, stream: ORDERS, durable: d}"),
        "c": ("nats", '{connection: events, stream: ORDERS, subject: "o.>", durable: none}'),
    }
    manifest.write_text("---\n".join(source(name, body, type=kind, **{kind: part}) for name, (kind, part) in sources.items()))
    assert apply(gateway, manifest) == [
        '  reads topics "x", "^y.*" of connection "logs" as consumer group "g"',
        '  reads stream "ORDERS" of connection "events" as durable consumer "d"',
        '  reads subject "o.>" of stream "ORDERS" of connection "events" without a durable consumer',
    ]
