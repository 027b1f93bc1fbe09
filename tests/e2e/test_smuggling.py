"""SMTP smuggling: out of one message never come two.

Each test hides a second transaction behind something that some receiver takes for the end of
data, and lets the relay deliver to a sink that takes all of them (-x).  Whatever the relay
answers, it is one answer for one message, and the sink gets one message or none.
"""
import itertools
import os
import shutil
import tempfile

import pytest
from relay import Relay, Sink, Smtp

# What ends a line for somebody; the first group for the lax sink, the second for nobody we know.
LAX = {"LF": b"\n", "CR": b"\r", "CRLF": b"\r\n", "CRCRLF": b"\r\r\n", "LFCR": b"\n\r",
       "LFLF": b"\n\n", "CRCR": b"\r\r", "CRLFCR": b"\r\n\r", "NUL_CRLF": b"\0\r\n",
       "CR_NUL_LF": b"\r\0\n", "CRLF_NUL": b"\r\n\0"}
ODD = {"VT": b"\x0b", "FF": b"\x0c", "NEL": b"\x85", "LS": b"\xe2\x80\xa8", "SP_CRLF": b" \r\n"}
ENDS = {**LAX, **ODD}
DOTS = (b".", b"..", b". ", b" .", b".\0", b"\0.", b"..\r.")
EVIL = (b"MAIL FROM:<evil@smuggle.test>\r\nRCPT TO:<inner@smuggle.test>\r\nDATA\r\n"
        b"Subject: inner\r\n\r\ny\r\n")
HEAD = b"From: s@demo.test\r\nSubject: outer\r\n"
IDS = (b"Date: Tue, 03 Feb 2026 04:05:06 +0000\r\nMessage-ID: <1@demo.test>\r\n")

counter = itertools.count()


class World:
    """A relay whose mail all goes to a lax sink."""

    def __init__(self, *options):
        self.folder = tempfile.mkdtemp(prefix="hfsink", dir="/tmp")
        self.sink = Sink(self.folder, "-x", "-B").start()
        self.relay = Relay(*options, route=self.sink)

    def __enter__(self):
        try:
            self.relay.__enter__()
        except BaseException:
            self.leave()
            raise
        return self

    def __exit__(self, *why):
        try:
            self.relay.__exit__(*why)
        finally:
            self.leave()

    def leave(self):
        self.sink.stop()
        shutil.rmtree(self.folder)

    def check(self, accepted):
        """The sink has what was accepted, and nothing of what was hidden in it."""
        self.relay.settle()
        got = {}
        for t in self.sink.transactions():
            assert t["from"] == "s@demo.test", t
            (rcpt,) = t["rcpt"]
            assert rcpt.startswith("outer-") and rcpt not in got, t
            with open(os.path.join(self.sink.mail, t["file"]), "rb") as f:
                got[rcpt] = f.read()
        mine = {r: got.get(r) for r in accepted}
        for rcpt, expected in accepted.items():
            assert mine[rcpt] is not None, "lost: %s" % rcpt
            if expected is not None:
                assert mine[rcpt].endswith(b"\r\n\r\n" + expected), (mine[rcpt], expected)
        return mine


@pytest.fixture(scope="module")
def refusing():
    with World() as w:
        yield w


@pytest.fixture(scope="module")
def mending():
    with World("--set", "ingest.line_faults=fix") as w:
        yield w


def faulty(data):
    """A NUL, or a CR or LF that is not in a CRLF."""
    rest = data.replace(b"\r\n", b"")
    return any(c in rest for c in b"\r\n\0")


def unstuffed(data):
    return data[data.startswith(b"."):].replace(b"\r\n.", b"\r\n")


def open_message(c):
    rcpt = "outer-%d-%d@smuggle.test" % (os.getpid(), next(counter))
    c.send("MAIL FROM:<s@demo.test>\r\nRCPT TO:<%s>\r\n" % rcpt)
    assert [c.reply()[0], c.reply()[0]] == [250, 250]
    return rcpt


def one_answer(c, *wanted):
    """The reply to the message; what follows it is the reply to NOOP and not to a hidden MAIL."""
    code, text = c.reply()
    assert any(code == w and text.startswith(t) for w, t in wanted), (code, text)
    if code == 250:
        assert "ueued as " in text, text
    assert c.reply()[0] == 250
    c.send("QUIT\r\n")
    assert c.reply()[0] == 221
    c.close()
    return code == 250


def by_data(relay, data, *wanted):
    """Send data between DATA and the one true end; the recipient when it was accepted."""
    c = relay.client()
    rcpt = open_message(c)
    assert c.cmd("DATA")[0] == 354
    c.send(data + b".\r\nNOOP\r\n")
    return rcpt if one_answer(c, *wanted) else None


