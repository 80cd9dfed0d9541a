"""Pages of other origins send events: what a real Chromium does, and what a browser asks."""

import http.server
import json
import os
import signal
import subprocess
import threading
import urllib.parse

import pytest

from sluice import AT_ONCE, request, wait_until

COLUMNS = [
    {"name": "id", "type": "id", "primaryKey": True},
    {"name": "k", "type": "path", "path": "k", "rawString": True},
    {"name": "agent", "type": "headers"},
]
BROWSER = "chromium-headless-shell"

PAGE = """<!doctype html><title>shop</title><script>
const urls = URLS;
async function attempt(url, options) {
    try {
        const answer = await fetch(url, {method: 'POST', ...options});
        return {status: answer.status, id: answer.headers.get('Sluice-Event-Id'), text: await answer.text()};
    } catch (error) {
        return {error: String(error)};
    }
}
async function main() {
    const json = {'Content-Type': 'application/json'};
    const results = {};
    results.queued = navigator.sendBeacon(urls.open, new Blob([JSON.stringify({k: 'beacon'})], {type: 'application/json'}));
    results.credentials = await attempt(urls.open, {credentials: 'include', headers: json, body: JSON.stringify({k: 'credentials'})});
    results.key = await attempt(urls.bare, {headers: {...json, 'X-Api-Key': urls.secret}, body: JSON.stringify({k: 'key'})});
    results.invalid = await attempt(urls.open, {credentials: 'include', headers: json, body: '{'});
    results.large = await attempt(urls.open, {credentials: 'include', headers: json, body: 'x'.repeat(3 << 20)});
    results.listed = await attempt(urls.listed, {headers: json, body: JSON.stringify({k: 'listed'})});
    results.foreign = await attempt(urls.foreign, {headers: json, body: JSON.stringify({k: 'foreign'})});
    results.admin = await attempt(urls.admin, {
        method: 'PATCH', headers: {...json, 'X-StorageApi-Token': urls.token, Prefer: 'wait=10'}, body: JSON.stringify({name: 'by a page'}),
    });
    results.stranger = await attempt(urls.admin, {method: 'GET'});
    results.simple = await attempt(urls.foreign, {headers: {'Content-Type': 'text/plain'}, body: JSON.stringify({k: 'simple'})});
    await fetch('/report', {method: 'POST', body: JSON.stringify(results)});
}
main();
</script>"""


class Site:
    """The page of a shop, on an origin of its own, and what the page reports."""

    def __init__(self):
        site = self
        self.page, self.report = b"", None

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, body):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.answer(site.page if self.path == "/" else b"")

            def do_POST(self):
                site.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(b"")

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site():
    site = Site()
    yield site
    site.close()


def test_a_page_in_chromium_sends_events(gateway_factory, site, tmp_path):
    gateway = gateway_factory(arguments=["--limits.body", "2MB"]).start()
    urls = {}
    for source, cors in (("open", None), ("listed", [site.origin]), ("foreign", ["https://shop.example"])):
        path = urllib.parse.urlparse(gateway.add_source(source, **({"cors": {"origins": cors}} if cors else {}))).path
        urls[source] = f"http://{gateway.intake}{path}"
        gateway.add_sink(source, source, COLUMNS, AT_ONCE)
    urls["bare"], urls["secret"] = urls["open"].rsplit("/", 1)
    urls["admin"], urls["token"] = f"http://{gateway.admin}/v1/branches/default/sources/open", gateway.token
    site.page = PAGE.replace("URLS", json.dumps(urls)).encode()
    command = [BROWSER, "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--remote-debugging-port=0"]
    command += [f"--user-data-dir={tmp_path}/profile", f"{site.origin}/"]
    with open(tmp_path / "browser.log", "wb") as log:
        # Debian's command is a script that starts the browser: both are in a group of their own.
        browser = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        report = wait_until("the page reports", lambda: site.report, 180)
        # The beacon goes its own way: it may arrive after the report.
        rows = wait_until("the events are rows", lambda: len(found := gateway.rows("SELECT k, agent FROM open")) == 3 and dict(found))
    finally:
        os.killpg(browser.pid, signal.SIGTERM)
        browser.wait(30)
    assert sorted(rows) == ["beacon", "credentials", "key"]
    assert site.origin in rows["beacon"] and "Chrome" in rows["beacon"]
    assert report["queued"] is True
    assert report["credentials"]["status"] == 200 and report["credentials"]["id"], report
    assert report["key"]["status"] == 200, report
    # The page can read why an event was refused.
    assert report["invalid"]["status"] == 422 and "stream.in.unprocessableContent" in report["invalid"]["text"], report
    assert report["large"]["status"] == 413 and "limits.body" in report["large"]["text"], report
    assert report["listed"]["status"] == 200, report
    # The management API is for pages of all origins that have a token.
    assert report["admin"]["status"] == 202 and '"isFinished":true' in report["admin"]["text"], report
    assert gateway.api("GET", "/sources/open").json["name"] == "by a page"
    assert report["stranger"]["status"] == 401 and "stream.api.unauthorized" in report["stranger"]["text"], report
    # A page of another origin stores nothing, not even by a request that the browser sends without a preflight; it learns nothing of it.
    assert "Failed to fetch" in report["foreign"]["error"] and "Failed to fetch" in report["simple"]["error"], report
    gateway.flush("listed", "listed")
    gateway.flush("foreign", "foreign")
    assert [k for k, _ in gateway.rows("SELECT k, agent FROM listed")] == ["listed"]
    assert gateway.rows("SELECT k FROM \"foreign\"") == []


