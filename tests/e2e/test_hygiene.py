"""Message hygiene at submission (RFC 6409): what is added, what is taken out, what is refused.

Every message goes through the relay to the sink, and its bytes there are compared.
"""
import itertools
import re

import pytest
from relay import Relay, Smtp

DATE, ID = b"Date: Tue, 03 Feb 2026 04:05:06 +0000\r\n", b"Message-ID: <1@demo.test>\r\n"
FROM, BODY = b"From: a@demo.test\r\n", b"\r\nhello\r\n"
counter = itertools.count()


@pytest.fixture(scope="module")
def relay(sink):
    with Relay("--set", "ingest.max_errors=10000", route=sink) as r:  # most tests share a session
        yield r


@pytest.fixture(scope="module")
def client(relay):
    return relay.client()


def send(c, message, params="", rcpts=None):
    """(reply to the message, its first recipient)"""
    rcpts = rcpts or ["h%d@world.test" % next(counter)]
    assert c.cmd("MAIL FROM:<a@demo.test>" + params)[0] == 250
    for rcpt in rcpts:
        assert c.cmd("RCPT TO:<%s>" % rcpt)[0] == 250
    assert c.cmd("DATA")[0] == 354
    c.send(message.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    return c.reply(), rcpts[0]


def through(c, sink, message, params="", rcpts=None):
    """(the Received field that was added, all behind it) as the sink got them."""
    answer, rcpt = send(c, message, params, rcpts)
    assert answer[0] == 250, answer
    got = sink.message(rcpt)
    trace = re.match(rb"Received: [^\r\n]+\r\n(\t[^\r\n]+\r\n)+", got).group()
    return trace.decode(), got[len(trace):]


def added(rest, message):
    """What stands in front of the message as it was sent."""
    assert rest.endswith(message), rest
    return rest[:len(rest) - len(message)]


DATE_ADDED = rb"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n"
ID_ADDED = rb"Message-ID: <\w{26}@relay\.sandbox\.test>\r\n"


@pytest.mark.parametrize("head, want", [
    (FROM, DATE_ADDED + ID_ADDED), (DATE + FROM, ID_ADDED), (ID + FROM, DATE_ADDED),
    (DATE + ID, b""), (DATE.lower() + ID.upper(), b""),
    (DATE.replace(b":", b" \t:", 1) + ID, b""),
    (b"Date:\r\n Tue, 03 Feb 2026 04:05:06 +0000\r\nMessage-ID:\r\n <1@demo.test>\r\n", b""),
    (b"Resent-Date: x\r\nResent-Message-ID: <2@demo.test>\r\n", DATE_ADDED + ID_ADDED),
    (b"Subject: Date\r\n Date: x\r\n", DATE_ADDED + ID_ADDED),
    (b"", DATE_ADDED + ID_ADDED),
], ids=["neither", "date", "id", "both", "case", "blank-before-colon", "folded", "resent",
        "in-a-fold", "empty"])
def test_date_and_message_id_are_added_only_where_missing(client, sink, head, want):
    body = b"\r\nDate: in the body\r\nMessage-ID: <3@demo.test>\r\n"
    _, rest = through(client, sink, head + body)
    assert re.fullmatch(want, added(rest, head + body))


def test_a_message_without_a_body_is_one(client, sink):
    _, rest = through(client, sink, DATE + ID + FROM)
    assert rest == DATE + ID + FROM


def test_an_empty_message_gets_a_header_section(client, sink):
    _, rest = through(client, sink, b"")
    assert re.fullmatch(DATE_ADDED + ID_ADDED, rest)


@pytest.mark.parametrize("head, left", [
    (b"Bcc: x@y.test\r\n%s", b"%s"), (b"%sBcc: x@y.test\r\n", b"%s"),
    (b"To: a\r\nBcc: x@y.test,\r\n\tz@y.test,\r\n  w@y.test\r\n%s", b"To: a\r\n%s"),
    (b"bCC : x@y.test\r\n%sBCC: y\r\nResent-Bcc: z\r\n z\r\n", b"%s"),
    (b"Bcc:\r\n%s", b"%s"), (b"Bcc:\r\n  \r\n x\r\n%s", b"%s"),
    (b"X-Bcc: stays\r\n%sBccc: stays\r\n", b"X-Bcc: stays\r\n%sBccc: stays\r\n"),
    (b"To: a,\r\n Bcc: stays\r\n%s", b"To: a,\r\n Bcc: stays\r\n%s"),
], ids=["first", "last", "folds", "several", "empty", "blank-fold", "others", "in-a-fold"])
def test_bcc_is_taken_out_with_its_folds(client, sink, head, left):
    body = b"\r\nBcc: stays in the body\r\n"
    _, rest = through(client, sink, head % (DATE + ID + FROM) + body)
    assert rest == left % (DATE + ID + FROM) + body


def test_bcc_that_is_all_there_is(client, sink):
    _, rest = through(client, sink, b"Bcc: x@y.test\r\n\r\nhello\r\n")
    assert re.fullmatch(DATE_ADDED + ID_ADDED + b"\r\nhello\r\n", rest)


@pytest.mark.parametrize("params, word", [("", ""), (" SMTPUTF8", "UTF8")])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("auth", [False, True], ids=["address", "auth"])
def test_received_names_the_protocol(relay, sink, auth, tls, params, word):
    c = Smtp(relay.relay_port)
    c.ehlo()
    if tls:
        c.starttls()
        c.ehlo()
    if auth:
        c.auth(relay.login, relay.password)
    trace, _ = through(c, sink, FROM + BODY, params)
    assert "\tby relay.sandbox.test with %s%s%s%s id " % (
        word or "E", "SMTP", "S" * tls, "A" * auth) in trace


def test_received_of_helo_says_smtp(relay, sink):
    c = Smtp(relay.relay_port)
    assert c.cmd("HELO old.test")[0] == 250
    trace, _ = through(c, sink, FROM + BODY)
    assert trace.startswith("Received: from old.test ([127.0.0.1])\r\n"
                            "\tby relay.sandbox.test with SMTP id ")


def test_received_names_one_recipient_and_never_two(client, sink):
    trace, _ = through(client, sink, FROM + BODY, rcpts=["only@world.test"])
    assert "\tfor <only@world.test>;" in trace
    trace, _ = through(client, sink, FROM + BODY, rcpts=["one@world.test", "two@world.test"])
    assert " for <" not in trace.replace("\t", " ") and "two@" not in trace


def test_received_names_the_id_of_the_reply(client, sink):
    answer, rcpt = send(client, FROM + BODY)
    number = answer[1].rsplit(" ", 1)[1]
    assert re.fullmatch("[0-9A-Z]{26}", number)
    assert (" with ESMTPA id %s\r\n" % number).encode() in sink.message(rcpt)


@pytest.mark.parametrize("local", ['"a>b"', '"a\\"b"', '"a,b"', '"a\\\\"', '"<x>"', '"a;b"'])
def test_an_odd_recipient_adds_no_field(client, sink, local):
    trace, rest = through(client, sink, DATE + ID + BODY, rcpts=[local + "@world.test"])
    assert trace.count("\r\n") == 4 and rest == DATE + ID + BODY
    assert "\tfor <%s@world.test>;\r\n" % local in trace


@pytest.mark.parametrize("name", ["a b", "(x)", "a\tb", "\u00fc.test", "<a>", 'a"b', "a\\b",
                                  "x" * 256])
def test_a_name_that_could_bend_received_is_refused(relay, name):
    c = Smtp(relay.relay_port)
    for verb in ("EHLO", "HELO"):
        assert c.cmd("%s %s" % (verb, name)) == (501, "5.5.4 Name yourself: EHLO host")


def test_the_hops_of_a_message_are_limited(relay, client, sink):
    hop = b"Received: from a by b; x\r\n"
    refused = relay.metric("ingest-1", "ingest_messages_refused_total")
    with relay.settings(max_hops=3):
        _, rest = through(client, sink, hop * 3 + DATE + ID + BODY)
        assert rest == hop * 3 + DATE + ID + BODY
        answer, _ = send(client, hop * 2 + b"received : x\r\n" + FROM + hop + BODY)
        assert answer == (554, "5.4.6 Message loops: it has 4 Received fields")
        answer, _ = send(client, FROM + b"\r\n" + hop * 9)
        assert answer[0] == 250
    assert relay.metric("ingest-1", "ingest_messages_refused_total") == refused + 1


@pytest.mark.parametrize("head, line, why", [
    (b"nonsense\r\n", 1, "a line that is no header field: no colon follows its first word"),
    (FROM + b"Subject: x\r\nno field here\r\n", 3,
     "a line that is no header field: no colon follows its first word"),
    (b" folded\r\n" + FROM, 1, "a continuation line with no field before it"),
    (FROM + b": empty\r\n", 2, "a line that begins with no field name"),
    (FROM + b"To: a\r\n b\r\n c\r\n\xc3\xbc: x\r\n", 5, "a line that begins with no field name"),
    (b"From a@demo.test Tue Feb  3 04:05:06 2026\r\n" + FROM, 1,
     "a line that is no header field: no colon follows its first word"),
])
def test_a_header_section_that_cannot_be_parsed_is_refused(client, head, line, why):
    answer, _ = send(client, head + BODY)
    assert answer == (554, "5.6.0 Header section cannot be parsed: line %d: %s" % (line, why))
    assert send(client, FROM + BODY)[0][0] == 250


LONG = "5.6.11 Message holds a line of more than 998 octets"


@pytest.mark.parametrize("octets, code", [(998, 250), (999, 554), (100000, 554)])
@pytest.mark.parametrize("where", ["header", "body", "last"])
def test_a_line_has_998_octets_at_most(client, sink, where, octets, code):
    head = DATE + ID
    message = {"header": head + b"X: " + b"x" * (octets - 3) + b"\r\n" + BODY,
               "body": head + BODY + b"y" * octets + b"\r\nend\r\n",
               "last": head + BODY + b"." + b"z" * (octets - 1) + b"\r\n"}[where]
    if code == 250:
        assert through(client, sink, message)[1] == message
    else:
        assert send(client, message)[0] == (554, LONG)


FAULTS = [
    (b"\n", "5.6.11 Message holds a bare LF (a line feed without carriage return)"),
    (b"\r", "5.6.11 Message holds a bare CR (a carriage return without line feed)"),
    (b"\0", "5.6.11 Message holds a NUL octet"),
]


@pytest.mark.parametrize("octet, words", FAULTS, ids=["LF", "CR", "NUL"])
@pytest.mark.parametrize("message", [DATE + b"Subject: x%sy\r\n" + BODY, DATE + BODY + b"x%sy\r\n"],
                         ids=["header", "body"])
@pytest.mark.parametrize("by", ["data", "bdat"])
def test_each_fault_of_lines_is_refused_by_its_name(client, message, octet, words, by):
    if by == "data":
        assert send(client, message % octet)[0] == (554, words)
        return
    assert client.cmd("MAIL FROM:<a@demo.test>")[0] == 250
    assert client.cmd("RCPT TO:<bdat@world.test>")[0] == 250
    data = message % octet
    client.send(b"BDAT %d LAST\r\n" % len(data) + data)
    assert client.reply() == (554, words)


def test_faults_are_mended_where_that_is_set(relay, client, sink):
    head = DATE + ID
    with relay.settings(line_faults="fix"):
        c = relay.client()
        for bad, good in ((b"a\nb\r\n", b"a\r\nb\r\n"), (b"a\rb\r\n", b"a\r\nb\r\n"),
                          (b"a\0b\r\n", b"ab\r\n"), (b"a\n\nb\r\n", b"a\r\n\r\nb\r\n"),
                          (b"a\n.\nb\r\n", b"a\r\n.\r\nb\r\n"),
                          (b"y" * 1500 + b"\r\n", b"y" * 998 + b"\r\n" + b"y" * 502 + b"\r\n")):
            assert through(c, sink, head + b"\r\n" + bad)[1] == head + b"\r\n" + good
        _, rest = through(c, sink, head + b"X: " + b"word " * 300 + b"\r\n" + BODY)
        assert max(map(len, rest.split(b"\r\n"))) <= 998
        assert rest.replace(b"\r\n ", b" ") == head + b"X: " + b"word " * 300 + b"\r\n" + BODY
    assert send(client, head + b"\r\na\nb\r\n")[0][0] == 554


def sink_params(sink, rcpt):
    return sink.delivered(rcpt)[0]["mail_params"].upper().split()


@pytest.mark.parametrize("message, rcpt, passed", [
    (FROM + BODY, "ascii@world.test", False),
    (FROM + b"\r\n\xc3\xbc\r\n", "body@world.test", False),  # 8BITMIME is enough for that
    (FROM + b"Subject: \xc3\xbc\r\n" + BODY, "header@world.test", True),
    (FROM + BODY, "\u00fcser@world.test", True),
])
def test_smtputf8_is_passed_on_where_it_is_needed(client, sink, message, rcpt, passed):
    through(client, sink, message, " BODY=8BITMIME SMTPUTF8", rcpts=[rcpt])
    assert ("SMTPUTF8" in sink_params(sink, rcpt)) == passed


def test_eight_bits_that_nobody_announced_are_announced(client, sink):
    through(client, sink, FROM + b"\r\n\xe9\r\n", rcpts=["latin@world.test"])
    assert "BODY=8BITMIME" in sink_params(sink, "latin@world.test")


@pytest.mark.parametrize("line, want", [
    ("MAIL FROM:<\u00fc@demo.test>", (553, "5.6.7 Address needs SMTPUTF8: say it at MAIL")),
    ("MAIL FROM:<a@demo.test> SMTPUTF8=1", (501, "5.5.4 Parameter cannot be read")),
    ("MAIL FROM:<a@demo.test> SIZE=1 SIZE=2", (501, "5.5.4 Parameter cannot be read")),
    ("MAIL FROM:<a@demo.test> BODY=BINARYMIME", (555, "5.5.4 Parameter is not known")),
    ("MAIL FROM:<a@demo.test> ENVID=a+0Z", (501, "5.5.4 Parameter cannot be read")),
    ("MAIL FROM:<a@demo.test> X", (555, "5.5.4 Parameter is not known")),
    ("MAIL FROM:<%s@demo.test>" % ("a" * 65), (501, "5.1.7 Address is too long")),
])
def test_an_envelope_that_cannot_be_is_refused(client, line, want):
    assert client.cmd(line) == want
