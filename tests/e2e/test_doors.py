"""The doors: roles, IPv6, PROXY, XCLIENT, what EHLO offers, several instances on a port."""
import base64
import signal
import socket
import ssl
import struct

import pytest
from relay import Relay, Smtp, tls_context, wait_for

PROXIED, STRANGER = "203.0.113.7", "198.51.100.9"  # an account has the first; nobody the other
PROXY_MAY, PROXY_MAY_NOT, XCLIENT_MAY = "127.0.0.1", "127.0.0.2", "127.0.0.9"
V2 = b"\r\n\r\n\0\r\nQUIT\n"


@pytest.fixture(scope="module")
def relay(sink):
    extra = ("submission+ipv6", "relay+ipv6", "submission+proxy", "submissions+proxy",
             "relay+proxy", "submission+ipv6+proxy")
    with Relay("--set", 'ingest.proxy_networks=["%s", "::1"]' % PROXY_MAY,
               "--set", 'ingest.xclient_networks=["%s"]' % XCLIENT_MAY,
               *[word for e in extra for word in ("--listener", e)], route=sink) as r:
        r.account("away", "--state", "active")
        r.hfctl("address", "allow", "away", "203.0.113.0/24")
        r.hfctl("address", "allow", "away", "2001:db8:5::/48")
        yield r


def v1(src):
    return ("PROXY TCP%d %s %s 50000 25\r\n" % ((6, src, "2001:db8::25") if ":" in src else
                                              (4, src, "192.0.2.25"))).encode()


def v2(src, tls=False, verb=1):
    family = socket.AF_INET6 if ":" in src else socket.AF_INET
    address = socket.inet_pton(family, src)
    block = address + bytes(len(address)) + struct.pack(">HH", 50000, 25)
    if tls:
        block += b"\x20\0\x05" + b"\x01\0\0\0\0"
    return V2 + struct.pack(">BBH", 0x20 | verb, 0x21 if ":" in src else 0x11, len(block)) + block


def last_words(port, data=b"", source=None, host="127.0.0.1"):
    """All that a connection says before it is closed."""
    heard = b""
    with socket.create_connection((host, port), 20, source and (source, 0)) as s:
        try:
            s.sendall(data)
            while more := s.recv(4096):
                heard += more
        except ConnectionError:
            pass
    return heard


def session_line(relay, helo):
    """The line that ingest logs of the one session, which has ended, with this helo."""
    (line,) = wait_for("the session's line", lambda: [
        row for row in relay.log("ingest-1").split("\n")[:-1]
        if " session " in row and " helo=%s " % helo in row])
    return line


def received(sink, rcpt):
    """The Received field that the relay wrote, on one line."""
    head = sink.message(rcpt).replace(b"\r\n\t", b" ").decode()
    assert head.startswith("Received: ")
    return head.split("\r\n")[0]


PLAIN = {"PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "CHUNKING", "DSN",
         "LIMITS MAILMAX=10000 RCPTMAX=1000", "ENHANCEDSTATUSCODES"}
PASSWORDS = "AUTH PLAIN LOGIN SCRAM-SHA-256"
SECURE = PLAIN | {"REQUIRETLS"}


@pytest.mark.parametrize("door, more", [
    ("submission", {"STARTTLS", PASSWORDS}), ("relay", {"STARTTLS", PASSWORDS}),
    ("inbound", {"STARTTLS"}),
])
def test_ehlo_offers_exactly_this_before_and_after_starttls(relay, door, more):
    c = Smtp(getattr(relay, door + "_port"))
    c.ehlo()
    assert set(c.extensions) == PLAIN | more and len(c.extensions) == len(PLAIN | more)
    c.starttls()
    c.ehlo()
    assert set(c.extensions) == SECURE | ({PASSWORDS + " SCRAM-SHA-256-PLUS"}
                                          if PASSWORDS in more else set())


def test_ehlo_offers_exactly_this_under_implicit_tls(relay):
    c = Smtp(relay.submissions_port, tls=tls_context())
    c.ehlo()
    assert set(c.extensions) == SECURE | {PASSWORDS + " SCRAM-SHA-256-PLUS"}
    assert c.cmd("STARTTLS") == (502, "5.5.1 STARTTLS is not offered here")


def test_passwords_are_not_offered_over_the_open_net(relay):
    c = Smtp(relay.submission_proxy_port, first=v1(STRANGER))
    c.ehlo()
    assert set(c.extensions) == PLAIN | {"STARTTLS", "AUTH SCRAM-SHA-256"}
    for line in ("AUTH PLAIN AGRlbW8AeA==", "AUTH LOGIN"):
        assert c.cmd(line) == (538, "5.7.11 Encryption is required: STARTTLS first")


