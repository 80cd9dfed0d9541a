"""
Masked values: the cases of tests/mapping/masks.json through the whole program, and secrets that are planted in masked fields and searched for
in everything that the gateway writes and answers.
"""

import base64
import ctypes
import hashlib
import json
import os
import random
import re
import subprocess

import pytest
from mapping_cases import stored
from sluice import AT_ONCE, BINARY, NEVER, ROOT, wait_until

MAIN_KEY = "0123456789abcdef0123456789abcdef"
CRM_KEY = "a key of the crm that is longer than one block of the digest, which is hashed first"
PATIENT = {"SLUICE_TEMPLATES_WALL_CLOCK": "20s"}


@pytest.fixture
def keys(tmp_path):
    (tmp_path / "main.key").write_text(MAIN_KEY + "\n")
    (tmp_path / "crm.key").write_text(CRM_KEY + "\n")
    return tmp_path


def config_of(keys):
    return f"maskKeyFile: {keys / 'main.key'}\nmask-keys:\n  crm: {keys / 'crm.key'}\n"


def path_column(name, mask=None, **fields):
    return {"type": "path", "name": name, "path": name, "rawString": True, **({"mask": mask} if mask else {}), **fields}


# ---- the cases ----------------------------------------------------------------------------------------------------------------------


def mask_cases():
    """Those whose input a JSON string can say, by mask and dataType."""
    found = {}
    for case in json.loads((ROOT / "tests" / "mapping" / "masks.json").read_text()):
        if "input" in case:
            found.setdefault((case["mask"], case.get("dataType", "text")), []).append(case)
    return found


DEFAULTS = {"timestamp": "2000-01-01T00:00:00Z"}  # that each mask takes


def test_the_cases_through_the_whole_program(gateway_factory, keys):
    """One sink a mask and dataType, twenty a source: what is imported and what the test endpoint says are what the case says."""
    gateway = gateway_factory(config_of(keys)).start()
    groups = list(mask_cases().items())
    count = 0
    for first in range(0, len(groups), 20):
        source = f"s{first}"
        url = gateway.add_source(source, framing="ndjson")
        some = groups[first : first + 20]
        for number, ((mask, data_type), _) in enumerate(some):
            default = "0" if mask.startswith(("range", "round", "noise")) else DEFAULTS.get(data_type, "2000-01-01")
            column = path_column("v", mask, dataType=data_type, path=f"v{number}", defaultValue=default)
            gateway.add_sink(source, f"t{first}-{number}", [path_column("n", dataType="integer"), column], AT_ONCE)
        wanted, events = {}, []
        for number, (_, cases) in enumerate(some):
            for case in cases:
                count += 1
                events.append({"n": count, f"v{number}": case["input"]})
                if "output" in case:
                    wanted.setdefault(number, {})[count] = (case, events[-1])
        answer = gateway.post(url, "\n".join(json.dumps(event) for event in events), "application/x-ndjson")
        assert answer.status == 200, answer
        for number, of_sink in wanted.items():
            table, data_type = f"t{first}-{number}", some[number][0][1]
            rows = wait_until(table, lambda: of_sink.keys() <= (found := dict(gateway.rows(f'SELECT n, v FROM "{table}"'))).keys() and found)
            for n, (case, _) in of_sink.items():
                found, expected = (float(rows[n]), float(case["output"])) if data_type == "decimal" else (rows[n], stored(data_type, case["output"]))
                assert found == expected, (case, rows[n])
            case, event = next(iter(of_sink.values()))
            tested = gateway.api("POST", f"/sources/{source}/test", event, wait=0, expect=200).json["tables"]
            (row,) = next(of for of in tested if of["sinkId"] == table)["rows"]
            assert row["columns"][1]["value"] == case["output"]
    assert count > 200


def test_null_stays_null_and_defaults_are_masked(gateway_factory, keys):
    gateway = gateway_factory(config_of(keys)).start()
    url = gateway.add_source("s")
    gateway.add_sink("s", "t", [path_column("n"), path_column("v", "stars", defaultValue="none"), path_column("h", "hash", defaultValue="")], AT_ONCE)
    for event in ({"n": "1", "v": None, "h": None}, {"n": "2"}, {"n": "3", "v": "", "h": ""}):
        assert gateway.post(url, event).status == 200
    gateway.wait_rows("t", 3)
    rows = {row[0]: row[1:] for row in gateway.rows("SELECT n, v, h FROM t")}
    assert rows["1"] == (None, None)
    assert rows["2"] == ("****", rows["3"][1]) and len(rows["3"][1]) == 64
    assert rows["3"][0] == ""


