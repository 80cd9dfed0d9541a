"""All cases of tests/mapping/*.json, run through the binary: POST, buffer, staging, import, SELECT."""

import json

import pytest
from sluice import AT_ONCE, ROOT, wait_until


def cases():
    for path in sorted((ROOT / "tests" / "mapping").glob("*.json")):
        content = json.loads(path.read_text())
        if isinstance(content, list):
            for case in content:
                yield pytest.param(case, id=f"{path.stem}: {case['name']}")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    from sluice import Gateway

    gateway = Gateway(tmp_path_factory.mktemp("mapping")).start()
    gateway.case_number = 0
    yield gateway
    gateway.close()


@pytest.mark.parametrize("case", cases())
def test_case(shared, case):
    shared.case_number += 1
    name = f"case{shared.case_number}"
    url = shared.add_source(name)
    shared.add_sink(name, name, case["columns"], AT_ONCE, onInvalid="reject")
    body = case["body"].encode() if "body" in case else bytes.fromhex(case["bodyHex"])
    answer = shared.post(url, body, content_type=case.get("contentType"), headers=case.get("headers"))
    if "status" in case:
        assert answer.status == case["status"], answer
        assert shared.statistics(name, name)["levels"]["local"]["recordsCount"] == 0
        return
    assert answer.status == 200, answer
    row = wait_until("the row", lambda: shared.rows(f"SELECT * FROM {name}"))[0]
    expected = case["cells"]
    seen = [cell.hex() if isinstance(cell, bytes) else cell for cell in row]
    for column, got, want in zip(case["columns"], seen, expected, strict=True):
        kind = column.get("dataType", "text")
        if want is not None and kind in ("integer", "boolean"):
            want = {"true": 1, "false": 0}.get(want) if kind == "boolean" else int(want)
        elif want is not None and kind == "number":
            want = float(want)
        elif want is not None and kind == "bytes":
            want = want.removeprefix("\\x")
        assert got == want, (column, row)
