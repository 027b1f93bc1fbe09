"""The limits of a session, of an address, of an account: each has its own reply and is counted.

All are set while the relay runs.  Where connections are counted, a test comes from a network of
its own in 127.0.0.0/8.
"""
import base64
import random
import socket
import struct
import time

import pytest
from relay import Relay, Smtp, tls_context, wait_for

TOO_LARGE = (552, "5.3.4 Message is larger than this server takes")


@pytest.fixture(scope="module")
def relay(sink):
    with Relay("--set", "ingest.max_message_size=64KiB", route=sink) as r:
        yield r


def counter(relay, name):
    """What a metric of ingest has gained since: a function."""
    before = relay.metric("ingest-1", "ingest_" + name)
    return lambda: relay.metric("ingest-1", "ingest_" + name) - before


def is_closed(c):
    """Nothing more comes, and the connection ends."""
    try:
        return c.pending == b"" and c.sock.recv(4096) == b""
    except ConnectionError:
        return True


def begin(c, *rcpts):
    assert c.cmd("MAIL FROM:<a@demo.test>")[0] == 250
    for rcpt in rcpts or ["x@world.test"]:
        assert c.cmd("RCPT TO:<%s>" % rcpt)[0] == 250


# ---- connections

def test_connections_in_all(relay):
    refused = counter(relay, "sessions_refused_total")
    with relay.settings(max_sessions=1):
        one = Smtp(relay.submission_port)
        other = Smtp(relay.submission_port)
        assert other.greeting == (421, "4.3.2 Too many connections, try again later")
        assert is_closed(other) and refused() == 1
        one.ehlo()


def test_connections_of_an_address(relay):
    refused = counter(relay, "sessions_refused_total")
    with relay.settings(max_sessions_ip=2):
        kept = [Smtp(relay.submission_port, source="127.20.1.1") for _ in range(2)]
        third = Smtp(relay.submission_port, source="127.20.1.1")
        assert third.greeting == (421, "4.7.0 Too many connections from your address")
        assert is_closed(third) and refused() == 1
        third.close()
        assert Smtp(relay.submission_port, source="127.20.1.2").greeting[0] == 220
        kept.pop().quit()
        wait_for("there is room again", lambda: Smtp(
            relay.submission_port, source="127.20.1.1").greeting[0] == 220)
        kept[0].ehlo()


def test_connections_over_the_limit_of_tls_are_closed_without_a_word(relay):
    """There is no reply before the handshake."""
    with relay.settings(max_sessions_ip=1):
        kept = Smtp(relay.submissions_port, source="127.20.2.1", tls=tls_context())
        with socket.create_connection(("127.0.0.1", relay.submissions_port), 20,
                                      ("127.20.2.1", 0)) as s:
            assert s.recv(100) == b""
        kept.ehlo()


def test_connections_of_an_account(relay):
    relay.account("busy", "--state", "active")
    refused = counter(relay, "sessions_refused_total")
    with relay.settings(max_sessions_account=2):
        kept = [relay.client("busy", "pw") for _ in range(2)]
        third = Smtp(relay.submission_port)
        third.ehlo()
        assert third.auth("busy", "pw", want=421) == "4.7.0 Too many connections of this account"
        assert is_closed(third) and refused() == 1
        assert relay.client().quit()[0] == 221  # another account
        assert kept.pop().quit()[0] == 221
        relay.client("busy", "pw")
        assert kept[0].mail("a@busy.test", "busy@world.test")[0] == 250


def test_connections_of_an_account_that_is_known_by_its_address(relay):
    with relay.settings(max_sessions_account=1):
        relay.account("known", "--state", "active")
        relay.hfctl("address", "allow", "known", "127.21.0.0/16")
        one, two = (Smtp(relay.relay_port, source="127.21.0.%d" % i) for i in (1, 2))
        one.ehlo(), two.ehlo()
        assert one.cmd("MAIL FROM:<a@known.test>")[0] == 250
        assert two.cmd("MAIL FROM:<a@known.test>") == (
            421, "4.7.0 Too many connections of this account")
        assert is_closed(two)
        assert one.cmd("RSET")[0] == 250
        assert one.mail("a@known.test", "known@world.test")[0] == 250


def test_new_connections_of_a_network(relay):
    refused = counter(relay, "sessions_refused_total")
    with relay.settings(connect_rate=3):
        for i in range(3):
            Smtp(relay.submission_port, source="127.22.1.%d" % (i + 1)).quit()
        late = Smtp(relay.submission_port, source="127.22.1.9")
        assert late.greeting == (
            421, "4.7.0 Too many new connections from your network, try again later")
        assert is_closed(late) and refused() == 1
        assert Smtp(relay.submission_port, source="127.22.2.1").greeting[0] == 220