# ---- definitions --------------------------------------------------------------------------------------------------------------------


def sink_body(sink_id, columns, **fields):
    return {"sinkId": sink_id, "name": sink_id, "type": "table", "table": {"tableId": sink_id, "mapping": {"columns": columns}, **fields}}


def test_wrong_masks_are_refused_by_name(gateway):
    gateway.add_source("s")
    for column, words in (
        (path_column("v", "hahs"), ['columns[0].mask" has no mask "hahs": did you mean "hash"', "month_year"]),
        (path_column("v", "round:10"), ['columns[0].mask" is "round"', '"integer"', 'not "text"']),
        (path_column("v", "redact", primaryKey=True), ["primary key may have"]),
        (path_column("v", "hash", primaryKey=True), ["mask-key-file", "primary key"]),
        (path_column("v", "hmac:crm"), ['there is no key "crm"', "mask-keys"]),
        (path_column("v", "fixed:x", dataType="integer"), ['its text "x" is not an integer']),
        (path_column("v", "year_only", defaultValue="never"), ["defaultValue", "RFC 3339"]),
    ):
        answer = gateway.api("POST", "/sources/s/sinks", sink_body("t", [column]))
        assert answer.status == 400, answer
        for word in words:
            assert word in answer.json["message"], (word, answer.json["message"])
    assert not (gateway.data / "mask.key").exists() or (gateway.data / "mask.key").stat().st_mode & 0o777 == 0o600


def test_body_columns_and_what_a_masked_value_is_in_are_refused(gateway):
    url = gateway.add_source("s")
    masked = {"type": "path", "name": "ssn", "path": "person.ssn", "mask": "ssn"}
    gateway.add_sink("s", "masked", [masked], AT_ONCE)
    for column in ({"type": "body", "name": "b"}, {"type": "path", "name": "b", "path": "."}, {"type": "path", "name": "b", "path": "person"}):
        answer = gateway.api("POST", "/sources/s/sinks", sink_body("clear", [column]))
        assert answer.status == 400 and "bodyPolicy" in answer.json["message"], answer
    for column in ({"type": "body", "name": "b", "mask": "hash:plain"}, {"type": "path", "name": "b", "path": "person.name", "defaultValue": ""}):
        gateway.add_sink("s", f"fine-{column['type']}", [column], AT_ONCE)
    gateway.change("PATCH", "/sources/s", {"bodyPolicy": "keep"})
    gateway.add_sink("s", "clear", [{"type": "body", "name": "b"}], AT_ONCE)
    answer = gateway.api("PATCH", "/sources/s", {"bodyPolicy": "drop"})
    assert answer.status == 400 and "bodyPolicy" in answer.json["message"], answer
    assert gateway.api("GET", "/sources/s", expect=200).json["bodyPolicy"] == "keep"
    assert gateway.post(url, {"person": {"ssn": "123-45-6789", "name": "Ann"}}).status == 200


def inferring(sink_id, columns=(), **infer):
    return {"sinkId": sink_id, "name": sink_id, "type": "table", "table": {"tableId": sink_id, "mapping": {"infer": infer, "columns": list(columns)}}}


def test_a_sink_that_infers_beside_one_that_masks(gateway):
    """It leaves the masked path out, or is refused; then the value is in none of its columns, nor in _rest."""
    secrets = Secrets(4)
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "masked", [path_column("ssn", "stars", path="person.ssn", defaultValue="")], AT_ONCE)
    for infer, columns in (
        ({"depth": 1}, []),
        ({"depth": 2}, []),
        ({"depth": 2, "exclude": ["person.name"]}, []),
        ({"depth": 1}, [path_column("ssn", "hash:plain", path="person.ssn")]),
        ({"depth": 1}, [path_column("ssn", path="person.ssn")]),
    ):
        answer = gateway.api("POST", "/sources/s/sinks", inferring("all", columns, **infer))
        assert answer.status == 400 and 'sink \\"all\\"' in json.dumps(answer.json["message"]), answer
        assert 'column "ssn" of sink "' in answer.json["message"] and "bodyPolicy" in answer.json["message"], answer
        assert ('exclude "person.ssn"' if infer["depth"] == 2 else 'exclude "person"') in answer.json["message"], answer
    gateway.change("POST", "/sources/s/sinks", inferring("out", depth=2, exclude=["person.ssn"]))
    gateway.change("POST", "/sources/s/sinks", inferring("hidden", [path_column("ssn", "md5", path="person.ssn")], depth=2))
    answer = gateway.api("PATCH", "/sources/s/sinks/out", {"table": {"mapping": {"infer": {"exclude": []}}}})
    assert answer.status == 400 and 'exclude "person.ssn"' in answer.json["message"], answer
    for sink in ("out", "hidden"):
        gateway.set(f"/sources/s/sinks/{sink}", AT_ONCE)
    wait_until("columns", lambda: gateway.post(url, {"person": {"ssn": secrets.new(), "name": "Ann", "late": {"k": 1}}, "n": 1}).status == 200
               and all("person__late" in json.dumps(gateway.api("GET", f"/sources/s/sinks/{sink}").json) for sink in ("out", "hidden")))
    for event in ({"person": {"ssn": {"deep": secrets.new()}}}, {"person": {"ssn": [secrets.new()], "x": 1}}, {"n": "text"}):
        assert gateway.post(url, event).status == 200
    for sink in ("masked", "out", "hidden"):
        gateway.flush("s", sink)
    (name,) = set(gateway.rows("SELECT person__name FROM hidden WHERE person__late IS NOT NULL"))
    assert name == ("Ann",)
    gateway.stop()
    for path, content in written(gateway):
        assert not secrets.found_in(content), (path, secrets.found_in(content))
    assert secrets.count >= 3


