"""Real clients: whatever they send arrives byte for byte, whatever way they come in.

What may differ is what the manual says: Received in front, Date and Message-ID where they were
missing, Bcc removed.
"""
import base64
import os
import re
import subprocess

import pytest
from clients import postfix as null_client
from clients.senders import CLIENTS, Door, Mail
from relay import Relay

UTF8 = {"curl", "smtplib", "nodemailer", "postfix"}       # that can say SMTPUTF8
EIGHT_BIT = {"smtplib", "nodemailer", "postfix"}          # that say BODY=8BITMIME
MECHANISMS = {"swaks": ("PLAIN", "LOGIN"), "curl": ("PLAIN", "LOGIN"),
              "msmtp": ("PLAIN", "LOGIN", "SCRAM-SHA-256"), "smtplib": ("PLAIN", "LOGIN"),
              "nodemailer": ("PLAIN", "LOGIN"), "postfix": null_client.MECHANISMS}


@pytest.fixture(scope="module")
def postfix(relay):
    if os.getuid() != 0:
        pytest.skip("Postfix starts as root only")
    with null_client.Postfix(relay) as p:
        yield p


@pytest.fixture
def client(request):
    """The name of a client, with what it needs running."""
    if request.param == "postfix":
        request.getfixturevalue("postfix")
    return request.param


def header(client, name, *more):
    return ("From: Sender <s@demo.test>\r\nTo: someone@world.test\r\nSubject: %s by %s\r\n"
            "Date: Tue, 03 Feb 2026 04:05:06 +0000\r\nMessage-ID: <%s.%s@demo.test>\r\n%s\r\n"
            % (name, client, name, client, "".join(m + "\r\n" for m in more))).encode()


MIME = ("MIME-Version: 1.0", "Content-Type: text/plain; charset=iso-8859-1",
        "Content-Transfer-Encoding: 8bit")


def plain(client):
    return header(client, "plain") + b"Hello,\r\n\r\n\tworld \r\n-- \r\nme\r\n"


def many(client):
    return header(client, "many") + b"To each of you.\r\n"


def eight_bit(client):
    return header(client, "eight_bit", *MIME) + bytes(range(0xa0, 0x100)) + b"\r\ncaf\xe9\r\n"


def utf8(client):
    mime = [line.replace("iso-8859-1", "utf-8") for line in MIME]
    return header(client, "utf8", *mime, "Comments: Gr\u00fc\u00dfe \u4f60\u597d") \
        + "\u00dcml\u00e4ute, \u4f60\u597d, \U0001f4e7\r\n".encode()


def dots(client):
    return header(client, "dots") + (b".\r\n..\r\n.x\r\n...\r\n\r\n.\r\n\r\n. \r\n.\t.\r\n"
                                     b"x.\r\nQUIT\r\n.\r\n.\r\nthe end\r\n")


def folded(client):
    return header(client, "folded", "X-Long: " + "word " * 150 + "end",
                  "References: <a@demo.test>\r\n\t<b@demo.test>\r\n <c@demo.test>") \
        + b"y" * 998 + b"\r\n"


def bare(client):
    """No Date, no Message-ID, and a Bcc on two lines."""
    return ("From: s@demo.test\r\nBcc: hidden@demo.test,\r\n  hidden2@demo.test\r\n"
            "Subject: bare by %s\r\n\r\nBcc: this line is text\r\n" % client).encode()