# ---- the session

def test_recipients_of_a_message(relay, sink):
    with relay.settings(max_recipients=2):
        c = relay.client()
        assert "RCPTMAX=2" in " ".join(c.extensions)
        begin(c, "r1@world.test", "r2@world.test")
        assert c.cmd("RCPT TO:<r3@world.test>") == (452, "4.5.3 Too many recipients")
        assert c.cmd("DATA")[0] == 354
        c.send("Subject: two\r\n\r\nx\r\n.\r\n")
        assert c.reply()[0] == 250
        begin(c, "r4@world.test")  # the next message has its own
        assert c.cmd("RSET")[0] == 250
    relay.settle()
    assert not sink.delivered("r3@world.test") and sink.delivered("r2@world.test")


def test_messages_of_a_session(relay):
    with relay.settings(max_messages=2):
        c = relay.client()
        assert "LIMITS MAILMAX=2 RCPTMAX=1000" in c.extensions
        for i in range(2):
            assert c.mail("a@demo.test", "m%d@world.test" % i)[0] == 250
        assert c.cmd("MAIL FROM:<a@demo.test>") == (
            421, "4.7.0 Enough messages on one connection, connect again")
        assert is_closed(c)


def test_the_size_that_is_said_is_refused_at_mail(relay):
    c = relay.client()
    assert "SIZE 65536" in c.extensions
    assert c.cmd("MAIL FROM:<a@demo.test> SIZE=65537") == TOO_LARGE
    assert c.cmd("MAIL FROM:<a@demo.test> SIZE=%s" % ("9" * 20)) == TOO_LARGE
    assert c.cmd("MAIL FROM:<a@demo.test> SIZE=65536")[0] == 250


