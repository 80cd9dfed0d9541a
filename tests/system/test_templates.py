"""Templates in the whole program: limits, isolation, places of errors, workers that are killed. The worker executable is the same in every
build (never with sanitizers); on the release build (`-m release`) the limits are met as users meet them."""

import http.client
import json
import os
import pathlib
import signal
import threading
import time

import pytest
from load import COLUMNS, TEXT, Sender
from sluice import AT_ONCE, NEVER, wait_until

pytestmark = pytest.mark.release


def template(content, name="t", **fields):
    return {"type": "template", "name": name, "template": {"language": "jsonnet", "content": content}, **fields}


NUMBER = {"type": "path", "name": "n", "path": "n"}
CALM = "Body('n') + 1000"


def add(gateway, name, content, settings=NEVER, **fields):
    url = gateway.add_source(name, framing="ndjson")
    gateway.add_sink(name, name, [NUMBER, template(content)], settings, **{"onInvalid": "quarantine", **fields})
    return url


def lines(events):
    return "\n".join(json.dumps(event) for event in events)


def numbers(first, count, **fields):
    return lines({"n": n, **fields} for n in range(first, first + count))


def reasons(gateway, name):
    """Number of the event -> why it could not be mapped."""
    found, after = {}, ""
    while True:
        page = gateway.api("GET", f"/sources/{name}/sinks/{name}/rejects?limit=100&afterId={after}", expect=200).json
        if not page["rejects"]:
            return found
        for reject in page["rejects"]:
            found[json.loads(reject["event"])["n"]] = reject["reason"]
        after = page["page"]["lastId"]


def table(gateway, name):
    gateway.flush(name, name)
    return dict(gateway.rows(f"SELECT n, t FROM {name} ORDER BY n"))


# -- processes ---------------------------------------------------------------------------------------------------------


