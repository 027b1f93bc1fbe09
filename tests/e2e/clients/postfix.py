"""A Postfix of the test's own: a null client that hands all mail to the relay.

It keeps everything in its folder, listens on no port, and needs root to start, as Postfix
always does.  The domain of a recipient says which AUTH mechanism and which kind of TLS.
"""
import os
import shutil
import subprocess
import tempfile

from relay import running, wait_for

MECHANISMS, DOORS = ("PLAIN", "LOGIN", "SCRAM-SHA-256"), ("starttls", "tls")

MASTER = """\
pickup    unix  n  -  n  1  1  pickup
cleanup   unix  n  -  n  -  0  cleanup
qmgr      unix  n  -  n  60 1  qmgr
tlsmgr    unix  -  -  n  60 1  tlsmgr
rewrite   unix  -  -  n  -  -  trivial-rewrite
bounce    unix  -  -  n  -  0  bounce
defer     unix  -  -  n  -  0  bounce
trace     unix  -  -  n  -  0  bounce
error     unix  -  -  n  -  -  error
retry     unix  -  -  n  -  -  error
scache    unix  -  -  n  -  1  scache
postlog   unix-dgram n - n  -  1  postlogd
"""

MAIN = """\
compatibility_level = 3.6
queue_directory = {0}/queue
data_directory = {0}/data
maillog_file = {0}/log
maillog_file_prefixes = {0}
mail_owner = postfix
setgid_group = postdrop
myhostname = null.client.test
mydestination =
local_transport = error:no local mail
inet_interfaces = loopback-only
inet_protocols = ipv4
smtp_dns_support_level = disabled
relayhost = [127.0.0.1]:{1}
transport_maps = texthash:{0}/transport
smtp_tls_security_level = encrypt
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:{0}/secrets
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = plain
smtputf8_enable = yes
message_size_limit = 0
"""


def domain(mechanism, door):
    return "%s.%s.test" % (mechanism.lower(), door)


class Postfix:
    def __init__(self, relay):
        self.folder = tempfile.mkdtemp(prefix="hfpf", dir="/tmp")
        os.chmod(self.folder, 0o755)
        for name in ("etc", "queue", "data"):
            os.mkdir(self.path(name))
        shutil.chown(self.path("data"), "postfix", "postfix")
        ports = {"starttls": relay.submission_port, "tls": relay.submissions_port}
        master = MASTER + "smtp unix - - n - - smtp\n"
        routes = secrets = ""
        for door, port in ports.items():
            secrets += "[127.0.0.1]:%s %s:%s\n" % (port, relay.login, relay.password)
            for mechanism in MECHANISMS:
                name = "%s-%s" % (mechanism.lower(), door)
                routes += "%s %s:[127.0.0.1]:%s\n" % (domain(mechanism, door), name, port)
                master += "%s unix - - n - - smtp -o smtp_sasl_mechanism_filter=%s%s\n" % (
                    name, mechanism.lower(),
                    " -o smtp_tls_wrappermode=yes" if door == "tls" else "")
        self.write("etc/master.cf", master)
        self.write("etc/main.cf", MAIN.format(self.folder, relay.submission_port))
        self.write("transport", routes)
        self.write("secrets", secrets)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)

    def control(self, verb):
        done = subprocess.run(["postfix", "-c", self.path("etc"), verb], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + self.log()

    def __enter__(self):
        try:
            self.control("start")
            with open(self.path("queue/pid/master.pid")) as f:
                self.pid = int(f.read())
        except BaseException:
            shutil.rmtree(self.folder)
            raise
        return self

    def __exit__(self, *rest):
        try:
            self.control("stop")
            wait_for("Postfix ends", lambda: not running(self.pid))
        finally:
            shutil.rmtree(self.folder)

    def log(self):
        try:
            with open(self.path("log"), errors="replace") as f:
                return f.read()[-4000:]
        except FileNotFoundError:
            return "(no log)"

    def inject(self, sender, rcpts, body):
        done = subprocess.run(
            ["sendmail", "-C", self.path("etc"), "-i", "-f", sender, "--", *rcpts],
            input=body.replace(b"\r\n", b"\n"), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=60)
        assert done.returncode == 0, done.stdout.decode() + self.log()