def test_cors_of_a_source_is_shown_and_removed(gateway):
    url = gateway.add_source("shop", cors={"origins": ["https://shop.example"]})
    gateway.add_sink("shop", "rows", COLUMNS, AT_ONCE)
    foreign = {"Origin": "https://other.example"}
    answer = gateway.post(url, {"k": 1}, headers=foreign)
    assert answer.status == 403 and answer.json["error"] == "stream.in.originNotAllowed"
    assert answer.headers["vary"] == "Origin" and "access-control-allow-origin" not in answer.headers
    shown = gateway.api("GET", "/sources/shop").json
    assert shown["cors"] == {"origins": ["https://shop.example"]}
    gateway.change("PATCH", "/sources/shop", {"cors": None})
    assert "cors" not in gateway.api("GET", "/sources/shop").json
    answer = gateway.post(url, {"k": 1}, headers=foreign)
    assert answer.status == 200 and answer.headers["access-control-allow-origin"] == "https://other.example"
    asked = {"Origin": "https://other.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = request(gateway.intake, "OPTIONS", url, headers=asked)
    assert answer.status == 200 and answer.headers["access-control-allow-headers"] == "content-type"
    assert answer.headers["access-control-allow-credentials"] == "true" and int(answer.headers["access-control-max-age"]) > 0


def test_the_management_api_is_for_pages_of_all_origins(gateway):
    origin = {"Origin": "https://shop.example"}
    asked = {**origin, "Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "content-type,x-storageapi-token"}
    for path in ("/v1/branches/default/sources/shop", "/v1/tasks/none", "/nothing"):
        answer = request(gateway.admin, "OPTIONS", path, headers=asked)
        assert answer.status == 200 and answer.body == b"", answer
        assert answer.headers["access-control-allow-origin"] == "*" and "access-control-allow-credentials" not in answer.headers
        assert answer.headers["access-control-allow-methods"] == "GET, POST, PUT, PATCH, DELETE"
        assert answer.headers["access-control-allow-headers"] == "content-type,x-storageapi-token"
    for path, token, status in (("/v1", None, 200), ("/sources", gateway.token, 200), ("/sources/none", gateway.token, 404), ("/sources", "x", 401)):
        answer = gateway.api("GET", path, token=token, headers=origin)
        assert answer.status == status and answer.headers["access-control-allow-origin"] == "*", answer
    # Without the question of a browser it is a method that no path has; a list that could end the line is not repeated.
    assert gateway.api("OPTIONS", "/sources").status == 405
    answer = request(gateway.admin, "OPTIONS", "/v1", headers={**asked, "Access-Control-Request-Headers": "a: b"})
    assert answer.status == 200 and "access-control-allow-headers" not in answer.headers
