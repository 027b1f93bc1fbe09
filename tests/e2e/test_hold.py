"""Held mail: listed, shown, released once, rejected with a report, approved."""
from relay import queued_id, wait_for


def hold(relay, account, *rcpts, subject="look"):
    c = relay.client(account, "pw")
    code, text = c.mail("boss@%s.test" % account, *rcpts,
                        body=b"Subject: %s\r\n\r\nbody\r\n" % subject.encode())
    assert code == 250, text
    c.quit()
    return queued_id(text)


def results(relay, *args, code=0):
    return [r["result"] for r in relay.rows("holdq", *args, code=code)]


def test_held_mail_is_listed_shown_and_released_once(relay, sink):
    relay.account("rev1", "--state", "review")
    mail = hold(relay, "rev1", "r1@hold.test", "r2@hold.test", subject="Autumn offer")
    rows = relay.rows("holdq", "list", "--account", "rev1")
    assert [r["id"] for r in rows] == [mail]
    assert "Autumn offer" in rows[0]["subject"]
    shown = relay.holdq("show", mail)
    assert "Subject: Autumn offer" in shown and "Received: " in shown
    assert "body" not in shown.split("Subject", 1)[1].split("\n", 1)[1]
    assert "body" in relay.holdq("show", mail, "--body")
    assert results(relay, "release", mail, "--dry-run") == ["would-release"]
    assert results(relay, "release", mail) == ["released"]
    for n in "12":
        wait_for("delivered", lambda: sink.delivered("r%s@hold.test" % n))
    assert results(relay, "release", mail) == ["already"]
    relay.settle()
    assert len(sink.delivered("r1@hold.test")) == 1
    assert relay.rows("holdq", "list", "--account", "rev1") == []


def test_release_asks_the_lists_again(relay, sink):
    relay.account("rev2", "--state", "review")
    mail = hold(relay, "rev2", "stay@hold.test", "left@hold.test")
    relay.hfctl("list", "add", "unsubscribe", "rev2", "left@hold.test")
    assert results(relay, "release", mail) == ["partial"]
    wait_for("delivered", lambda: sink.delivered("stay@hold.test"))
    relay.settle()
    assert not sink.delivered("left@hold.test")
    assert relay.ledger("rev2")["suppressed"] == 1


def test_a_disabled_account_keeps_its_held_mail(relay):
    relay.account("rev3", "--state", "review")
    mail = hold(relay, "rev3", "x@hold.test")
    relay.hfctl("account", "disable", "rev3", "--reason", "fraud")
    assert results(relay, "release", mail, code=None) == ["refused"]
    assert [r["id"] for r in relay.rows("holdq", "list", "--account", "rev3")] == [mail]


def test_reject_ends_the_mail_with_a_report_to_the_sender(relay, sink):
    relay.account("rev4", "--state", "review")
    mail = hold(relay, "rev4", "x4@hold.test")
    assert results(relay, "reject", mail, "--reason", "looks like phishing") == ["rejected"]
    report = sink.message("boss@rev4.test")
    assert b"multipart/report" in report and b"looks like phishing" in report
    assert not sink.delivered("x4@hold.test")
    relay.settle()
    assert relay.ledger("rev4")["rejected"] == 1


def test_approve_activates_the_account_and_releases_its_mail(relay, sink):
    relay.account("rev5", "--state", "review")
    for n in range(3):
        hold(relay, "rev5", "a%d@hold.test" % n)
    relay.holdq("approve", "rev5")
    for n in range(3):
        wait_for("delivered", lambda: sink.delivered("a%d@hold.test" % n))
    assert relay.rows("hfctl", "account", "show", "rev5")[0]["state"] == "active"
    c = relay.client("rev5", "pw")
    assert "holding area" not in c.mail("boss@rev5.test", "direct@hold.test")[1]


def test_expect_refuses_when_the_number_differs(relay):
    relay.account("rev6", "--state", "review")
    for n in range(2):
        hold(relay, "rev6", "e%d@hold.test" % n)
    relay.tool("holdq", "release", "--account", "rev6", "--expect", "3", code=None)
    assert len(relay.rows("holdq", "list", "--account", "rev6")) == 2
    assert results(relay, "release", "--account", "rev6", "--expect", "2") == ["released"] * 2


def test_held_mail_and_decisions_survive_a_kill(relay, sink):
    relay.account("rev7", "--state", "review")
    mail = hold(relay, "rev7", "k7@hold.test")
    relay.kill("holdq-1")
    relay.start("holdq-1")
    assert [r["id"] for r in relay.rows("holdq", "list", "--account", "rev7")] == [mail]
    relay.kill("delivery-1")
    assert results(relay, "release", mail) == ["released"]
    relay.kill("holdq-1")
    relay.start("holdq-1")
    relay.start("delivery-1")
    wait_for("delivered", lambda: sink.delivered("k7@hold.test"))
    assert results(relay, "release", mail) == ["already"]
    relay.settle()
    assert len(sink.delivered("k7@hold.test")) == 1
