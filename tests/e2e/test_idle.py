"""Two thousand idle sessions: none is lost, none holds up another, and none leaves anything behind.

The bound on memory holds in the build that is installed and, where each piece of memory has more
around it, under AddressSanitizer too; tests/bench/run prints what a session costs in the former.
"""
import json
import os
import resource
import signal
import subprocess

import pytest
from relay import BIN, Relay, memory_mb, wait_for

SESSIONS, ACCOUNTS = 2000, 4
DESCRIPTORS = 2 * SESSIONS + 1000  # of one process, with room
KIB_AT_MOST = 40                   # a session


@pytest.fixture(scope="module")
def relay(sink):
    """Its processes inherit the soft limit of this one; ingest raises its own to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.skip("the hard limit of open files is %d, %d are needed" % (hard, DESCRIPTORS))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        with Relay(route=sink) as r:
            for i in range(ACCOUNTS):
                r.account("idle%d" % i)
            yield r
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Idle:
    """Sessions that doors (tests/bench/doors.c) holds open until close()."""

    def __init__(self, port, n, *options):
        self.process = subprocess.Popen(
            [BIN + "/doors", "-i", "-v", "-p", port, "-n", str(n), "-c", "32", "-S", "100", *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.opened = json.loads(self.process.stdout.readline())

    def close(self):
        """Say NOOP and QUIT in each; what came of it."""
        self.process.stdin.close()
        said = json.loads(self.process.stdout.readline())
        self.process.wait(30)
        return said


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


@pytest.mark.parametrize("way, auth", [("plain", False), ("starttls", False), ("tls", True)])
def test_idle_sessions_cost_little_and_leave_nothing(relay, sink, way, auth):
    port = relay.submissions_port if way == "tls" else relay.submission_port
    options = ["-e", way] + (["-u", "idle%d:pw", "-U", str(ACCOUNTS)] if auth else [])
    # A new process: memory that other sessions have given back would hide what these take.
    relay.kill("ingest-1", signal.SIGTERM)
    relay.start("ingest-1")
    pid = relay.pid("ingest-1")
    Idle(port, 32, *options).close()  # what the first sessions make for all that follow
    wait_for("they are gone", lambda: relay.metric("ingest-1", "ingest_sessions_open") == 0)
    files, memory = descriptors(pid), memory_mb(pid)

    idle = Idle(port, SESSIONS, *options)
    assert idle.opened["open"] == SESSIONS and idle.opened["failed"] == 0
    assert relay.metric("ingest-1", "ingest_sessions_open") == SESSIONS
    grown = (memory_mb(pid) - memory) * 1024 / SESSIONS
    rcpt = "between-%s@world.test" % way
    assert relay.client().mail("b@demo.test", rcpt)[0] == 250  # another is served meanwhile
    wait_for("delivered", lambda: sink.delivered(rcpt))
    said = idle.close()

    assert said == {"answered": SESSIONS, "ended": SESSIONS, "lost": 0}
    assert grown < KIB_AT_MOST, "%.1f KiB a session" % grown
    wait_for("all are closed", lambda: relay.metric("ingest-1", "ingest_sessions_open") == 0)
    wait_for("no descriptor is left", lambda: descriptors(pid) <= files)
