"""The cases of tests/mapping as Python objects. Whether the files are sound is the question of tests/unit/mapping/test-cases.c."""

import json

from sluice import ROOT

ABOUT_JSON_ONLY = [{"type": "path", "name": "c", "path": "no.such[0].path", "defaultValue": "none", "rawString": True}]


class Case:
    def __init__(self, file, fields):
        self.id = f"{file}: {fields['name']}"
        self.content_type = fields.get("contentType", "application/json")
        self.headers = fields.get("headers", {})
        self.columns = fields.get("columns", ABOUT_JSON_ONLY)
        self.status = fields.get("status", 200 if fields.get("accepted", True) else 422)
        self.explode = fields.get("explode")
        self.rows = fields.get("rows", [fields.get("cells", ["none"])]) if self.status == 200 else None
        self.error = fields.get("error", "")
        if "bodyHex" in fields:
            self.body = bytes.fromhex(fields["bodyHex"])
        elif "bodyRuns" in fields:
            self.body = "".join(text * count for text, count in fields["bodyRuns"]).encode()
        else:
            self.body = fields["body"].encode()

    @property
    def has_template(self):
        return any(column["type"] == "template" for column in self.columns)

    def in_sqlite(self):
        """The rows as SELECT gives them."""
        return [
            [stored(column.get("dataType", "text"), cell) for column, cell in zip(self.columns, row, strict=True)] for row in self.rows
        ]


def stored(data_type, cell):
    if cell is None:
        return None
    if data_type == "boolean":
        return {"true": 1, "false": 0}[cell]
    if data_type == "integer":
        return int(cell)
    if data_type == "number":
        return float(cell)
    if data_type == "bytes":
        return bytes.fromhex(cell.removeprefix("\\x"))
    return cell


def cases(file="*"):
    for path in sorted((ROOT / "tests" / "mapping").glob(f"{file}.json")):
        content = json.loads(path.read_text())
        if isinstance(content, list) and path.stem != "masks":
            for fields in content:
                if "meta" not in fields:  # no source that takes requests has it
                    yield Case(path.stem, fields)


def by_request(chosen):
    """Lists of cases that have columns, the array to be exploded, content type and headers in common: they can share a source and a sink."""
    groups = {}
    for case in chosen:
        groups.setdefault(json.dumps([case.columns, case.explode, case.content_type, case.headers]), []).append(case)
    return list(groups.values())
