"""Delivery: the bytes, the retries, the reports, the routes."""
import os
import subprocess

from nameserver import Nsd
from relay import Relay, Sink, running, wait_for

FAST = ("--set", "delivery.retry_min=200ms", "--set", "delivery.retry_max=1s")


def test_the_bytes_arrive_as_they_were_sent(relay, sink):
    body = (b"Subject: bytes\r\nMIME-Version: 1.0\r\n\r\n.leading dot\r\n..two\r\n\r\n"
            + "\u00fcml\u00e4ute\r\n".encode() + b"x" * 900 + b"\r\n.\r\n.end\r\n")
    c = relay.client()
    assert c.mail("bytes@demo.test", "bytes@world.test", body=body)[0] == 250
    got = sink.message("bytes@world.test")
    assert got.endswith(body)
    added = got[:-len(body)]
    assert added.startswith(b"Received: from client.test (")
    assert b"ESMTPA" in added and b"for <bytes@world.test>" in added


def test_a_message_of_twenty_mebibytes(relay, sink):
    body = b"Subject: big\r\n\r\n" + (b"y" * 76 + b"\r\n") * (20 * 1024 * 1024 // 78)
    c = relay.client()
    assert c.mail("big@demo.test", "big@world.test", body=body)[0] == 250
    assert sink.message("big@world.test").endswith(body)


def test_many_recipients_of_one_domain_go_in_one_transaction(relay, sink):
    rcpts = ["n%d@many.test" % i for i in range(50)]
    c = relay.client()
    assert c.mail("many@demo.test", *rcpts)[0] == 250
    wait_for("delivered", lambda: sink.delivered(rcpts[-1]))
    assert sorted(sink.delivered(rcpts[0])[0]["rcpt"]) == sorted(rcpts)


def test_a_hard_bounce_is_reported_to_the_sender(relay, sink):
    c = relay.client()
    assert c.mail("reporter@demo.test", "hard-rep@world.test", "fine@world.test",
                  body=b"Subject: original subject\r\n\r\nx\r\n")[0] == 250
    report = sink.message("reporter@demo.test")
    assert b"multipart/report; report-type=delivery-status" in report
    assert b"Final-Recipient: rfc822; hard-rep@world.test" in report
    assert b"Status: 5.1.1" in report and b"Action: failed" in report
    assert b"Diagnostic-Code: smtp; 550 5.1.1" in report
    assert b"Subject: original subject" in report
    assert b"fine@world.test" not in report.split(b"message/delivery-status", 1)[1].split(
        b"rfc822-headers")[0]
    assert [t["from"] for t in sink.delivered("reporter@demo.test")] == [""]


def test_a_null_sender_gets_no_report(relay, sink):
    c = relay.client()
    assert c.mail("", "hard-null@world.test")[0] == 250
    relay.settle()
    assert relay.ledger()["bounced"] >= 1


def test_a_policy_refusal_suppresses_nobody(relay):
    c = relay.client()
    assert c.mail("", "spam-pol@world.test")[0] == 250
    relay.settle()
    assert c.mail("", "spam-pol@world.test")[0] == 250


def test_greylisting_is_waited_out(world):
    with Relay(*FAST, route=world.start()) as r:
        c = r.client()
        assert c.mail("g@demo.test", "grey2-x@world.test")[0] == 250
        wait_for("delivered", lambda: world.delivered("grey2-x@world.test"))
        r.settle()
        assert r.ledger("demo")["delivered"] == 1


def test_a_lost_connection_is_tried_again(world):
    with Relay(*FAST, route=world) as r:
        c = r.client()
        assert c.mail("l@demo.test", "late@world.test")[0] == 250
        wait_for("a try failed", lambda: r.metric("delivery-1", "delivery_deferred_total"))
        world.start()
        wait_for("delivered", lambda: world.delivered("late@world.test"))


def test_mail_that_expires_is_reported_and_counted_as_soft(world):
    with Relay(*FAST, "--set", "delivery.expire=1s", route=world.start()) as r:
        c = r.client()
        assert c.mail("", "soft-exp@world.test")[0] == 250
        r.settle()
        assert r.ledger("demo")["expired"] == 1
        rows = r.rows("hfctl", "list", "show", "bounce", "demo", "soft-exp@world.test")
        assert rows[0]["soft"] == 1


def test_mail_exchangers_are_found_by_dns(world, tmp_path):
    zones = {
        "mx.test": "@ IN MX 10 dead\n@ IN MX 20 live\ndead IN A 127.0.0.9\nlive IN A 127.0.0.1\n",
        "implicit.test": "@ IN A 127.0.0.1\n",
        "null.test": "@ IN MX 0 .\n",
    }
    world.start()
    with Nsd(str(tmp_path), zones) as dns, \
            Relay(*FAST, "--resolver", "127.0.0.1:%d" % dns.port, "--smtp-port",
                  str(world.port)) as r:
        c = r.client()
        for domain in ("mx", "implicit", "null", "nothere.mx"):
            assert c.mail("", "a@%s.test" % domain)[0] == 250
        for domain in ("mx", "implicit"):
            wait_for("delivered by MX", lambda: world.delivered("a@%s.test" % domain))
        r.settle()
        for domain, status in (("null", "5.1.10"), ("nothere.mx", "5.1.2")):
            rows = r.rows("hfctl", "list", "show", "bounce", "demo", "a@%s.test" % domain)
            assert rows, domain
        assert r.ledger("demo")["bounced"] == 2


def test_instances_share_the_work(world):
    world.start()
    with Relay("--instances", "ingest=2,policy=2,holdq=2,delivery=3", route=world) as r:
        r.account("rev", "--state", "review")
        c, v = r.client(), r.client("rev", "pw")
        rcpts = ["x@d%d.test" % i for i in range(12)]
        assert c.mail("i@demo.test", *rcpts)[0] == 250
        assert v.mail("i@rev.test", *["h" + a for a in rcpts])[0] == 250
        for a in rcpts:
            wait_for("delivered", lambda: world.delivered(a))
        (mail,) = r.rows("holdq", "list", "--account", "rev")
        r.holdq("release", mail["id"])
        for a in rcpts:
            wait_for("delivered", lambda: world.delivered("h" + a))
        r.hfctl("block", "add", "b@d1.test")
        assert c.mail("i@demo.test", "b@d1.test")[0] == 550
        r.settle()
        assert r.ledger()["delivered"] == 24
        used = [i for i in (1, 2, 3)
                if r.metric("delivery-%d" % i, "delivery_outcomes_total") > 0]
        assert len(used) >= 2


def test_a_terminated_relay_ends_in_order_with_exit_zero(world):
    world.start()
    with Relay(route=world) as r:
        for name in ("ingest-1", "delivery-1", "holdq-1", "policy-1"):
            pid = r.pid(name)
            os.kill(pid, 15)
            wait_for(name + " ends", lambda: not running(pid))
            assert "stopped" in r.log(name)
