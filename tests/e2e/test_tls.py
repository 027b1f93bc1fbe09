"""TLS at the doors: versions, names, reload without a pause, resumption, nothing crosses over."""
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile

import pytest
from relay import Relay, Smtp, tls_context, wait_for

NAMES = {"first": "relay.sandbox.test", "second": "mail.second.test", "third": "*.third.test"}


def make(folder, name, names, days=3650):
    """A certificate of its own for these names, and its key."""
    cert, key = "%s/%s.pem" % (folder, name), "%s/%s.key" % (folder, name)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", str(days), "-subj",
                    "/CN=" + name, "-addext", "subjectAltName=DNS:" + names, "-keyout", key,
                    "-out", cert], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return cert, key


def der(path):
    with open(path) as f:
        return ssl.PEM_cert_to_DER_cert(f.read())


@pytest.fixture(scope="module")
def certificates():
    folder = tempfile.mkdtemp(prefix="hfcert", dir="/tmp")
    for name, names in NAMES.items():
        make(folder, name, names)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def relay(sink, certificates):
    rows = ", ".join("{cert: %s/%s.pem, key: %s/%s.key}" % (certificates, n, certificates, n)
                     for n in ("second", "third"))
    with Relay("--set", "ingest.certificates=[%s]" % rows, route=sink) as r:
        yield r


def version(v):
    context = tls_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = v
    return context


def reload(relay):
    before = relay.metric("ingest-1", "worker_reloads_total")
    os.kill(relay.pid("ingest-1"), signal.SIGHUP)
    wait_for("the reload", lambda: relay.metric("ingest-1", "worker_reloads_total") > before)


def shown(relay, name=None, context=None):
    """The certificate that a client who asks for name gets."""
    with socket.create_connection(("127.0.0.1", relay.submissions_port), 20) as s:
        with (context or tls_context()).wrap_socket(s, server_hostname=name) as t:
            return t.getpeercert(True)


