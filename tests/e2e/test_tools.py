"""The operators' and reviewers' tools: tables, JSON lines, exit codes, clear errors."""
import json
import os
import subprocess

from relay import BIN, ROOT, Relay, queued_id, wait_for


def test_every_command_has_help(relay):
    for tool in ("hfctl", "holdq"):
        done = relay.tool(tool, "--help")
        assert "usage" in done.stdout.lower()


def test_wrong_usage_is_exit_64_and_says_what(relay):
    for args in (("nonsense",), ("account", "add"), ("account", "add", "UPPER CASE"),
                 ("list", "add", "nolist", "demo", "a@b.test"), ("trace", "xyz")):
        done = relay.tool("hfctl", *args, code=None)
        assert done.returncode in (64, 65), (args, done)
        assert done.stderr and not done.stdout


def test_accounts_are_added_shown_set_and_listed(relay):
    relay.hfctl("account", "add", "shop", "--state", "review", "--quota-day", "100")
    (row,) = relay.rows("hfctl", "account", "show", "shop")
    assert (row["state"], row["quota_day"], row["soft_limit"]) == ("review", 100, 3)
    relay.hfctl("account", "set", "shop", "--soft-limit", "5", "--quota-day", "0")
    (row,) = relay.rows("hfctl", "account", "show", "shop")
    assert (row["quota_day"], row["soft_limit"]) == (0, 5)
    assert "shop" in [r["account"] for r in relay.rows("hfctl", "account", "list")]
    assert relay.tool("hfctl", "account", "add", "shop", code=None).returncode == 65
    assert relay.tool("hfctl", "account", "set", "shop", "--soft-limit", "10",
                      code=None).returncode in (64, 65)
    assert relay.tool("hfctl", "account", "show", "nobody", code=None).returncode == 67
    done = relay.tool("hfctl", "list", "show", "bounce", "nobody", code=None)
    assert (done.returncode, done.stderr) == (67, "hfctl: no such account or list\n")


def test_an_illegal_transition_is_refused(relay):
    relay.hfctl("account", "add", "trans", "--state", "pending")
    done = relay.tool("hfctl", "account", "activate", "trans", code=None)
    assert done.returncode in (0, 65)
    relay.hfctl("account", "disable", "trans", "--reason", "x", code=None)


def test_list_history_is_kept(relay):
    relay.hfctl("list", "add", "unsubscribe", "demo", "hist@world.test")
    relay.hfctl("list", "remove", "unsubscribe", "demo", "hist@world.test")
    rows = relay.rows("hfctl", "list", "show", "unsubscribe", "demo", "hist@world.test",
                      "--history")
    assert rows and rows[0]["removed"]
    assert relay.client().mail("a@demo.test", "hist@world.test")[0] == 250


def test_a_lifted_bounce_entry_lets_mail_through(relay):
    c = relay.client()
    assert c.mail("", "hard-lift@world.test")[0] == 250
    wait_for("listed", lambda: c.mail("", "hard-lift@world.test")[0] == 550)
    relay.settle()  # so that no bounce on its way lists it anew
    relay.hfctl("list", "remove", "bounce", "demo", "hard-lift@world.test")
    relay.hfctl("block", "remove", "hard-lift@world.test", code=None)
    assert c.mail("", "hard-lift@world.test")[0] == 250


def test_trace_tells_the_story_of_a_message(relay):
    code, text = relay.client().mail("a@demo.test", "story@world.test", "hard-story@world.test")
    mail = queued_id(text)
    relay.settle()
    rows = relay.rows("hfctl", "trace", mail)
    what = [(r["what"], r["recipient"]) for r in rows]
    assert ("delivered", "story@world.test") in what
    assert ("bounced", "hard-story@world.test") in what
    assert [r["time"] for r in rows] == sorted(r["time"] for r in rows)


def test_a_trace_longer_than_a_frame_is_cut_and_says_so(relay):
    domain = ".".join(["d" * 50] * 3) + ".test"
    rcpts = ["%s%03d@%s" % ("u" * 60, i, domain) for i in range(400)]
    code, text = relay.client().mail("a@demo.test", *rcpts)
    assert code == 250
    relay.settle()
    rows = relay.rows("hfctl", "trace", queued_id(text))
    assert len([r for r in rows if r["what"] == "delivered"]) > 100
    assert [r["detail"] for r in rows if r["what"] == "cut"]


def test_queue_shows_every_instance_also_one_that_is_down(relay):
    relay.kill("holdq-1")
    try:
        rows = relay.queue()
        assert set(rows) == {"ingest-1", "policy-1", "holdq-1", "delivery-1"}
        assert rows["holdq-1"]["state"] == "down" and rows["policy-1"]["state"] == "up"
        assert relay.tool("hfctl", "queue", code=None).returncode in (0, 69)
    finally:
        relay.start("holdq-1")


def test_json_is_one_object_a_line(relay):
    for args in (("queue",), ("ledger",), ("account", "list")):
        for line in relay.hfctl("--json", *args).splitlines():
            assert isinstance(json.loads(line), dict)


def test_a_bad_configuration_is_refused_with_its_place(tmp_path):
    cases = (("hostname: [", 2), ("hostname: x\nnonsense: 1\n", 2),
             ("hostname: x\ninstances:\n  - {name: ingest-1, stage: nostage, bus: 'ipc:///x'}\n", 3),
             ("hostname: x\ndrain_wait: soon\n", 2))
    for text, line in cases:
        path = str(tmp_path / "c.yaml")
        with open(path, "w") as f:
            f.write(text)
        for stage in ("ingest", "policy", "holdq", "delivery"):
            done = subprocess.run([BIN + "/holdfast-" + stage, "-t", "-c", path],
                                  stderr=subprocess.PIPE, text=True)
            assert done.returncode == 78, done
            assert "%s:%d:" % (path, line) in done.stderr, done.stderr


def test_the_sample_configuration_is_good():
    for stage in ("ingest", "policy", "holdq", "delivery"):
        done = subprocess.run([BIN + "/holdfast-" + stage, "-t", "-c",
                               ROOT + "/deploy/holdfast.yaml"], stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr


def test_metrics_health_and_readiness(relay):
    import urllib.request
    for name in ("ingest-1", "policy-1", "holdq-1", "delivery-1"):
        base = "http://" + getattr(relay, "metrics_" + name.replace("-", "_"))
        for path in ("/healthz", "/readyz"):
            assert urllib.request.urlopen(base + path, timeout=5).status == 200
        text = urllib.request.urlopen(base + "/metrics", timeout=5).read()
        assert b"holdfast_" in text


def test_a_sandbox_comes_up_again_with_what_it_had(world):
    world.start()
    with Relay(route=world) as r:
        r.hfctl("account", "add", "kept")
        assert r.sandbox("down").returncode == 0
        r.up = False
        done = r.sandbox("up", *r.options)
        assert done.returncode == 0, done.stdout
        r.up = True
        assert {row["account"] for row in r.rows("hfctl", "account", "list")} == {"demo", "kept"}
        assert r.client().mail("a@demo.test", "again@world.test")[0] == 250


def test_quickstart_checks_itself():
    done = subprocess.run([ROOT + "/deploy/quickstart", "--check"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300,
                          env=dict(os.environ, HOLDFAST_BIN=BIN))
    assert done.returncode == 0, done.stdout[-5000:]
