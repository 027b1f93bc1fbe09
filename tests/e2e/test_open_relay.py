"""Nothing goes out without an account, and with one exactly to whom it says.

The addresses are those that open relays have fallen for: routes in them that some server along
the way may follow.  Whatever is refused or taken, the sink is what tells.
"""
import shutil
import socket
import ssl
import tempfile

import pytest
from relay import E2, Relay, Sink, Smtp, wait_for

HOST, ACCOUNT = "relay.sandbox.test", "demo"  # the relay's own name; who may send

# what stands in <>, and the recipient that the sink gets; None: refused at RCPT
ADDRESSES = [
    # percent hack: a local part of the domain behind the @, whoever's domain that is
    ("victim%world.test@" + HOST, "victim%world.test@" + HOST),
    ("victim%world.test@demo.test", "victim%world.test@demo.test"),
    ("victim%world.test%demo.test@" + HOST, "victim%world.test%demo.test@" + HOST),
    ("victim%world.test", None),
    ("victim@world.test%" + HOST, None),
    # bang path
    ("world.test!victim@" + HOST, "world.test!victim@" + HOST),
    ("demo.test!world.test!victim@" + HOST, "demo.test!world.test!victim@" + HOST),
    ("world.test!victim", None),
    (HOST + "!world.test!victim", None),
    # both
    ("demo.test!victim%world.test@" + HOST, "demo.test!victim%world.test@" + HOST),
    ("world.test!victim%demo.test", None),
    # source routes: taken off
    ("@%s:route1@world.test" % HOST, "route1@world.test"),
    ("@a.test,@b.test:route2@world.test", "route2@world.test"),
    ("@a.test:@b.test:victim@world.test", None),
    ("@a.test,b.test:victim@world.test", None),
    ("@[127.0.0.1]:victim@world.test", None),
    # an address inside a quoted local part
    ('"victim@world.test"@' + HOST, '"victim@world.test"@' + HOST),
    ('"victim%world.test"@' + HOST, '"victim%world.test"@' + HOST),
    ('"@a.test:victim@world.test"@' + HOST, '"@a.test:victim@world.test"@' + HOST),
    ('"victim@world.test"', None),
    ('"victim"@world.test@' + HOST, None),
    ('"unclosed@world.test', None),
    ('"with>angle"@world.test', '"with>angle"@world.test'),
    ('"with\\"quote"@world.test', '"with\\"quote"@world.test'),
    ('"with space"@world.test', '"with space"@world.test'),
    # two at-signs, empty parts, dots
    ("victim@world.test@" + HOST, None),
    ("victim@@world.test", None),
    ("@world.test", None),
    ("victim@", None),
    ("victim", None),
    ("", None),
    ("victim@world.test.", None),
    ("victim@.world.test", None),
    ("victim@world..test", None),
    ("victim.@world.test", None),
    (".victim@world.test", None),
    ("victim..x@world.test", None),
    # no route to be taken by
    ("postmaster", None),
    ("postmaster@" + HOST, "postmaster@" + HOST),
    ("victim@world.test:25", None),
    ("victim@[world.test]", None),
    ("victim@[127.0.0.256]", None),
    ("victim@[127.0.0.1", None),
    ("victim@127.0.0.1]", None),
    # more than one address, or something about it
    ("victim@world.test,other@world.test", None),
    ("victim@world.test;other@world.test", None),
    ("victim@world.test> <other@world.test", None),
    ("victim(comment)@world.test", None),
    ("<victim@world.test>", None),
    (" victim@world.test", None),
    ("victim@world.test ", None),
    ("victim @world.test", None),
    ("vic\\tim@world.test", None),
    ("victim\t@world.test", None),
    ("victim\0@world.test", None),
    ("smtp:victim@world.test", None),
    # the same mailbox in other letters, as it was written
    ("UPPER@WORLD.TEST", "UPPER@WORLD.TEST"),
    ('"quoted"@world.test', '"quoted"@world.test'),
]

SENDERS = ["", "postmaster", "postmaster@" + HOST, "demo@demo.test", "root@localhost",
           "demo@[127.0.0.1]", "@%s:demo@demo.test" % HOST, '"demo@demo.test"@' + HOST,
           "demo%demo.test@" + HOST, "victim@world.test"]


def context():
    c = ssl.create_default_context()
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    return c


class Stranger(Smtp):
    """From an address that no account has registered, with TLS when asked."""

    def __init__(self, port, tls=False, source="127.0.0.9"):
        self.sock = socket.create_connection(("127.0.0.1", port), 30, (source, 0))
        if tls:
            self.sock = context().wrap_socket(self.sock)
        self.pending = b""
        self.greeting = self.reply()
        self.ehlo()


@pytest.fixture(scope="module")
def outside():
    """Where mail would go that gets out of the closed relay."""
    folder = tempfile.mkdtemp(prefix="hfsink", dir="/tmp")
    s = Sink(folder).start()
    yield s
    s.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def closed(outside):
    """A relay on which only 127.0.0.5 is registered, and only by the account demo."""
    with Relay("--set", "ingest.greeting_delay=0ms", route=outside) as r:
        r.hfctl("address", "remove", ACCOUNT, "127.0.0.0/8")
        r.hfctl("address", "allow", ACCOUNT, "127.0.0.5")
        yield r