def test_the_key_of_the_data_directory(gateway_factory, keys, tmp_path):
    gateway = gateway_factory().start()
    assert not (gateway.data / "mask.key").exists()
    url = gateway.add_source("s")
    gateway.add_sink("s", "t", [path_column("v", "hash")], AT_ONCE)
    key = (gateway.data / "mask.key").read_text()
    assert len(key) == 65 and (gateway.data / "mask.key").stat().st_mode & 0o777 == 0o600
    assert gateway.post(url, {"v": "ann"}).status == 200
    gateway.stop()
    gateway.start()
    assert gateway.post(gateway.source_url("s"), {"v": "ann"}).status == 200
    gateway.wait_rows("t", 2)
    assert len(set(gateway.rows("SELECT v FROM t"))) == 1
    gateway.stop()
    # The same key for another gateway, as a file.
    (tmp_path / "shared.key").write_text(key)
    other = gateway_factory(arguments=["--mask-key-file", str(tmp_path / "shared.key")]).start()
    url = other.add_source("s")
    other.add_sink("s", "t", [path_column("v", "hash", primaryKey=True)], AT_ONCE)
    assert other.post(url, {"v": "ann"}).status == 200
    other.wait_rows("t", 1)
    assert other.rows("SELECT v FROM t")[0] == gateway.rows("SELECT v FROM t")[0]
    assert not (other.data / "mask.key").exists()


def test_keys_that_cannot_be_read_end_the_start(gateway_factory, tmp_path):
    (tmp_path / "short").write_text("short\n")
    for arguments, words in (
        (["--mask-key-file", str(tmp_path / "none")], "mask-key-file"),
        (["--mask-key-file", str(tmp_path / "short")], "16 to 4096 bytes, not 5"),
        (["--mask-keys", f"a={tmp_path / 'short'}"], "16 to 4096 bytes, not 5"),
        (["--mask-keys", "a"], "NAME=FILE"),
        (["--mask-keys", f"a={tmp_path / 'short'},a={tmp_path / 'short'}"], "names differ"),
    ):
        with pytest.raises(AssertionError, match=words):
            gateway_factory(arguments=arguments).start()


def test_key_files_that_others_can_read_are_named(gateway_factory, keys, tmp_path):
    (tmp_path / "main.key").chmod(0o644)
    (tmp_path / "crm.key").chmod(0o600)
    gateway = gateway_factory(config_of(keys)).start()
    assert "the key file of mask-key-file can be read by other users" in gateway.log_text()
    assert "mask-keys, crm" not in gateway.log_text()
    result = sluice("check", "--config", gateway.directory / "sluice.yaml")
    assert result.returncode == 0 and "warning: the key file of mask-key-file" in result.stderr, result
    (tmp_path / "main.key").chmod(0o600)
    (tmp_path / "crm.key").chmod(0o640)
    result = sluice("check", "--config", gateway.directory / "sluice.yaml")
    assert result.returncode == 0 and "mask-keys, crm can be read by other users" in result.stderr and "mask-key-file" not in result.stderr, result


# ---- without a server ---------------------------------------------------------------------------------------------------------------


def sluice(*arguments, **options):
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options)