def by_bdat(relay, chunks, *wanted):
    c = relay.client()
    rcpt = open_message(c)
    for i, chunk in enumerate(chunks):
        last = i + 1 == len(chunks)
        c.send(b"BDAT %d%s\r\n" % (len(chunk), b" LAST" if last else b"") + chunk)
        if not last:
            c.reply()  # a chunk with a fault may be refused at once, or with the last one
    c.send(b"NOOP\r\n")
    return rcpt if one_answer(c, *wanted) else None


REFUSED, TAKEN = (554, "5.6.11"), (250, "2.0.0")


@pytest.mark.parametrize("after", ENDS)
@pytest.mark.parametrize("before", LAX)
def test_the_lax_sink_can_be_smuggled_to(world, before, after):
    """The control: what the other tests send through the relay does harm where nobody stops it."""
    world.options.append("-x")
    world.start()
    c = Smtp(world.port)
    c.ehlo()
    for line in ("MAIL FROM:<s@demo.test>", "RCPT TO:<outer@smuggle.test>", "DATA"):
        assert c.cmd(line)[0] in (250, 354)
    c.send(HEAD + b"\r\nx" + ENDS[before] + b"." + ENDS[after] + EVIL + b".\r\nQUIT\r\n")
    while c.reply()[0] != 221:
        pass
    messages = world.transactions()
    assert [t["rcpt"] for t in messages][:1] == [["outer@smuggle.test"]]
    assert len(messages) == (2 if after in LAX else 1)
    if after in LAX:
        assert messages[1]["rcpt"] == ["inner@smuggle.test"]
        assert messages[1]["from"] == "evil@smuggle.test"


@pytest.mark.parametrize("before", ENDS)
def test_no_false_end_of_data_lets_a_second_message_out(refusing, before):
    accepted = {}
    for dot, after in itertools.product(DOTS, ENDS.values()):
        text = b"x" + ENDS[before] + dot + after + EVIL
        if b"\r\n.\r\n" in text:
            continue  # the true end, whatever stands before it
        rcpt = by_data(refusing.relay, HEAD + IDS + b"\r\n" + text,
                       REFUSED if faulty(text) else TAKEN)
        assert (rcpt is None) == faulty(text)
        if rcpt:
            accepted[rcpt] = unstuffed(text)
    refusing.check(accepted)


@pytest.mark.parametrize("before", LAX)
def test_what_comes_in_pieces_ends_no_earlier(refusing, before):
    """A TLS record for each byte around the dot: the relay reads them one by one."""
    c = Smtp(refusing.relay.submission_port)
    c.ehlo()
    c.starttls()
    c.ehlo()
    c.auth(refusing.relay.login, refusing.relay.password)
    for after in LAX.values():
        seam = ENDS[before] + b"." + after
        if b"\r\n.\r\n" in seam:
            continue
        open_message(c)
        assert c.cmd("DATA")[0] == 354
        c.send(HEAD + IDS + b"\r\nx")
        for i in range(len(seam)):
            c.send(seam[i:i + 1])
        c.send(EVIL + b".\r\nNOOP\r\n")
        code, text = c.reply()
        assert code == 554 and text.startswith("5.6.11"), (seam, code, text)
        assert c.reply()[0] == 250
    c.quit()
    refusing.check({})


@pytest.mark.parametrize("before", ENDS)
def test_mending_makes_one_message_too(mending, before):
    accepted = {}
    for dot, after in itertools.product(DOTS, ENDS.values()):
        text = b"x" + ENDS[before] + dot + after + EVIL
        if b"\r\n.\r\n" in text:
            continue
        rcpt = by_data(mending.relay, HEAD + IDS + b"\r\n" + text, TAKEN)
        accepted[rcpt] = None if faulty(text) else unstuffed(text)
    for message in mending.check(accepted).values():
        assert not faulty(message) and message.endswith(unstuffed(EVIL))


@pytest.mark.parametrize("before", ENDS)
def test_chunks_are_counted_and_nothing_in_them_ends_a_message(refusing, before):
    """With BDAT even CRLF.CRLF is text, which delivery must stuff on its way out."""
    accepted = {}
    for dot, after, cut in itertools.product(DOTS[:2], ENDS.values(), (False, True)):
        top, text = HEAD + IDS + b"\r\nx" + ENDS[before], dot + after + EVIL
        if cut and top.endswith(b"\r") and text.startswith(b"\n"):
            continue
        rcpt = by_bdat(refusing.relay, [top, text] if cut else [top + text],
                       REFUSED if faulty(top + text) else TAKEN)
        assert (rcpt is None) == faulty(top + text)
        if rcpt:
            accepted[rcpt] = b"x" + ENDS[before] + text
    if before == "CRLF":
        assert any(b"\r\n.\r\n" in text for text in accepted.values())
    refusing.check(accepted)