def processes():
    """pid -> (parent, state)."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                rest = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found[int(entry.name)] = (int(rest[1]), rest[0])
    return found


def children(parent):
    return sorted(pid for pid, (of, state) in processes().items() if of == parent and state != "Z")


def zygotes(gateway):
    return children(gateway.process.pid)


def evaluating(gateway):
    return [child for zygote in zygotes(gateway) for child in children(zygote)]


def zombies(gateway):
    found = processes()
    return [pid for pid, (of, state) in found.items() if state == "Z" and (of == gateway.process.pid or found.get(of, (0,))[0] == gateway.process.pid)]


def resident_kb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return 0


# -- limits ------------------------------------------------------------------------------------------------------------

MEMORY = "exceeded the memory limit"
TIME = "exceeded the time limit"
DEPTH = "max stack frames exceeded"
STACK = "went too deep"
BOMBS = {
    "array": ("std.length(std.makeArray(100000000, function(i) i))", MEMORY),
    "strings": ("std.length(std.join('', std.map(function(i) std.toString(i) + 'x', std.range(1, 3000000))))", MEMORY),
    "repeat": ("std.length(std.repeat('0123456789', 1000000000))", MEMORY),
    "doubling": ("local f(s) = if std.length(s) > 4e9 then 1 else f(s + s) tailstrict; f('xxxxxxxxxxxxxxxx')", MEMORY),
    "doublearray": ("local f(a) = if std.length(a) > 4e9 then 1 else f(a + a) tailstrict; f(std.range(1, 1000))", MEMORY),
    "recursion": ("local f(x) = f(x) + 1; f(1)", DEPTH),
    "selfish": ("{ a: self.b, b: self.a }.a", DEPTH),
    "nested": ("std.foldl(function(a, i) [a], std.range(1, 20000), [])", DEPTH),
    "parsed": ("std.parseJson(std.join('', std.makeArray(20000, function(i) '[') + std.makeArray(20000, function(i) ']')))", None),
}


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """Little memory; so much time that it is never the reason."""
    from sluice import Gateway

    arguments = ["--templates.memory", "128MB", "--templates.wall-clock", "2m", "--templates.workers", "2"]
    gateway = Gateway(tmp_path_factory.mktemp("limited"), arguments=arguments).start()
    gateway.calm = add(gateway, "calm", CALM)
    yield gateway
    gateway.close()


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_its_event_only(limited, name):
    bomb, why = BOMBS[name]
    url = add(limited, name, f"if Body('n') == 5 then\n  ({bomb})\nelse Body('n') + 1000")
    assert limited.post(url, numbers(0, 5)).status == 200
    before, replaced = limited.memory_kb(), evaluating(limited)
    answers = []
    sender = threading.Thread(target=lambda: answers.append(limited.post(url, numbers(5, 15))))
    sender.start()
    first = int(time.monotonic() * 1000) % 10**9
    while sender.is_alive():
        assert limited.post(limited.calm, numbers(first, 3)).status == 200
        first += 3
    sender.join()
    assert answers[0].status == 200, answers
    found = reasons(limited, name)
    assert list(found) == [5], found
    assert (why or STACK) in found[5] or (why is None and (DEPTH in found[5] or MEMORY in found[5])), found
    assert table(limited, name) == {str(n): str(n + 1000) for n in range(20) if n != 5}
    assert reasons(limited, "calm") == {}
    assert set(replaced) - set(evaluating(limited)), "the process that the bomb went off in is still there"
    assert limited.memory_kb() - before < 60_000, (before, limited.memory_kb())
    assert zombies(limited) == []


def test_time_is_up(gateway_factory):
    gateway = gateway_factory(arguments=["--templates.wall-clock", "3s"]).start()
    url = add(gateway, "loop", "local f(x) = f(x + 1) tailstrict; if Body('n') == 2 then f(1) else Body('n') + 1000")
    calm = add(gateway, "calm", CALM)
    answers = []
    sender = threading.Thread(target=lambda: answers.append(gateway.post(url, numbers(0, 6))))
    sender.start()
    assert gateway.post(calm, numbers(0, 6)).status == 200
    sender.join()
    assert answers[0].status == 200
    found = reasons(gateway, "loop")
    assert list(found) == [2] and TIME in found[2], found
    assert table(gateway, "loop") == {str(n): str(n + 1000) for n in (0, 1, 3, 4, 5)}
    assert len(table(gateway, "calm")) == 6


def test_events_of_20000_levels(limited):
    """Deep data never reaches a template; text that is no JSON does, as text."""
    limited.add_source("deep", framing="ndjson")
    url = limited.source_url("deep")
    limited.add_sink("deep", "deep", [template("Body('a')"), template("std.length(BodyStr())", name="size")], NEVER, onInvalid="quarantine")
    deep = '{"a":' * 20000 + "1" + "}" * 20000
    answer = limited.post(url, "\n".join(['{"a":1}', deep, '{"a":2}']))
    assert answer.status == 200, answer
    limited.flush("deep", "deep")
    assert sorted(limited.rows("SELECT t, size FROM deep")) == [("1", "7"), ("2", "7")]
    [reject] = limited.api("GET", "/sources/deep/sinks/deep/rejects", expect=200).json["rejects"]
    assert "deep" in reject["reason"] and '"t"' in reject["reason"], reject


# -- no way out --------------------------------------------------------------------------------------------------------

# Refused at creation, with the place.
REFUSED = {
    "import 'x'": "line 1, column 1: import is not allowed",
    "if false then import '/etc/passwd' else 1": "line 1, column 15: import is not allowed",
    "if false then\n\timportstr '/etc/passwd' else 1": "line 2, column 2: importstr is not allowed",
    "[1,\n importbin 'x']": "line 2, column 2: importbin is not allowed",
    "'é' + (import '/etc/passwd')": "line 1, column 8: import is not allowed",
    "std.native('step')('[1]')": "line 1, column 5: std.native is not allowed",
    "std['native']('step')": "line 1, column 5: std.native is not allowed",
    'std["extVar"]("x")': "line 1, column 5: std.extVar is not allowed",
    "std /* a */ .\n trace('x', 1)": "line 2, column 2: std.trace is not allowed",
    "{ a: std.nothing }": "line 1, column 10: std has no nothing",
    # Names of the program around the template.
    "step('[1]')": "line 1, column 1: Unknown variable: step",
    "first()": "line 1, column 1: Unknown variable: first",
    "run(0)": "line 1, column 1: Unknown variable: run",
    "[templates, documents]": "line 1, column 2: Unknown variable: templates",
    "foundBody()": "line 1, column 1: Unknown variable: foundBody",
    "missBody('x')": "line 1, column 1: Unknown variable: missBody",
    "safe": "line 1, column 1: Unknown variable: safe",
    "$": "line 1, column 1: ",
    "self.native": "line 1, column 1: ",
    # Text that would close what stands around it.
    "1)": "line 1, column 2: this bracket does not close an open one",
    "1) + (2": "line 1, column 2: this bracket does not close an open one",
    "{ a: 1 } }": "line 1, column 10: this bracket does not close an open one",
    "1]": "line 1, column 2: this bracket does not close an open one",
    "(1]": "line 1, column 3: this bracket does not close an open one",
    "1, function() 2": "line 1, column 2: ",
    "1 */": "line 1, column 3: ",
    "1 /*": "line 1, column 3: the text ends inside",
    "1 /* )": "line 1, column 3: the text ends inside",
    "|||\n  text": "line 1, column 1: the text ends inside",
    "|||\n)\n|||": "line 1, column 1: the text ends inside",
    "'open": "line 1, column 1: the text ends inside",
    "@'open''": "line 1, column 1: the text ends inside",
    "1;": "line 1, column 2: ",
    "local x = 1;": "line 1, column 13: ",
    "1\n// )\n2": "line 3, column 1: ",
    # Places behind what is hard to count.
    "{\n\ta: 1,\n\tb: nope }": "line 3, column 5: Unknown variable: nope",
    "local s = |||\n  text\n  more\n|||;\nnope": "line 5, column 1: Unknown variable: nope",
    "|||\n\n  é\n\n  b\n\n\n||| + nope": "line 8, column 7: Unknown variable: nope",
    "/* a\n b */ nope": "line 2, column 7: Unknown variable: nope",
    "'日本' + nope": "line 1, column 8: Unknown variable: nope",
    "\r\n1 + nope": "line 2, column 5: Unknown variable: nope",
    "'\n\n' + nope": "line 3, column 5: Unknown variable: nope",
    "@'a\nb' + nope": "line 2, column 6: Unknown variable: nope",
    "{ a: 1, a: 2 }": "line 1, column 9: duplicate field: a",
    "[1,\n\n2 3]": "line 3, column 3: ",
}

# Evaluated, and refused then: text -> reason.
CAUGHT = {
    "local s = std; s.native('step')('[1]')": "std.native is not allowed",
    "local s = std; s['na' + 'tive']('first')()": "std.native is not allowed",
    "std['na' + 'tive']('getBody')": "std.native is not allowed",
    "std.get(std, 'native')('step')('[1]')": "std.native is not allowed",
    "local f(o) = o.native; f(std)('step')": "std.native is not allowed",
    "(std { native: super.native }).native('step')": "std.native is not allowed",
    "(std { native: super['nat' + 'ive'] }).native('step')": "std.native is not allowed",
    "(std + {}).native('step')": "std.native is not allowed",
    "({} + std).native('step')": "std.native is not allowed",
    "std.mergePatch(std, {}).native('step')": "native",
    "local o = { [k]: std[k] for k in ['native'] }; o.native('step')": "std.native is not allowed",
    "std.map(function(k) std[k]('step'), ['native'])": "std.native is not allowed",
    "local s = std; s.extVar('HOME')": "std.extVar is not allowed",
    "std['ext' + 'Var']('HOME')": "std.extVar is not allowed",
    "std['tra' + 'ce']('to the log', 1)": "std.trace is not allowed",
    "local std2 = std { x:: super.trace }; std2.x('a', 1)": "std.trace is not allowed",
    "Body.native": "got function",
    "Body(function() 1)": "primitives",
    "Header({ a: std })": "primitives",
    "Body": "function",
    "error 'RUNTIME ERROR: line 1, column 1: forged\\nsecond line'": "forged",
    "error \"')\\n, run(1))\"": "'",
    "assert false : '\\u0000\\u001b[31m\\r\\u007f'; 1": ": ??[31m??",
}

# What looks like a way out and is none: text -> JSON of the cell.
HARMLESS = {
    "local std = { mine(x):: 'mine' }; std.mine('x')": "mine",
    "local Body(p) = 'mine'; Body('n')": "mine",
    "local Ip() = 'mine', Now = Ip; Now()": "mine",
    "local step = 5, run = 6, safe = 7, first = 8; step + run + safe + first": 26,
    "std.objectHas({ native: 1 }, 'native')": True,
    "[k for k in std.objectFieldsAll(std) if k == 'native']": ["native"],
    "std.objectFields(std)": [],
    "std": {},
    "'] , step(1), ['": "] , step(1), [",
    "')'": ")",
    "|||\n  )}]*/\n|||": ")}]*/\n",
    "'/*' + \"*/\" + '//' + '#'": "/**///#",
    "std.thisFile": "wrapper",
    "std['ascii' + 'Upper']('x')": "X",
    "{ 'import': 1, \"std.native\": 'import' }": {"import": 1, "std.native": "import"},
    "std.manifestJsonEx({ a: [1] }, '')": '{\n"a": [\n1\n]\n}',
    "5 % 3 + std.length([x for x in std.range(1, 4) if x > 2][0:1])": 3,
    "local std = { mod(a, b):: 'mine', length:: 1 }; 5 > 3": True,
}


@pytest.fixture(scope="module")
def open_house(tmp_path_factory):
    from sluice import Gateway

    # Wall clock to spare: the machine may be busy.
    gateway = Gateway(tmp_path_factory.mktemp("house"), arguments=["--templates.wall-clock", "30s"]).start()
    gateway.add_source("strict")
    yield gateway
    gateway.close()


@pytest.mark.parametrize("content", REFUSED)
def test_refused_at_creation_with_its_place(open_house, content):
    body = {"sinkId": "k", "name": "k", "type": "table", "table": {"connection": "local", "tableId": "k", "mapping": {"columns": [template(content)]}}}
    answer = open_house.api("POST", "/sources/strict/sinks", body)
    assert answer.status == 400 and REFUSED[content] in answer.json["message"], answer


def choose(texts):
    """One template that evaluates the text whose number the event names, each on lines of its own."""
    return "".join(f"if Body('n') == {n} then (\n{text}\n) else " for n, text in enumerate(texts)) + "Body('n')"


def test_caught_when_evaluated(open_house):
    url = add(open_house, "caught", choose(CAUGHT))
    # The neighbours are in the same batch as each attempt.
    events = [event for n in range(len(CAUGHT)) for event in ({"n": 1000 + n}, {"n": n}, {"n": 2000 + n})]
    assert open_house.post(url, lines(events)).status == 200
    found = reasons(open_house, "caught")
    assert sorted(found) == list(range(len(CAUGHT))), found
    for n, (text, why) in enumerate(CAUGHT.items()):
        assert why in found[n], (text, found[n])
        assert "\n" not in found[n] and "\x1b" not in found[n], (text, found[n])
    expected = {str(n): str(n) for n in [*range(1000, 1000 + len(CAUGHT)), *range(2000, 2000 + len(CAUGHT))]}
    assert table(open_house, "caught") == expected
    assert "to the log" not in open_house.log_text()


def test_harmless(open_house):
    url = add(open_house, "harmless", choose(HARMLESS))
    assert open_house.post(url, numbers(0, len(HARMLESS))).status == 200
    assert reasons(open_house, "harmless") == {}
    rows = table(open_house, "harmless")
    for n, (text, value) in enumerate(HARMLESS.items()):
        assert json.loads(rows[str(n)]) == value, (text, rows[str(n)])


def test_templates_that_share_a_document_are_kept_apart(open_house):
    """More than eight templates share documents: text that ends in a comment, in a bracket or with names of its own stays for itself."""
    texts = ["1 // )", "2 # ]", "3 /* ) */", "local a = 4; a", "(5)", "[6][0]", "7\n", "\n\n8", "'9)'", "|||\n  )\n|||"]
    texts += [f"if Body('n') == {n} then\n error 'at {n}'\nelse {n}" for n in range(10, 20)] + ["@'a\nb'", "if Body('n') == 21 then\n error 'at 21' else 21"]
    open_house.add_source("shared", framing="ndjson")
    columns = [NUMBER] + [template(text, name=f"t{i}") for i, text in enumerate(texts)]
    open_house.add_sink("shared", "shared", columns, NEVER, onInvalid="quarantine")
    assert open_house.post(open_house.source_url("shared"), numbers(0, 22)).status == 200
    found = reasons(open_house, "shared")
    assert sorted(found) == [*range(10, 20), 21]
    for n, reason in found.items():
        assert f"line 2, column 2: at {n}" in reason and f'"t{n}"' in reason, (n, reason)
    open_house.flush("shared", "shared")
    row = open_house.rows("SELECT * FROM shared WHERE n = '0'")[0][1:]
    cells = [json.loads(cell) for cell in row]
    assert cells == [1, 2, 3, 4, 5, 6, 7, 8, "9)", ")\n", *range(10, 20), "a\nb", 21]


def test_reasons_name_the_line(open_house):
    texts = {
        "local a = 1;\n\n  error 'own words'": "line 3, column 3: own words",
        "'é' + Body('n').x": "line 1, column 7: can only index objects",
        "{\n a: std.asciiUpper(5) }": "line 2, column 5: ",
        "|||\n  one\n  two\n||| + [1, 2][7]": "line 4, column 7: array bounds error",
        "Body('gone')": "no value at gone and no default",
        "@'a\nb' + error 'behind'": "line 2, column 6: behind",
    }
    for i, (text, why) in enumerate(texts.items()):
        url = open_house.add_source(f"line{i}")
        open_house.add_sink(f"line{i}", f"line{i}", [template(text)], NEVER, onInvalid="reject")
        answer = open_house.post(url, {"n": 1})
        assert answer.status == 422 and why in answer.body.decode() and '\\"t\\"' in answer.body.decode(), (text, answer)


# -- sources apart -----------------------------------------------------------------------------------------------------


def test_two_sources_have_two_workers(gateway):
    """The same text in two sources: one process each, and one source's events stay in its own."""
    one, two = add(gateway, "one", "BodyStr()"), add(gateway, "two", "BodyStr()")
    assert gateway.post(one, '{"n":1,"s":"secret of one"}').status == 200
    before = evaluating(gateway)
    assert gateway.post(two, '{"n":2,"s":"secret of two"}').status == 200
    after = evaluating(gateway)
    assert len(before) == 1 and len(after) == 2 and set(before) < set(after), (before, after)
    assert len(zygotes(gateway)) == 2
    [other] = set(after) - set(before)
    try:
        with open(f"/proc/{before[0]}/mem", "rb", 0) as memory:
            maps = pathlib.Path(f"/proc/{before[0]}/maps").read_text()
            seen = b""
            for line in maps.splitlines():
                place, rights = line.split()[:2]
                if rights.startswith("rw"):
                    start, end = (int(part, 16) for part in place.split("-"))
                    memory.seek(start)
                    seen += memory.read(end - start)
    except OSError:
        return  # only root may look
    assert b"secret of one" in seen and b"secret of two" not in seen
    assert other != before[0]


