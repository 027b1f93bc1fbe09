"""Accounts that take refusals by mail (on_refusal: accept), and whose From domains are checked."""
import re

import pytest
from relay import E1, E2, E3, E4, E5, Relay, wait_for

BOUNCED, LEFT = "BouncedEmailAddressException", "UnsubscribedEmailAddressException"
BLOCKED, CANNOT, HELD = ("BlockedEmailAddressException", "CannotSendException",
                         "MessageHeldException")
BODY = b"From: shop@%s.test\r\nSubject: offer\r\n\r\nhello\r\n"


@pytest.fixture(scope="module")
def relay(sink):
    with Relay("--set", "ingest.max_errors=10000", route=sink) as r:  # some tests share a session
        yield r


def accepting(relay, name, *more, notify="both", state="active"):
    """An account that is told of refusals: manager boss@NAME.test, its mail is from shop@."""
    relay.account(name, "--state", state, "--on-refusal", "accept", "--notify", notify,
                  "--manager", "boss@%s.test" % name, "--from-domain", name + ".test", *more)
    return name


def client(relay, name):
    return relay.client(name, "pw")


def send(relay, name, *rcpts, sender=None):
    """Every recipient gets 250, and so does the message; its reply."""
    c = client(relay, name)
    assert c.cmd("MAIL FROM:<%s>" % ("shop@%s.test" % name if sender is None else sender)) == (
        250, "2.1.0 Sender ok")
    for rcpt in rcpts:
        assert c.cmd("RCPT TO:<%s>" % rcpt) == (250, "2.1.5 Recipient ok")
    assert c.cmd("DATA")[0] == 354
    c.send(BODY % name.encode() + b".\r\n")
    code, text = c.reply()
    assert code == 250
    assert c.quit()[0] == 221
    return text


def told(relay, sink, name, to=("boss", "shop")):
    """The words of the one notification, which all of these got and nobody else."""
    relay.settle()
    texts = set()
    for who in ("boss", "shop"):
        got = sink.delivered("%s@%s.test" % (who, name))
        assert len(got) == (who in to), got
        for t in got:
            assert t["from"] == ""
            texts.add(sink.message("%s@%s.test" % (who, name)).decode())
    assert len(texts) == (1 if to else 0)
    relay.hfctl("ledger")  # it balances
    return texts.pop() if to else None


def check(text, *refusals):
    """The notification tells exactly these: (exception, text, recipient or None)."""
    head, body = text.split("\r\n\r\n", 1)
    assert "\r\nSubject: Web Service Exception %s: %s\r\n" % refusals[0][:2] in \
        head.replace("\r\n ", " ") + "\r\n"
    assert "\r\nAuto-Submitted: auto-generated\r\n" in head
    found = re.findall(r"Web Service Exception (\w+): ([^\r]+)\r\n(?:    recipient: <(.*)>\r\n)?",
                       body)
    assert sorted(found) == sorted((e, t, r or "") for e, t, r in refusals)
    assert "hello" not in body


@pytest.mark.parametrize("kind, exception, text", [("bounce", BOUNCED, E1),
                                                   ("unsubscribe", LEFT, E2)])
def test_a_listed_recipient_is_accepted_and_told_of(relay, sink, kind, exception, text):
    name = accepting(relay, "a" + kind)
    bad, good = "bad@%s.test" % kind, "good@%s.test" % kind
    relay.hfctl("list", "add", kind, name, bad)
    notifications = relay.metric("ingest-1", "ingest_notifications_total")
    assert send(relay, name, bad, good).startswith("2.0.0 Queued as ")
    check(told(relay, sink, name), (exception, text, bad))
    assert sink.delivered(good) and not sink.delivered(bad)
    assert relay.metric("ingest-1", "ingest_notifications_total") == notifications + 1
    assert relay.ledger(name)["accepted"] == 1  # the refused one uses nothing


def test_a_blocked_recipient_is_accepted_and_told_of(relay, sink):
    name, bad = accepting(relay, "ablock"), "gone@block.test"
    relay.hfctl("block", "add", bad)
    send(relay, name, bad)
    check(told(relay, sink, name), (BLOCKED, E3, bad))


def test_a_disabled_account_is_told_that_it_cannot_send(relay, sink):
    name = accepting(relay, "aoff")
    relay.hfctl("account", "disable", name, "--reason", "test")
    send(relay, name, "one@off.test", "two@off.test")
    check(told(relay, sink, name), (CANNOT, E4, "one@off.test"), (CANNOT, E4, "two@off.test"))
    assert not sink.delivered("one@off.test")


