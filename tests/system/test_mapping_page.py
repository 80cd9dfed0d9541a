"""
Every example of docs/mapping.md, by `sluice map`. A table with one of the heads below has examples: what goes in, and what the page says comes out.
The blocks of code are run as well.
"""

import functools
import json
import re
import subprocess

import pytest
import yaml

from pages import blocks, prints, sections
from sluice import BINARY, ROOT

PAGE = (ROOT / "docs" / "mapping.md").read_text()
COLUMN, TEMPLATE = "| event | column | cell |", "| event | template | cell |"
FRAMING, EXPLODE = "| framing | Content-Type | body | events |", "| event | explode | column | cells |"
CODE = r"`[^`]*`"
HEADER = "X-Request-Id: r-1"  # of each request


def texts(field):
    return [code[1:-1] for code in re.findall(CODE, field)]


class Example:
    """`wanted`: the cells, or the bodies of the events; None is NULL. `refused`: what the message has instead."""

    def __init__(self, number, kind, line):
        fields = re.split(r" \| (?=`|NULL|none|no |refused: `)", line.strip("| "))
        assert len(fields) == kind.count("|") - 1, f"line {number} is no example: {line}"
        result = fields[-1]
        assert re.fullmatch(rf"NULL|no event|no row|(refused: )?{CODE}(, {CODE})*", result), f"line {number} has no result: {line}"
        self.id, self.kind = f"line {number}", kind
        self.refused = texts(result)[0] if result.startswith("refused: ") else None
        self.wanted = [None] if result == "NULL" else texts(result)
        self.framing, self.content_type, self.explode, self.column = "single", None, None, {"type": "body"}
        if kind == FRAMING:
            self.framing, self.body = texts(fields[0])[0], unescape(texts(fields[2])[0])
            self.content_type = texts(fields[1])[0] if fields[1] != "none" else None
            self.wanted = [unescape(text) for text in self.wanted]
            return
        self.body = texts(fields[0])[0]
        is_form = fields[0].endswith(" (form)")
        assert is_form or fields[0] == f"`{self.body}`", line
        self.content_type = "application/x-www-form-urlencoded" if is_form else "application/json"
        self.explode = texts(fields[1])[0] if kind == EXPLODE else None
        text = texts(fields[-2])[0]
        if kind == TEMPLATE:
            self.column = {"type": "template", "template": {"language": "jsonnet", "content": text}}
        else:
            self.column = {"type": "path", **yaml.safe_load(text)}


def unescape(text):
    return text.replace("\\r", "\r").replace("\\n", "\n")


def examples():
    kind = None
    for number, line in enumerate(PAGE.splitlines(), 1):
        if line in (COLUMN, TEMPLATE, FRAMING, EXPLODE):
            kind = line
        elif not line.startswith("|"):
            kind = None
        elif kind and not line.startswith("|---"):
            yield Example(number, kind, line)


EXAMPLES = list(examples())


def run(directory, body, columns, *options, framing="single", explode=None):
    mapping = {"columns": columns, **({"explode": explode} if explode else {})}
    sink = {"sinkId": "k", "table": {"tableId": "t", "mapping": mapping}}
    (directory / "m.yaml").write_text(json.dumps({"kind": "source", "sourceId": "s", "type": "http", "framing": framing, "sinks": [sink]}))
    (directory / "event").write_bytes(body.encode())
    command = [BINARY, "map", "-f", directory / "m.yaml", "--event", directory / "event", "--header", HEADER, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def rows_of(tmp_path_factory):
    """The cells of an example, by one run for all columns that are mapped of the same event."""

    @functools.cache
    def rows(*group):
        body, content_type, framing, explode = group
        peers = [e for e in EXAMPLES if not e.refused and (e.body, e.content_type, e.framing, e.explode) == group]
        columns = [{"name": e.id, **e.column} for e in peers]
        options = ["--content-type", content_type] if content_type else []
        done = run(tmp_path_factory.mktemp("map"), body, columns, *options, framing=framing, explode=explode)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["row"] for line in done.stdout.splitlines()]

    return lambda e: [row[e.id] for row in rows(e.body, e.content_type, e.framing, e.explode)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.id)
def test_example(tmp_path, rows_of, example):
    if not example.refused:
        assert rows_of(example) == example.wanted
        return
    options = ["--content-type", example.content_type] if example.content_type else []
    done = run(tmp_path, example.body, [{"name": "c", **example.column}], *options, framing=example.framing, explode=example.explode)
    assert done.returncode == 1 and example.refused in done.stderr, done.stderr


