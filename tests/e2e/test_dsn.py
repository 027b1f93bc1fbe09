"""What a submission may ask for, from the client's command to the next hop's and to the report."""
import socketserver
import ssl
import subprocess
import threading

import pytest

from nameserver import Nsd
from relay import Relay, Sink, queued_id, wait_for

FAST = ("--set", "delivery.retry_min=200ms", "--set", "delivery.retry_max=1s")
BODY = b"Subject: h\xc3\xbc\r\n\r\n.dot\r\nthe body\r\n"


def send(client, sender, mail_params, rcpts, body=BODY):
    """One transaction with parameters; rcpts maps addresses to theirs."""
    code, text = client.cmd(("MAIL FROM:<%s> %s" % (sender, mail_params)).strip())
    assert code == 250, text
    for rcpt, params in rcpts.items():
        code, text = client.cmd(("RCPT TO:<%s> %s" % (rcpt, params)).strip())
        assert code == 250, (rcpt, text)
    assert client.cmd("DATA")[0] == 354
    client.send(body.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    code, text = client.reply()
    assert code == 250, text
    return queued_id(text)


def params_at(sink, rcpt):
    """Of the transaction in which rcpt came: those of MAIL, and those of rcpt."""
    t = wait_for("%s has mail" % rcpt, lambda: sink.delivered(rcpt))[0]
    return t["mail_params"].split(), t["rcpt_params"][t["rcpt"].index(rcpt)].split()


@pytest.fixture
def old_world(tmp_path):
    """A sink with neither DSN nor CHUNKING nor SMTPUTF8."""
    s = Sink(str(tmp_path), "-D", "-B", "-U").start()
    yield s
    s.stop()


def test_parameters_are_passed_on_to_a_server_with_dsn(relay, sink):
    send(relay.client(), "dsn@demo.test", "RET=HDRS ENVID=QQ+2B1",
         {"p1@world.test": "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2B1@z.test",
          "p2@world.test": "NOTIFY=NEVER", "p3@world.test": ""})
    mail, p1 = params_at(sink, "p1@world.test")
    assert {"RET=HDRS", "ENVID=QQ+2B1"} <= set(mail)
    assert p1 == ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;o+2B1@z.test"]
    assert params_at(sink, "p2@world.test")[1] == ["NOTIFY=NEVER", "ORCPT=rfc822;p2@world.test"]
    assert params_at(sink, "p3@world.test")[1] == []
    relay.settle()
    assert not sink.delivered("dsn@demo.test"), "a server with DSN tells of the success itself"


def test_held_mail_keeps_what_was_asked_for(relay, sink):
    relay.account("heldsn", "--state", "review")
    mail = send(relay.client("heldsn", "pw"), "h@heldsn.test", "RET=FULL ENVID=held BODY=8BITMIME",
                {"h1@world.test": "NOTIFY=FAILURE ORCPT=rfc822;o@z.test"})
    relay.holdq("release", mail)
    mail_params, rcpt_params = params_at(sink, "h1@world.test")
    assert {"RET=FULL", "ENVID=held"} <= set(mail_params)
    assert rcpt_params == ["NOTIFY=FAILURE", "ORCPT=rfc822;o@z.test"]


def test_a_rejection_is_told_to_those_who_want_it(relay, sink):
    relay.account("rejdsn", "--state", "review")
    c = relay.client("rejdsn", "pw")
    quiet = send(c, "quiet@rejdsn.test", "", {"q@world.test": "NOTIFY=NEVER"})
    loud = send(c, "loud@rejdsn.test", "ENVID=x1", {"l@world.test": "NOTIFY=FAILURE"})
    relay.holdq("reject", quiet, loud, "--reason", "no")
    assert b"Original-Envelope-Id: x1\r\n" in sink.message("loud@rejdsn.test")
    relay.settle()
    assert not sink.delivered("quiet@rejdsn.test")


def test_reports_are_ours_where_the_server_knows_no_dsn(old_world):
    with Relay(route=old_world) as relay:
        c = relay.client()
        send(c, "ok@demo.test", "ENVID=e1",
             {"s1@world.test": "NOTIFY=SUCCESS ORCPT=rfc822;o1@z.test"})
        report = old_world.message("ok@demo.test")
        assert b"Action: relayed\r\n" in report and b"Original-Envelope-Id: e1\r\n" in report
        assert b"Original-Recipient: rfc822; o1@z.test\r\n" in report
        assert b"the body" not in report
        send(c, "whole@demo.test", "RET=FULL", {"hard-1@world.test": ""})
        report = old_world.message("whole@demo.test")
        assert b"Content-Type: message/rfc822\r\n" in report
        assert b"\r\n\r\n.dot\r\nthe body\r\n" in report
        send(c, "never@demo.test", "", {"hard-2@world.test": "NOTIFY=NEVER",
                                        "hard-3@world.test": "NOTIFY=SUCCESS"})
        relay.settle()
        assert not old_world.delivered("never@demo.test")
        assert relay.metric("delivery-1", "delivery_relayed_reports_total") == 1
        assert relay.ledger("demo")["bounced"] == 3


def test_a_delay_is_told_once_to_who_asked(world):
    with Relay(*FAST, "--set", "delivery.delay_notice=500ms", route=world.start()) as relay:
        c = relay.client()
        send(c, "late@demo.test", "", {"soft-1@world.test": "NOTIFY=DELAY"})
        send(c, "patient@demo.test", "", {"soft-2@world.test": ""})
        report = world.message("late@demo.test")
        assert b"Action: delayed\r\n" in report and b"Will-Retry-Until: " in report
        tries = relay.metric("delivery-1", "delivery_attempts_total")
        wait_for("more attempts",
                 lambda: relay.metric("delivery-1", "delivery_attempts_total") > tries + 4)
        assert relay.metric("delivery-1", "delivery_delay_reports_total") == 1
        assert not world.delivered("patient@demo.test")


def test_smtputf8_is_passed_on_or_fails_with_its_code(relay, sink, old_world):
    send(relay.client(), "\u00e4@demo.test", "SMTPUTF8 BODY=8BITMIME", {"\u00fc@world.test": ""})
    mail, _ = params_at(sink, "\u00fc@world.test")
    assert "SMTPUTF8" in mail
    with Relay(route=old_world) as r:
        send(r.client(), "sender@demo.test", "SMTPUTF8", {"\u00fc@world.test": ""})
        report = old_world.message("sender@demo.test")
        assert b"Content-Type: message/global-delivery-status\r\n" in report
        assert b"Status: 5.6.7\r\n" in report and "utf-8; \u00fc@world.test".encode() in report


def test_the_bytes_are_the_same_by_bdat_and_by_data(relay, sink, old_world):
    body = b"Subject: x\r\n\r\n.\r\n..\r\n.x\r\n" + b"y" * 900 + b"\r\n.\r\n"
    send(relay.client(), "b@demo.test", "", {"bdat@world.test": ""}, body)
    with Relay(route=old_world) as r:
        send(r.client(), "b@demo.test", "", {"data@world.test": ""}, body)
        by_data = old_world.message("data@world.test")
    by_bdat = sink.message("bdat@world.test")
    assert by_data.endswith(body) and by_bdat.endswith(body)


# ---- REQUIRETLS


class Mx(socketserver.ThreadingTCPServer):
    """An MX with STARTTLS and, over TLS, REQUIRETLS; keeps the MAIL lines of what it took."""
    daemon_threads = allow_reuse_address = True

    def __init__(self, context):
        super().__init__(("127.0.0.1", 0), MxSession)
        self.context, self.taken, self.port = context, [], self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class MxSession(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")
        self.wfile.flush()

    def handle(self):
        self.say("220 mx.signed.test ESMTP")
        if self.dialogue("250 STARTTLS"):
            try:
                sock = self.server.context.wrap_socket(self.connection, server_side=True)
            except (ssl.SSLError, OSError):
                return
            self.rfile, self.wfile = sock.makefile("rb"), sock.makefile("wb")
            self.dialogue("250 REQUIRETLS")

    def dialogue(self, offer):
        """True: STARTTLS was said."""
        mail, data = "", False
        for raw in iter(self.rfile.readline, b""):
            line = raw.decode(errors="replace").rstrip("\r\n")
            verb = line[:4].upper()
            if data:
                data = line != "."
                if not data:
                    self.server.taken.append((offer, mail))
                    self.say("250 taken")
            elif verb == "STAR":
                self.say("220 go")
                return True
            elif verb == "EHLO":
                self.say("250-mx\r\n" + offer)
            elif verb == "DATA":
                data = True
                self.say("354 go")
            else:
                mail = line if verb == "MAIL" else mail
                self.say("221 bye" if verb == "QUIT" else "250 ok")
        return False


@pytest.fixture
def mx(tmp_path):
    cert, key = str(tmp_path / "mx.cert"), str(tmp_path / "mx.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-days",
                    "2", "-subj", "/CN=mx", "-addext", "subjectAltName=DNS:mx.signed.test"],
                   check=True, stderr=subprocess.DEVNULL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = Mx(context)
    server.cert = cert
    yield server
    server.shutdown()
    server.server_close()


def test_requiretls_goes_only_to_hosts_that_dnssec_and_tls_prove(mx, tmp_path):
    mx_record = "@ IN MX 10 mx.signed.test.\n"
    zones = {"signed.test": mx_record + "mx IN A 127.0.0.1\n", "plain.test": mx_record}
    folder = tmp_path / "dns"
    folder.mkdir()
    with Nsd(str(folder), zones, signed=("signed.test",)) as dns, \
            Relay(*FAST, "--resolver", "127.0.0.1:%d" % dns.port, "--smtp-port", str(mx.port),
                  "--set", "delivery.tls_ca=" + mx.cert,
                  "--set", "delivery.dnssec_anchor=" + dns.anchor,
                  "--set", "ingest.requiretls=yes") as relay:
        c = relay.client()
        c.starttls()
        c.ehlo()
        c.auth(relay.login, relay.password)
        assert "REQUIRETLS" in c.extensions
        send(c, "", "REQUIRETLS", {"a@signed.test": ""})
        wait_for("taken", lambda: len(mx.taken) == 1)
        offer, mail = mx.taken[0]
        assert offer == "250 REQUIRETLS" and " REQUIRETLS" in mail
        send(c, "b@signed.test", "REQUIRETLS", {"b@plain.test": ""})
        wait_for("the report comes, and by TLS", lambda: len(mx.taken) == 2)
        offer, mail = mx.taken[1]
        assert offer == "250 REQUIRETLS" and mail.startswith("MAIL FROM:<>")
        assert " REQUIRETLS" in mail
        relay.settle()
        assert "5.7.30" in relay.log("delivery-1")
        assert relay.ledger("demo")["bounced"] == 1 and relay.ledger("demo")["delivered"] == 1
        send(c, "", "", {"c@plain.test": ""})
        wait_for("other mail goes", lambda: len(mx.taken) == 3)
        assert " REQUIRETLS" not in mx.taken[2][1]