def test_the_size_that_comes_is_refused_at_its_end(relay):
    """The session goes on, and the message with the octet less is taken."""
    refused = counter(relay, "messages_refused_total")
    c = relay.client()
    head, line = b"Subject: x\r\n\r\n", b"y" * 98 + b"\r\n"
    room = 65536 - len(head)
    fits = head + line * (room // 100) + b"z" * (room % 100 - 2) + b"\r\n"
    assert len(fits) == 65536
    assert c.mail("a@demo.test", "over@world.test", body=fits[:-2] + b"z\r\n") == TOO_LARGE
    assert c.mail("a@demo.test", "over@world.test", body=fits + line * 10000) == TOO_LARGE
    assert refused() == 2
    assert c.mail("a@demo.test", "fits@world.test", body=fits)[0] == 250


def test_a_chunk_that_is_too_large_ends_the_session(relay):
    c = relay.client()
    begin(c)
    assert c.cmd("BDAT 65537 LAST") == (
        552, "5.3.4 Message is larger than this server takes, closing the connection")
    assert is_closed(c)


def test_chunks_that_are_too_large_together_are_refused(relay):
    c = relay.client()
    begin(c)
    half = b"Subject: x\r\n\r\n" + b"y" * 40000
    c.send(b"BDAT %d\r\n" % len(half) + half)
    assert c.reply() == (250, "2.0.0 Chunk taken")
    c.send(b"BDAT 40000 LAST\r\n" + b"y" * 40000)
    assert c.reply() == TOO_LARGE
    assert c.mail("a@demo.test", "after@world.test")[0] == 250


@pytest.mark.parametrize("words", ["x", "-1", "1 FIRST", "1 LAST LAST", "9" * 25, "0x10"])
def test_a_chunk_without_a_size_ends_the_session(relay, words):
    """Where its octets end nobody knows, and they must not be read as commands."""
    c = relay.client()
    begin(c)
    c.send("BDAT %s\r\nMAIL FROM:<evil@demo.test>\r\n" % words)
    assert c.reply() == (501, "5.5.4 Size of the chunk cannot be read, closing the connection")
    assert is_closed(c)


def test_the_length_of_a_command(relay):
    with relay.settings(max_line=512):
        c = relay.client()
        assert c.cmd("NOOP " + "x" * 505)[0] == 250
        assert c.cmd("NOOP " + "x" * 506) == (500, "5.5.2 Line too long")
        assert c.cmd("NOOP " + "x" * 500000) == (500, "5.5.2 Line too long")
        assert c.cmd("NOOP")[0] == 250
    assert relay.client().cmd("NOOP " + "x" * 2041)[0] == 250


def test_commands_that_bring_no_message_nearer(relay):
    with relay.settings(max_commands=5):
        c = relay.client()  # EHLO, AUTH
        for _ in range(3):
            assert c.cmd("NOOP")[0] == 250
        assert c.cmd("RSET") == (
            421, "4.7.0 Too many commands without a message, closing the connection")
        assert is_closed(c)


def test_commands_are_counted_anew_after_each_message(relay):
    with relay.settings(max_commands=5):
        c = relay.client()
        for i in range(4):
            assert c.cmd("NOOP")[0] == 250 and c.cmd("NOOP")[0] == 250
            assert c.mail("a@demo.test", "idle%d@world.test" % i)[0] == 250
        begin(c)


def test_unknown_commands(relay):
    with relay.settings(max_unknown=3):
        c = relay.client()
        for _ in range(2):
            assert c.cmd("NONSENSE") == (500, "5.5.2 Command is not known")
        assert c.cmd("NONSENSE") == (
            421, "4.7.0 Too many unknown commands, closing the connection")
        assert is_closed(c)


def test_refused_commands(relay):
    with relay.settings(max_errors=3):
        c = relay.client()
        for _ in range(2):
            assert c.cmd("DATA")[0] == 503
        assert c.cmd("DATA") == (421, "4.7.0 Too many errors, closing the connection")
        assert is_closed(c)


@pytest.mark.parametrize("request_line", [
    "GET / HTTP/1.1", "POST /x HTTP/1.1", "PUT / HTTP/1.0", "CONNECT a.test:25 HTTP/1.1",
    "OPTIONS * HTTP/1.1", "get /",
])
@pytest.mark.parametrize("door", ["submission", "relay", "inbound"])
def test_a_browser_is_told_at_once_and_nothing_of_it_is_obeyed(relay, door, request_line):
    c = Smtp(getattr(relay, door + "_port"))
    c.send(request_line + "\r\nHost: a.test\r\n\r\nEHLO evil.test\r\nMAIL FROM:<evil@demo.test>\r\n"
           "RCPT TO:<victim@world.test>\r\nDATA\r\n")
    assert c.reply() == (421, "4.7.0 This is an SMTP server, closing the connection")
    assert is_closed(c)


# ---- time

TIMEOUT = (421, "4.4.2 Timeout, closing the connection")


def test_a_silent_client_is_ended(relay):
    ended = counter(relay, "timeouts_total")
    with relay.settings(command_timeout="200ms"):
        c = relay.client()
        assert c.reply() == TIMEOUT
        assert is_closed(c) and ended() == 1


def test_a_command_in_single_octets_wins_no_time(relay):
    with relay.settings(command_timeout="500ms"):
        c = Smtp(relay.submission_port)
        c.sock.settimeout(0.05)
        began = time.monotonic()
        answer = None
        while answer is None and time.monotonic() < began + 20:
            try:
                c.send(b"N")
                answer = c.reply()
            except TimeoutError:
                pass  # nothing yet: the next octet
        assert answer == TIMEOUT
        assert time.monotonic() - began > 0.4


def test_whole_commands_do_win_time(relay):
    with relay.settings(command_timeout="1s"):
        c = Smtp(relay.submission_port)
        began = time.monotonic()
        while time.monotonic() < began + 2:
            assert c.cmd("NOOP")[0] == 250
            assert not is_readable(c, 0.1)


def is_readable(c, seconds):
    c.sock.settimeout(seconds)
    try:
        return c.sock.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return False
    finally:
        c.sock.settimeout(20)


def test_a_message_that_stops_is_ended(relay):
    ended = counter(relay, "timeouts_total")
    with relay.settings(data_timeout="200ms"):
        c = relay.client()
        begin(c)
        assert c.cmd("DATA")[0] == 354
        c.send("Subject: x\r\n\r\nthe end never")
        assert c.reply() == TIMEOUT
        assert is_closed(c) and ended() == 1


@pytest.mark.parametrize("by", ["DATA", "BDAT 60000"])
def test_a_message_that_trickles_is_ended_in_the_end(relay, by):
    """Each octet comes well before data_timeout, for ever."""
    with relay.settings(data_timeout="10s", data_total_timeout="600ms"):
        c = relay.client()
        begin(c)
        c.send(by + "\r\n")
        if by == "DATA":
            assert c.reply()[0] == 354
        c.sock.settimeout(0.05)
        began = time.monotonic()
        answer = None
        while answer is None and time.monotonic() < began + 8:
            try:
                c.send(b"x")
                answer = c.reply()
            except TimeoutError:
                pass  # nothing yet: the next octet
        assert answer == TIMEOUT
        c.sock.settimeout(20)
        assert is_closed(c)


def test_an_ended_message_leaves_no_share_of_the_quota_behind(relay):
    relay.account("slow", "--state", "active", "--quota-total", "1")
    with relay.settings(data_timeout="200ms"):
        c = relay.client("slow", "pw")
        assert c.cmd("MAIL FROM:<a@slow.test>")[0] == 250
        assert c.cmd("RCPT TO:<s@world.test>")[0] == 250
        assert c.cmd("DATA")[0] == 354
        assert c.reply() == TIMEOUT
    relay.settle()
    assert relay.client("slow", "pw").mail("a@slow.test", "s@world.test")[0] == 250


def test_who_speaks_before_the_greeting_is_no_mail_server(relay):
    early = counter(relay, "early_talkers_total")
    with relay.settings(greeting_delay="30s"):
        c = Smtp(relay.inbound_port, first=b"EHLO spam.test\r\n")
        assert c.greeting == (554, "5.5.1 You spoke before the greeting")
        assert is_closed(c) and early() == 1


def test_who_waits_for_the_greeting_gets_it(relay):
    with relay.settings(greeting_delay="300ms"):
        began = time.monotonic()
        c = Smtp(relay.inbound_port)
        assert c.greeting[0] == 220 and time.monotonic() - began >= 0.29
        c.ehlo()


@pytest.mark.parametrize("door", ["submission", "relay"])
def test_the_other_doors_greet_at_once(relay, door):
    with relay.settings(greeting_delay="30s"):
        c = Smtp(getattr(relay, door + "_port"), first=b"EHLO eager.test\r\n")
        assert c.greeting[0] == 220 and c.reply()[0] == 250


# ---- the end

def letters(text):
    return base64.b64encode(text).decode()


FLOW = ["EHLO x", "AUTH PLAIN " + letters(b"\0demo\0demo-secret"), "MAIL FROM:<a@demo.test>",
        "RCPT TO:<left%d@world.test>", "RCPT TO:<more%d@world.test>", "DATA",
        "Subject: x\r\n\r\nhello\r\n.", "MAIL FROM:<a@demo.test>", "RCPT TO:<last%d@world.test>",
        "BDAT 21 LAST\r\nSubject: x\r\n\r\nhello"]
STRAY = ["AUTH SCRAM-SHA-256 " + letters(b"n,,n=demo,r=abcdefghijk"), "*", "AUTH LOGIN", "RSET",
         "BDAT 5\r\nSubje", "STARTTLS", "QUIT", "NOOP", "XCLIENT ADDR=1.2.3.4", "\0\n", "VRFY x"]


def dialogue(dice, number):
    """Some of a mail's way through the relay, disturbed, and cut off anywhere."""
    words = FLOW[:dice.randint(1, len(FLOW))]
    for _ in range(dice.randint(0, 3)):
        words.insert(dice.randint(0, len(words)), dice.choice(STRAY))
    data = ("\r\n".join(words) + "\r\n").replace("%d", str(number)).encode()
    return data[:dice.randint(1, len(data))] if dice.random() < 0.3 else data


def leave_somewhere(relay, dice, number):
    port = dice.choice([relay.submission_port, relay.relay_port, relay.submissions_port])
    s = socket.create_connection(("127.0.0.1", port), 20)
    try:
        if port == relay.submissions_port and dice.random() < 0.9:
            s = tls_context().wrap_socket(s)
        data = dialogue(dice, number)
        while data:
            n = dice.randint(1, len(data))
            s.sendall(data[:n])
            data = data[n:]
        if dice.random() < 0.3:
            s.settimeout(1)
            s.recv(1000)
    except OSError:
        pass  # it was refused and closed
    if dice.random() < 0.3:  # by a reset
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return s


def test_clients_that_leave_at_any_moment_leave_nothing_behind(relay):
    dice, kept = random.Random(20), []
    with relay.settings(auth_fail_ip=0, auth_fail_login=0, auth_fail_network=0,
                        xclient_networks='["127.0.0.0/8"]'):
        for number in range(200):
            kept.append(leave_somewhere(relay, dice, number))
            if len(kept) > 20 or dice.random() < 0.5:
                kept.pop(dice.randrange(len(kept))).close()
        while kept:
            kept.pop().close()
        for port in (relay.submission_port, relay.relay_port):  # behind all that came before
            assert Smtp(port).quit()[0] == 221
        assert Smtp(relay.submissions_port, tls=tls_context()).quit()[0] == 221
        wait_for("all are gone", lambda: relay.metric("ingest-1", "ingest_sessions_open") == 0)
        relay.settle()
    assert relay.metric("ingest-1", "ingest_memory_bytes") == 0
    relay.hfctl("ledger")  # it balances
    assert relay.client().mail("a@demo.test", "still@world.test")[0] == 250
