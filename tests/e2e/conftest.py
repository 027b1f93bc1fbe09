"""Fixtures: a sink and a relay for each test module that wants the plain ones."""
import os
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from relay import Relay, Sink  # noqa: E402


@pytest.fixture(scope="module")
def sink():
    folder = tempfile.mkdtemp(prefix="hfsink", dir="/tmp")
    s = Sink(folder).start()
    yield s
    s.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def relay(sink):
    with Relay(route=sink) as r:
        yield r


@pytest.fixture
def world():
    """A sink of the test's own, not started."""
    folder = tempfile.mkdtemp(prefix="hfsink", dir="/tmp")
    s = Sink(folder)
    yield s
    s.stop()
    shutil.rmtree(folder)
