"""AUTH: the mechanisms, what cancels them, and how often one may fail.

Each test that fails on purpose comes from a network of its own in 127.0.0.0/8, since failures
are counted by address, network and login.
"""
import base64
import hashlib
import hmac
import os
import ssl

import pytest
from relay import Relay, Smtp, tls_context

WRONG = (535, "5.7.8 Authentication credentials invalid")
BLOCKED = (421, "4.7.0 Too many failed logins, try again later")
CANCELLED = (501, "5.7.0 Authentication cancelled")
UNREADABLE = (501, "5.5.2 Response cannot be decoded")


@pytest.fixture(scope="module")
def relay(sink):
    with Relay(route=sink) as r:
        yield r


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def connect(relay, source=None, tls=None):
    c = Smtp(relay.submissions_port if tls else relay.submission_port, source=source, tls=tls)
    c.ehlo()
    return c


def plain(c, login, password, authz=""):
    return c.cmd("AUTH PLAIN " + b64("%s\0%s\0%s" % (authz, login, password)))


class Scram:
    """A client of RFC 5802 and 7677, with nothing that hides what a server says."""

    def __init__(self, c, login, password, gs2="n,,", binding=b"", mech="SCRAM-SHA-256"):
        self.c, self.password, self.mech = c, password, mech
        self.nonce = b64(os.urandom(18))
        self.bare = "n=%s,r=%s" % (login, self.nonce)
        self.gs2, self.binding = gs2, binding

    def first(self, initial=True):
        message = b64(self.gs2 + self.bare)
        if initial:
            code, text = self.c.cmd("AUTH %s %s" % (self.mech, message))
        else:
            assert self.c.cmd("AUTH " + self.mech) == (334, "")
            code, text = self.c.cmd(message)
        if code == 334:
            self.server = base64.b64decode(text).decode()
            self.told = dict(part.split("=", 1) for part in self.server.split(","))
            assert self.told["r"].startswith(self.nonce) and len(self.told["r"]) > len(self.nonce)
        return code, text

    def last(self, spoil=False, nonce=None):
        """The proof; true when the server proved itself as well."""
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(),
                                     base64.b64decode(self.told["s"]), int(self.told["i"]))
        final = "c=%s,r=%s" % (b64(self.gs2.encode() + self.binding), nonce or self.told["r"])
        about = ",".join((self.bare, self.server, final)).encode()

        def mac(key, text):
            return hmac.digest(key, text, "sha256")

        key = mac(salted, b"Client Key")
        proof = bytes(a ^ b for a, b in zip(key, mac(hashlib.sha256(key).digest(), about)))
        if spoil:
            proof = proof[:-1] + bytes([proof[-1] ^ 1])
        code, text = self.c.cmd(b64("%s,p=%s" % (final, b64(proof))))
        if code == 334:
            signature = base64.b64decode(text).decode()
            assert signature == "v=" + b64(mac(mac(salted, b"Server Key"), about))
        return code, text

    def run(self, **how):
        answer = self.first()
        if answer[0] == 334:
            answer = self.last(**how)
        return self.c.cmd("") if answer[0] == 334 else answer


def may_send(c):
    return c.cmd("MAIL FROM:<a@demo.test>")[0] == 250


# ---- what works

@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("lines", [
    ["AUTH PLAIN {0}"], ["auth plain {0}"], ["AUTH PLAIN", "{0}"], ["AUTH PLAIN {1}"],
    ["AUTH LOGIN", "{2}", "{3}"], ["AUTH LOGIN {2}", "{3}"], ["AUTH login", "{2}", "{3}"],
], ids=["plain", "lower-case", "plain-no-initial", "plain-authzid", "login", "login-initial",
        "login-lower-case"])
def test_passwords_are_taken_in_every_form(relay, lines, tls):
    c = connect(relay, tls=tls_context() if tls else None)
    words = [b64("\0demo\0demo-secret"), b64("demo\0demo\0demo-secret"), b64("demo"),
             b64("demo-secret")]
    for line in lines[:-1]:
        assert c.cmd(line.format(*words))[0] == 334
    assert c.cmd(lines[-1].format(*words)) == (235, "2.7.0 Authentication successful")
    assert may_send(c)


