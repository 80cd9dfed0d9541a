import pathlib
import sys
import typing

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from postgres import Postgres  # noqa: E402
from sluice import Gateway  # noqa: E402


@pytest.fixture
def gateway_factory(tmp_path):
    """Makes gateways in directories of their own; each is ended and checked for sanitizer reports after the test."""
    made = []

    def make(config=None, arguments=(), environment=None):
        directory = tmp_path / f"gateway-{len(made)}"
        directory.mkdir()
        gateway = Gateway(directory, config, arguments, environment)
        made.append(gateway)
        return gateway

    yield make
    problems = []
    for gateway in made:
        try:
            gateway.close()
        except Exception as problem:  # every gateway must end, also behind one that failed
            problems.append(problem)
            if gateway.process and gateway.process.poll() is None:
                gateway.kill()
    if problems:
        raise problems[0]


@pytest.fixture
def gateway(gateway_factory):
    """A running gateway with the defaults."""
    return gateway_factory().start()


@pytest.fixture(scope="session")
def postgres_server():
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def postgres(postgres_server):
    """A server without tables: what an earlier test left there, also one that failed, is gone."""
    postgres_server.empty()
    return postgres_server


class Destination(typing.NamedTuple):
    """A gateway and one of its destinations."""

    gateway: Gateway
    connection: str
    rows: typing.Callable  # of a statement there


@pytest.fixture(params=["sqlite", "postgres"])
def destination_of(request, gateway_factory):
    """A function that starts a gateway with the destination."""

    def make():
        if request.param == "sqlite":
            gateway = gateway_factory().start()
            return Destination(gateway, "local", gateway.rows)
        postgres = request.getfixturevalue("postgres")
        gateway = gateway_factory(f"connections:\n  warehouse:\n    type: postgres\n    uri: {postgres.uri}\n").start()
        return Destination(gateway, "warehouse", postgres.rows)

    return make