def test_a_quota_that_ends_within_a_message_is_told_of(relay, sink):
    name = accepting(relay, "aquota", "--quota-total", "2")
    send(relay, name, *["q%d@quota.test" % i for i in range(3)])
    check(told(relay, sink, name), (CANNOT, E4, "q2@quota.test"))
    assert sink.delivered("q0@quota.test") and sink.delivered("q1@quota.test")
    assert not sink.delivered("q2@quota.test")
    assert relay.ledger(name)["accepted"] == 2


def test_held_mail_is_told_of_and_is_released_as_ever(relay, sink):
    name = accepting(relay, "ahold", state="review")
    text = send(relay, name, "h@hold.test")
    assert text.startswith("2.0.0 " + E5 + " Queued as ")
    check(told(relay, sink, name), (HELD, E5, None))
    assert not sink.delivered("h@hold.test")
    relay.holdq("approve", name)
    wait_for("its release", lambda: sink.delivered("h@hold.test"))


def test_held_mail_tells_of_its_refused_recipients_too(relay, sink):
    name = accepting(relay, "ahold2", state="review")
    relay.hfctl("list", "add", "unsubscribe", name, "left@hold.test")
    send(relay, name, "left@hold.test", "stays@hold.test")
    check(told(relay, sink, name), (HELD, E5, None), (LEFT, E2, "left@hold.test"))


def test_one_notification_tells_of_all_recipients(relay, sink):
    name = accepting(relay, "amany")
    for i in range(5):
        relay.hfctl("list", "add", "bounce", name, "b%d@many.test" % i)
        relay.hfctl("list", "add", "unsubscribe", name, "u%d@many.test" % i)
    rcpts = ["%s%d@many.test" % (c, i) for i in range(5) for c in "bu"]
    send(relay, name, *rcpts)
    text = told(relay, sink, name)
    head, body = text.split("\r\n\r\n", 1)
    found = re.findall(r"Exception (\w+): .*\r\n    recipient: <(.*)>\r\n", body)
    assert sorted(found) == sorted((BOUNCED if r[0] == "b" else LEFT, r) for r in rcpts)
    assert not any(sink.delivered(r) for r in rcpts)
    assert relay.ledger(name)["accepted"] == 0


@pytest.mark.parametrize("notify, to", [("manager", ["boss"]), ("from", ["shop"]), ("none", [])])
def test_only_those_are_told_who_are_to_be(relay, sink, notify, to):
    name = accepting(relay, "n" + notify, notify=notify)
    relay.hfctl("list", "add", "bounce", name, "bad@notify.test")
    send(relay, name, "bad@notify.test")
    told(relay, sink, name, to)


def test_a_null_sender_is_not_told(relay, sink):
    name = accepting(relay, "anull")
    relay.hfctl("list", "add", "bounce", name, "bad@null.test")
    send(relay, name, "bad@null.test", sender="")
    told(relay, sink, name, ["boss"])


def test_who_is_manager_and_sender_is_told_once(relay, sink):
    name = accepting(relay, "aself")
    relay.hfctl("list", "add", "bounce", name, "bad@self.test")
    send(relay, name, "bad@self.test", sender="boss@aself.test")
    told(relay, sink, name, ["boss"])


def test_nothing_is_told_of_a_notification(relay, sink):
    """The manager's server refuses it, and both addresses are on the account's list."""
    name = accepting(relay, "aloop", "--manager", "datahard-boss@aloop.test", notify="manager")
    for who in ("datahard-boss@aloop.test", "shop@aloop.test", "bad@loop.test"):
        relay.hfctl("list", "add", "bounce", name, who)
    before = relay.metric("ingest-1", "ingest_notifications_total")
    mails = len(sink.transactions())
    send(relay, name, "bad@loop.test")
    relay.settle()
    tried = sink.transactions()[mails:]
    assert [(t["from"], t["rcpt"], t["code"]) for t in tried] == [
        ("", ["datahard-boss@aloop.test"], 554)]
    assert relay.metric("ingest-1", "ingest_notifications_total") == before + 1
    relay.hfctl("ledger")


def test_a_rate_is_told_on_the_wire_to_everybody(relay, sink):
    name = accepting(relay, "arate", "--rate-minute", "1")
    assert send(relay, name, "r@rate.test")
    code, text = client(relay, name).cmd("MAIL FROM:<shop@arate.test>")
    assert code == 451 and text.startswith("4.7.1 ")
    told(relay, sink, name, [])


def test_a_change_back_to_refusals_holds_at_once(relay, sink):
    name = accepting(relay, "aback")
    relay.hfctl("list", "add", "bounce", name, "bad@back.test")
    c = client(relay, name)
    relay.hfctl("account", "set", name, "--on-refusal", "refuse")
    assert c.cmd("MAIL FROM:<shop@aback.test>")[0] == 250
    code, text = c.cmd("RCPT TO:<bad@back.test>")
    assert code == 550 and text.startswith("5.1.1 " + E1)
    assert c.cmd("DATA") == (554, "5.5.1 No valid recipients")


