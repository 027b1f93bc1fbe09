"""How each real client is told to send one message as it stands.

CLIENTS has a row for each: a function of door, mail and mechanism that returns when the client
says that the relay took the message, and fails the test when the client says otherwise.  It
returns what the client sends if that is more than the message.
"""
import json
import os
import smtplib
import ssl
import subprocess

from relay import ROOT

LIMIT_S = 60


class Door:
    """The relay's listeners, and the account to use; kind is starttls or tls."""

    def __init__(self, relay, kind="starttls", postfix=None):
        self.kind, self.postfix = kind, postfix
        self.port = relay.submissions_port if kind == "tls" else relay.submission_port
        self.relay_port = relay.relay_port
        self.login, self.password = relay.login, relay.password


class Mail:
    def __init__(self, sender, rcpts, body, folder, eight_bit=False):
        self.sender, self.rcpts, self.body, self.folder = sender, rcpts, body, str(folder)
        self.eight_bit = eight_bit
        self.utf8 = not all(a.isascii() for a in [sender] + rcpts)

    def file(self, body=None):
        path = os.path.join(self.folder, "message")
        with open(path, "wb") as f:
            f.write(self.body if body is None else body)
        return path

    def unix(self):
        return self.body.replace(b"\r\n", b"\n")


def run(*args, **more):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
                          **({} if "input" in more else {"stdin": subprocess.DEVNULL}), **more)
    assert done.returncode == 0, "%s: exit %d\n%s" % (
        args[0], done.returncode, done.stdout[-3000:].decode(errors="replace"))


def swaks(door, mail, mechanism):
    # swaks ends what it sends with a line end of its own.
    run("swaks", "--server", "127.0.0.1", "--port", door.port, "--ehlo", "swaks.client.test",
        "--tls-on-connect" if door.kind == "tls" else "--tls", "--auth", mechanism,
        "--auth-user", door.login, "--auth-password", door.password, "--silent", "2",
        "--from", mail.sender, "--to", ",".join(mail.rcpts),
        "--data", "@" + mail.file(mail.body[:-2]))


def curl(door, mail, mechanism):
    rcpts = [word for r in mail.rcpts for word in ("--mail-rcpt", r)]
    run("curl", "--silent", "--show-error", "--insecure", "--ssl-reqd",
        "%s://127.0.0.1:%s/curl.client.test" % ("smtps" if door.kind == "tls" else "smtp",
                                                door.port),
        "--user", door.login + ":" + door.password, "--login-options", "AUTH=" + mechanism,
        "--mail-from", mail.sender, *rcpts, "--upload-file", mail.file())


def msmtp(door, mail, mechanism):
    run("msmtp", "--host=127.0.0.1", "--port=" + door.port, "--domain=msmtp.client.test",
        "--tls=on", "--tls-starttls=" + ("off" if door.kind == "tls" else "on"),
        "--tls-certcheck=off", "--auth=" + mechanism.lower(), "--user=" + door.login,
        "--passwordeval=echo " + door.password, "--from=" + mail.sender, "--", *mail.rcpts,
        input=mail.unix())


def python_smtplib(door, mail, mechanism):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    more = {"local_hostname": "python.client.test", "timeout": LIMIT_S}
    if door.kind == "tls":
        c = smtplib.SMTP_SSL("127.0.0.1", door.port, context=context, **more)
    else:
        c = smtplib.SMTP("127.0.0.1", door.port, **more)
        c.starttls(context=context)
    with c:
        c.ehlo()
        c.user, c.password = door.login, door.password
        assert mechanism in c.esmtp_features["auth"].split()
        how = {"PLAIN": c.auth_plain, "LOGIN": c.auth_login}
        assert c.auth(mechanism, how[mechanism])[0] == 235
        options = ["SMTPUTF8"] * mail.utf8 + ["BODY=8BITMIME"] * (mail.eight_bit or mail.utf8)
        assert c.sendmail(mail.sender, mail.rcpts, mail.body, options) == {}


def nodemailer(door, mail, mechanism):
    here = os.path.dirname(os.path.realpath(__file__))
    modules = ROOT + "/build/clients/node_modules"
    assert os.path.isdir(modules), "run tests/e2e/clients/install"
    run("node", here + "/nodemailer.js", json.dumps({
        "port": int(door.port), "secure": door.kind == "tls", "method": mechanism,
        "login": door.login, "password": door.password, "from": mail.sender, "to": mail.rcpts,
        "file": mail.file()}), env=dict(os.environ, NODE_PATH=modules))


def postfix(door, mail, mechanism):
    """Injected; what became of it the sink shows."""
    door.postfix.inject(mail.sender, mail.rcpts, mail.body)


def smtp_source(door, mail, mechanism):
    """No TLS, no AUTH: through the port for registered addresses.  It names further recipients
    after the first one, and appends an empty line."""
    run("smtp-source", "-M", "source.client.test", "-f", mail.sender, "-t", mail.rcpts[0],
        "-r", str(len(mail.rcpts)), "-F", mail.file(mail.unix()),
        "127.0.0.1:" + door.relay_port)
    return mail.body + b"\r\n"


CLIENTS = {"swaks": swaks, "curl": curl, "msmtp": msmtp, "smtplib": python_smtplib,
           "nodemailer": nodemailer, "postfix": postfix, "smtp-source": smtp_source}
