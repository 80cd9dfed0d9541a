"""Rows of the mapping and of templates: P4, P5, P11, and instructions."""

import concurrent.futures
import os
import pathlib
import re
import statistics
import subprocess
import tempfile

from harness import BUILD, EVENT, EVENT_PATH, OPEN_LOOP, Intake, alternate, row, run_json, wrk

MAPPING = str(BUILD / "bench" / "mapping")
TEMPLATES = str(BUILD / "bench" / "templates")
MANY_SINKS = 20  # as many as a source may have
TEMPLATE = "{id: Body('issue.id'), who: std.asciiUpper(Body('user.name'))}"
TEMPLATE_COLUMNS = [
    {"type": "id", "name": "id"},
    {"type": "template", "name": "made", "template": {"language": "jsonnet", "content": TEMPLATE}},
]
RATE = 5000
GOALS = {"event": "1.0", "varied": "0.8", "text": "0.8"}  # of P4


def measure_mapping(options, directory):
    """P4, and P11 as far as it is the mapping's: bench/mapping, which alternates by itself."""
    results = run_json(MAPPING, EVENT_PATH, "--rounds", options.rounds, "--seconds", options.seconds / 16, "--sinks", MANY_SINKS, "--json")
    rows = []
    for corpus in results["corpora"]:
        by_name = {contender["name"]: contender for contender in corpus["contenders"]}
        speed = {name: contender["gbps"] for name, contender in by_name.items()}
        peer = max("simdjson", "simdjson-many", key=speed.get)
        peer_name = f"{peer} ({results['simdjson']})"
        # The event of the other rows is what P4 is about; other shapes show that the figure is not that of one event alone.
        main = corpus["name"] == "event"
        shape = f"{corpus['bytes']:,.0f} B" if main else f"{corpus['name']} events, {corpus['bytes']:,.0f} B"
        if "P4" in options.rows:
            rows.append(row("P4", f"mapping alone, {shape}", f"DOM by {peer_name}", speed["map"], speed[peer], "GB/s", GOALS.get(corpus["name"], "")))
            for name in speed:
                if name.startswith("scan-") and main:
                    rows.append(row("P4", f"(the scanner alone, {name[5:]})", f"DOM by {peer_name}", speed[name], speed[peer], "GB/s", ""))
            rows.append(row("P4", f"(the same mapping, {shape})", "DOM by jansson", speed["map"], speed["jansson"], "GB/s", ""))
            rows.append(row("P4", f"all fields by inference, {shape}", "the same columns, declared", speed["map-infer"], speed["map-columns"], "GB/s", "0.9" if main else ""))
        if "P11" in options.rows and main:
            first, many = by_name["map"]["nanoseconds"], by_name["map-sinks"]["nanoseconds"]
            each = (many - first) / (MANY_SINKS - 1)
            rows.append(row("P11", f"each added sink of {MANY_SINKS}, mapping alone", "the first", each, first, "ns per event", "under 0.25"))
    return rows


