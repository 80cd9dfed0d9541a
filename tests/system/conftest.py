import pathlib
import sys

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
def postgres():
    server = Postgres()
    yield server
    server.close()