def test_policy_out_of_reach_is_no_refusal(relay):
    name = accepting(relay, "areach")
    c = client(relay, name)
    relay.kill("policy-1")
    try:
        with relay.settings(policy_wait="100ms"):
            code, text = c.cmd("MAIL FROM:<shop@areach.test>")
            assert code == 451 and text.startswith("4.3.0 ")
    finally:
        relay.start("policy-1")


# ---- From domains

@pytest.fixture(scope="module")
def checked(relay):
    relay.account("fromcheck", "--state", "active", "--check-from", "yes",
                  "--from-domain", "shop.test,.news.test,b\u00fccher.test")
    return client(relay, "fromcheck")


NOT_YOURS = "5.7.1 From domain %s is not registered for this account"


@pytest.mark.parametrize("sender, ok", [
    ("a@shop.test", True), ("a@SHOP.Test", True), ("", True), ("a@sub.shop.test", False),
    ("a@news.test", True), ("a@x.y.news.test", True), ("a@fakenews.test", False),
    ("a@xn--bcher-kva.test", True), ("a@evil.test", False), ("a@shop.test.evil.test", False),
    ('"a@shop.test"@evil.test', False), ("a@[127.0.0.1]", False),
])
def test_the_senders_domain_is_checked_at_mail(checked, sender, ok):
    answer = checked.cmd("MAIL FROM:<%s>" % sender)
    assert answer == ((250, "2.1.0 Sender ok") if ok else
                      (550, "5.7.1 Sender's domain is not registered for this account"))
    checked.cmd("RSET")


@pytest.mark.parametrize("head, bad", [
    ("From: a@shop.test", None), ("from:a@SHOP.TEST", None), ("From: Shop <a@x.news.test>", None),
    ("From: a@evil.test", "evil.test"), ('From: "a@shop.test" <a@evil.test>', "evil.test"),
    ("From: a@shop.test <a@evil.test>", ""), ("From: (a@shop.test) a@evil.test", "evil.test"),
    ("From: a@shop.test, b@evil.test", "evil.test"),
    ("From: a@shop.test\r\nFrom: a@evil.test", "evil.test"),
    ("From:\r\n a@evil.test", "evil.test"), ("From: x: a@shop.test, b@evil.test;", "evil.test"),
    ("From: a@b\u00fccher.test", None), ("Sender: a@evil.test\r\nFrom: a@shop.test", None),
    ("To: x@y.test", ""), ("From: nobody", ""), ("From:", ""), ("From: a@[127.0.0.1]", ""),
])
def test_the_domains_of_from_are_checked(relay, checked, head, bad):
    refused = relay.metric("ingest-1", "ingest_messages_refused_total")
    for line in ("MAIL FROM:<a@shop.test> SMTPUTF8", "RCPT TO:<x@world.test>", "DATA"):
        assert checked.cmd(line)[0] in (250, 354)
    checked.send((head + "\r\nSubject: x\r\n\r\nhello\r\n.\r\n").encode())
    code, text = checked.reply()
    assert code == (250 if bad is None else 550), text
    if bad is not None:
        assert text == NOT_YOURS % bad if bad else text.startswith("5.7.1 "), text
    assert relay.metric("ingest-1", "ingest_messages_refused_total") == refused + (bad is not None)


def test_an_account_that_asks_for_no_check_may_say_anything(relay):
    assert relay.client().mail("a@anything.test", "any@world.test",
                               body=b"From: x@else.test\r\n\r\nhello\r\n")[0] == 250


def test_a_refused_from_gives_its_share_of_the_quota_back(relay):
    relay.account("share", "--state", "active", "--check-from", "yes", "--from-domain",
                  "shop.test", "--quota-total", "1")
    c = client(relay, "share")
    for head, code in ((b"From: a@evil.test\r\n", 550), (b"From: a@shop.test\r\n", 250)):
        relay.settle()
        assert c.mail("a@shop.test", "share@world.test", body=head + b"\r\nx\r\n")[0] == code


def test_from_is_checked_on_the_wire_where_refusals_are_accepted_too(relay, sink):
    name = accepting(relay, "afrom", "--check-from", "yes", "--from-domain", "afrom.test")
    c = client(relay, name)
    assert c.cmd("MAIL FROM:<a@evil.test>")[0] == 550
    assert c.mail("shop@afrom.test", "x@world.test",
                  body=b"From: a@evil.test\r\n\r\nx\r\n") == (550, NOT_YOURS % "evil.test")
    told(relay, sink, name, [])