def gateway_cpu(intake):
    """Seconds of processor time of the gateway so far, all threads."""
    fields = pathlib.Path(f"/proc/{intake.gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_added_sinks(options, directory):
    """P11 through the gateway: one sink and twenty, one event per POST and a hundred."""
    rows = []
    for kind, framing, body, events in (("one event per POST", "single", EVENT, 1), ("100 events per POST", "ndjson", "\n".join([EVENT] * 100), 100)):
        one = Intake(directory / f"P11-one-{framing}", framing=framing)
        many = Intake(directory / f"P11-many-{framing}", framing=framing, sinks=MANY_SINKS)
        content_type = "application/json" if framing == "single" else "application/x-ndjson"
        connections = 256 if framing == "single" else 32
        processor = {one: [], many: []}

        def load(intake):
            def run():
                before = gateway_cpu(intake)
                rate = events * wrk(directory, intake.port, intake.paths, body, content_type, options.seconds, connections)
                processor[intake].append(1e9 * (gateway_cpu(intake) - before) / (rate * options.seconds))
                return rate

            return run

        figures = alternate(options.rounds, {"one": load(one), "many": load(many)})
        one.close()
        many.close()
        for what, first, all_of_them in (
            (f"each added sink of {MANY_SINKS}, {kind}, synced", 1e9 / figures["one"], 1e9 / figures["many"]),
            ("(the same, processor time of the gateway)", statistics.median(processor[one]), statistics.median(processor[many])),
        ):
            each = (all_of_them - first) / (MANY_SINKS - 1)
            rows.append(row("P11", what, "the first", each, first, "ns per event", "under 0.25"))
    return rows


def measure_templates(options, directory):
    """P5: the broker and one worker without HTTP; then memory; then latencies through the gateway."""
    worker = BUILD / "sluice-template-worker"
    rows = []
    speed = run_json(TEMPLATES, worker, EVENT_PATH, "--rounds", options.rounds, "--seconds", options.seconds)
    peer = speed["snippet"]
    limit = "jsonnet_evaluate_snippet per event"
    for name, what, goal in (
        ("good", "template", "35,000 events/s"),
        ("failing", "template, 10 % of the events fail", "5,000 events/s"),
    ):
        figures = speed[name]
        rows.append(row("P5", f"{what}, per second of the worker's processor time", limit, figures["worker"], peer["worker"], "events/s", goal))
        rows.append(row("P5", "(the same, per second of all processor time)", limit, figures["everything"], peer["everything"], "events/s", ""))
        rows.append(row("P5", "(the same, per second of wall time)", limit, figures["wall"], peer["wall"], "events/s", ""))

    marks = run_json(TEMPLATES, worker, EVENT_PATH, "--memory", options.template_events)
    for mark in marks:
        what = f"memory of the evaluating process after {mark['events']:,} events"
        rows.append(row("P5", what, "after 10 %", mark["kilobytes"] / 1024, marks[0]["kilobytes"] / 1024, "MiB", "flat"))

    intake = Intake(directory / "P5", columns=TEMPLATE_COLUMNS)
    command = [OPEN_LOOP, intake.port, intake.paths[0], EVENT_PATH, "--rate", RATE, "--seconds", options.seconds]
    seen = []

    def latencies():
        answer = run_json(*command)
        assert answer["refused"] == 0, answer
        seen.append(answer["microseconds"])
        return answer["microseconds"]["p99"]

    figures = alternate(options.rounds, {"p99": latencies})
    intake.close()
    half = sorted(one["p50"] for one in seen)[len(seen) // 2]
    what = f"template, {RATE:,} POST/s offered, synced"
    rows.append(row("P5", f"{what}: p99", None, figures["p99"] / 1000, None, "ms", "under 60 ms"))
    rows.append(row("P5", f"{what}: p50", None, half / 1000, None, "ms", ""))
    return rows


def count_mapping():
    """{corpus: instructions per event of the whole mapping}"""
    corpora = run_json("valgrind", "--tool=none", "--quiet", MAPPING, EVENT_PATH, "--list")["corpora"]
    wanted = [(corpus["name"], "map", passes) for corpus in corpora for passes in (1, 2)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = dict(zip(wanted, pool.map(lambda one: instructions(*one), wanted)))
    return {c["name"]: (counted[c["name"], "map", 2] - counted[c["name"], "map", 1]) / c["events"] for c in corpora}


def instructions(corpus, contender, passes):
    with tempfile.NamedTemporaryFile(prefix="callgrind-") as out:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}", MAPPING, str(EVENT_PATH)]
        command += ["--corpus", corpus, "--only", contender, "--passes", str(passes)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return int(re.search(r"Collected : (\d+)", said).group(1))


def count_instructions():
    """Prints instructions per event: the difference of a run of two passes and one of one pass, so that setting up does not count."""
    # Valgrind's processor has less than this one may have: the list of kernels is that of the processor that they are counted on.
    listed = run_json("valgrind", "--tool=none", "--quiet", MAPPING, EVENT_PATH, "--list")
    contenders = listed["contenders"]
    wanted = [(corpus["name"], name, passes) for corpus in listed["corpora"] for name in contenders for passes in (1, 2)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = dict(zip(wanted, pool.map(lambda one: instructions(*one), wanted)))
    print("\nInstructions per event, in brackets a byte of JSON, by callgrind (whose processor has no AVX-512)\n")
    print("| corpus | " + " | ".join(contenders) + f" | each added sink of {MANY_SINKS} |")
    print("|---" * (len(contenders) + 2) + "|")
    for corpus in listed["corpora"]:
        name, events = corpus["name"], corpus["events"]
        counts = {one: (counted[name, one, 2] - counted[name, one, 1]) / events for one in contenders}
        cells = [f"{count:,.0f} ({count * events / corpus['bytes']:.2f})" for count in counts.values()]
        each = (counts["map-sinks"] - counts["map"]) / (MANY_SINKS - 1)
        cells.append(f"{each:,.0f} ({each / counts['map']:.2f} of the first)")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
