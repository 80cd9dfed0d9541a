"""The manifests of config/examples: each is applied, and gives what the comment at its head promises. Its lines `$ COMMAND` are run, in their order."""

import re
import shlex

import pytest
from pages import Page
from sluice import ROOT, wait_until

EXAMPLES = ROOT / "config" / "examples"
# Those of brokers need one: see test_bridges_page.py. sluice.yaml is a config file, and README uses the others.
ELSEWHERE = {"demo.yaml", "kafka.yaml", "nats.yaml", "postgres.yaml", "sluice.yaml"}
NAMES = sorted(path.name for path in EXAMPLES.glob("*.yaml") if path.name not in ELSEWHERE)
USED = {"existing-table.yaml", "postgres.yaml"}  # the connection of a server


def commands(text):
    """(command, what it prints) of the comment; None: it does not say."""
    found = []
    for line in text.split("\nkind: ")[0].splitlines():
        if line.startswith("#   $ "):
            found.append([line[6:], None])
        elif line.startswith("#   ") and found and found[-1] is not None:
            found[-1][1] = (found[-1][1] or "") + line[4:] + "\n"
        elif found:
            found.append(None)  # prose: what follows is no output
    return [entry for entry in found if entry]


def test_all_are_here():
    assert len(NAMES) == 5, NAMES
    for name in NAMES:
        text = (EXAMPLES / name).read_text()
        assert f"$ sluice apply -f config/examples/{name}\n" in text
        assert any(said and re.match(r"(sqlite3|psql) ", command) for command, said in commands(text)), name


@pytest.mark.parametrize("name", NAMES)
def test_it_does_what_it_says(gateway_factory, request, name):
    text = (EXAMPLES / name).read_text()
    config, texts = "", {}
    if name in USED:
        postgres = request.getfixturevalue("postgres")
        config = f"connections:\n  warehouse:\n    type: postgres\n    uri: {postgres.uri}\n"
        texts = {"psql warehouse": f"psql {shlex.quote(postgres.uri)}"}
    gateway = gateway_factory(config).start()
    page = Page(gateway, texts)
    (page.directory / "config").symlink_to(ROOT / "config")
    source = re.search(r"^sourceId: (.*)$", text, re.M).group(1)
    page.shell("PATH=$PWD/build/release:$PATH")
    for command, said in commands(text):
        for written, there in texts.items():
            command = command.replace(written, there)
        page.expect(command, said)
        if command.startswith("sluice apply "):
            page.shell(f"URL=http://{gateway.intake}{gateway.source_url(source)}")


def test_that_of_postgres_is_applied(gateway_factory, postgres):
    """The table of postgres.yaml, which README names, is made and takes the event of demo.yaml."""
    gateway = gateway_factory(f"connections:\n  warehouse:\n    type: postgres\n    uri: {postgres.uri}\n").start()
    page = Page(gateway)
    (page.directory / "config").symlink_to(ROOT / "config")
    page.shell("build/release/sluice apply -f config/examples/postgres.yaml")
    assert gateway.post(gateway.source_url("demo-postgres"), {"issue": {"id": 7}, "amount": 1.5}).status == 200
    wait_until("the row", lambda: postgres.rows("SELECT issue_id, amount::text, priority FROM public.orders") == [(7, "1.5", "normal")])
