"""
All cases of tests/mapping/*.json through the binary, three ways that must agree: POST, buffer, staging, import, SELECT; POST .../test; and
`sluice map`. Cases that have columns, content type and headers in common share a source and a sink, or a run of `sluice map`.
"""

import itertools
import json
import os
import subprocess

import pytest
from mapping_cases import by_request, cases
from sluice import AT_ONCE, BINARY, request, wait_until


# Also where a template meets a busy machine.
PATIENT = {"SLUICE_TEMPLATES_WALL_CLOCK": "20s"}


def groups():
    of_file = {}
    for case in cases():
        of_file.setdefault(case.id.split(":")[0], []).append(case)
    for file, found in of_file.items():
        for number, group in enumerate(by_request(found)):
            yield pytest.param(group, id=f"{file}-{number}: {group[0].id.split(': ', 1)[1]}"[:80])


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    from sluice import Gateway

    gateway = Gateway(tmp_path_factory.mktemp("mapping"), environment=PATIENT).start()
    gateway.case_number = 0
    yield gateway
    gateway.close()


def say(problems):
    assert not problems, "\n".join(problems)


def problem(case, seen, expected):
    return f"{case.id}: {seen!r}, not {expected!r}"


def test_run(gateway, source, case):
    """POST .../test: the rows, or status and message."""
    headers = {"Authorization": f"Bearer {gateway.token}", **case.headers}
    if case.content_type is not None:
        headers["Content-Type"] = case.content_type
    answer = request(gateway.admin, "POST", f"/v1/branches/default/sources/{source}/test", case.body, headers)
    if answer.status != 200:
        return answer.status, answer.json["message"]
    return 200, [[column["value"] for column in row["columns"]] for row in answer.json["tables"][0]["rows"]]


test_run.__test__ = False


@pytest.mark.parametrize("group", groups())
def test_intake_and_test_agree(shared, group):
    shared.case_number += 1
    name = f"case{shared.case_number}"
    columns = group[0].columns
    url = shared.add_source(name)
    shared.add_sink(name, name, columns, AT_ONCE, onInvalid="reject", explode=group[0].explode)
    problems, stored = [], []
    for case in group:
        answer = shared.post(url, case.body, content_type=case.content_type, headers=case.headers)
        status, seen = test_run(shared, name, case)
        if answer.status != case.status or status != case.status:
            problems.append(problem(case, (answer.status, answer.body, status, seen), case.status))
        elif case.status == 200:
            stored.append(case)
            if seen != case.rows:
                problems.append(problem(case, seen, case.rows))
        elif case.error not in seen or case.error not in answer.json["message"]:
            problems.append(problem(case, (seen, answer.json["message"]), case.error))
    say(problems)
    expected = [row for case in stored for row in case.in_sqlite()]
    assert shared.statistics(name, name)["levels"]["local"]["recordsCount"] <= len(expected)
    if any(column.get("primaryKey") for column in columns):
        assert len(stored) < 2, "cases with a key in common would replace each other's rows"
    rows = wait_until("the rows", lambda: len(found := shared.rows(f"SELECT * FROM {name} ORDER BY rowid")) >= len(expected) and [found])[0]
    assert len(rows) == len(expected)
    found = iter(rows)
    for case in stored:
        here = [list(next(found)) for _ in case.rows]
        if here != case.in_sqlite():
            problems.append(problem(case, here, case.in_sqlite()))
    say(problems)


def run_map(path, group, event, *arguments):
    command = [BINARY, "map", *arguments, "--event", "-"]
    if group[0].content_type is not None:
        command += ["--content-type", group[0].content_type]
    for name, value in group[0].headers.items():
        command += ["--header", f"{name}: {value}"]
    return subprocess.run([str(word) for word in command], input=event, capture_output=True, timeout=120, cwd=path, env={**os.environ, **PATIENT})


def is_line(case):
    """Could the body be a line among others? The event of a line has neither its end nor, as nothing, a place."""
    marked = case.body.startswith(b"\xef\xbb\xbf")  # at the beginning of a body, not of a line
    return case.body and b"\n" not in case.body and not case.body.endswith(b"\r") and not marked


def check_map(group, result, lines):
    """Rows in order for what is mapped, and for each event that is not its line and reason."""
    told = {}
    for line in result.stderr.decode().splitlines():
        if line.startswith("standard input:"):
            told[int(line.split(":")[1]) - 1] = line
    found = iter(json.loads(line)["row"] for line in result.stdout.splitlines())
    problems = []
    for number, case in enumerate(group):
        if case.status == 200 and (not lines or number not in told):
            rows = [list(row.values()) for row in itertools.islice(found, len(case.rows))]
            if rows != case.rows:
                problems.append(problem(case, rows, case.rows))
        elif case.status == 200 or case.error not in told.get(number, ""):
            problems.append(problem(case, told.get(number), case.error))
        elif number not in told:
            problems.append(problem(case, "mapped", case.status))
    assert next(found, None) is None
    say(problems)
    assert result.returncode == (1 if any(case.status != 200 for case in group) else 0), result.stderr[-2000:]


@pytest.mark.parametrize("group", groups())
def test_map_agrees(group, tmp_path):
    mapping = {"columns": group[0].columns, **({"explode": group[0].explode} if group[0].explode else {})}
    sink = {"sinkId": "k", "name": "k", "table": {"tableId": "t", "mapping": mapping}}
    for framing in ("lines", "single"):
        source = {"kind": "source", "sourceId": "s", "name": "s", "framing": framing, "sinks": [sink]}
        (tmp_path / framing).write_text(json.dumps(source, ensure_ascii=False))
    lines = [case for case in group if is_line(case)]
    if len(lines) > 1 and "cloudevents" not in (group[0].content_type or ""):
        check_map(lines, run_map(tmp_path, lines, b"\n".join(case.body for case in lines), "-f", "lines"), True)
    else:
        lines = []
    for case in group:
        if case not in lines:
            check_map([case], run_map(tmp_path, [case], case.body, "-f", "single"), False)
