"""The door: what a client may say, in which order, and what it gets for it."""
import socket

import pytest
from relay import Relay, Smtp, wait_for


def test_ehlo_offers_what_the_server_does(relay):
    c = Smtp(relay.submission_port)
    assert c.greeting[0] == 220
    c.ehlo()
    for word in ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "STARTTLS"):
        assert word in c.extensions
    assert any(e.startswith("SIZE ") for e in c.extensions)
    c.starttls()
    c.ehlo()
    assert "STARTTLS" not in c.extensions
    assert any(e.startswith("AUTH ") and "PLAIN" in e for e in c.extensions)
    c.auth(relay.login, relay.password)
    assert c.mail("t@demo.test", "tls@world.test")[0] == 250


@pytest.fixture(scope="module")
def patient():
    """A relay that counts no commands."""
    with Relay("--set", "ingest.max_commands=0") as r:
        yield r


def test_who_takes_no_replies_is_not_read(patient):
    c = Smtp(patient.submission_port)
    c.sock.settimeout(3)
    sent, size, chunk = 0, 64 << 20, b"NOOP\r\n" * 10000
    with pytest.raises(TimeoutError):
        while sent < size:
            sent += c.sock.send(chunk[sent % 6:])
    c.sock.settimeout(30)
    for _ in range(sent // 6):
        assert c.reply()[0] == 250
    c.send(b"NOOP\r\n"[sent % 6:])
    assert c.reply()[0] == 250


def test_wrong_passwords_and_unknown_logins_look_alike(relay):
    answers = set()
    for login, password in ((relay.login, "wrong"), ("nobody", "wrong")):
        c = Smtp(relay.submission_port)
        c.ehlo()
        answers.add(c.auth(login, password, want=535))
    assert len(answers) == 1 and answers.pop().startswith("5.7.8 ")


def test_auth_login_and_cancel(relay):
    c = Smtp(relay.submission_port)
    c.ehlo()
    assert c.cmd("AUTH LOGIN")[0] == 334
    assert c.cmd("*")[0] == 501
    assert c.cmd("AUTH LOGIN")[0] == 334
    assert c.cmd("ZGVtbw==")[0] == 334
    assert c.cmd("ZGVtby1zZWNyZXQ=")[0] == 235


def test_nobody_sends_without_saying_who_he_is(relay):
    c = Smtp(relay.submission_port)
    c.ehlo()
    assert c.cmd("MAIL FROM:<a@b.test>")[1].startswith("5.7.0")


def test_a_registered_address_needs_no_login(relay, sink):
    c = relay.client(port=relay.relay_port)
    assert c.mail("ip@demo.test", "byip@world.test")[0] == 250
    wait_for("delivered", lambda: sink.delivered("byip@world.test"))


def test_implicit_tls(relay):
    import ssl
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    raw = socket.create_connection(("127.0.0.1", relay.submissions_port), 10)
    s = context.wrap_socket(raw)
    assert s.recv(200).startswith(b"220 ")
    s.close()


@pytest.mark.parametrize("line, code", [
    ("RCPT TO:<a@b.test>", 503), ("DATA", 503), ("NONSENSE", 500), ("MAIL FROM:a@b.test", 501),
    ("MAIL FROM:<a@b.test> SIZE=999999999999", 552), ("MAIL FROM:<a@b.test> BODY=SILLY", 555),
    ("MAIL FROM:<a@b.test> UNKNOWN=1", 555), ("VRFY anna", 252), ("NOOP", 250), ("RSET", 250),
    ("MAIL FROM:<a b@c.test>", 501), ("HELP", 214), ("EXPN list", 502),
])
def test_a_command_gets_its_code(relay, line, code):
    c = relay.client()
    assert c.cmd(line)[0] == code
    assert c.cmd("NOOP")[0] == 250


def test_commands_may_be_pipelined_and_are_answered_in_order(relay, sink):
    c = relay.client()
    relay.hfctl("list", "add", "unsubscribe", "demo", "p7@pipe.test")
    rcpts = "".join("RCPT TO:<p%d@pipe.test>\r\n" % i for i in range(20))
    c.send("RSET\r\nMAIL FROM:<p@demo.test>\r\n" + rcpts + "DATA\r\n")
    codes = [c.reply()[0] for _ in range(23)]
    assert codes == [250, 250] + [550 if i == 7 else 250 for i in range(20)] + [354]
    c.send("Subject: p\r\n\r\nx\r\n.\r\nMAIL FROM:<p@demo.test>\r\nRCPT TO:<q@pipe.test>\r\n"
           "DATA\r\n")
    assert [c.reply()[0] for _ in range(4)] == [250, 250, 250, 354]
    c.send("Subject: q\r\n\r\nx\r\n.\r\nQUIT\r\n")
    assert [c.reply()[0] for _ in range(2)] == [250, 221]
    wait_for("delivered", lambda: sink.delivered("q@pipe.test"))


ENDS = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n\n.\n\n", b"\r\n\0.\r\n",
        b"\r\n.\0\r\n"]


@pytest.mark.parametrize("end", ENDS)
def test_nothing_but_crlf_dot_crlf_ends_a_message(relay, sink, end):
    """SMTP smuggling: what follows a false end never becomes a message of its own."""
    c = relay.client()
    for line in ("MAIL FROM:<s@demo.test>", "RCPT TO:<outer@smuggle.test>"):
        assert c.cmd(line)[0] == 250
    assert c.cmd("DATA")[0] == 354
    c.send(b"Subject: outer\r\n\r\nx" + end + b"MAIL FROM:<s@demo.test>\r\n"
           b"RCPT TO:<inner@smuggle.test>\r\nDATA\r\nSubject: inner\r\n\r\ny\r\n.\r\n")
    code, text = c.reply()
    assert code == 554 and text.startswith("5.6.11"), (code, text)
    assert c.cmd("NOOP")[0] == 250
    assert not sink.delivered("inner@smuggle.test")


def test_a_bare_lf_never_ends_a_command(relay):
    c = relay.client()
    c.send("NOOP\nNOOP\r\n")
    assert c.reply()[0] == 500
    assert c.cmd("NOOP")[0] == 250


def test_what_is_pipelined_behind_starttls_is_thrown_away(relay):
    c = Smtp(relay.submission_port)
    c.ehlo()
    c.send("STARTTLS\r\nMAIL FROM:<evil@demo.test>\r\n")
    assert c.reply()[0] == 220
    import ssl
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    c.sock = context.wrap_socket(c.sock)
    c.pending = b""
    assert c.cmd("NOOP")[0] == 250


def test_a_message_over_the_limit_is_refused_and_the_session_goes_on(sink):
    from relay import Relay
    with Relay("--set", "ingest.max_message_size=64KiB", route=sink) as r:
        c = r.client()
        code, text = c.mail("b@demo.test", "toobig@world.test", body=b"x: y\r\n\r\n"
                            + b"z" * 70 * 1024 + b"\r\n")
        assert code == 552 and text.startswith("5.3.4")
        assert c.mail("b@demo.test", "small@world.test")[0] == 250


def test_too_many_recipients_get_452(sink):
    from relay import Relay
    with Relay("--set", "ingest.max_recipients=3", route=sink) as r:
        c = r.client()
        assert c.cmd("MAIL FROM:<r@demo.test>")[0] == 250
        codes = [c.cmd("RCPT TO:<r%d@world.test>" % i) for i in range(4)]
        assert [k for k, _ in codes] == [250, 250, 250, 452]
        assert codes[-1][1].startswith("4.5.3")
        c.quit()