def big(client):
    line = bytes(range(0x21, 0x6d)) + b"\r\n"
    return header(client, "big") + line * ((20 << 20) // len(line) + 1)


MESSAGES = {f.__name__: f for f in (plain, many, eight_bit, utf8, dots, folded, bare, big)}


def fields(block):
    """The fields of a header section, folds and line ends kept."""
    return re.findall(rb"[^\r\n]+\r\n(?:[ \t][^\r\n]*\r\n)*", block)


def named(field, *names):
    return field.split(b":")[0].strip().lower() in names


def check_same(got, sent):
    """got is sent but for the documented additions, each there once at most."""
    top, _, text = got.partition(b"\r\n\r\n")
    sent_top, _, sent_text = sent.partition(b"\r\n\r\n")
    assert text == sent_text
    have, want = fields(top + b"\r\n"), fields(sent_top + b"\r\n")
    assert named(have[0], b"received")
    while named(have[0], b"received"):
        have.pop(0)
    want = [f for f in want if not named(f, b"bcc")]
    for name in (b"date", b"message-id"):
        there = [f for f in have if named(f, name)]
        assert len(there) == 1, (name, have)
        if not any(named(f, name) for f in want):
            have.remove(there[0])
    assert have == want


def one(pairs):
    return pytest.mark.parametrize("client, " + pairs[0], pairs[1], indirect=["client"])


@one(("message", [(c, m) for m in MESSAGES for c in CLIENTS]))
def test_what_a_client_sends_arrives_unchanged(relay, sink, request, tmp_path, client, message):
    local = ("j\u00fcrgen" if message == "utf8" and client in UTF8 else message) + "-" + client
    rcpts = [local + "@world.test"]
    if message == "many":
        rcpts = ["%s%s@world.test" % (n, local) for n in ("", 2, 3, 4, 5)]
    mail = Mail("s@demo.test", rcpts, MESSAGES[message](client), tmp_path, message == "eight_bit")
    door = Door(relay, postfix=request.getfixturevalue("postfix") if client == "postfix" else None)
    sent = CLIENTS[client](door, mail, "PLAIN") or mail.body
    for rcpt in rcpts:
        check_same(sink.message(rcpt), sent)
    said = sink.delivered(rcpts[0])[0]["mail_params"].split()
    assert ("SMTPUTF8" in said) == mail.utf8
    assert (b"with UTF8SMTP" in fields(sink.message(rcpts[0]))[0]) == mail.utf8
    if message == "eight_bit" and client in EIGHT_BIT:
        assert "BODY=8BITMIME" in said


WAYS = [(c, m, d) for c, all_ in MECHANISMS.items() for m in all_ for d in null_client.DOORS]


@one(("mechanism, door", WAYS))
def test_a_client_comes_in_by_each_mechanism_and_door(relay, sink, request, tmp_path, client,
                                                      mechanism, door):
    rcpt = "%s@%s" % (client, null_client.domain(mechanism, door))
    mail = Mail("s@demo.test", [rcpt], plain(client), tmp_path)
    running = request.getfixturevalue("postfix") if client == "postfix" else None
    CLIENTS[client](Door(relay, door, running), mail, mechanism)
    got = sink.message(rcpt)
    check_same(got, mail.body)
    trace = fields(got)[0]
    assert b" with ESMTPSA " in trace.replace(b"\r\n", b" "), trace


@pytest.mark.parametrize("password, code", [("", 235), ("wrong", 535)])
@pytest.mark.parametrize("tls, binding", [("NORMAL", b"p=tls-exporter,"),
                                          ("NORMAL:-VERS-TLS1.3", b"p=tls-unique,")])
def test_gsasl_binds_scram_to_the_tls_channel(relay, tls, binding, password, code):
    """It can only log in; the binding is another one in TLS 1.2."""
    done = subprocess.run(
        ["gsasl", "--smtp", "--connect=127.0.0.1:" + relay.submission_port, "--x509-ca-file=",
         "--priority", tls, "-m", "SCRAM-SHA-256-PLUS", "-a", relay.login,
         "-p", password or relay.password], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=30)
    lines = done.stdout.split(b"\n")
    first = base64.b64decode(lines[lines.index(b"AUTH SCRAM-SHA-256-PLUS") + 2])
    assert first.startswith(binding), first
    assert any(line.startswith(b"%d 5.7.8 " % code if code == 535 else b"235 2.7.0 ")
               for line in lines), done.stdout
    assert (done.returncode == 0 and b"server trusted" in done.stdout) == (code == 235)


def test_a_wrong_password_is_told(sink, tmp_path):
    """In a relay of its own: failures count against the address that they come from."""
    with Relay(route=sink) as relay:
        for client, mechanisms in MECHANISMS.items():
            if client == "postfix":
                continue  # it keeps the mail and tries again
            door = Door(relay)
            door.password = "wrong"
            mail = Mail("s@demo.test", ["nobody@wrong.test"], plain(client), tmp_path)
            with pytest.raises(Exception, match="535|Login denied"):
                CLIENTS[client](door, mail, mechanisms[-1])
        relay.settle()
        assert not sink.delivered("nobody@wrong.test")