def test_tls_that_ends_at_the_proxy_is_tls_without_a_channel_to_bind_to(relay):
    c = Smtp(relay.submissions_proxy_port, first=v2(STRANGER, tls=True))
    c.ehlo()
    assert set(c.extensions) == SECURE | {PASSWORDS}
    c.auth(relay.login, relay.password)


def test_requiretls_is_offered_only_where_it_is_wanted(relay):
    with relay.settings(requiretls="no"):
        c = Smtp(relay.submissions_port, tls=tls_context())
        c.ehlo()
        assert set(c.extensions) == PLAIN | {PASSWORDS + " SCRAM-SHA-256-PLUS"}
        c.auth(relay.login, relay.password)
        assert c.cmd("MAIL FROM:<a@demo.test> REQUIRETLS")[0] == 555


def test_helo_offers_nothing_and_takes_mail(relay, sink):
    c = Smtp(relay.relay_port)
    assert c.cmd("HELO client.test") == (250, "relay.sandbox.test")
    assert c.mail("a@demo.test", "helo@world.test")[0] == 250
    assert " with SMTP id " in received(sink, "helo@world.test")


@pytest.mark.parametrize("line, want", [
    ("HELP", (214, "2.0.0 EHLO HELO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY QUIT")),
    ("VRFY demo", (252, "2.5.0 Cannot verify, but send to it and see")),
    ("EXPN staff", (502, "5.5.1 Lists are not expanded here")),
    ("VRFY", (501, "5.5.4 Argument is missing")),
    ("DATA", (503, "5.5.1 Say MAIL first")),
    ("NOOP anything", (250, "2.0.0 Ok")),
])
def test_verbs_beside_the_way_are_answered(relay, line, want):
    c = Smtp(relay.submission_port)
    c.ehlo()
    assert c.cmd(line) == want


def test_inbound_takes_no_login_and_refuses_every_recipient(relay):
    c = Smtp(relay.inbound_port)
    c.ehlo()
    assert c.cmd("AUTH PLAIN AGRlbW8AeA==") == (502, "5.5.1 AUTH is not offered here")
    assert c.cmd("MAIL FROM:<>")[0] == 250
    assert c.cmd("RCPT TO:<a@world.test>") == (550, "5.7.1 Not accepted here")
    assert c.cmd("DATA") == (554, "5.5.1 No valid recipients")


def test_mail_comes_in_by_ipv6(relay, sink):
    c = relay.client(relay.login, relay.password, port=relay.submission_ipv6_port, host="::1")
    assert c.mail("a@demo.test", "v6@world.test")[0] == 250
    assert "([IPv6:::1])" in received(sink, "v6@world.test")


def test_a_registered_ipv6_address_needs_no_login(relay):
    c = Smtp(relay.relay_ipv6_port, host="::1")
    c.ehlo()
    assert c.mail("a@demo.test", "v6ip@world.test")[0] == 530
    relay.hfctl("address", "allow", "demo", "::1")
    assert c.mail("a@demo.test", "v6ip@world.test")[0] == 250


@pytest.mark.parametrize("header, client", [
    (v1(PROXIED), "([203.0.113.7])"), (v2(PROXIED), "([203.0.113.7])"),
    (v1("2001:db8:5::77"), "([IPv6:2001:db8:5::77])"),
    (v2("2001:db8:5::77"), "([IPv6:2001:db8:5::77])"),
    (v2("::ffff:203.0.113.7"), "([203.0.113.7])"),
], ids=["v1", "v2", "v1-ipv6", "v2-ipv6", "v2-mapped"])
def test_the_proxied_address_is_the_client(relay, sink, request, header, client):
    """In Received, in the log, and for relay by address."""
    rcpt = "px-%s@world.test" % request.node.callspec.id
    c = Smtp(relay.relay_proxy_port, first=header)
    c.ehlo(rcpt)
    assert c.mail("a@away.test", rcpt)[0] == 250
    c.quit()
    assert client in received(sink, rcpt)
    ip = client.strip("([])").replace("IPv6:", "")
    assert " account=away ip=%s " % ip in session_line(relay, rcpt)


def test_a_proxied_stranger_is_not_known_by_the_proxys_address(relay):
    """127.0.0.0/8 is registered, and the proxy is in it."""
    c = Smtp(relay.relay_proxy_port, first=v1(STRANGER))
    c.ehlo()
    assert c.cmd("MAIL FROM:<a@demo.test>")[0] == 530


