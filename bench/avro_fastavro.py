"""The yardstick of bench/avro.c: fastavro reads the same record into Python's values, and again with json.dumps behind it."""

import io
import json
import sys
import time

import fastavro


def measure(what, read, seconds):
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        for _ in range(10000):
            read()
        count += 10000
    print(f"{what}: {count / spent:.0f} records/s, {spent / count * 1e6:.3f} CPU-seconds per million")


def main(path, name, seconds=2.0):
    vector = next(v for v in json.load(open(path)) if v["name"] == name)
    schema, record = fastavro.parse_schema(vector["schema"]), bytes.fromhex(vector["hex"])
    measure("fastavro", lambda: fastavro.schemaless_reader(io.BytesIO(record), schema, None), float(seconds))
    text = lambda: json.dumps(fastavro.schemaless_reader(io.BytesIO(record), schema, None), default=str)  # noqa: E731
    measure("fastavro and json.dumps", text, float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
