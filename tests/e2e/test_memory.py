"""More message bytes at once than memory_bytes: clients wait, none is refused, the limit holds."""
import json
import subprocess

from relay import BIN, Relay

SESSIONS, SIZE, MEMORY = 60, 4 << 20, 16 << 20
HEADERS = 64 << 10  # that ingest puts in front


def test_large_messages_at_once_wait_and_stay_within_memory(sink):
    # 240 MiB on 60 sessions: most wait for longer than data_timeout without being read
    with Relay("--set", "ingest.memory_bytes=%d" % MEMORY, "--set", "ingest.data_timeout=5s",
               route=sink) as relay:
        load = subprocess.Popen(
            [BIN + "/loadgen", "-p", relay.submission_port, "-u",
             "%s:%s" % (relay.login, relay.password), "-W", "-s", str(SESSIONS), "-z", str(SIZE),
             "-v", "-t", "120"], stdout=subprocess.PIPE, text=True)
        most = 0
        while load.poll() is None:
            most = max(most, relay.metric("ingest-1", "ingest_memory_bytes"))
        said = json.loads(load.stdout.read())
        assert said["at_once"] == said["accepted"] == SESSIONS, said
        assert said["dropped"] == said["refused_4xx"] == 0
        assert 0 < most <= MEMORY + SIZE + HEADERS
        assert relay.metric("ingest-1", "ingest_spooled_parts_total") == 0
        relay.settle(60)
