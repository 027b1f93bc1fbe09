"""What the end-to-end tests are made of: a relay in a folder, a sink, a raw SMTP client.

Every wait is for a condition and has a limit; nothing sleeps to synchronise.
"""
import base64
import contextlib
import json
import os
import random
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
BIN = os.environ.setdefault("HOLDFAST_BIN", ROOT + "/build/asan/bin")
LIMIT_S = 30

E1 = "Email address is on account's Bounce list."
E2 = "Email address is on account's Unsubscribe list."
E3 = "Email address is on system-wide domain block list."
E4 = "This account cannot currently send emails."
E5 = ("This email message has been placed in a holding area until your account can be manually "
      "reviewed by our support staff. After review, the email message will be released and "
      "delivered.")


def wait_for(what, condition, limit=LIMIT_S):
    """The first true value of condition(); fails the test after limit seconds."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %d s: %s" % (limit, what))
        time.sleep(0.02)


def free_port():
    """Below the range that outgoing connections take, or one of them has it before we listen."""
    while True:
        port = random.randint(10000, 31999)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Sink:
    """The rest of the world (tests/bench/sink.c): scripted answers, one JSON line a transaction."""

    def __init__(self, folder, *options, port=None, address="127.0.0.1", log=True):
        self.folder, self.options = folder, list(options)
        self.port, self.address = port or free_port(), address
        self.log, self.mail = folder + "/sink.jsonl", folder + "/mail"
        if log:
            os.makedirs(self.mail, exist_ok=True)
            self.options += ["-j", self.log, "-o", self.mail]
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [BIN + "/sink", "-l", "%s:%d" % (self.address, self.port), "-w",
             self.folder + "/sink.json", *self.options])
        wait_for("the sink listens", self.listens)
        return self

    def listens(self):
        assert self.process.poll() is None, "the sink ended"
        try:
            with socket.create_connection((self.address, self.port), 1) as s:
                return s.recv(3) == b"220"
        except OSError:
            return False

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def transactions(self):
        try:
            with open(self.log) as f:
                return [json.loads(line) for line in f if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def delivered(self, rcpt):
        """The transactions in which rcpt was taken."""
        return [t for t in self.transactions() if t["code"] == 250 and rcpt in t["rcpt"]]

    def message(self, rcpt):
        """The bytes of the one message that rcpt got."""
        got = wait_for("%s has mail" % rcpt, lambda: self.delivered(rcpt))
        assert len(got) == 1, got
        with open(os.path.join(self.mail, got[0]["file"]), "rb") as f:
            return f.read()


class Relay:
    """A sandbox.  Keys of its env file are attributes in lower case."""

    def __init__(self, *options, route=None, env=None):
        self.folder = tempfile.mkdtemp(prefix="hf", dir="/tmp")
        self.options = list(options)
        if route:
            self.options += ["--route", "127.0.0.1:%d" % route.port]
        self.environ = dict(os.environ, **(env or {}))
        self.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=8:abort_on_error=0")
        self.up = False

    def __enter__(self):
        done = self.sandbox("up", *self.options)
        assert done.returncode == 0, done.stdout + self.logs()
        self.up = True
        return self

    def __exit__(self, kind, *rest):
        stopped = self.sandbox("down") if self.up else None
        logs = self.logs()
        trouble = [l for l in logs.split("\n") if "ERROR: AddressSanitizer" in l
                   or "ERROR: LeakSanitizer" in l or "runtime error:" in l or " bug " in l]
        if kind or trouble or (stopped and stopped.returncode):
            print(logs[-6000:])
        shutil.rmtree(self.folder, ignore_errors=True)
        if not kind:
            assert not trouble, "\n".join(trouble[:5])
            assert stopped.returncode == 0, stopped.stdout

    def sandbox(self, verb, *options):
        return subprocess.run([ROOT + "/deploy/sandbox", verb, self.folder, *options],
                              env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=180)

    def logs(self):
        text = ""
        for name in sorted(os.listdir(self.folder + "/log")) if os.path.isdir(
                self.folder + "/log") else ():
            with open(self.folder + "/log/" + name, errors="replace") as f:
                text += "--- %s\n%s\n" % (name, f.read()[-4000:])
        return text

    def log(self, instance):
        with open("%s/log/%s.log" % (self.folder, instance), errors="replace") as f:
            return f.read()

    def __getattr__(self, name):
        with open(self.__dict__["folder"] + "/env") as f:
            for line in f:
                key, _, value = line.rstrip("\n").partition("=")
                if key.lower() == name:
                    words = shlex.split(value)
                    return words[0] if len(words) == 1 else value
        raise AttributeError(name)

    def pid(self, instance):
        with open("%s/run/%s.pid" % (self.folder, instance)) as f:
            return int(f.read())

    def kill(self, instance, sig=signal.SIGKILL):
        """Send sig and wait until the process is gone."""
        pid = self.pid(instance)
        os.kill(pid, sig)
        wait_for("%s ends" % instance, lambda: not running(pid))

    def start(self, instance):
        done = subprocess.run(["%s/bin/start-%s" % (self.folder, instance)], env=self.environ,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=90)
        assert done.returncode == 0, done.stdout + self.log(instance)

    def tool(self, name, *args, stdin=None, code=0):
        done = subprocess.run([BIN + "/" + name, "-c", self.folder + "/holdfast.yaml", *args],
                              input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=60, env=self.environ)
        assert code is None or done.returncode == code, \
            "%s %s: exit %d\n%s%s" % (name, args, done.returncode, done.stdout, done.stderr)
        return done

    def hfctl(self, *args, **more):
        return self.tool("hfctl", *args, **more).stdout

    def holdq(self, *args, **more):
        return self.tool("holdq", *args, **more).stdout

    def rows(self, name, *args, **more):
        """JSON lines of a tool as dicts."""
        out = self.tool(name, "--json", *args, **more).stdout
        return [json.loads(line) for line in out.splitlines() if line]

    def account(self, name, *options, password="pw"):
        self.hfctl("account", "add", name, *options)
        self.hfctl("credential", "add", name, name, "--password-stdin", stdin=password + "\n")
        return name, password

    @contextlib.contextmanager
    def settings(self, **values):
        """Parameters of ingest for the time of a with block; they hold when it begins (SIGHUP)."""
        path = self.folder + "/holdfast.yaml"
        with open(path) as f:
            before = f.read()
        head, rest = before.split("\ningest:\n", 1)
        rows = rest.split("\n")
        end = next(i for i, row in enumerate(rows) if not row.startswith(" "))
        kept = [row for i, row in enumerate(rows)
                if i >= end or row[2:].split(":")[0] not in values]
        self.configure("\n".join([head, "ingest:", *("  %s: %s" % kv for kv in values.items()),
                                  *kept]))
        try:
            yield self
        finally:
            self.configure(before)

    def configure(self, text):
        """Give ingest another configuration and wait until it has read it."""
        with open(self.folder + "/holdfast.yaml", "w") as f:
            f.write(text)
        reloads = self.metric("ingest-1", "worker_reloads_total")
        os.kill(self.pid("ingest-1"), signal.SIGHUP)
        wait_for("the reload",
                 lambda: self.metric("ingest-1", "worker_reloads_total") > reloads)

    def client(self, login=None, password=None, port=None, **how):
        c = Smtp(port or self.submission_port, **how)
        c.ehlo()
        if login or port is None:
            c.auth(login or self.login, password or self.password)
        return c

    def metric(self, instance, name):
        """The sum over the series of a metric."""
        with urllib.request.urlopen("http://%s/metrics"
                                    % getattr(self, "metrics_" + instance.replace("-", "_")),
                                    timeout=10) as r:
            text = r.read().decode()
        found = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                 if line.startswith("holdfast_" + name) and not line.startswith("#")
                 and line[len("holdfast_" + name)] in " {"]
        assert found, "no metric %s at %s" % (name, instance)
        return sum(found)

    def queue(self):
        return {r["instance"]: r for r in self.rows("hfctl", "queue", code=None)}

    def depth(self, instance):
        return self.queue()[instance]["depth"] or 0

    def settle(self, limit=LIMIT_S):
        """Wait until nothing is queued or spooled and every event has been applied."""
        def empty():
            rows = self.rows("hfctl", "queue", code=None)
            return rows and all(not r["depth"] and not r["unsent"] for r in rows
                                if r["stage"] != "holdq") and \
                all(not r["unsent"] for r in rows)
        wait_for("the queues are empty", empty, limit)

    def ledger(self, account=None):
        """The balanced row of an account, or of all."""
        rows = self.rows("hfctl", "ledger", *([account] if account else []))
        return [r for r in rows if r["account"] == (account or "total")][0]


def running(pid):
    """False once it holds no file any more: a dead first thread leaves the others to finish."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            dead = f.read().rsplit(")", 1)[1].split()[0] in "ZX"
        return not dead or len(os.listdir("/proc/%d/task" % pid)) > 1
    except OSError:
        return False


