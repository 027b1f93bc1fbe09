"""The five answers, letter for letter, on the wire (E1 to E5)."""
from relay import E1, E2, E3, E4, E5, queued_id, wait_for


def rcpt(relay, address, **who):
    c = relay.client(**who)
    assert c.cmd("MAIL FROM:<news@demo.test>")[0] == 250
    answer = c.cmd("RCPT TO:<%s>" % address)
    c.quit()
    return answer


def listed(relay, name, account, key):
    return wait_for("%s is on the list" % key, lambda: [
        e for e in relay.rows("hfctl", "list", "show", name, account, key, code=None)
        if e.get("listed", True)])


def test_a_hard_bounce_is_answered_with_e1_the_next_time(relay):
    c = relay.client()
    assert c.mail("news@demo.test", "hard-e1@world.test")[0] == 250
    listed(relay, "bounce", "demo", "hard-e1@world.test")
    code, text = rcpt(relay, "hard-e1@world.test")
    assert code == 550
    assert text.split("\n")[0] == "5.1.1 " + E1
    assert all(line.startswith("5.1.1 ") for line in text.split("\n"))


def test_three_soft_bounces_are_answered_with_e1(relay):
    c = relay.client()
    for n in range(3):
        assert c.mail("news@demo.test", "rc552-e1@world.test")[0] == 250
        wait_for("soft bounce %d counted" % (n + 1), lambda: [
            e for e in relay.rows("hfctl", "list", "show", "bounce", "demo",
                                  "rc552-e1@world.test", code=None) if e["soft"] == n + 1])
    code, text = rcpt(relay, "rc552-e1@world.test")
    assert (code, text.split("\n")[0]) == (550, "5.2.1 " + E1)


def test_case_and_idn_of_an_address_make_no_difference(relay):
    relay.hfctl("list", "add", "unsubscribe", "demo", "Fritz@B\u00fccher.test")
    code, text = rcpt(relay, "fritz@XN--bcher-kva.TEST")
    assert (code, text.split("\n")[0]) == (550, "5.7.1 " + E2)
    assert rcpt(relay, "fritz+tag@xn--bcher-kva.test")[0] == 250


def test_an_unsubscribed_domain_stops_its_own_addresses_only(relay):
    relay.hfctl("list", "add", "unsubscribe", "demo", "plain.test")
    relay.hfctl("list", "add", "unsubscribe", "demo", ".dotted.test")
    assert rcpt(relay, "x@plain.test")[1].startswith("5.7.1 " + E2)
    assert rcpt(relay, "x@sub.plain.test")[0] == 250
    assert rcpt(relay, "x@sub.dotted.test")[1].startswith("5.7.1 " + E2)


def test_a_blocked_address_is_answered_with_e3_for_every_account(relay):
    relay.hfctl("block", "add", "gone@world.test")
    code, text = rcpt(relay, "gone@world.test")
    assert (code, text.split("\n")[0]) == (550, "5.7.1 " + E3)
    assert "domain" in text.split("\n")[1]
    login, password = relay.account("other", "--state", "active")
    assert rcpt(relay, "gone@world.test", login=login, password=password)[0] == 550
    assert rcpt(relay, "notgone@world.test")[0] == 250
    relay.hfctl("block", "remove", "gone@world.test")
    assert rcpt(relay, "gone@world.test")[0] == 250


def test_a_pending_and_a_disabled_account_get_e4_at_mail(relay):
    login, password = relay.account("waiting", "--state", "pending")
    c = relay.client(login, password)
    code, text = c.cmd("MAIL FROM:<a@waiting.test>")
    assert (code, text.split("\n")[0]) == (550, "5.7.13 " + E4)
    relay.hfctl("account", "set", "waiting", "--state", "review")
    assert c.cmd("MAIL FROM:<a@waiting.test>")[0] == 250
    c.cmd("RSET")
    relay.hfctl("account", "disable", "waiting", "--reason", "test")
    assert c.cmd("MAIL FROM:<a@waiting.test>")[1].startswith("5.7.13 " + E4)


def test_a_used_quota_is_e4_with_the_reset_or_for_good(relay):
    for name, option, code, enhanced in (("hourly", "--quota-hour", 451, "4.7.1"),
                                         ("trial", "--quota-total", 550, "5.7.1")):
        login, password = relay.account(name, "--state", "active", option, "2")
        c = relay.client(login, password)
        assert c.cmd("MAIL FROM:<a@quota.test>")[0] == 250
        assert c.cmd("RCPT TO:<one@world.test>")[0] == 250
        assert c.cmd("RCPT TO:<two@world.test>")[0] == 250
        got, text = c.cmd("RCPT TO:<three@world.test>")
        assert (got, text.split("\n")[0]) == (code, "%s %s" % (enhanced, E4))
        assert c.cmd("RSET")[0] == 250
        wait_for("the shares are back", lambda: quota_takes(c, 2))


def quota_takes(c, n):
    assert c.cmd("MAIL FROM:<a@quota.test>")[0] == 250
    codes = [c.cmd("RCPT TO:<q%d@world.test>" % i)[0] for i in range(n + 1)]
    c.cmd("RSET")
    return codes == [250] * n + [codes[-1]] and codes[-1] != 250


def test_an_account_in_review_gets_e5_after_the_message(relay, sink):
    login, password = relay.account("novice", "--state", "review")
    c = relay.client(login, password)
    code, text = c.mail("a@novice.test", "held@world.test")
    assert code == 250
    assert text.startswith("2.0.0 %s Queued as " % E5)
    assert len(queued_id(text)) == 26
    assert not sink.delivered("held@world.test")


def test_one_refused_recipient_does_not_touch_the_others(relay, sink):
    relay.hfctl("list", "add", "unsubscribe", "demo", "no@mixed.test")
    c = relay.client()
    assert c.cmd("MAIL FROM:<news@demo.test>")[0] == 250
    assert [c.cmd("RCPT TO:<%s@mixed.test>" % n)[0] for n in ("a", "no", "b")] == [250, 550, 250]
    assert c.cmd("DATA")[0] == 354
    c.send("Subject: mixed\r\n\r\nx\r\n.\r\n")
    assert c.reply()[0] == 250
    for name in "ab":
        wait_for("delivered", lambda: sink.delivered(name + "@mixed.test"))
    assert not sink.delivered("no@mixed.test")


def test_when_all_are_refused_data_says_so(relay):
    relay.hfctl("list", "add", "unsubscribe", "demo", "never@world.test")
    c = relay.client()
    c.send("MAIL FROM:<n@demo.test>\r\nRCPT TO:<never@world.test>\r\nDATA\r\n")
    assert [c.reply()[0] for _ in range(2)] == [250, 550]
    code, text = c.reply()
    assert (code, text) == (554, "5.5.1 No valid recipients")
