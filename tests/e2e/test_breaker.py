"""Clients that stop in the middle, and what they must not be able to do."""
import base64
import collections
import os
import signal
import socket
import time

from relay import Relay, Smtp, running, wait_for


def ends(client, limit=10):
    """Does the server end the connection by itself?"""
    client.sock.settimeout(limit)
    try:
        while client.sock.recv(65536):
            pass
        return True
    except socket.timeout:
        return False
    except OSError:
        return True


def test_a_handshake_that_never_comes_is_not_waited_for(sink):
    with Relay("--set", "ingest.command_timeout=1s", route=sink) as r:
        for said in (b"", b"\x16\x03\x01\x02\x00\x01"):
            c = Smtp(r.submission_port)
            c.ehlo()
            assert c.cmd("STARTTLS")[0] == 220
            c.send(said)
            assert ends(c), said
            c.close()
        wait_for("no session is left",
                 lambda: r.metric("ingest-1", "ingest_sessions_open") == 0)


def test_logins_and_handshakes_do_not_hold_up_the_end(sink):
    with Relay("--set", ".drain_wait=30s", route=sink) as r:
        waiting = []
        for line in ("AUTH SCRAM-SHA-256", "AUTH LOGIN", "STARTTLS"):
            c = Smtp(r.submission_port)
            c.ehlo()
            assert c.cmd(line)[0] in (334, 220)
            waiting.append(c)
        pid, began = r.pid("ingest-1"), time.monotonic()
        os.kill(pid, signal.SIGTERM)
        wait_for("ingest ends", lambda: not running(pid))
        assert time.monotonic() - began < 15
        for c in waiting:
            assert ends(c)
            c.close()
        r.start("ingest-1")


def test_a_message_that_grows_by_mending_keeps_to_the_size(relay):
    with relay.settings(line_faults="fix", max_message_size="64KiB"):
        c = relay.client()
        head = b"Subject: ends\r\n\r\n"
        code, text = c.mail("a@grows.test", "grows@grows.test", body=head + b"\n" * 60000 + b"\r\n")
        assert (code, text.split()[0]) == (552, "5.3.4"), text
        code, text = c.mail("a@grows.test", "fits@grows.test", body=head + b"\n" * 30000 + b"\r\n")
        assert code == 250, text
        relay.settle()


def test_a_refusal_is_told_to_no_stranger(relay, sink):
    """Refused mail costs no quota: nobody may have the notifications sent to whom he likes."""
    login = relay.account("loud", "--state", "pending", "--check-from", "yes", "--from-domain",
                          "loud.test", "--on-refusal", "accept", "--notify", "from")
    c = relay.client(*login)
    code, text = c.cmd("MAIL FROM:<victim@stranger.test>")
    assert (code, text.split()[0]) == (550, "5.7.13"), text
    code, text = c.mail("me@loud.test", "a@b.test", body=b"From: me@loud.test\r\n\r\nx\r\n")
    assert code == 250, text
    assert b"CannotSendException" in sink.message("me@loud.test")
    assert not sink.delivered("victim@stranger.test")


def test_a_reload_cannot_ask_for_more_than_the_bus_takes(relay):
    with relay.settings(max_message_size="1GiB"):
        c = relay.client()
        assert "SIZE 52428800" in c.extensions
        c.quit()
    assert "reload_refused" in relay.log("ingest-1")


def test_guesses_at_once_are_no_more_than_one_after_the_other(sink):
    with Relay("--set", "ingest.auth_fail_ip=5", route=sink) as r:
        clients = [Smtp(r.submission_port) for _ in range(60)]
        for c in clients:
            c.ehlo()
        for i, c in enumerate(clients):
            guess = r.password if i == 59 else "guess-%d" % i
            token = base64.b64encode(("\0%s\0%s" % (r.login, guess)).encode())
            c.send(b"AUTH PLAIN " + token + b"\r\n")
        codes = collections.Counter(c.reply()[0] for c in clients)
        # 454: policy, asked 60 things at once, may be late on a machine that is busy
        assert codes[535] <= 5 and codes[421] > 0 and set(codes) <= {535, 421, 454}, codes