@pytest.mark.parametrize("data", [v1(PROXIED), v2(PROXIED), b"EHLO client.test\r\n", b""])
def test_who_is_no_listed_proxy_is_closed_without_a_word(relay, data):
    assert last_words(relay.relay_proxy_port, data, source=PROXY_MAY_NOT) == b""


@pytest.mark.parametrize("data", [
    b"EHLO client.test\r\n", b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 203.0.113.7\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.25 50000 99999\r\n", b"proxy UNKNOWN\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.25 50000 25\n", b"PROXY TCP4 " + b"1" * 200,
    V2 + b"\x31\x11\0\x0c" + bytes(12), V2 + b"\x21\x11\0\x01\0", v2(PROXIED, verb=7),
    V2 + b"\x21\x11\xff\xff" + bytes(64),
])
def test_a_broken_proxy_header_is_closed_without_a_word(relay, data):
    assert last_words(relay.relay_proxy_port, data) == b""


@pytest.mark.parametrize("header", [v1(PROXIED), v2(PROXIED)], ids=["v1", "v2"])
def test_a_proxy_header_may_come_in_single_octets(relay, header):
    with socket.create_connection(("127.0.0.1", relay.relay_proxy_port), 20) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in header:
            s.sendall(bytes([octet]))
        assert s.recv(100).startswith(b"220 ")


@pytest.mark.parametrize("header", [v1(PROXIED), v2(PROXIED)], ids=["v1", "v2"])
def test_commands_may_stand_behind_the_proxy_header_in_one_segment(relay, header):
    commands = b"EHLO client.test\r\nMAIL FROM:<a@away.test>\r\n"
    c = Smtp(relay.relay_proxy_port, first=header + commands)
    assert c.greeting[0] == 220
    assert [c.reply()[0], c.reply()[0]] == [250, 250]


@pytest.mark.parametrize("header", [v1(PROXIED), v2(PROXIED)], ids=["v1", "v2"])
def test_implicit_tls_may_begin_in_the_segment_of_the_proxy_header(relay, header):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_context().wrap_bio(incoming, outgoing)
    with socket.create_connection(("127.0.0.1", relay.submissions_proxy_port), 20) as s:
        first = header

        def through(step):
            nonlocal first
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    s.sendall(first + outgoing.read())
                    first = b""
                    incoming.write(s.recv(65536))

        through(tls.do_handshake)
        s.sendall(outgoing.read())
        assert through(lambda: tls.read(100)).startswith(b"220 ")


@pytest.mark.parametrize("header", [v2(PROXIED, verb=0), V2 + b"\x20\0\0\0", b"PROXY UNKNOWN\r\n"],
                         ids=["v2-local", "v2-local-empty", "v1-unknown"])
def test_a_check_by_the_proxy_itself_keeps_its_own_address(relay, request, header):
    name = request.node.callspec.id + ".test"
    c = Smtp(relay.relay_proxy_port, first=header)
    c.ehlo(name)
    assert c.cmd("MAIL FROM:<a@demo.test>")[0] == 250
    c.quit()
    assert " account=demo ip=127.0.0.1 " in session_line(relay, name)


def test_a_proxy_header_where_none_is_expected_is_no_command(relay):
    c = Smtp(relay.relay_port)
    assert c.cmd(v1(PROXIED).decode().strip()) == (500, "5.5.2 Command is not known")


def test_xclient_is_not_for_everybody(relay):
    c = relay.client()
    assert not [e for e in c.extensions if e.startswith("XCLIENT")]
    assert c.cmd("XCLIENT ADDR=203.0.113.7") == (550, "5.7.0 XCLIENT is not for you")
    assert c.cmd("MAIL FROM:<a@demo.test>")[0] == 250  # still who it was


def test_xclient_says_whose_the_session_is(relay, sink):
    c = Smtp(relay.relay_port, source=XCLIENT_MAY)
    c.ehlo("proxy.test")
    assert "XCLIENT NAME ADDR PORT PROTO HELO" in c.extensions
    code, text = c.cmd("XCLIENT ADDR=203.0.113.7 NAME=mx.away.test PORT=1 HELO=away.test")
    assert (code, text) == (220, "relay.sandbox.test ESMTP")
    c.ehlo("proxy.test")
    assert c.mail("a@away.test", "xclient@world.test")[0] == 250
    assert received(sink, "xclient@world.test").startswith(
        "Received: from away.test ([203.0.113.7])")


def test_xclient_takes_an_ipv6_address(relay, sink):
    c = Smtp(relay.relay_port, source=XCLIENT_MAY)
    c.ehlo("proxy.test")
    assert c.cmd("XCLIENT ADDR=IPV6:2001:db8:5::9")[0] == 220
    c.ehlo("away.test")
    assert c.mail("a@away.test", "xclient6@world.test")[0] == 250
    assert "from away.test ([IPv6:2001:db8:5::9])" in received(sink, "xclient6@world.test")


