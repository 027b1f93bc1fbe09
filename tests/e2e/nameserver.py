"""A name server for tests: nsd on loopback, with zones signed by ldns where it is wanted."""
import subprocess

from relay import free_port, wait_for

ZONE = """$ORIGIN %s.
$TTL 300
@ IN SOA ns. root. 1 3600 600 86400 300
@ IN NS ns
ns IN A 127.0.0.1
"""


class Nsd:
    """A real authoritative server on loopback; a zone in `signed` has its DS in the file
    self.anchor."""

    def __init__(self, folder, zones, signed=()):
        self.port, self.folder, self.anchor = free_port(), folder, folder + "/anchor"
        conf = ["server:", "  ip-address: 127.0.0.1@%d" % self.port, '  username: ""',
                '  database: ""', "  server-count: 1", '  zonesdir: "%s"' % folder]
        for name, value in (("pidfile", "pid"), ("xfrdfile", "xfrd"), ("zonelistfile", "zl"),
                            ("xfrdir", "")):
            conf.append('  %s: "%s/%s"' % (name, folder, value))
        self.first = next(iter(zones))
        conf += ["remote-control:", "  control-enable: no"]
        for name, records in zones.items():
            with open("%s/%s.zone" % (folder, name), "w") as f:
                f.write(ZONE % name + records)
            if name in signed:
                self.sign(name)
            conf += ["zone:", "  name: " + name, "  zonefile: %s.zone" % name]
        with open(folder + "/nsd.conf", "w") as f:
            f.write("\n".join(conf) + "\n")

    def sign(self, zone):
        key = subprocess.run(["ldns-keygen", "-a", "ED25519", "-k", zone], cwd=self.folder,
                             check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        subprocess.run(["ldns-signzone", "-f", zone + ".zone", zone + ".zone", key], check=True,
                       cwd=self.folder)
        with open("%s/%s.ds" % (self.folder, key)) as f, open(self.anchor, "a") as anchor:
            anchor.write(f.read())

    def __enter__(self):
        self.process = subprocess.Popen(["nsd", "-d", "-c", self.folder + "/nsd.conf"],
                                        stderr=subprocess.DEVNULL)
        wait_for("nsd answers", lambda: subprocess.run(
            ["drill", "-p", str(self.port), "@127.0.0.1", self.first, "MX"],
            stdout=subprocess.PIPE, text=True).stdout.count("NOERROR"))
        return self

    def __exit__(self, *rest):
        self.process.terminate()
        self.process.wait(10)