def test_login_asks_in_the_usual_words(relay):
    c = connect(relay)
    assert c.cmd("AUTH LOGIN") == (334, b64("Username:"))
    assert c.cmd(b64("demo")) == (334, b64("Password:"))


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_scram(relay, tls, initial):
    c = connect(relay, tls=tls_context() if tls else None)
    s = Scram(c, relay.login, relay.password)
    assert s.first(initial)[0] == 334 and s.last()[0] == 334
    assert c.cmd("MAIL FROM:<a@demo.test>")[0] != 250  # not before the client has seen it
    c = connect(relay, tls=tls_context() if tls else None)
    assert Scram(c, relay.login, relay.password).run()[0] == 235
    assert may_send(c)


def test_scram_plus_is_bound_to_the_channel_of_tls_1_2(relay):
    context = tls_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    c = connect(relay, tls=context)
    unique = c.sock.get_channel_binding("tls-unique")
    s = Scram(c, relay.login, relay.password, "p=tls-unique,,", unique, "SCRAM-SHA-256-PLUS")
    assert s.run()[0] == 235
    assert may_send(c)


# ---- what does not

@pytest.mark.parametrize("login, password", [("demo", "wrong"), ("nobody", "demo-secret"),
                                             ("demo", "demo-secre"), ("DEMO2", "x")])
@pytest.mark.parametrize("mech", ["plain", "login", "scram"])
def test_wrong_passwords_and_unknown_logins_get_one_reply(relay, mech, login, password):
    c = connect(relay, source="127.1.0.1")
    if mech == "plain":
        answer = plain(c, login, password)
    elif mech == "login":
        assert c.cmd("AUTH LOGIN " + b64(login))[0] == 334
        answer = c.cmd(b64(password))
    else:
        answer = Scram(c, login, password).run()
    assert answer == WRONG
    assert not may_send(c)
    c.auth(relay.login, relay.password)  # a second try in the same session
    assert may_send(c)


def test_scram_tells_of_an_unknown_login_what_it_tells_of_a_known_one(relay):
    def told(login):
        s = Scram(connect(relay, source="127.1.1.1"), login, "x")
        assert s.first()[0] == 334
        return s.told["i"], s.told["s"]

    known, one, again, other = told("demo"), told("nobody1"), told("nobody1"), told("nobody2")
    assert one == again and one[1] != other[1] != known[1]  # a salt of its own that stays
    assert known[0] == one[0] == other[0]
    assert len({len(base64.b64decode(salt)) for _, salt in (known, one, other)}) == 1


@pytest.mark.parametrize("how", [{"spoil": True}, {"nonce": "AAAAAAAAAAAAAAAAAAAAAAAA"}])
def test_scram_with_a_wrong_proof_or_nonce(relay, how):
    c = connect(relay, source="127.1.2.1")
    assert Scram(c, relay.login, relay.password).run(**how) == WRONG
    assert not may_send(c)


def test_scram_plus_fails_on_another_channel(relay):
    context = tls_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    c = connect(relay, source="127.1.3.1", tls=context)
    other = connect(relay, tls=context).sock.get_channel_binding("tls-unique")
    s = Scram(c, relay.login, relay.password, "p=tls-unique,,", other, "SCRAM-SHA-256-PLUS")
    assert s.run() == WRONG
    assert not may_send(c)


def test_scram_plus_without_tls_is_not_to_be_had(relay):
    c = connect(relay)
    assert c.cmd("AUTH SCRAM-SHA-256-PLUS") == (538, "5.7.11 Encryption is required: STARTTLS "
                                                     "first")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_who_took_plus_out_of_the_offer_is_found_out(relay, tls):
    """y: the client could bind to the channel, and was told that the server cannot."""
    c = connect(relay, source="127.1.4.1", tls=tls_context() if tls else None)
    answer = Scram(c, relay.login, relay.password, "y,,").run()
    assert answer == WRONG if tls else answer[0] == 235