def test_the_page_has_examples():
    for kind in (COLUMN, TEMPLATE, FRAMING, EXPLODE):
        assert sum(example.kind == kind for example in EXAMPLES) >= 10, kind


def test_the_first_example(tmp_path):
    expected = None
    for kind, text, _ in blocks(sections("mapping.md")["An example"]):
        if kind in ("yaml", "json"):
            (tmp_path / {"yaml": "columns.yaml", "json": "event.json"}[kind]).write_text(text)
        elif kind == "sh":
            command = text.split()
            done = subprocess.run([BINARY, *command[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=120)
            assert command[0] == "sluice" and done.returncode == 0, done.stderr
        else:
            expected = text
            assert prints(done.stdout, text), done.stdout
    assert expected


def test_the_event_with_many_rows(tmp_path):
    section = sections("mapping.md")["One event, many rows"]
    mapping = yaml.safe_load(next(blocks(section))[1])["mapping"]
    event = re.search(r"The event\s+`(.*?)`\s+gives two rows", section, re.S).group(1)
    table = re.findall(r"^\| `\S*#(\d)` \| (\S+) \| (\S+) \| (\S+) \|$", section, re.M)
    done = run(tmp_path, event, mapping["columns"], explode=mapping["explode"])
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line)["row"] for line in done.stdout.splitlines()]
    assert [(row["id"][-1], row["order_id"], row["sku"], row["quantity"]) for row in rows] == table
    assert len(table) == 2 and all(row["id"][-2] == "#" for row in rows)


def test_the_template_of_the_page(tmp_path):
    columns = yaml.safe_load(next(blocks(sections("mapping.md")["Templates"]))[1])
    done = run(tmp_path, '{"amount": 120, "customer": {"name": "Ann"}}', columns)
    assert json.loads(done.stdout)["row"] == {"label": "ANN: large"}, done.stderr


def test_the_functions_of_the_standard_library_are_there(tmp_path):
    names = re.findall(CODE, re.search(r"<!-- std -->(.*?)<!-- /std -->", PAGE, re.S).group(1))
    assert len(names) > 100
    content = f"std.filter(function(name) !std.objectHasAll(std, name), {[name[1:-1] for name in names]})"
    done = run(tmp_path, "{}", [{"name": "c", "type": "template", "template": {"language": "jsonnet", "content": content}}])
    assert json.loads(done.stdout)["row"] == {"c": "[]"}, done.stderr


def nested(levels):
    return "[" * levels + "]" * levels


LIMITS = {
    "levels": (nested(128), nested(129), {"type": "path", "path": "."}, None),
    "decimal": ("1" * 1000, "1" * 1001, {"type": "path", "path": ".", "dataType": "decimal"}, None),
    "fields": ("&".join(f"f{n}=1" for n in range(1000)), "&".join(f"f{n}=1" for n in range(1001)), {"type": "path", "path": "f1"}, "form"),
    "brackets": ("a" + "[x]" * 32 + "=1", "a" + "[x]" * 33 + "=1", {"type": "path", "path": "."}, "form"),
    "stack": ("100", "10000", {"type": "template", "content": "local f(n) = if n == 0 then 0 else 1 + f(n - 1); f(Body())"}, None),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_goes_beyond_a_limit_is_not_mapped(tmp_path, name):
    fits, beyond, column, kind = LIMITS[name]
    column = {"name": "c", **column}
    if "content" in column:
        column["template"] = {"language": "jsonnet", "content": column.pop("content")}
    options = ["--content-type", "application/x-www-form-urlencoded"] if kind else []
    assert run(tmp_path, fits, [column], *options).returncode == 0
    done = run(tmp_path, beyond, [column], *options)
    assert done.returncode == 1 and "1 of 1 events could not be mapped" in done.stderr, done.stderr


@pytest.mark.parametrize(
    "column",
    [
        {"path": ".".join("a" * 129)},
        {"path": "a" * 1025},
        {"path": "a", "defaultValue": "x" * 65537},
        {"path": "a", "dataType": "timestamp", "format": "%Y-%m-%d" + "x" * 256},
        {"type": "template", "template": {"language": "jsonnet", "content": "1" + " " * 65536}},
    ],
    ids=["steps", "path", "default", "format", "template"],
)
def test_a_definition_beyond_a_limit_is_refused(tmp_path, column):
    done = run(tmp_path, "{}", [{"name": "c", "type": "path", **column}])
    assert done.returncode == 1 and "could not be mapped" not in done.stderr, done.stderr
