"""What an account asks for: From domains, accepted refusals, notifications, a rate."""
import calendar
import re
import threading
import time

import pytest

from relay import Relay

OPTIONS = ("--check-from", "yes", "--from-domain", "Shop.Test, .news.shop.test,b\u00fccher.test",
           "--on-refusal", "accept", "--notify", "both", "--manager", "Boss@shop.test",
           "--rate-minute", "600")
SET = {"check_from": True, "from_domains": "shop.test,.news.shop.test,xn--bcher-kva.test",
       "on_refusal": "accept", "notify": "both", "manager": "Boss@shop.test", "rate_minute": 600}
UNSET = {"check_from": False, "from_domains": None, "on_refusal": "refuse", "notify": "none",
         "manager": None, "rate_minute": 0}


def shown(relay, name):
    (row,) = relay.rows("hfctl", "account", "show", name)
    return {key: row[key] for key in SET}


def test_a_new_account_asks_for_nothing(relay):
    relay.hfctl("account", "add", "plain", "--state", "active")
    assert shown(relay, "plain") == UNSET


@pytest.mark.parametrize("verb", ["add", "set"])
def test_what_is_set_is_shown_and_kept(relay, verb):
    name = "terms-" + verb
    if verb == "set":
        relay.hfctl("account", "add", name)
    relay.hfctl("account", verb, name, *OPTIONS)
    assert shown(relay, name) == SET
    relay.hfctl("account", "set", name, "--soft-limit", "5")
    assert shown(relay, name) == SET
    (row,) = [r for r in relay.rows("hfctl", "account", "list") if r["account"] == name]
    assert {key: row[key] for key in SET} == SET
    relay.kill("policy-1")
    relay.start("policy-1")
    assert shown(relay, name) == SET


def test_each_option_stands_by_itself_and_can_be_taken_back(relay):
    relay.hfctl("account", "add", "back", *OPTIONS)
    want = dict(SET)
    for option, word, key in (("--check-from", "no", "check_from"),
                              ("--from-domain", "", "from_domains"),
                              ("--on-refusal", "refuse", "on_refusal"),
                              ("--notify", "none", "notify"), ("--manager", "", "manager"),
                              ("--rate-minute", "0", "rate_minute")):
        relay.hfctl("account", "set", "back", option, word)
        want[key] = UNSET[key]
        assert shown(relay, "back") == want


def test_the_table_of_one_account_shows_them_and_the_list_stays_narrow(relay):
    relay.hfctl("account", "add", "table", *OPTIONS)
    text = relay.hfctl("account", "show", "table")
    for word in ("RATE MINUTE", "CHECK FROM", "FROM DOMAINS", "ON REFUSAL", "NOTIFY", "MANAGER",
                 "shop.test,.news.shop.test,xn--bcher-kva.test", "accept", "Boss@shop.test"):
        assert word in text
    assert "FROM DOMAINS" not in relay.hfctl("account", "list")


@pytest.mark.parametrize("options, code, says", [
    (("--check-from", "maybe"), 65, "--check-from is no or yes"),
    (("--on-refusal", "drop"), 65, "--on-refusal is refuse or accept"),
    (("--notify", "everyone"), 65, "--notify is none, manager, from or both"),
    (("--manager", "boss"), 65, '--manager: "boss" is no address'),
    (("--manager", "<boss@shop.test>"), 65, "is no address"),
    (("--from-domain", "shop.test,a b"), 65, '--from-domain: "a b" is no domain'),
    (("--from-domain", "shop.test,,b.test"), 65, '--from-domain: "" is no domain'),
    (("--from-domain", "shop.test,"), 65, '--from-domain: "" is no domain'),
    (("--from-domain", "a@shop.test"), 65, '--from-domain: "a@shop.test" is no domain'),
    (("--from-domain", ",".join("d%d.test" % i for i in range(101))), 65, "at most 100"),
    (("--rate-minute", "-1"), 64, "rate-minute"),
    (("--rate-minute", "1000000001"), 65, "--rate-minute is at most 1000000000"),
    (("--notify", "manager"), 65, "a manager needs one"),
])
def test_a_bad_value_changes_nothing_and_says_why(relay, options, code, says):
    relay.hfctl("account", "add", "bad", code=None)
    done = relay.tool("hfctl", "account", "set", "bad", *options, code=None)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert says in done.stderr
    assert shown(relay, "bad") == UNSET


def test_a_hundred_long_domains_are_kept_and_mail_goes_on(relay):
    domains = ["%s.%s.%s.d%02d.test" % ("a" * 63, "b" * 63, "c" * 63, i) for i in range(100)]
    login = relay.account("many", "--state", "active", "--from-domain", ",".join(domains))
    assert shown(relay, "many")["from_domains"] == ",".join(domains)
    assert relay.client(*login).mail("a@" + domains[99], "x@world.test")[0] == 250


def test_messages_over_the_rate_are_deferred_in_every_session(relay):
    login = relay.account("quick", "--state", "active", "--rate-minute", "3")
    one, two = relay.client(*login), relay.client(*login)
    refused = relay.metric("policy-1", "rate_limited_total")
    assert one.mail("a@quick.test", "x@world.test")[0] == 250
    for c in (two, one):
        assert c.cmd("MAIL FROM:<a@quick.test>")[0] == 250
        assert c.cmd("RSET")[0] == 250
    code, text = two.cmd("MAIL FROM:<a@quick.test>")
    first, second = text.split("\n")
    assert (code, first) == (451, "4.7.1 Too many messages from this account now, "
                                  "try again later.")
    found = re.fullmatch(r"4\.7\.1 The account's messages a minute are used up\. It may try again "
                         r"after (\S+ \S+) UTC\. verdict [0-9A-Z]{26}", second)
    again = calendar.timegm(time.strptime(found.group(1), "%Y-%m-%d %H:%M:%S"))
    assert 0 < again - time.time() <= 21
    assert relay.metric("policy-1", "rate_limited_total") == refused + 1
    relay.hfctl("account", "set", "quick", "--rate-minute", "4")  # holds at once: one is left
    assert two.cmd("MAIL FROM:<a@quick.test>")[0] == 250
    assert one.cmd("MAIL FROM:<a@quick.test>")[0] == 451
    relay.hfctl("account", "set", "quick", "--rate-minute", "0")
    assert one.mail("a@quick.test", "y@world.test")[0] == 250


def test_a_rate_is_exact_over_ingest_and_policy_instances(world):
    world.start()
    with Relay("--instances", "ingest=2,policy=2", route=world) as r:
        login = r.account("exact", "--state", "active", "--rate-minute", "50")
        clients = [r.client(*login) for _ in range(16)]
        codes = []

        def send(c):
            for _ in range(8):
                codes.append(c.cmd("MAIL FROM:<a@exact.test>")[0])
                c.cmd("RSET")

        threads = [threading.Thread(target=send, args=(c,)) for c in clients]
        began = time.monotonic()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        came_back = (time.monotonic() - began) * 50 / 60
        assert set(codes) == {250, 451} and len(codes) == 128
        assert 50 <= codes.count(250) <= 50 + came_back + 1