@pytest.mark.parametrize("lines, want", [
    (["AUTH PLAIN", "*"], CANCELLED), (["AUTH LOGIN", "*"], CANCELLED),
    (["AUTH LOGIN", "ZGVtbw==", "*"], CANCELLED), (["AUTH SCRAM-SHA-256", "*"], CANCELLED),
    (["AUTH SCRAM-SHA-256 biwsbj1kZW1vLHI9YWJjZGVm", "*"], CANCELLED),
    (["AUTH PLAIN *"], CANCELLED),
    (["AUTH PLAIN !!!!"], UNREADABLE), (["AUTH PLAIN YQ"], UNREADABLE),
    (["AUTH PLAIN ="], UNREADABLE), (["AUTH PLAIN", ""], UNREADABLE),
    (["AUTH PLAIN " + b64("demo")], UNREADABLE), (["AUTH LOGIN", "###"], UNREADABLE),
    (["AUTH LOGIN", ""], UNREADABLE),
    (["AUTH SCRAM-SHA-256 " + b64("n,,n=demo")],
     (501, "5.5.2 Message of SCRAM cannot be read")),
    (["AUTH SCRAM-SHA-256 " + b64("nonsense")], (501, "5.5.2 Message of SCRAM cannot be read")),
    (["AUTH GSSAPI"], (504, "5.5.4 Mechanism is not known")),
    (["AUTH"], (501, "5.5.4 Argument is missing")),
    (["AUTH PLAIN " + "A" * 12288], (500, "5.5.6 Line too long")),
    (["AUTH PLAIN", "A" * 12288], (500, "5.5.6 Line too long")),
])
def test_what_ends_an_exchange_ends_nothing_else(relay, lines, want):
    c = connect(relay, source="127.1.5.1")
    for line in lines[:-1]:
        assert c.cmd(line)[0] == 334
    assert c.cmd(lines[-1]) == want
    assert not may_send(c)
    c.auth(relay.login, relay.password)
    assert may_send(c)


@pytest.mark.parametrize("mech", ["plain", "scram"])
def test_nobody_acts_for_another(relay, mech):
    c = connect(relay, source="127.1.6.1")
    if mech == "plain":
        assert plain(c, relay.login, relay.password, authz="other") == WRONG
    else:
        assert Scram(c, relay.login, relay.password, gs2="n,a=other,").run() == WRONG
    assert not may_send(c)


def test_auth_is_for_once_and_not_within_a_transaction(relay):
    c = connect(relay)
    c.auth(relay.login, relay.password)
    assert plain(c, "demo", "demo-secret") == (503, "5.5.1 Authenticated already")
    assert may_send(c)
    assert plain(c, "demo", "demo-secret") == (503, "5.5.1 Not inside a transaction")


def test_commands_behind_a_login_wait_for_its_outcome(relay):
    c = connect(relay)
    c.send("AUTH PLAIN %s\r\nMAIL FROM:<a@demo.test>\r\nRCPT TO:<x@world.test>\r\n"
           % b64("\0demo\0demo-secret"))
    assert [c.reply()[0] for _ in range(3)] == [235, 250, 250]


# ---- limits

def fail(relay, source, login="demo", times=1):
    """Fail in a session of its own; the last answer."""
    c = connect(relay, source=source)
    return [plain(c, login, "wrong") for _ in range(times)][-1]


def right(relay, source, login="demo", password="demo-secret"):
    return plain(connect(relay, source=source), login, password)[0]


def test_failures_of_an_address_are_limited_and_others_go_on(relay):
    blocked = relay.metric("ingest-1", "ingest_auth_blocked_total")
    failures = relay.metric("ingest-1", "ingest_auth_failures_total")
    with relay.settings(auth_fail_ip=3):
        known = relay.client(relay.login, relay.password, source="127.2.1.1",
                             port=relay.submission_port)
        waiting = connect(relay, source="127.2.2.1")
        c = connect(relay, source="127.2.1.1")
        assert [plain(c, "demo", "wrong") for _ in range(3)] == [WRONG] * 3
        assert plain(c, "demo", "wrong") == BLOCKED
        with pytest.raises(ConnectionError):
            c.line()
        assert right(relay, "127.2.1.1") == 421  # not even with the right password
        assert Scram(connect(relay, source="127.2.1.1"), "demo", "demo-secret").run() == BLOCKED
        assert may_send(known)
        assert plain(waiting, "demo", "demo-secret")[0] == 235
        assert relay.metric("ingest-1", "ingest_auth_blocked_total") == blocked + 3
        assert relay.metric("ingest-1", "ingest_auth_failures_total") == failures + 3
    assert right(relay, "127.2.1.1") == 235  # the limit is 20 again


def test_failures_are_counted_over_sessions_and_mechanisms(relay):
    with relay.settings(auth_fail_ip=3):
        assert fail(relay, "127.3.1.1") == WRONG
        c = connect(relay, source="127.3.1.1")
        assert c.cmd("AUTH LOGIN " + b64("demo"))[0] == 334
        assert c.cmd(b64("wrong")) == WRONG
        assert Scram(connect(relay, source="127.3.1.1"), "demo", "wrong").run() == WRONG
        assert fail(relay, "127.3.1.1") == BLOCKED