def strays(outside):
    return [t for t in outside.transactions() if not t["rcpt"][0].endswith("@known.test")]


DOORS = [("submission_port", False), ("submissions_port", True), ("relay_port", False)]


@pytest.mark.parametrize("door, tls", DOORS)
@pytest.mark.parametrize("sender", SENDERS)
def test_nobody_relays_without_an_account(closed, outside, door, tls, sender):
    port = int(getattr(closed, door))
    for first in range(0, len(ADDRESSES), 5):
        c = Stranger(port, tls)
        code, text = c.cmd("MAIL FROM:<%s>" % sender)
        assert code == 530 and text.startswith("5.7.0"), (code, text)
        for address, _ in ADDRESSES[first:first + 5]:
            c.send("RCPT TO:<%s>\r\nDATA\r\n" % address)
            for _ in range(2):
                code, text = c.reply()
                assert code >= 500, (address, code, text)
        c.close()
    assert not strays(outside)


def test_the_same_doors_are_open_to_who_is_known(closed, outside):
    """The control of the test above: it is not the dialogue that fails."""
    c = Stranger(int(closed.relay_port), source="127.0.0.5")
    assert c.mail("s@demo.test", "byip@known.test")[0] == 250
    for port, tls in ((closed.submission_port, False), (closed.submissions_port, True)):
        c = Stranger(int(port), tls)
        c.auth(closed.login, closed.password)
        assert c.mail("s@demo.test", "byauth-%s@known.test" % port)[0] == 250
    closed.settle()
    assert len(outside.transactions()) == 3


@pytest.mark.parametrize("sender", SENDERS)
def test_the_inbound_door_leads_nowhere_out(closed, outside, sender):
    for first in range(0, len(ADDRESSES), 5):
        c = Stranger(int(closed.inbound_port))
        assert c.cmd("MAIL FROM:<%s>" % sender)[0] == 250
        for address, _ in ADDRESSES[first:first + 5]:
            code, text = c.cmd("RCPT TO:<%s>" % address)
            assert code >= 500, (address, code, text)
        assert c.cmd("DATA")[0] in (503, 554)
        c.close()
    closed.settle()
    assert not strays(outside)


@pytest.mark.parametrize("part", range(4))
def test_with_an_account_mail_goes_exactly_where_it_says(relay, sink, part):
    mine = ADDRESSES[part::4]
    for address, arrives in mine:
        c = relay.client()
        assert c.cmd("MAIL FROM:<>")[0] == 250
        code, text = c.cmd("RCPT TO:<%s>" % address)
        if not arrives:
            assert code in (500, 501, 550, 553, 555), (address, code, text)
            assert c.cmd("DATA")[0] in (503, 554)
        else:
            assert code == 250, (address, code, text)
            assert c.cmd("DATA")[0] == 354
            c.send("Subject: route\r\n\r\n%s\r\n.\r\n" % address)
            assert c.reply()[0] == 250
        c.close()
    relay.settle()
    got = [r for t in sink.transactions() for r in t["rcpt"]]
    for _, arrives in mine:
        if arrives:
            assert got.count(arrives) == 1, (arrives, got)
    assert not [r for r in got if "victim" in r and r not in {a for _, a in ADDRESSES}]


# other ways to write listed@block.test, and whether they are addresses at all
FORMS = ["listed@block.test", "Listed@BLOCK.test", '"listed"@block.test', '"l\\isted"@block.test',
         "@a.test:listed@block.test", "@a.test,@b.test:LISTED@block.TEST"]


def test_no_way_to_write_an_address_evades_a_list(relay, sink):
    relay.hfctl("list", "add", "unsubscribe", ACCOUNT, "listed@block.test")
    c = relay.client()
    for form in FORMS:
        assert c.cmd("MAIL FROM:<>")[0] == 250
        code, text = c.cmd("RCPT TO:<%s>" % form)
        assert code == 550 and E2 in text, (form, code, text)
        c.cmd("RSET")
    assert not [t for t in sink.transactions() if "block.test" in str(t["rcpt"]).lower()]


@pytest.mark.parametrize("sender", SENDERS)
def test_a_sender_is_never_rewritten(relay, sink, sender):
    name = "sender%d@from.test" % SENDERS.index(sender)
    c = relay.client()
    code, text = c.mail(sender, name)
    assert code == 250 or code in (501, 550, 553), (code, text)
    relay.settle()
    assert [t["from"] for t in sink.delivered(name)] == \
        ([sender.partition(":")[2] or sender] if code == 250 else [])


def test_delivery_takes_no_address_literal(world):
    """Neither as a literal nor as digits does a recipient name the host to connect to."""
    literals = ("victim@[127.0.0.1]", "victim@[IPv6:::ffff:127.0.0.1]", "victim@[IPv6:::1]",
                "world.test!victim@[127.0.0.1]", "victim%world.test@[127.0.0.1]")
    world.start()
    with Relay("--resolver", "127.0.0.1:1", "--smtp-port", str(world.port)) as r:
        c = r.client()
        for address in ("victim@127.0.0.1", "victim@2130706433") + literals:
            assert c.mail("", address)[0] == 250
        wait_for("literals are given up", lambda: r.ledger("demo")["bounced"] >= len(literals))
        assert not world.transactions()
