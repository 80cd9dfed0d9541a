"""Every example of docs/mapping.md, by `sluice map`: an event and a column give the cell that the page says."""

import json
import re
import subprocess

import pytest
import yaml

from sluice import BINARY, ROOT

PAGE = (ROOT / "docs" / "mapping.md").read_text()
HEAD = "| event | column | cell |"
CODE = r"(`+)(.*?)\1"


class Example:
    def __init__(self, number, line):
        found = re.fullmatch(rf"\| {CODE}( \(form\))? \| {CODE.replace('1', '4')} \| (.*) \|", line)
        assert found, f"line {number} is no example: {line}"
        self.id = f"line {number}"
        self.event = found.group(2)
        self.is_form = bool(found.group(3))
        self.column = {"name": "c", "type": "path", **yaml.safe_load(found.group(5))}
        cell = re.fullmatch(rf"(NULL)|(refused: )?{CODE.replace('1', '3')}", found.group(6))
        assert cell, f"line {number} has no cell: {line}"
        self.refused = cell.group(2) is not None
        self.cell = cell.group(4)


def examples():
    is_table = False
    for number, line in enumerate(PAGE.splitlines(), 1):
        if line == HEAD:
            is_table = True
        elif not line.startswith("|"):
            is_table = False
        elif is_table and not line.startswith("|---"):
            yield Example(number, line)


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: example.id)
def test_example(tmp_path, example):
    (tmp_path / "columns.json").write_text(json.dumps([example.column]))
    (tmp_path / "event").write_text(example.event)
    content_type = "application/x-www-form-urlencoded" if example.is_form else "application/json"
    result = subprocess.run(
        [BINARY, "map", "--columns", tmp_path / "columns.json", "--event", tmp_path / "event", "--content-type", content_type],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if example.refused:
        assert result.returncode == 1 and example.cell in result.stderr
    else:
        assert result.returncode == 0, result.stderr
        assert json.loads(result.stdout)["row"] == {"c": example.cell}


def test_the_page_has_examples():
    assert len(list(examples())) > 10