def manifest_of(*sinks, kind="http", **fields):
    return json.dumps({"kind": "source", "sourceId": "s", "type": kind, **fields, "sinks": [sink_body(f"t{n}", columns) for n, columns in enumerate(sinks)]})


def test_check_finds_what_apply_would_refuse(gateway, keys, tmp_path):
    """Without a server; and apply says the same."""
    masked, file = path_column("m", "stars", path="a.b"), tmp_path / "manifest.yaml"
    deep = json.dumps({"kind": "source", "sourceId": "s", "type": "http", "sinks": [inferring("t0", [masked], depth=1)]})
    beside = json.dumps({"kind": "source", "sourceId": "s", "type": "http", "sinks": [sink_body("t0", [masked]), inferring("t1", depth=2)]})
    for text, words in (
        (deep, 'exclude "a"'),
        (beside, 'exclude "a.b"'),
        (manifest_of([masked, {"type": "body", "name": "b"}]), 'column "b": it would contain the whole event'),
        (manifest_of([masked], [path_column("c", path="a")]), 'sink "t1", column "c": the value at path "a"'),
        (manifest_of([path_column("c", path="a[")]), 'sink "t0", column "c": path'),
    ):
        file.write_text(text)
        result = sluice("check", "-f", file)
        assert result.returncode == 1 and words in result.stderr and result.stderr.startswith(f"{file}:1:"), result
        applied = sluice("apply", "-f", file, "--admin", f"http://{gateway.admin}", "--data", gateway.data)
        assert applied.returncode != 0 and words in applied.stderr, applied
    file.write_text(manifest_of([masked, {"type": "body", "name": "b"}], bodyPolicy="keep"))
    assert sluice("check", "-f", file).returncode == 0


def test_check_finds_missing_mask_keys(keys, tmp_path):
    file, config, bare = tmp_path / "manifest.yaml", tmp_path / "sluice.yaml", tmp_path / "bare.yaml"
    connections = "connections:\n  k: {type: kafka, brokers: '127.0.0.1:9'}\n"
    config.write_text(config_of(keys) + connections)
    bare.write_text(f"{connections}mask-keys:\n  crm: {keys / 'crm.key'}\n")
    kafka = {"kind": "kafka", "kafka": {"connection": "k", "topics": ["t"]}}
    for columns, fields, fault in (
        ([path_column("m", "hmac:crm")], {}, None),
        ([path_column("m", "hash")], {}, None),
        ([path_column("m", "hmac:none")], {}, 'there is no key "none"'),
        ([path_column("m", "hash", primaryKey=True)], {}, "mask-key-file"),
        ([path_column("m", "hash", defaultValue="")], kafka, "mask-key-file"),
    ):
        file.write_text(manifest_of(columns, **fields))
        result = sluice("check", "-f", file)  # who has the keys is not known
        assert result.returncode == 0 and "the keys of its masks" in result.stdout, result
        result = sluice("check", "-f", file, "--config", bare)
        assert result.returncode == (1 if fault else 0) and (fault or "") in result.stderr, (columns, result)
        assert "the keys of its masks" not in result.stdout
        result = sluice("check", "--config", config, "-f", file)
        assert result.returncode == (1 if fault and "none" in fault else 0), (columns, result)
    config.write_text(f"maskKeyFile: {tmp_path / 'nothing.key'}\n")
    result = sluice("check", "--config", config)
    assert result.returncode == 1 and "mask-key-file" in result.stderr and "nothing.key" in result.stderr, result


def test_sluice_map_says_that_its_key_is_random(keys, tmp_path):
    (tmp_path / "sluice.yaml").write_text(config_of(keys))
    for mask, config, said in (("hash", [], True), ("hash", ["--config", tmp_path / "sluice.yaml"], False), ("stars", [], False)):
        (tmp_path / "columns.yaml").write_text(json.dumps([path_column("a", mask)]))
        result = sluice("map", "--columns", tmp_path / "columns.yaml", *config, input='{"a": "x"}\n', cwd=tmp_path)
        assert result.returncode == 0 and ("no mask key was found, so a random one is used" in result.stderr) == said, result


# ---- planted secrets ----------------------------------------------------------------------------------------------------------------