def test_failures_of_a_login_are_limited_but_not_where_it_was_proved(relay):
    relay.account("hunted", "--state", "active")
    with relay.settings(auth_fail_login=3):
        assert right(relay, "127.4.9.1", "hunted", "pw") == 235
        for i in range(1, 4):
            assert fail(relay, "127.4.%d.1" % i, "hunted") == WRONG
        assert fail(relay, "127.4.4.1", "hunted") == BLOCKED
        assert right(relay, "127.4.5.1", "hunted", "pw") == 421
        assert right(relay, "127.4.9.1", "hunted", "pw") == 235
        assert fail(relay, "127.4.1.1", "another") == WRONG  # from where it failed


def test_failures_of_a_network_are_limited(relay):
    with relay.settings(auth_fail_network=3):
        for i in range(1, 4):
            assert fail(relay, "127.5.1.%d" % i, "nobody%d" % i) == WRONG
        assert fail(relay, "127.5.1.4", "nobody4") == BLOCKED
        assert right(relay, "127.5.1.99") == 421
        assert right(relay, "127.5.2.1") == 235


def test_without_limits_one_may_fail_for_ever(relay):
    with relay.settings(auth_fail_ip=0, auth_fail_network=0, auth_fail_login=0, max_errors=1000):
        assert fail(relay, "127.6.1.1", "endless", times=60) == WRONG


def test_cancelled_and_unreadable_are_no_failed_logins(relay):
    with relay.settings(auth_fail_ip=1):
        c = connect(relay, source="127.7.1.1")
        for _ in range(3):
            assert c.cmd("AUTH PLAIN")[0] == 334
            assert c.cmd("*") == CANCELLED
            assert c.cmd("AUTH PLAIN !!!!") == UNREADABLE
        assert plain(c, "demo", "demo-secret")[0] == 235


# ---- accounts

def test_a_disabled_account_may_log_in_and_not_send(relay):
    login = relay.account("off", "--state", "active")
    c = relay.client(*login)
    relay.hfctl("account", "disable", "off", "--reason", "test")
    for session in (c, relay.client(*login)):
        code, text = session.cmd("MAIL FROM:<a@off.test>")
        assert code == 550 and text.startswith("5.7.13 This account cannot currently send emails.")


def test_a_changed_password_holds_at_once(relay):
    login, _ = relay.account("fickle", "--state", "active", password="old")
    assert right(relay, None, login, "old") == 235
    relay.hfctl("credential", "remove", login)
    assert right(relay, "127.8.1.1", login, "old") == 535
    relay.hfctl("credential", "add", "fickle", login, "--password-stdin", stdin="new\n")
    assert right(relay, "127.8.1.1", login, "old") == 535
    assert right(relay, None, login, "new") == 235
    relay.hfctl("credential", "add", "fickle", login, "--password-stdin", stdin="newer\n")
    assert right(relay, "127.8.1.1", login, "new") == 535
    assert Scram(connect(relay), login, "newer").run()[0] == 235


@pytest.mark.parametrize("login, password", [
    ("a,b=c", "p,=q"), ("j\u00fcrgen", "pa\u00dfwort"), ("with space", "  "),
    ("x" * 128, "y" * 200),
])
def test_logins_and_passwords_of_any_letters(relay, login, password):
    name = "letters%d" % len(login)
    relay.hfctl("account", "add", name, "--state", "active")
    relay.hfctl("credential", "add", name, login, "--password-stdin", stdin=password + "\n")
    assert right(relay, None, login, password) == 235
    quoted = login.replace("=", "=3D").replace(",", "=2C")
    assert Scram(connect(relay), quoted, password).run()[0] == 235


def test_policy_out_of_reach_is_no_wrong_password(relay):
    relay.kill("policy-1")
    try:
        with relay.settings(policy_wait="100ms"):
            assert plain(connect(relay), "demo", "demo-secret") == (
                454, "4.7.0 Authentication is not possible now, try again later")
    finally:
        relay.start("policy-1")
    assert plain(connect(relay), "demo", "demo-secret")[0] == 235


def test_passwords_are_never_logged(relay):
    c = connect(relay, source="127.9.1.1")
    assert plain(c, "demo", "tell-nobody")[0] == 535
    assert c.cmd("AUTH LOGIN " + b64("demo"))[0] == 334
    assert c.cmd(b64("tell-nobody"))[0] == 535
    log = relay.log("ingest-1")
    assert "127.9.1.1" in log and "tell-nobody" not in log and b64("tell-nobody") not in log