def memory_mb(pid):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def tls_context():
    """Of a client that encrypts and trusts everybody."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Smtp:
    """A client that shows every byte: no library smooths over what a server does."""

    def __init__(self, port, timeout=LIMIT_S, host="127.0.0.1", source=None, first=b"", tls=None):
        """From source, if said; first goes in front of all, tls is the context of implicit TLS."""
        self.sock = socket.create_connection((host, port), timeout, source and (source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""
        if first:
            self.send(first)
        if tls:
            self.sock = tls.wrap_socket(self.sock)
        self.greeting = self.reply()

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def line(self):
        while b"\r\n" not in self.pending:
            more = self.sock.recv(65536)
            if not more:
                raise ConnectionError("closed by the server, %r left" % self.pending)
            self.pending += more
        line, self.pending = self.pending.split(b"\r\n", 1)
        return line.decode()

    def reply(self):
        """(code, text): lines joined by newline, codes cut off."""
        lines = []
        while True:
            line = self.line()
            lines.append(line[4:])
            if line[3:4] != "-":
                return int(line[:3]), "\n".join(lines)

    def cmd(self, line):
        self.send(line + "\r\n")
        return self.reply()

    def ehlo(self, name="client.test"):
        code, text = self.cmd("EHLO " + name)
        assert code == 250, text
        self.extensions = text.upper().split("\n")[1:]
        return text

    def starttls(self, context=None, **how):
        code, text = self.cmd("STARTTLS")
        assert code == 220, text
        self.sock = (context or tls_context()).wrap_socket(self.sock, **how)
        self.pending = b""

    def auth(self, login, password, want=235):
        token = base64.b64encode(("\0%s\0%s" % (login, password)).encode()).decode()
        code, text = self.cmd("AUTH PLAIN " + token)
        assert code == want, (code, text)
        return text

    def mail(self, sender, *rcpts, body=b"Subject: test\r\n\r\nhello\r\n"):
        """One transaction; the reply to the message, or the first refusal before it."""
        code, text = self.cmd("MAIL FROM:<%s>" % sender)
        if code != 250:
            return code, text
        for r in rcpts:
            code, text = self.cmd("RCPT TO:<%s>" % r)
            if code != 250 and len(rcpts) == 1:
                self.cmd("RSET")
                return code, text
        code, text = self.cmd("DATA")
        if code != 354:
            return code, text
        self.send(body.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return self.reply()

    def quit(self):
        answer = self.cmd("QUIT")
        self.close()
        return answer

    def close(self):
        self.sock.close()


def queued_id(text):
    """The message id in a 250."""
    return text.rsplit("ueued as ", 1)[1].split()[0]