def test_xclient_forgets_login_and_greeting(relay):
    c = relay.client(relay.login, relay.password, port=relay.submission_port, source=XCLIENT_MAY)
    assert c.cmd("XCLIENT ADDR=127.0.0.1")[0] == 220
    assert c.cmd("MAIL FROM:<a@demo.test>") == (503, "5.5.1 Say EHLO first")
    c.ehlo()
    assert c.cmd("MAIL FROM:<a@demo.test>") == (530, "5.7.0 Authentication required")


def test_xclient_takes_the_trust_of_the_proxys_address_away(relay):
    c = Smtp(relay.relay_port, source=XCLIENT_MAY)
    c.ehlo()
    assert c.cmd("XCLIENT ADDR=[UNAVAILABLE]")[0] == 220
    c.ehlo()
    assert c.cmd("MAIL FROM:<a@demo.test>")[0] == 530


def test_xclient_may_be_said_once(relay):
    c = Smtp(relay.relay_port, source=XCLIENT_MAY)
    c.ehlo()
    assert c.cmd("XCLIENT ADDR=198.51.100.9")[0] == 220
    c.ehlo()
    assert not [e for e in c.extensions if e.startswith("XCLIENT")]
    assert c.cmd("XCLIENT ADDR=203.0.113.7")[0] == 550


@pytest.mark.parametrize("words, code", [
    ("XCLIENT ADDR=1.2.3", 501), ("XCLIENT ADDR=IPV6:nonsense", 501), ("XCLIENT ADDR", 501),
    ("XCLIENT HELO=a+0D+0Ab", 501), ("XCLIENT HELO=a+0Z", 501), ("XCLIENT COLOUR=blue", 501),
    ("XCLIENT", 501),
])
def test_xclient_that_cannot_be_read_changes_nothing(relay, words, code):
    c = Smtp(relay.relay_port, source=XCLIENT_MAY)
    c.ehlo()
    assert c.cmd(words)[0] == code
    assert c.cmd("MAIL FROM:<a@demo.test>")[0] == 250


def test_xclient_within_a_transaction_is_out_of_order(relay):
    c = Smtp(relay.relay_port, source=XCLIENT_MAY)
    c.ehlo()
    assert c.cmd("MAIL FROM:<a@demo.test>")[0] == 250
    assert c.cmd("XCLIENT ADDR=203.0.113.7") == (503, "5.5.1 Not inside a transaction")


def test_a_batch_of_commands_is_answered_in_one_write(relay):
    c = relay.client()
    rcpts = "".join("RCPT TO:<b%d@world.test>\r\n" % i for i in range(30))
    c.send("MAIL FROM:<a@demo.test>\r\n" + rcpts + "NOOP\r\nRSET\r\nVRFY x\r\n")
    first = c.sock.recv(65536)
    assert first.count(b"\r\n") == 34 and first.endswith(b"\r\n"), first


def test_two_instances_share_a_port_and_each_can_leave(sink):
    with Relay("--instances", "ingest=2", route=sink) as r:
        def sessions():
            return [r.metric("ingest-%d" % i, "ingest_sessions_total") for i in (1, 2)]

        before = sessions()
        clients = [r.client() for _ in range(40)]
        assert all(n > b for n, b in zip(sessions(), before))
        for i, c in enumerate(clients[:8]):
            assert c.mail("a@demo.test", "shared%d@world.test" % i)[0] == 250
        for c in clients:
            c.close()
        r.kill("ingest-2", signal.SIGTERM)
        for i in range(10):
            assert r.client().mail("a@demo.test", "left%d@world.test" % i)[0] == 250
        r.start("ingest-2")
        r.settle()


def test_a_client_that_ends_its_side_gets_its_replies(relay, sink):
    c = Smtp(relay.submission_port)
    token = base64.b64encode(("\0%s\0%s" % (relay.login, relay.password)).encode()).decode()
    c.send("EHLO c.test\r\nAUTH PLAIN %s\r\nMAIL FROM:<a@demo.test>\r\n"
           "RCPT TO:<half-closed@world.test>\r\nBDAT 11 LAST\r\nA: b\r\n\r\nc\r\nQUIT\r\n" % token)
    c.sock.shutdown(socket.SHUT_WR)
    assert [c.reply()[0] for _ in range(6)] == [250, 235, 250, 250, 250, 221]
    assert sink.message("half-closed@world.test")