class Secrets:
    """Random tokens. All begin alike: so each form in which one could be written is looked for at once."""

    MARK = "zqplantedxk"

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.count = 0
        mark = self.MARK.encode()
        self.forms = [mark.hex().encode()]
        for shift in range(3):  # where it may begin in a group of base64
            text = base64.b64encode(b"\0" * shift + mark)
            self.forms.append(text[(0, 2, 3)[shift] : (shift + len(mark)) * 8 // 6])

    def new(self):
        self.count += 1
        return self.MARK + "".join(self.chance.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(14))

    def found_in(self, content):
        """Excerpts with tokens: as they are, in any case, in hexadecimal digits, or in base64."""
        lower = content.lower()
        places = [lower.find(self.MARK.encode()), lower.find(self.forms[0])] + [content.find(form) for form in self.forms[1:]]
        return [content[max(0, at - 60) : at + 60] for at in places if at >= 0]

    def tokens_in(self, content):
        return set(re.findall(self.MARK.encode() + rb"[a-z0-9]{14}", content))


def test_the_search_knows_every_form():
    secrets = Secrets(0)
    for before in range(7):
        text = "." * before + secrets.new() + "..."
        for content in (text, text.upper(), text.encode().hex(), text.encode().hex().upper(), base64.b64encode(text.encode()).decode()):
            assert secrets.found_in(content.encode()), content
    assert not secrets.found_in(b"zqplantedx zqplanted")


def unpacked(content):
    """The bytes, and what is compressed in them: packs are."""
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_findFrameCompressedSize.restype = library.ZSTD_decompress.restype = ctypes.c_size_t
    library.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
    found, at = [content], 0
    while (at := content.find(b"\x28\xb5\x2f\xfd", at)) >= 0:
        frame = content[at:]
        size = library.ZSTD_getFrameContentSize(frame, ctypes.c_size_t(len(frame)))
        at += 4
        if size > 1 << 30:  # unknown, or no frame
            size = 1 << 26
        out = ctypes.create_string_buffer(size or 1)
        length = library.ZSTD_findFrameCompressedSize(frame, ctypes.c_size_t(len(frame)))
        if length <= len(frame):
            got = library.ZSTD_decompress(out, ctypes.c_size_t(size), frame, ctypes.c_size_t(length))
            if got <= size:
                found.append(out.raw[:got])
    return b"\n".join(found)


def written(gateway):
    """Every file that the gateway has written, logs too."""
    for folder, _, names in os.walk(gateway.directory):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                try:
                    with open(path, "rb") as file:
                        content = file.read()
                except FileNotFoundError:  # a pack that was imported meanwhile
                    continue
                yield path, unpacked(content) if path.endswith((".pack", ".slices")) else content


TEMPLATE = "local v = Body('parsed'); if v == '1' then v else error 'not this one: ' + v"
MASKED = [
    {"type": "id", "name": "id"},
    path_column("a", "hash"),
    path_column("b", "uuid"),
    path_column("c", "stars"),
    path_column("d", "redact", dataType="json"),
    path_column("n", "round:10", dataType="integer", defaultValue="1"),
    path_column("when", "date_shift:10", dataType="date", defaultValue="2000-01-01"),
    {"type": "template", "name": "t", "template": {"language": "jsonnet", "content": "std.parseInt(Body('parsed'))"}, "mask": "fixed:0"},
    {"type": "headers", "name": "h", "mask": "hash"},
]
CLEAR = [
    {"type": "id", "name": "id"},
    path_column("open", dataType="integer"),
    {"type": "template", "name": "t", "template": {"language": "jsonnet", "content": TEMPLATE}},
]


def events(secrets):
    """Valid and invalid ones. Each value of a masked field is a secret; so is what stands beside it."""
    def body(**fields):
        return {"a": secrets.new(), "b": secrets.new(), "c": secrets.new(), "d": {secrets.new(): [secrets.new()]}, "parsed": "1", "open": 1, **fields}

    yield json.dumps(body())
    yield json.dumps(body(n=secrets.new()))
    yield json.dumps(body(n=secrets.new() + "\x00\ud800"))
    yield json.dumps(body(when=secrets.new()))
    yield json.dumps(body(open=secrets.new()))
    yield json.dumps(body(open={"deep": secrets.new()}))
    yield json.dumps(body(parsed=secrets.new()))
    yield json.dumps(body(c=secrets.new() + "\x00"))
    yield json.dumps({"a": secrets.new()})
    yield json.dumps(body(c=secrets.new() * 60_000))
    yield json.dumps(body(n=secrets.new() * 20_000))
    yield '{"a": "' + secrets.new() + '", ' + secrets.new()
    yield secrets.new()
    yield ""


def send_all(gateway, url, secrets, answers, rounds):
    for _ in range(rounds):
        for event in events(secrets):
            for content_type in ("application/json", "application/x-www-form-urlencoded", "text/csv"):
                answers.append(gateway.post(url, event, content_type, headers={"X-Secret": secrets.new()}).body)
        batch = "\n".join(event for event in events(secrets) if len(event) < 10_000)
        answers.append(gateway.post(url, batch, "application/x-ndjson", headers={"X-Secret": secrets.new()}).body)


def look_at_the_api(gateway, source, sinks, secrets, answers):
    for event in events(secrets):
        answers.append(gateway.api("POST", f"/sources/{source}/test", None, wait=0).body)
        answers.append(request_test(gateway, source, event))
    for path in [f"/sources/{source}", "/sources", "/v1/tasks", "/v1/status"] + [
        f"/sources/{source}/sinks/{sink}{rest}" for sink in sinks for rest in ("", "/rejects?limit=100", "/rejects?format=ndjson", "/statistics/total")
    ]:
        answers.append(gateway.api("GET", path, wait=0).body)


def request_test(gateway, source, event):
    from sluice import request

    headers = {"Authorization": f"Bearer {gateway.token}", "Content-Type": "application/json"}
    return request(gateway.admin, "POST", f"/v1/branches/default/sources/{source}/test", event.encode(), headers).body


def rejects_of(gateway, source, sink):
    found, after = [], 0
    while True:
        page = gateway.api("GET", f"/sources/{source}/sinks/{sink}/rejects?limit=100&afterId={after}", wait=0, expect=200).json["rejects"]
        if not page:
            return found
        found += page
        after = page[-1]["rejectId"]


def run_with_secrets(gateway_factory, keys, destination, secrets, in_the_clear=(), **source_fields):
    """Two kills: with rows in the log, and with packs in staging. Then everything is imported. The gateway, and all that it answered."""
    config = config_of(keys) + "log-level: debug\n"
    if destination:
        config += f"connections:\n  pg:\n    type: postgres\n    uri: '{destination.uri}'\n"
    gateway = gateway_factory(config, environment=PATIENT).start()
    answers = []
    url = gateway.add_source("s", framing="ndjson", **source_fields)
    where = {"connection": "pg"} if destination else {}
    names = (["masked", "clear"] if not destination else ["masks_m", "masks_c"])
    for name, columns in zip(names, (MASKED, CLEAR + list(in_the_clear)), strict=True):
        gateway.add_sink("s", name, columns, NEVER, table=name if not destination else f"public.{name}", **where)
    send_all(gateway, url, secrets, answers, 2)
    yield_files(gateway, secrets, answers)
    gateway.kill()
    gateway.start()
    for name in names:
        gateway.set(f"/sources/s/sinks/{name}", {**NEVER, "storage.level.staging.upload.trigger.count": 1})
    send_all(gateway, gateway.source_url("s"), secrets, answers, 2)
    wait_until("packs of both sinks", lambda: len(list((gateway.data / "staging").glob("*.pack"))) >= 2)
    yield_files(gateway, secrets, answers)
    gateway.kill()
    gateway.start()
    look_at_the_api(gateway, "s", names, secrets, answers)
    for name in names:
        gateway.set(f"/sources/s/sinks/{name}", AT_ONCE)
    send_all(gateway, gateway.source_url("s"), secrets, answers, 1)
    for name in names:
        gateway.flush("s", name)
    look_at_the_api(gateway, "s", names, secrets, answers)
    return gateway, names, answers


def yield_files(gateway, secrets, answers):
    """What is on disk at a moment of the run counts as well: it may be gone at the end."""
    answers.extend(f"{path} holds ".encode() + b" ".join(found) for path, content in written(gateway) if (found := secrets.found_in(content)))


@pytest.mark.parametrize("destination", ["sqlite", "postgres"])
def test_planted_secrets_are_found_nowhere(gateway_factory, keys, destination, request):
    seed = int(os.environ.get("SLUICE_SEED", random.randrange(1 << 32)))
    secrets = Secrets(seed)
    server = request.getfixturevalue("postgres") if destination == "postgres" else None
    gateway, names, answers = run_with_secrets(gateway_factory, keys, server, secrets)
    rejects = [reject for name in names for reject in rejects_of(gateway, "s", name)]
    assert len(rejects) > 100, len(rejects)
    assert all(reject["event"] is None and "bodyPolicy" in reject["eventDropped"] for reject in rejects), rejects[:3]
    assert any(reject["eventBytes"] > 400_000 for reject in rejects)
    assert any("is not shown" in reject["reason"] for reject in rejects)
    gateway.stop()
    for answer in answers:
        assert not secrets.found_in(answer), (seed, secrets.found_in(answer), answer[:2000])
    for path, content in written(gateway):
        assert not secrets.found_in(content), (seed, path, secrets.found_in(content))
    if server:
        content = json.dumps([server.rows(f'SELECT * FROM public."{name}"') for name in names], default=str).encode()
        assert not secrets.found_in(content), seed
    assert secrets.count > 900


def test_the_search_finds_what_is_kept(gateway_factory, keys):
    """With bodyPolicy keep, and a value in a column without a mask, the same search finds them: it is not blind."""
    secrets = Secrets(1)
    gateway, names, answers = run_with_secrets(gateway_factory, keys, None, secrets, [path_column("a", defaultValue="")], bodyPolicy="keep")
    rejects = [reject for name in names for reject in rejects_of(gateway, "s", name)]
    assert len(secrets.tokens_in(json.dumps(rejects).encode())) > 100
    assert not any("eventDropped" in reject for reject in rejects)
    # Reasons show nothing of what is masked all the same.
    masked = json.dumps([reject["reason"] for reject in rejects if reject.get("column") not in ("open", "t")]).encode()
    assert not secrets.found_in(masked)
    gateway.stop()
    kept = [path for path, content in written(gateway) if secrets.found_in(content)]
    kept += [answer.decode(errors="replace").split(" holds ")[0] for answer in answers if b" holds " in answer]
    for name in ("data.mdb", ".pack", "tables.db"):
        assert any(path.endswith(name) for path in kept), (name, set(kept))


def test_a_disabled_sink_still_hides(gateway):
    """What is secret by the mask of a sink stays so for its neighbours while it is disabled."""
    secrets = Secrets(2)
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "masked", [path_column("a", "hash")], AT_ONCE)
    gateway.add_sink("s", "clear", [path_column("open", dataType="integer")], AT_ONCE)
    gateway.change("PUT", "/sources/s/sinks/masked/disable")
    answer = gateway.post(url, {"a": secrets.new(), "open": secrets.new()})
    assert answer.status == 200 and not secrets.found_in(answer.body), answer
    (reject,) = rejects_of(gateway, "s", "clear")
    assert reject["event"] is None and reject["eventBytes"] > 40
    gateway.stop()
    for path, content in written(gateway):
        assert not secrets.found_in(content), path


def test_sluice_map_masks_and_shows_nothing(keys, tmp_path):
    secrets = Secrets(3)
    (tmp_path / "sluice.yaml").write_text(config_of(keys))
    (tmp_path / "columns.yaml").write_text(json.dumps([path_column("a", "hash"), path_column("n", "round:10", dataType="integer")]))
    lines = [{"a": "ann@example.com", "n": 44}, {"a": secrets.new(), "n": secrets.new()}, {"a": secrets.new() + "\ud800", "n": 1}]
    result = subprocess.run(
        [BINARY, "map", "--columns", str(tmp_path / "columns.yaml"), "--config", str(tmp_path / "sluice.yaml")],
        input="".join(json.dumps(line) + "\n" for line in lines).encode(), capture_output=True, timeout=120, cwd=tmp_path,
    )
    import hmac

    (row,) = [json.loads(line)["row"] for line in result.stdout.splitlines()]
    assert row == {"a": hmac.new(MAIN_KEY.encode(), b"ann@example.com", hashlib.sha256).hexdigest(), "n": "40"}
    assert result.returncode == 1 and b"is not shown" in result.stderr
    assert not secrets.found_in(result.stdout + result.stderr)
    assert not list(tmp_path.glob("**/mask.key"))


# ---- what docs/masking.md says ------------------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "masking.md").read_text()


def mapped(directory, column, event, *options):
    """The cell of the column, by sluice map."""
    (directory / "columns.json").write_text(json.dumps([{**column, "name": "c"}]))
    result = sluice("map", "--columns", directory / "columns.json", *options, input=json.dumps(event) + "\n", cwd=directory)
    assert result.returncode == 0, result
    return json.loads(result.stdout)["row"]["c"]


def test_the_example_of_the_page(keys, tmp_path):
    (tmp_path / "sluice.yaml").write_text(config_of(keys))
    (tmp_path / "columns.yaml").write_text(re.search(r"```yaml\n(columns:\n.*?)```", PAGE, re.S)[1])
    event = {"email": "smith@example.com", "salary": 41_700}
    result = sluice("map", "--columns", tmp_path / "columns.yaml", "--config", tmp_path / "sluice.yaml", input=json.dumps(event), cwd=tmp_path)
    row = json.loads(result.stdout)["row"]
    assert (row["email"], row["salary"]) == ("s***h@example.com", "42000") and len(row["customer"]) == 64, result


def test_who_has_the_key_finds_a_value_again(keys, tmp_path):
    """By the command of the page."""
    (tmp_path / "sluice.yaml").write_text(config_of(keys))
    found = mapped(tmp_path, path_column("email", "hash"), {"email": "ann@example.com"}, "--config", tmp_path / "sluice.yaml")
    (keys / "mask.key").write_text(MAIN_KEY + "\n")
    command = re.search(r"^printf %s ann@example\.com .*", PAGE, re.M)[0]
    said = subprocess.run(["bash", "-c", command], cwd=keys, capture_output=True, text=True, timeout=60, check=True).stdout
    assert said.split()[-1] == found


def test_postgres_finds_a_value_again(keys, tmp_path, postgres):
    (tmp_path / "sluice.yaml").write_text(config_of(keys))
    found = mapped(tmp_path, path_column("email", "hash"), {"email": "ann@example.com"}, "--config", tmp_path / "sluice.yaml")
    statement = re.search(r"^SELECT encode\(.*", PAGE, re.M)[0].replace("KEY", f"'{MAIN_KEY}'")
    postgres.rows("CREATE EXTENSION pgcrypto")  # goes with its schema
    assert postgres.rows(statement) == [(found,)]


def test_another_key_gives_other_values_and_the_old_one_has_a_name(keys, tmp_path):
    (tmp_path / "new.key").write_text("another key of the gateway")
    (tmp_path / "old.yaml").write_text(config_of(keys))
    (tmp_path / "new.yaml").write_text(f"maskKeyFile: {tmp_path / 'new.key'}\nmask-keys:\n  old: {keys / 'main.key'}\n")
    before = mapped(tmp_path, path_column("v", "hash"), {"v": "ann"}, "--config", tmp_path / "old.yaml")
    assert mapped(tmp_path, path_column("v", "hash"), {"v": "ann"}, "--config", tmp_path / "new.yaml") != before
    assert mapped(tmp_path, path_column("v", "hmac:old"), {"v": "ann"}, "--config", tmp_path / "new.yaml") == before


@pytest.mark.parametrize("kind", ["id", "datetime", "ip", "body", "headers", "path", "template"])
def test_a_mask_is_of_any_type_of_column(tmp_path, kind):
    column = {"type": kind, "mask": "fixed:hidden"}
    if kind == "path":
        column["path"] = "v"
    if kind == "template":
        column["template"] = {"language": "jsonnet", "content": "Body('v')"}
    assert mapped(tmp_path, column, {"v": "ann"}) == "hidden"


def test_a_mask_takes_what_a_string_means_and_json_without_white_space(tmp_path):
    for event in ('{"v": "ann"}', '{"v": "\\u0061nn"}'):
        for raw in (True, False):
            found = mapped(tmp_path, {**path_column("v", "hash:plain"), "rawString": raw}, json.loads(event))
            assert found == hashlib.sha256(b"ann").hexdigest()
    assert mapped(tmp_path, path_column("v", "hash:plain"), {"v": {"a": [1, 2]}}) == hashlib.sha256(b'{"a":[1,2]}').hexdigest()


def test_rejects_from_before_the_first_mask_stay(gateway):
    secrets = Secrets(5)
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "t", [path_column("n", dataType="integer")], AT_ONCE)
    assert gateway.post(url, {"n": secrets.new()}).status == 200
    gateway.add_sink("s", "masked", [path_column("n", "stars", defaultValue="")], AT_ONCE)
    assert gateway.post(url, {"n": secrets.new()}).status == 200
    first, second = rejects_of(gateway, "s", "t")
    assert secrets.found_in(json.dumps(first).encode()) and "eventDropped" not in first
    assert not secrets.found_in(json.dumps(second).encode()) and second["event"] is None
    gateway.api("DELETE", "/sources/s/sinks/t/rejects", expect=200)
    assert rejects_of(gateway, "s", "t") == []


def test_equal_instants_move_by_the_same_days(keys, tmp_path):
    """The offset and the time of day of a text stay."""
    (tmp_path / "sluice.yaml").write_text(config_of(keys))
    moved = []
    for text in ("2024-02-29T12:30:00+02:00", "2024-02-29T10:30:00Z"):
        found = mapped(tmp_path, path_column("v", "date_shift:30"), {"v": text}, "--config", tmp_path / "sluice.yaml")
        assert found[10:] == text[10:] and found != text
        moved.append(found[:10])
    assert moved[0] == moved[1]