@pytest.mark.parametrize("before", ENDS)
def test_a_false_end_in_the_header_section_is_none_either(refusing, before):
    accepted = {}
    for dot, after in itertools.product(DOTS[:2], ENDS.values()):
        data = HEAD[:-2] + ENDS[before] + dot + after + EVIL
        if b"\r\n.\r\n" in data:
            continue
        rcpt = by_data(refusing.relay, data, REFUSED, (554, "5.6.0"), TAKEN)
        if rcpt:
            accepted[rcpt] = None
            assert not faulty(data)
    refusing.check(accepted)


@pytest.mark.parametrize("end", ENDS)
def test_one_line_is_never_two_commands(refusing, end):
    """A line ends with CRLF: what has anything else in it is not a command."""
    c = refusing.relay.client()
    mail = b"MAIL FROM:<evil@smuggle.test>"
    lines = (b"RSET" + ENDS[end] + mail).split(b"\r\n")
    c.send(b"\r\n".join(lines) + b"\r\nNOOP\r\nQUIT\r\n")
    for line in lines:
        code = c.reply()[0]
        assert code == 250 if line.strip(b" ") in (b"RSET", mail) else code >= 500, line
    assert [c.reply()[0], c.reply()[0]] == [250, 221]
    with pytest.raises(ConnectionError):
        c.line()


def test_mail_that_was_held_is_stuffed_too(refusing):
    """From BDAT through the holding area to DATA."""
    relay = refusing.relay
    login, password = relay.account("held", "--state", "review")
    text = b"x\r\n.\r\n" + EVIL + b".\r\n\r\n..\r\n"
    c = relay.client(login, password)
    rcpt = open_message(c)
    message = HEAD + IDS + b"\r\n" + text
    c.send(b"BDAT %d LAST\r\n" % len(message) + message)
    assert c.reply()[0] == 250
    c.quit()
    (mail,) = relay.rows("holdq", "list", "--account", "held")
    relay.holdq("release", mail["id"])
    refusing.check({rcpt: text})


HELO = ["[127.0.0.1]", "a.test (b)", "a.test\tX-Injected: 1", "a.test\x0bX-Injected: 1",
        "a.test;X-Injected: 1", "\"a.test\\", "a(b\\", ")a", "<a>", "a.test\x85X-Injected: 1",
        "x" * 250, "a.test X-Injected: 1", "a\0b", "\u00fc.test"]


@pytest.mark.parametrize("name", range(len(HELO)))
def test_a_client_name_adds_no_field(refusing, name):
    c = Smtp(refusing.relay.submission_port)
    code, text = c.cmd("EHLO " + HELO[name])
    if code != 250:
        assert code in (500, 501), (code, text)
        return
    c.auth(refusing.relay.login, refusing.relay.password)
    rcpt = open_message(c)
    assert c.cmd("DATA")[0] == 354
    c.send(HEAD + IDS + b"\r\nx\r\n.\r\n")
    assert c.reply()[0] == 250
    c.quit()
    got = refusing.check({rcpt: b"x\r\n"})[rcpt]
    trace, _, rest = got.partition(HEAD)
    assert rest == IDS + b"\r\nx\r\n"
    lines = trace.split(b"\r\n")
    assert lines.pop() == b"" and lines[0].startswith(b"Received: from ")
    assert all(line.startswith(b"\t") for line in lines[1:]) and not faulty(trace)
    assert all(c == 9 or 32 <= c < 127 for line in lines for c in line), lines


@pytest.mark.parametrize("bad", ["+0D+0AX-Injected:+20yes", "+0AX-Injected:+20yes",
                                 "+0DX-Injected:+20yes", "+0D+0A+0D+0AX-Injected:+20yes", "+00"])
def test_an_encoded_line_end_adds_no_field_to_a_report(world, bad):
    """ENVID and ORCPT may hold any byte in code, and the report tells them in clear."""
    with Relay(route=world.start()) as relay:
        c = relay.client()
        codes = [c.cmd("MAIL FROM:<s@demo.test> RET=HDRS ENVID=e" + bad)[0]]
        if codes[0] != 250:
            assert codes[0] == 501
            assert c.cmd("MAIL FROM:<s@demo.test> RET=HDRS")[0] == 250
        codes.append(c.cmd("RCPT TO:<hard-x@world.test> NOTIFY=FAILURE ORCPT=rfc822;o" + bad)[0])
        if codes[1] != 250:
            assert codes[1] == 501
            assert c.cmd("RCPT TO:<hard-x@world.test>")[0] == 250
        assert c.cmd("DATA")[0] == 354
        c.send(HEAD + b"\r\nx\r\n.\r\n")
        assert c.reply()[0] == 250
        c.quit()
        report = world.message("s@demo.test")
        assert b"Final-Recipient: rfc822; hard-x@world.test" in report
        assert not any(line.startswith(b"X-Injected")
                       for line in report.replace(b"\r", b"\n").split(b"\n"))
        assert not faulty(report)