def test_a_slow_template_holds_nobody_up(gateway_factory):
    """Requests that need templates without end wait; those of a source without templates and of another with them do not."""
    gateway = gateway_factory(arguments=["--templates.wall-clock", "2m", "--templates.workers", "1", "--shutdown-deadline", "3s"]).start()
    slow = add(gateway, "slow", "local f(x) = f(x + 1) tailstrict; f(1)")
    calm = add(gateway, "calm", CALM)
    plain = gateway.add_source("plain")
    gateway.add_sink("plain", "plain", [NUMBER], NEVER)
    answers = []

    def send():
        try:
            answers.append(gateway.post(slow, numbers(0, 50)).status)
        except (OSError, http.client.HTTPException):
            answers.append("ended")

    senders = [threading.Thread(target=send) for _ in range(8)]
    for sender in senders:
        sender.start()
    wait_until("the slow one evaluates", lambda: len(evaluating(gateway)) == 1)
    connection = gateway.connect()
    taken = {plain: [], calm: []}
    for n in range(200):
        for url, times in taken.items():
            start = time.monotonic()
            connection.request("POST", url, json.dumps({"n": n}), {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            assert response.status == 200
            times.append(time.monotonic() - start)
    # None of the slow requests ended in all that time: a slow event takes longer than 200 others together.
    assert answers == [], answers
    assert sum(taken[plain]) + sum(taken[calm]) < 120
    # The program ends in the time it has, in the middle of evaluations; nobody is told that his events were taken.
    gateway.process.send_signal(signal.SIGTERM)
    for sender in senders:
        sender.join()
    assert gateway.process.wait(timeout=60) == 0, gateway.log_text()[-3000:]
    assert len(answers) == 8 and 200 not in answers, answers


# -- workers that are killed -------------------------------------------------------------------------------------------


def descriptors(gateway):
    return len(list(pathlib.Path(f"/proc/{gateway.process.pid}/fd").iterdir()))


def test_killed_workers_lose_and_double_nothing(gateway):
    url = gateway.add_source("s", framing="ndjson")
    gateway.add_sink("s", "rows", COLUMNS + [template("std.asciiUpper(Body('n'))", rawString=True)], AT_ONCE, onInvalid="reject")
    assert gateway.post(url, json.dumps({"n": "warm", "text": TEXT})).status == 200
    before = descriptors(gateway)
    kills, expected = 0, {"warm"}
    # However fast the machine is: until evaluating processes and zygotes were killed, each more than once.
    for course in range(20):
        if kills >= 4:
            break
        senders = [Sender(gateway.intake, url, f"s{course}-{i}", count=2000, batch=20) for i in range(3)]
        for sender in senders:
            sender.start()
        pause = 0.05
        while any(sender.is_alive() for sender in senders):
            time.sleep(pause)
            for victim in zygotes(gateway) if kills % 2 else evaluating(gateway):
                try:
                    os.kill(victim, signal.SIGKILL)
                    kills += 1
                except ProcessLookupError:
                    pass
            pause = min(pause * 1.2, 1)
        for sender in senders:
            sender.join()
            assert sender.unknown == [] and sender.refused == 0, (sender.unknown[:3], sender.refused)
            assert len(sender.acknowledged) == 2000
            expected |= set(sender.acknowledged)
        assert len(expected) == 1 + 6000 * (course + 1)
    assert kills >= 4
    gateway.wait_rows("rows", len(expected))
    rows = gateway.rows("SELECT n, t FROM rows")
    assert len(rows) == len(expected) and {row[0] for row in rows} == expected
    assert all(row[1] == row[0].upper() for row in rows)
    assert gateway.post(url, json.dumps({"n": "after", "text": TEXT})).status == 200
    wait_until("no zombie is left", lambda: zombies(gateway) == [])
    assert len(zygotes(gateway)) == 1
    # Connections of senders and the database's files come and go; a worker's sockets would stay.
    wait_until("descriptors are given back", lambda: descriptors(gateway) <= before + 8)


def test_no_worker_outlives_a_killed_gateway(gateway):
    url = add(gateway, "s", "local f(x) = f(x + 1) tailstrict; if Body('n') == 1 then f(1) else 0")
    assert gateway.post(url, numbers(0, 1)).status == 200
    connection = gateway.connect()
    connection.request("POST", url, numbers(1, 1))
    workers = zygotes(gateway) + evaluating(gateway)
    assert len(workers) == 2
    gateway.kill()
    wait_until("its workers end", lambda: not any(pid in processes() and processes()[pid][1] != "Z" for pid in workers))


def test_memory_of_a_worker_stays_flat(gateway):
    """As at 1 M events, which bench/templates --memory runs: what it has at a tenth of the events is what it has at the end."""
    rounds, count = 60, 1000
    url = gateway.add_source("s", framing="ndjson")
    columns = [template("{id: Body('n'), who: std.asciiUpper(Body('user.name')), l: [x * 2 for x in std.range(1, 5)]}")]
    gateway.add_sink("s", "rows", columns, NEVER)
    early = 0
    for i in range(rounds):
        assert gateway.post(url, numbers(i * count, count, user={"name": "jane doe"})).status == 200
        [worker] = evaluating(gateway)
        if i == rounds // 10 - 1:
            early, process = resident_kb(worker), worker
    assert worker == process, "the worker was replaced"
    late = resident_kb(worker)
    assert late <= early + 2048, f"{early} kB after {rounds * count // 10} events, {late} kB after {rounds * count}"


# -- pauses of the machine -----------------------------------------------------------------------------------------------

WALL = 2  # seconds of processor time of an event; its answer must come within ten times that
SLOW = "if Body('n') == 1 then std.foldl(function(a, i) a + i, std.range(1, 150000), 0) else Body('n') + 1000"
SLOW_RESULT = 150000 * 150001 // 2


def processor_ticks(pid):
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def stop_while_it_evaluates(gateway, but=()):
    """SIGSTOP to the evaluating process that is at the slow event."""

    def busy():
        return next((pid for pid in evaluating(gateway) if pid not in but and processor_ticks(pid) >= 3), None)

    pid = wait_until("a process evaluates the slow event", busy)
    os.kill(pid, signal.SIGSTOP)
    return pid


def paused_gateway(gateway_factory, events):
    gateway = gateway_factory(arguments=["--templates.wall-clock", f"{WALL}s"]).start()
    url = add(gateway, "s", SLOW)
    assert gateway.post(url, numbers(2, 1)).status == 200  # the worker is there
    answers = []
    sender = threading.Thread(target=lambda: answers.append(gateway.post(url, events)))
    sender.start()
    return gateway, url, sender, answers


def test_a_pause_costs_no_event(gateway_factory):
    """A process that is stopped for longer than the limit, and then goes on: the time is not the event's."""
    gateway, _, sender, answers = paused_gateway(gateway_factory, numbers(0, 3))
    pid = stop_while_it_evaluates(gateway)
    end = time.monotonic() + WALL + 0.5
    wait_until("the limit has passed", lambda: time.monotonic() > end)
    os.kill(pid, signal.SIGCONT)
    sender.join()
    assert answers[0].status == 200, answers
    assert reasons(gateway, "s") == {}
    gateway.flush("s", "s")
    assert sorted(gateway.rows("SELECT n, t FROM s")) == [("0", "1000"), ("1", str(SLOW_RESULT)), ("2", "1002"), ("2", "1002")]


def test_two_pauses_of_an_event_are_503(gateway_factory):
    gateway, url, sender, answers = paused_gateway(gateway_factory, numbers(1, 1))
    first = stop_while_it_evaluates(gateway)
    second = stop_while_it_evaluates(gateway, but=[first])  # the event is tried again, alone
    wait_until("the process is gone", lambda: first not in evaluating(gateway))
    sender.join()
    assert answers[0].status == 503 and answers[0].json["error"] == "stream.in.templatesUnavailable", answers
    assert int(answers[0].headers["retry-after"]) > 0
    wait_until("the process is gone", lambda: second not in evaluating(gateway))
    # Nothing of it was stored or rejected, and the source goes on.
    assert reasons(gateway, "s") == {}
    assert gateway.post(url, numbers(0, 3)).status == 200
    gateway.flush("s", "s")
    assert sorted(gateway.rows("SELECT n, t FROM s")) == [("0", "1000"), ("1", str(SLOW_RESULT)), ("2", "1002"), ("2", "1002")]