@pytest.mark.parametrize("v", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("door", ["submission", "submissions"])
def test_both_versions_take_mail(relay, sink, door, v):
    wanted = version(getattr(ssl.TLSVersion, v))
    rcpt = "%s-%s@world.test" % (door, v.lower())
    if door == "submissions":
        c = Smtp(relay.submissions_port, tls=wanted)
    else:
        c = Smtp(relay.submission_port)
        c.ehlo()
        c.starttls(wanted)
    assert c.sock.version() == v.replace("_", ".")
    c.ehlo()
    c.auth(relay.login, relay.password)
    assert c.mail("a@demo.test", rcpt)[0] == 250
    head = sink.message(rcpt).decode()
    assert " with ESMTPSA id " in head
    assert "\r\n\t(TLS%s %s)\r\n" % (v[-3:].replace("_", "."), c.sock.cipher()[0]) in head


@pytest.mark.parametrize("v", ["TLSv1", "TLSv1_1"])
@pytest.mark.parametrize("door", ["submission", "submissions"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_older_versions_are_refused(relay, door, v):
    failures = relay.metric("ingest-1", "ingest_tls_failures_total")
    wanted = version(getattr(ssl.TLSVersion, v))
    with pytest.raises(ssl.SSLError) as refused:
        if door == "submissions":
            Smtp(relay.submissions_port, tls=wanted)
        else:
            c = Smtp(relay.submission_port)
            c.ehlo()
            c.starttls(wanted)
    assert refused.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"
    wait_for("a failure is counted",
             lambda: relay.metric("ingest-1", "ingest_tls_failures_total") == failures + 1)


def test_a_failed_handshake_costs_no_other_session(relay):
    c = Smtp(relay.submissions_port, tls=tls_context())
    with socket.create_connection(("127.0.0.1", relay.submissions_port), 20) as s:
        s.sendall(b"EHLO client.test\r\n" * 10)
        try:
            while s.recv(4096):
                pass
        except ConnectionError:
            pass
    c.ehlo()


@pytest.mark.parametrize("asked, name", [
    (None, "default"), ("relay.sandbox.test", "default"), ("mail.second.test", "second"),
    ("MAIL.Second.Test", "second"), ("a.third.test", "third"), ("a.b.third.test", "default"),
    ("third.test", "default"), ("unknown.test", "default"),
])
def test_the_name_asked_for_picks_the_certificate(relay, certificates, asked, name):
    path = relay.folder + "/cert.pem" if name == "default" else "%s/%s.pem" % (certificates, name)
    assert shown(relay, asked) == der(path)


def test_starttls_picks_by_name_too(relay, certificates):
    c = Smtp(relay.submission_port)
    c.ehlo()
    c.starttls(server_hostname="mail.second.test")
    assert c.sock.getpeercert(True) == der(certificates + "/second.pem")


def test_a_reload_changes_the_certificate_and_no_open_session(relay, certificates):
    old = der(certificates + "/second.pem")
    c = Smtp(relay.submission_port)
    c.ehlo()
    c.starttls(server_hostname="mail.second.test")
    c.ehlo()
    c.auth(relay.login, relay.password)
    assert c.cmd("MAIL FROM:<a@demo.test>")[0] == 250
    handshaking = socket.create_connection(("127.0.0.1", relay.submissions_port), 20)
    make(certificates, "second", NAMES["second"])
    new = der(certificates + "/second.pem")
    assert old != new and shown(relay, "mail.second.test") == old
    reload(relay)
    assert shown(relay, "mail.second.test") == new
    assert c.cmd("RCPT TO:<reloaded@world.test>")[0] == 250
    assert c.cmd("RSET")[0] == 250 and c.quit()[0] == 221
    with tls_context().wrap_socket(handshaking) as t:  # it had begun before the reload
        assert t.recv(100).startswith(b"220 ")


class Again:
    """A client that keeps its TLS session from one connection to the next."""

    def __init__(self, relay, v):
        self.relay, self.context, self.session = relay, version(v), None

    def connect(self):
        """Was the session resumed?"""
        with socket.create_connection(("127.0.0.1", self.relay.submissions_port), 20) as s:
            with self.context.wrap_socket(s, session=self.session) as t:
                t.recv(100)  # behind it TLS 1.3 brings the ticket
                t.sendall(b"NOOP\r\n")
                t.recv(100)
                resumed, self.session = t.session_reused, t.session
        return resumed


@pytest.mark.parametrize("v", ["TLSv1_2", "TLSv1_3"])
def test_sessions_are_resumed_before_and_after_a_reload(relay, v):
    client = Again(relay, getattr(ssl.TLSVersion, v))
    handshakes = relay.metric("ingest-1", "ingest_tls_handshakes_total")
    assert [client.connect(), client.connect()] == [False, True]
    reload(relay)
    assert client.connect()
    reload(relay)
    reload(relay)
    assert [client.connect(), client.connect()] == [True, True]
    assert relay.metric("ingest-1", "ingest_tls_handshakes_total") == handshakes + 5


def test_another_client_resumes_nothing(relay):
    assert not any(Again(relay, ssl.TLSVersion.TLSv1_3).connect() for _ in range(3))


@pytest.mark.parametrize("broken", ["nonsense", "gone", "of another key"])
def test_a_broken_certificate_keeps_the_old_one_and_is_told(relay, certificates, broken):
    cert = certificates + "/second.pem"
    old = der(cert)
    shutil.copy(cert, cert + ".good")
    said = len(relay.log("ingest-1"))
    try:
        os.unlink(cert)
        if broken == "nonsense":
            with open(cert, "w") as f:
                f.write("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
        elif broken == "of another key":
            shutil.copy(certificates + "/third.pem", cert)
        reload(relay)
        lines = relay.log("ingest-1")[said:].split("\n")
        assert [row for row in lines if " error tls " in row and "second." in row], lines
        assert shown(relay, "mail.second.test") == old
        assert relay.client().mail("a@demo.test", "broken@world.test")[0] == 250
    finally:
        shutil.move(cert + ".good", cert)
        reload(relay)
    assert shown(relay, "mail.second.test") == old


def test_tls_cannot_be_taken_away_from_sessions_that_were_offered_it(relay):
    c = Smtp(relay.submission_port)
    c.ehlo()
    said = len(relay.log("ingest-1"))
    with relay.settings(tls_cert="", tls_key="", certificates="[]"):
        assert "only after a restart" in relay.log("ingest-1")[said:]
        c.starttls()
        c.ehlo()
        assert Smtp(relay.submissions_port, tls=tls_context()).greeting[0] == 220


def test_a_broken_certificate_changes_no_other_parameter_either(relay):
    with relay.settings(max_recipients=1, tls_cert=relay.folder + "/none.pem"):
        c = relay.client()
        assert "RCPTMAX=1000" in " ".join(c.extensions)


@pytest.mark.parametrize("behind", [
    b"MAIL FROM:<evil@demo.test>\r\n", b"EHLO evil.test\r\nRSET\r\n", b"QUIT\r\n", b"MAIL FRO",
    b"NOOP\r\n" * 5000,
], ids=["mail", "ehlo", "quit", "half", "flood"])
def test_what_stands_behind_starttls_is_thrown_away(relay, behind):
    c = Smtp(relay.submission_port)
    c.ehlo()
    c.send(b"STARTTLS\r\n" + behind)
    assert c.reply()[0] == 220
    assert c.pending == b""
    try:
        c.sock = tls_context().wrap_socket(c.sock)
    except (ssl.SSLError, OSError):
        return  # what came later than its segment was no TLS
    assert c.cmd("MAIL FROM:<a@demo.test>") == (503, "5.5.1 Say EHLO first")
    c.ehlo()
    assert c.quit()[0] == 221


def test_login_and_greeting_from_before_starttls_are_forgotten(relay):
    c = relay.client()
    c.starttls()
    assert c.cmd("MAIL FROM:<a@demo.test>") == (503, "5.5.1 Say EHLO first")
    c.ehlo()
    assert c.cmd("MAIL FROM:<a@demo.test>") == (530, "5.7.0 Authentication required")
    c.auth(relay.login, relay.password)
    assert c.mail("a@demo.test", "anew@world.test")[0] == 250


def test_starttls_is_to_be_had_once_and_not_within_a_transaction(relay):
    c = relay.client()
    assert c.cmd("MAIL FROM:<a@demo.test>")[0] == 250
    assert c.cmd("STARTTLS") == (503, "5.5.1 Not inside a transaction")
    assert c.cmd("RSET")[0] == 250
    assert c.cmd("STARTTLS now") == (501, "5.5.4 No argument allowed")
    c.starttls()
    c.ehlo()
    assert c.cmd("STARTTLS") == (503, "5.5.1 TLS is on already")


def test_a_client_that_hangs_up_in_its_handshake_is_let_go(relay):
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", relay.submissions_port), 20,
                                      ("127.0.0.66", 0)) as s:
            s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    wait_for("all have ended", lambda: relay.log("ingest-1").count(" ip=127.0.0.66 ") == 5)


def test_a_handshake_that_takes_too_long_is_ended(relay):
    ended = relay.metric("ingest-1", "ingest_timeouts_total")
    with relay.settings(command_timeout="200ms"):
        with socket.create_connection(("127.0.0.1", relay.submissions_port), 20) as s:
            assert s.recv(100) == b""
    assert relay.metric("ingest-1", "ingest_timeouts_total") == ended + 1
