"""The commands: their arguments, and apply, flush, pause, resume, get, check. `map` is in test_map.py."""

import itertools
import json
import os
import socket
import sqlite3
import subprocess
import threading

import pytest
from sluice import BINARY, NEVER, ROOT, wait_until

MANIFEST = """\
kind: source
sourceId: shop
name: Shop
secret: 0123456789abcdefghijABCDEFGHIJ0123456789
framing: ndjson
settings:
  storage.level.target.import.trigger.interval: 5m
sinks:
  - sinkId: orders
    name: Orders
    table:
      tableId: orders
      mapping:
        columns:
          - {name: id, type: id}
          - {name: who, type: path, path: user.name, rawString: true}
          - {name: who_up, type: template, rawString: true, template: {language: jsonnet, content: "std.asciiUpper(Body('user.name'))"}}
    settings:
      storage.level.target.import.trigger.count: 7
"""


def sluice(*arguments, stdin=None, gateway=None):
    if gateway:
        arguments = (*arguments, "--admin", f"http://{gateway.admin}", "--data", str(gateway.data))
    return subprocess.run([BINARY, *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=60)


COMMANDS = ("serve", "apply", "check", "map", "infer", "get", "status", "connections", "flush", "pause", "resume", "seek", "skip")
# An option of each command that needs a value, and as many operands as it takes.
VALUED = {"serve": "--config", "check": "--config", "map": "--columns", "status": "--output", "pause": "--connection", "infer": "--depth"}
VALUED.update({"seek": "--partition", "skip": "--partition"})
OPERANDS = {"connections": ["test", "local"], **{name: ["one"] for name in ("get", "flush", "pause", "resume", "seek", "skip")}}
NEEDED = {name: ["-f", "shop.yaml"] for name in ("apply", "check", "map", "infer")}
NEEDED.update({"seek": ["--to", "latest"], "skip": ["--topic", "t", "--partition", "0", "--offset", "1"]})


def wrong_command_line(*arguments):
    """Its message: it ends with 2, does nothing, and names --help."""
    result = sluice(*arguments)
    assert result.returncode == 2 and result.stdout == "", result
    assert result.stderr.startswith(f"sluice {arguments[0]}: ") and result.stderr.count("\n") == 2, result.stderr
    assert f"sluice {arguments[0]} --help" in result.stderr, result.stderr
    return result.stderr.split("\n")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_command_line_ends_with_2(command):
    fine = [*NEEDED.get(command, []), *OPERANDS.get(command, [])]
    valued = VALUED.get(command, "--admin")
    assert "there is no option --no-such-option" in wrong_command_line(command, *fine, "--no-such-option", "1")
    assert "there is no option --no-such-option" in wrong_command_line(command, "--no-such-option=1", *fine)
    assert "there is no option -Z" in wrong_command_line(command, *fine, "-Z")
    assert f"{valued} needs a value" in wrong_command_line(command, *fine, valued)
    assert 'operand too many: "surplus"' in wrong_command_line(command, *fine, "surplus")
    assert 'operand too many: "--surplus"' in wrong_command_line(command, *fine, "--", "--surplus")
    assert "--help takes no value" in wrong_command_line(command, "--help=1")
    # The beginning of a name is not the name.
    assert f"there is no option {valued[:-1]}: did you mean \"{valued[2:]}\"" in wrong_command_line(command, *fine, valued[:-1], "x")


def test_an_unknown_command_gets_a_guess():
    ended = subprocess.run([BINARY, "aply"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and ended.stdout == "", ended
    assert ended.stderr == 'sluice: there is no command "aply": did you mean "apply"?\nsluice --help lists the commands\n', ended
    ended = subprocess.run([BINARY, "--help"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0 and "SLUICE_ADMIN, else http://127.0.0.1:7001" in ended.stdout and "docs" in ended.stdout, ended


def test_without_a_gateway_the_options_are_named(tmp_path):
    (tmp_path / "token").write_text("t")
    (tmp_path / "token").chmod(0o600)
    command = [BINARY, "status", "--admin", "127.0.0.1:1", "--token-file", str(tmp_path / "token")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "no gateway answers at http://127.0.0.1:1" in ended.stderr and "--admin URL" in ended.stderr, ended


def test_what_answers_is_not_the_gateway(gateway, tmp_path):
    (tmp_path / "token").write_text("t")
    (tmp_path / "token").chmod(0o600)

    def said(address):
        ended = sluice("status", "--admin", address, "--token-file", tmp_path / "token")
        assert ended.returncode == 2 and ended.stdout == "", ended
        return ended.stderr

    assert "does not know the token (HTTP 401): --token-file FILE, SLUICE_TOKEN or --data DIR" in said(gateway.admin)
    assert f"no management API at http://{gateway.intake} (HTTP 404): --admin URL or SLUICE_ADMIN" in said(gateway.intake)
    for head in (b"404 Not Found", b"200 OK"):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(60)
            address = f"127.0.0.1:{listener.getsockname()[1]}"

            def answer(head=head, listener=listener):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 " + head + b"\r\nContent-Length: 4\r\nConnection: close\r\n\r\n<p/>")

            server = threading.Thread(target=answer)
            server.start()
            try:
                assert f"no management API at http://{address} (HTTP {head[:3].decode()})" in said(address)
            finally:
                server.join()
    missing = sluice("status", "--data", tmp_path / "none")
    assert missing.returncode == 2 and "give --token-file, SLUICE_TOKEN, or --data DIR" in missing.stderr, missing
    wrong = sluice("status", "--admin", "127.0.0.1:1x", "--token-file", tmp_path / "token")
    assert wrong.returncode == 2 and "--admin URL or SLUICE_ADMIN" in wrong.stderr, wrong


def test_a_missing_argument_is_named():
    assert "--file is missing" in wrong_command_line("apply", "--dry-run")
    assert "SOURCE[/SINK] is missing" in wrong_command_line("flush")
    assert "-f needs a value" in wrong_command_line("apply", "-f")
    assert "name a config file or a manifest" in wrong_command_line("check")
    assert "name one of" in wrong_command_line("resume")
    assert "--to is missing" in wrong_command_line("seek", "one")
    assert "SOURCE is missing" in wrong_command_line("seek", "--to", "latest")
    assert "--offset is missing" in wrong_command_line("skip", "one", "--topic", "t", "--partition", "0")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_counts_once_is_not_given_twice(command, tmp_path):
    """Whatever the spelling: else one of the two values would be dropped without a word."""
    (tmp_path / "shop.yaml").write_text(MANIFEST)
    if command == "check":
        (tmp_path / "other.yaml").write_text(MANIFEST.replace("shop", "other").replace("tableId: orders", "tableId: others"))
        result = sluice("check", "-f", tmp_path / "shop.yaml", "--file", tmp_path / "other.yaml")
        assert result.returncode == 0 and result.stdout.count(".yaml: valid\n") == 2, result
        return
    fine = [*NEEDED.get(command, []), *OPERANDS.get(command, [])]
    valued = VALUED.get(command, "--admin")
    assert f"{valued} is given twice" in wrong_command_line(command, *fine, valued, "1", f"{valued}=2")
    if "-f" in fine and command != "apply":
        assert "--file is given twice" in wrong_command_line(command, *fine, "--file", "other.yaml")
        assert "-f is given twice" in wrong_command_line(command, *fine, "-fshop.yaml")


def test_a_flag_counts_once_and_of_an_option_of_the_config_file_the_last_holds():
    shown = sluice("serve", "--print-config", "--threads=3", "--threads", "4")
    assert shown.returncode == 0 and "\nthreads: 4\n" in shown.stdout, shown
    assert "--print-config is given twice" in wrong_command_line("serve", "--print-config", "--print-config")
    assert "--dry-run is given twice" in wrong_command_line("apply", "--dry-run", "-f", "shop.yaml", "--dry-run")


def test_positions_are_named_and_numbers_are_numbers():
    assert "the target is SOURCE or SOURCE/SINK" in wrong_command_line("get", "One")
    assert 'positions are of a SOURCE, not of "one/k"' in wrong_command_line("get", "positions", "one/k")
    assert 'the format is json or yaml, not "table"' in wrong_command_line("get", "one", "-o", "table")
    assert 'the format is table or json, not "text"' in wrong_command_line("get", "positions", "one", "-o", "text")
    for wrong in ("-1", "x", "1.5", "", "99999999999999999999"):
        assert "a whole number, 0 or more, is needed" in wrong_command_line("seek", "one", "--to", "latest", f"--partition={wrong}")
        assert "a whole number, 0 or more, is needed" in wrong_command_line("skip", "one", "--topic", "t", "--partition=0", f"--offset={wrong}")
    assert 'the offset is too large: "99999999999999999999"' in wrong_command_line("seek", "one", "--to", "99999999999999999999")
    for command in (["seek", "--to", "1"], ["skip", "--topic", "t", "--partition", "0", "--offset", "1"]):
        assert 'there is no source "a b"' in wrong_command_line(*command, "a b")


def test_a_source_of_another_type_has_no_bridge(gateway):
    gateway.add_source("one")
    for command in (["get", "positions", "one"], ["seek", "one", "--to", "latest"], ["skip", "one", "--topic", "t", "--partition", "0", "--offset", "1"]):
        result = sluice(*command, gateway=gateway)
        assert result.returncode == 2 and result.stdout == "", result
        assert result.stderr == f'sluice {command[0]}: Source "one" is of type http, which does not read a broker. (HTTP 404)\n', result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_comes_from_the_table_of_the_command(command):
    document = (ROOT / "docs" / "operations.md").read_text()
    rows = document[document.index("<!-- commands -->") : document.index("<!-- /commands -->")].splitlines()
    at = next(i for i, row in enumerate(rows) if row.startswith(f"| **`sluice {command} "))
    summary = rows[at].split(" | ")[1].removesuffix(" |")
    options = list(itertools.takewhile(lambda row: row.startswith("| ") and not row.startswith("| **"), rows[at + 1 :]))
    assert options
    for help in (["--help"], ["-h"], [*OPERANDS.get(command, []), "--help"]):
        result = sluice(command, *help)
        assert result.returncode == 0 and result.stderr == "" and f"\n\n{summary}\n\n" in result.stdout, result
        text = " ".join(result.stdout.split())
        for row in options:
            names, sentence = row.removeprefix("| ").removesuffix(" |").split(" | ")
            assert f"{names.replace('`', '')} {sentence}" in text, (row, text)


def test_all_spellings_of_an_option_are_the_same(gateway, tmp_path):
    (tmp_path / "shop.yaml").write_text(MANIFEST)
    url, data = f"http://{gateway.admin}", str(gateway.data)
    for spelling in (["-f", "shop.yaml"], ["-fshop.yaml"], ["-f=shop.yaml"], ["--file", "shop.yaml"], ["--file=shop.yaml"]):
        for command in ("check", "map"):
            result = subprocess.run([BINARY, command, *spelling], cwd=tmp_path, input="", capture_output=True, text=True, timeout=60)
            assert result.returncode == 0, (command, spelling, result)
        command = [BINARY, "apply", "--admin=" + url, *spelling, "--data", data]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, (spelling, result)
    for at in (["--admin", url, "--data=" + data], ["--admin=" + url, "--data", data]):
        for before, behind in ((["shop"], []), ([], ["shop"]), ([], ["--", "shop"])):
            result = sluice("get", *before, *at, *behind)
            assert result.returncode == 0 and json.loads(result.stdout)["sourceId"] == "shop", result
        for output in (["-o", "json"], ["-ojson"], ["-o=json"], ["--output", "json"], ["--output=json"]):
            result = sluice("status", *at, *output)
            assert result.returncode == 0 and json.loads(result.stdout)["ready"] is True, result


def test_serve_knows_the_options_of_the_config_file(tmp_path):
    (tmp_path / "c.yaml").write_text("loaders: 7\n")

    def shown(*arguments):
        result = sluice("serve", *arguments, "--print-config")
        assert result.returncode == 0, result
        return result.stdout

    for config in (["--config", tmp_path / "c.yaml"], [f"--config={tmp_path / 'c.yaml'}"]):
        text = shown("--threads=3", *config, "--limits.body", "2MB", "--admin-insecure")
        for line in ("threads: 3", "loaders: 7", "limits.body: 2MB", "admin-insecure: true"):
            assert f"\n{line}\n" in text, text
    for spelling, value in ((["--admin-insecure", "false"], "false"), (["--admin-insecure", "true"], "true"), (["--admin-insecure=false"], "false")):
        assert f"\nadmin-insecure: {value}\n" in shown(*spelling, "--threads", "3"), spelling
    for wrong in (["--threads", "many"], ["--threads="], ["--limits.body=1000TB"], ["--admin-insecure=perhaps"]):
        result = sluice("serve", "--print-config", *wrong)
        assert result.returncode == 1 and wrong[0].split("=")[0][2:] in result.stderr, result


def test_apply_is_idempotent_and_tells_what_changes(gateway, tmp_path):
    manifest = tmp_path / "shop.yaml"
    manifest.write_text(MANIFEST)
    dry = sluice("apply", "-f", manifest, "--dry-run", gateway=gateway)
    assert dry.returncode == 0 and "+ shop" in dry.stdout, dry.stderr
    assert gateway.api("GET", "/sources/shop").status == 404

    first = sluice("apply", "-f", manifest, gateway=gateway)
    assert first.returncode == 0 and "+ shop\n" in first.stdout and "+ shop/orders\n" in first.stdout, first.stderr
    assert gateway.source_url("shop").endswith("/0123456789abcdefghijABCDEFGHIJ0123456789")
    again = sluice("apply", "-f", manifest, gateway=gateway)
    assert again.returncode == 0 and again.stdout.endswith("0 changes\n"), again.stdout

    manifest.write_text(MANIFEST.replace("name: Orders", "name: All orders").replace("count: 7", "count: 8"))
    changed = sluice("apply", "-f", manifest, gateway=gateway)
    assert changed.returncode == 0 and "~ shop/orders: name" in changed.stdout and "trigger.count" in changed.stdout, changed.stdout
    assert gateway.api("GET", "/sources/shop/sinks/orders").json["name"] == "All orders"

    manifest.write_text(MANIFEST.replace("sinkId: orders", "sinkId: others").replace("tableId: orders", "tableId: others"))
    pruned = sluice("apply", "-f", manifest, "--prune", gateway=gateway)
    assert pruned.returncode == 0 and "- shop/orders" in pruned.stdout, pruned.stdout + pruned.stderr
    assert gateway.api("GET", "/sources/shop/sinks/orders").status == 404


def test_mistakes_in_a_manifest_have_a_place(gateway, tmp_path):
    manifest = tmp_path / "shop.yaml"
    for text, place in {
        MANIFEST.replace("framing: ndjson", "framing: xml"): "shop.yaml:5:",
        MANIFEST.replace("name: who,", "nam: who,"): "shop.yaml:16:",
        MANIFEST.replace("kind: source", "kind: sauce"): "shop.yaml:1:",
        MANIFEST + "  bad: [\n": "shop.yaml:20:",
    }.items():
        manifest.write_text(text)
        for command in (["apply", "-f", manifest, "--admin", f"http://{gateway.admin}", "--data", gateway.data], ["check", "-f", manifest]):
            result = sluice(*command)
            assert result.returncode == 1 and place in result.stderr, (command, result.stderr)


WRONG = """\
kind: source
sourceId: a
framing: xml
nam: A
sinks:
  - sinkId: one
    onInvalid: maybe
    table:
      tableId: t
      mapping:
        columns:
          - {name: id, type: idd}
          - {name: x, type: path, path: x, dataType: int}
          - {name: y, type: path}
    settings:
      storage.level.target.import.trigger.count: -7
---
kind: source
sourceId: b
sinks:
  - sinkId: one
    table:
      tableId: t
      connection: nowhere
      mapping:
        columns:
          - {name: id, type: id}
          - {name: x, type: path, path: "a[b"}
          - {name: y, type: path, path: "a..c"}
          - {name: t, type: template, template: {language: jsonnet, content: "Body('a' +"}}
  - sinkId: two
    table:
      tableId: u
      mapping:
        columns:
          - {name: t, type: template, template: {language: jsonnet, content: "Body('a') +"}}
  - sinkId: three
    table: {tableId: u, mapping: {columns: [{name: id, type: id}]}}
"""


def test_check_finds_all_errors_with_their_places(tmp_path):
    (tmp_path / "a.yaml").write_text(WRONG)
    (tmp_path / "b.yml").write_text("kind: source\nsourceId: c\nnam: C\n--- 5\n")
    for name, table in (("c", "t"), ("d", "o")):
        (tmp_path / f"{name}.yaml").write_text(MANIFEST.replace("tableId: orders", f"tableId: {table}"))
    (tmp_path / "notes.txt").write_text("no manifest")
    config = tmp_path / "sluice.conf"
    config.write_text(
        "data: data\nconnections:\n  events: {type: kafka, brokers: h}\n"
        "  warehouse:\n    type: postgres\n    uri: postgresql://h/db\n    passwordFile: /nowhere/password\n"
    )
    result = sluice("check", "-f", tmp_path, "--config", config)
    assert result.returncode == 1 and result.stdout == f"{tmp_path}/c.yaml: valid\n", result
    found = [line.removeprefix(f"{tmp_path}/") for line in result.stderr.splitlines()]
    expected = [
        ("sluice.conf:7:19: ", "/nowhere/password: No such file"),
        ("a.yaml:4:1: ", '"nam" is not known'),
        ("a.yaml:3:10: ", '"framing" must be one of'),
        ("a.yaml:7:16: ", "onInvalid"),
        ("a.yaml:12:30: ", '"idd"'),
        ("a.yaml:13:54: ", '"int"'),
        ("a.yaml:14:13: ", 'needs a "path"'),
        ("a.yaml:16:50: ", "import.trigger.count"),
        ("a.yaml:24:19: ", 'names the connection "nowhere"'),
        ("a.yaml:28:13: ", 'path "a[b"'),
        ("a.yaml:29:13: ", 'path "a..c"'),
        ("a.yaml:30:13: ", "the text ends inside brackets"),
        ("a.yaml:36:13: ", "unexpected end of file"),
        ("a.yaml:38:22: ", 'Sink "b/two" imports into table "u"'),
        ("b.yml:3:1: ", '"nam" is not known'),
        ("b.yml:4:5: ", "must be a map"),
        ("d.yaml:1:1: ", f'Source "shop" is defined in {tmp_path}/c.yaml as well'),
    ]
    assert [line.split(": ")[0] + ": " for line in found] == [place for place, _ in expected], result.stderr
    for line, (place, words) in zip(found, expected):
        assert line.startswith(place) and words in line, (line, words)
    # A sink that the config file could not have.
    right = MANIFEST.replace("tableId: orders", "tableId: orders\n      connection: events")
    result = sluice("check", "-f", "-", "--config", config, stdin=right)
    assert result.returncode == 1 and "-:13:19: " in result.stderr and "which is for sources only" in result.stderr, result
    result = sluice("check", "-f", "-", stdin=MANIFEST)
    assert result.returncode == 0 and result.stdout == "-: valid\n", result
    result = sluice("check", "-f", tmp_path / "nothing.yaml", "-f", "-", stdin=MANIFEST)
    assert result.returncode == 1 and "No such file" in result.stderr and result.stdout == "-: valid\n", result


def test_apply_takes_many_files_and_all_of_their_errors_are_named(gateway, tmp_path):
    folder = tmp_path / "manifests"
    folder.mkdir()
    for name in ("a", "b"):
        text = MANIFEST.replace("sourceId: shop", f"sourceId: {name}").replace("tableId: orders", f"tableId: {name}")
        (folder / f"{name}.yaml").write_text(text)
    other = MANIFEST.replace("sourceId: shop", "sourceId: c").replace("tableId: orders", "tableId: c")
    result = sluice("apply", "-f", folder, "-f", "-", stdin=other, gateway=gateway)
    assert result.returncode == 0 and result.stdout.splitlines()[-1] == "6 changes", result
    assert [source["sourceId"] for source in gateway.api("GET", "/sources").json["sources"]] == ["a", "b", "c"]
    (folder / "wrong.yaml").write_text(WRONG)
    (folder / "twin.yaml").write_text(other)
    result = sluice("apply", "-f", folder, "-f", folder / "a.yaml", gateway=gateway)
    assert result.returncode == 1 and result.stdout == "", result
    assert f'{folder}/a.yaml:1:1: Source "a" is defined in {folder}/a.yaml as well' in result.stderr, result
    assert result.stderr.count("wrong.yaml:") == 7, result


def test_flush_and_get(gateway):
    url = gateway.add_source("one")
    gateway.add_sink("one", "k", [{"type": "body", "name": "b"}], NEVER)
    gateway.post(url, {"a": 1})
    result = sluice("flush", "one/k", gateway=gateway)
    assert result.returncode == 0 and "one/k: imported 1 row\n" in result.stdout, result.stderr
    assert gateway.rows("SELECT b FROM k") == [('{"a": 1}',)]
    assert json.loads(sluice("get", "one/k", gateway=gateway).stdout)["sinkId"] == "k"
    assert sluice("flush", "nobody", gateway=gateway).returncode == 2
    for wrong in ("one/k/x", "a b", "one?limit=1", "one/", "/k", "../sources", ""):
        result = sluice("get", wrong, gateway=gateway)
        assert result.returncode == 2 and "SOURCE/SINK, not" in result.stderr, (wrong, result.stderr)


def test_flush_says_what_the_table_refused(gateway):
    url = gateway.add_source("one", framing="ndjson")
    gateway.add_sink("one", "k", [{"type": "path", "name": "n", "path": "n", "primaryKey": True}], NEVER, strategy="append")
    assert gateway.post(url, '{"n":1}\n{"n":2}\n{"n":1}\n').status == 200
    result = sluice("flush", "one", gateway=gateway)
    assert result.returncode == 0, result
    first, second = result.stdout.splitlines()
    assert first == "one/k: imported 2 rows", result
    assert second.startswith("one/k: 1 row was refused by the table and is in the rejects of the sink: ") and "UNIQUE" in second, result
    reason = gateway.api("GET", "/sources/one/sinks/k/rejects").json["rejects"][0]["reason"]
    assert second.endswith(": " + reason)
    assert gateway.post(url, '{"n":3}\n{"n":1}\n{"n":2}\n').status == 200
    outputs = gateway.flush("one", "k")["outputs"]
    assert outputs["rows"] == 1 and outputs["refusedRows"] == 2 and outputs["refusal"] == reason
    outputs = gateway.flush("one", "k")["outputs"]
    assert outputs["rows"] == 0 and outputs["refusedRows"] == 0 and "refusal" not in outputs


def test_a_refused_source_keeps_no_other_back(gateway, tmp_path):
    manifest = tmp_path / "shop.yaml"
    lost = MANIFEST.replace("tableId: orders", "tableId: lost\n      connection: nowhere")
    texts = [lost.replace("sourceId: shop", "sourceId: lost"), MANIFEST, lost.replace("sourceId: shop", "sourceId: gone")]
    texts = [text.replace("secret: 0", f"secret: {i}") for i, text in enumerate(texts)]
    manifest.write_text("---\n".join(texts))
    result = sluice("apply", "-f", manifest, gateway=gateway)
    assert result.returncode == 2, result
    refusals = result.stderr.splitlines()
    assert [line.split(": ")[:2] for line in refusals] == [["sluice apply", "lost"], ["sluice apply", "gone"]], result
    assert all("nowhere" in line for line in refusals), result
    assert "+ shop/orders\n" in result.stdout and result.stdout.splitlines()[-1] == "2 changes, 2 sources were refused", result
    assert gateway.api("GET", "/sources/shop/sinks/orders").status == 200
    # Who does not answer refuses nothing, and nobody else is asked.
    gateway.stop()
    result = sluice("apply", "-f", manifest, gateway=gateway)
    assert result.returncode == 2 and result.stdout == "" and result.stderr.count("\n") == 1, result


def test_a_table_that_was_dropped_is_made_anew_and_everybody_hears_of_it(gateway):
    url = gateway.add_source("one")
    gateway.add_sink("one", "k", [{"type": "body", "name": "b"}], NEVER)
    assert gateway.log_text().count("CREATE TABLE IF NOT EXISTS \\\"_sluice_files\\\"") == 1
    assert gateway.log_text().count("CREATE TABLE IF NOT EXISTS \\\"k\\\"") == 1
    gateway.post(url, {"a": 1})
    gateway.flush("one", "k")
    assert gateway.statistics("one", "k")["tableMadeAt"] is None
    database = sqlite3.connect(gateway.data / "tables.db", timeout=30)
    database.execute("ALTER TABLE k RENAME TO old")
    database.commit()
    database.close()
    gateway.post(url, {"a": 2})
    gateway.api("POST", "/sources/one/sinks/k/flush")
    wait_until("the row", lambda: gateway.rows("SELECT b FROM k") == [('{"a": 2}',)])
    log = gateway.log_text()
    assert "the table k of one/k was missing and is created again" in log
    assert log.count("CREATE TABLE IF NOT EXISTS \\\"k\\\"") == 2 and log.count("CREATE TABLE IF NOT EXISTS \\\"_sluice_files\\\"") == 1
    made_at = wait_until("the import is recorded", lambda: gateway.statistics("one", "k")["tableMadeAt"])
    assert f"its table was missing and was created again at {made_at}" in sluice("status", gateway=gateway).stdout


def test_a_sink_that_fails_stops_no_flush_of_the_others(gateway):
    url = gateway.add_source("one")
    for sink in ("a", "b", "c"):
        gateway.add_sink("one", sink, [{"type": "body", "name": "b"}], NEVER)
    gateway.post(url, {"a": 1})
    for sink in ("a", "b"):
        assert sluice("pause", f"one/{sink}", gateway=gateway).returncode == 0
    result = sluice("flush", "one", gateway=gateway)
    assert result.returncode == 2 and result.stdout == "one/c: imported 1 row\n", result
    failures = result.stderr.splitlines()
    assert [line.split(": ")[:2] for line in failures] == [["sluice flush", "one/a"], ["sluice flush", "one/b"]], failures
    assert gateway.rows("SELECT b FROM c") == [('{"a": 1}',)]


def test_the_token_comes_from_the_data_directory(gateway, tmp_path):
    def get(*arguments, **variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        command = [BINARY, "get", "--admin", f"http://{gateway.admin}", *arguments]
        environment.update(variables)
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment)

    for found in (get("--data", str(gateway.data)), get(SLUICE_DATA=str(gateway.data))):
        assert found.returncode == 0 and json.loads(found.stdout)["sources"] == [], found
    nowhere = str(tmp_path / "nowhere")
    for missing in (get(), get(SLUICE_DATA=nowhere), get("--data", nowhere, SLUICE_DATA=str(gateway.data)), get("--data", str(tmp_path))):
        assert missing.returncode == 2 and missing.stdout == "", missing
        assert missing.stderr.startswith("sluice get: no token: give --token-file, SLUICE_TOKEN, or --data DIR of the gateway"), missing
    file = get("--token-file", nowhere + "/token", SLUICE_DATA=str(gateway.data))
    assert file.returncode == 2 and f"the token file {nowhere}/token: " in file.stderr, file


def test_pause_and_resume(gateway):
    url = gateway.add_source("one")
    gateway.add_sink("one", "k", [{"type": "body", "name": "b"}], NEVER)
    gateway.post(url, {"a": 1})
    for target in (["one/k"], ["one"], ["--connection", "local"]):
        result = sluice("pause", *target, gateway=gateway)
        assert result.returncode == 0 and result.stdout == f"{target[-1]}: paused\n", result.stderr
        flush = sluice("flush", "one/k", gateway=gateway)
        assert flush.returncode == 2 and "is paused since" in flush.stderr, flush.stderr
        result = sluice("resume", *target, gateway=gateway)
        assert result.returncode == 0 and result.stdout == f"{target[-1]}: resumed\n", result.stderr
    assert sluice("flush", "one/k", gateway=gateway).returncode == 0
    assert sluice("pause", "--connection", "nowhere", gateway=gateway).returncode == 2
    for wrong in ([], ["one", "--connection", "local"], ["--connection", "a b"]):
        assert sluice("pause", *wrong, gateway=gateway).returncode == 2, wrong


def test_resume_says_what_else_is_paused(gateway):
    gateway.add_source("one")
    gateway.add_sink("one", "k", [{"type": "body", "name": "b"}], NEVER)
    for other, what in ((["one"], "source"), (["--connection", "local"], "connection")):
        for target in (["one/k"], other):
            assert sluice("pause", *target, gateway=gateway).returncode == 0
        result = sluice("resume", "one/k", gateway=gateway)
        assert result.returncode == 0 and result.stdout == f"one/k: resumed, but still paused by its {what}\n", result
        assert sluice("resume", *other, gateway=gateway).returncode == 0
        assert sluice("resume", "one/k", gateway=gateway).stdout == "one/k: resumed\n"


def test_aliases_are_applied_once(gateway, tmp_path):
    manifest = tmp_path / "shop.yaml"
    text = MANIFEST.replace("{name: id, type: id}", "{name: id, type: uuid}\n          - {name: doc, type: json, path: doc}")
    manifest.write_text(text)
    assert sluice("apply", "-f", manifest, gateway=gateway).returncode == 0
    again = sluice("apply", "-f", manifest, gateway=gateway)
    assert again.returncode == 0 and again.stdout.endswith("0 changes\n"), again.stdout + again.stderr
    columns = gateway.api("GET", "/sources/shop/sinks/orders").json["table"]["mapping"]["columns"]
    assert [column["type"] for column in columns] == ["id", "path", "path", "template"]


def test_the_examples_take_the_event_of_the_readme():
    event = '{"issue":{"id":1,"fields":{"summary":"hello"}},"amount":12.50}'
    assert event in (ROOT / "README.md").read_text()
    for name in ("demo.yaml", "postgres.yaml"):
        result = sluice("map", "-f", ROOT / "config" / "examples" / name, stdin=event + "\n" + '{"issue":{"id":2},"amount":1}\n')
        assert result.returncode == 0 and len(result.stdout.splitlines()) == 2, result.stderr


def test_examples_are_sound():
    for name in ("demo.yaml", "postgres.yaml"):
        result = sluice("check", "-f", ROOT / "config" / "examples" / name)
        assert result.returncode == 0, result.stderr


SECRET = "s3cr3t-of-nobody-at-all"


@pytest.mark.parametrize(
    "text",
    [
        "threads: ${FILE:secret}\n",
        "log-format: ${ENV:HIDDEN}\n",
        "no-such: {x: '${ENV:HIDDEN}'}\n${ENV:HIDDEN}: 1\n",
        "connections: {w: {type: '${FILE:secret}'}}\n",
        "connections: {w: {type: postgres, uri: '${ENV:HIDDEN}'}}\n",
        "connections: {w: {type: postgres, uri: 'postgresql://h', ${ENV:HIDDEN}: 1}}\n",
        "admin: ${ENV:HIDDEN}.example.com:7001\n",
        "kind: source\nsourceId: s\nname: S\nframing: ${FILE:secret}\n",
        "kind: source\nsourceId: '${FILE:secret} '\nname: S\n",
        "kind: source\nsourceId: s\nname: S\nsecret: ${FILE:secret}\n",
        "kind: source\nsourceId: s\nname: S\nsettings: {'${ENV:HIDDEN}': 1}\n",
        "kind: source\nsourceId: s\nname: S\nsinks: [{sinkId: k, table: {tableId: t, mapping: {columns: [{name: a, type: '${ENV:HIDDEN}'}]}}}]\n",
    ],
)
def test_what_variables_and_files_give_is_in_no_error(tmp_path, text):
    (tmp_path / "secret").write_text(SECRET + "\n")
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    kind = "-f" if text.startswith("kind") else "--config"
    environment = {**os.environ, "HIDDEN": SECRET}
    result = subprocess.run([BINARY, "check", kind, str(path)], capture_output=True, text=True, timeout=60, env=environment)
    assert result.returncode == 1, result
    assert not any(SECRET[i : i + 6] in result.stdout + result.stderr for i in range(len(SECRET) - 5)), result.stderr
    assert "${FILE:secret}" in result.stderr or "${ENV:HIDDEN}" in result.stderr or "wrong.yaml:" in result.stderr, result.stderr


def test_a_password_instead_of_its_file_is_not_shown(gateway_factory):
    config = "connections: {w: {type: postgres, uri: 'postgresql://127.0.0.1:1/d', passwordFile: '${FILE:secret}'}}\n"
    gateway = gateway_factory(config)
    (gateway.directory / "secret").write_text(SECRET + "\n")
    gateway.start()
    gateway.add_source("s")
    table = {"connection": "w", "tableId": "t", "mapping": {"columns": [{"name": "a", "type": "body"}]}}
    answer = gateway.api("POST", "/sources/s/sinks", {"sinkId": "k", "name": "K", "table": table}, expect=202)
    assert answer.json["status"] == "error" and "The password file" in answer.json["error"], answer
    assert "${FILE:secret}" in answer.json["error"], answer
    shown = subprocess.run([BINARY, "serve", "--print-config", "--config", str(gateway.config)], capture_output=True, text=True, timeout=60)
    assert 'passwordFile: "${FILE:secret}"' in shown.stdout, shown.stdout
    wait_until("the failure is in the log", lambda: "The password file" in gateway.log_text())
    for text in (answer.body.decode(), gateway.log_text(), shown.stdout + shown.stderr):
        assert SECRET not in text, text


def test_what_a_manifest_hides_apply_does_not_show(gateway, tmp_path):
    (tmp_path / "shop.yaml").write_text(
        "kind: source\nsourceId: shop\nname: Shop\nsinks:\n"
        "- {sinkId: k, name: K, table: {connection: '${ENV:HIDDEN}', tableId: t, mapping: {columns: [{name: a, type: body}]}}}\n"
    )
    environment = {**os.environ, "HIDDEN": SECRET}
    command = [BINARY, "apply", "-f", str(tmp_path / "shop.yaml"), "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert result.returncode == 2 and "${ENV:HIDDEN}" in result.stderr and SECRET not in result.stdout + result.stderr, result


def test_get_shows_all_sources(gateway):
    names = sorted(f"s{i:03}" for i in range(205))
    for name in names:
        gateway.api("POST", "/sources", {"sourceId": name, "name": name, "type": "http"}, wait=0, expect=202)
    wait_until("the sources", lambda: gateway.api("GET", "/sources?limit=1").json["page"]["totalCount"] == len(names))
    command = [BINARY, "get", "--admin", f"http://{gateway.admin}", "--data", str(gateway.data)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert [source["sourceId"] for source in answer["sources"]] == names
    assert answer["page"] == {"limit": len(names), "totalCount": len(names), "afterId": "", "lastId": names[-1]}, answer["page"]
