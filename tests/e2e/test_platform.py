"""What surrounds the programs: users and sandbox, sockets from the service manager, units."""
import glob
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess

import pytest

from relay import BIN, ROOT, Relay, free_port, wait_for

STAGES = ("policy", "holdq", "delivery", "ingest")
NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
UNITS = ["holdfast-%s@.service" % s for s in STAGES]


def statuses(pid):
    """The status of every thread, as dicts."""
    found = []
    for path in glob.glob("/proc/%d/task/*/status" % pid):
        try:
            with open(path) as f:
                found.append(dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line))
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread has ended
    assert found, "no threads of %d" % pid
    return found


def instances(relay):
    return ["%s-1" % s for s in STAGES if os.path.exists("%s/run/%s-1.pid" % (relay.folder, s))]


def reload_all(relay):
    for name in instances(relay):
        before = relay.log(name).count(" reloaded ")
        os.kill(relay.pid(name), signal.SIGHUP)
        wait_for("%s reloads" % name, lambda: relay.log(name).count(" reloaded ") > before)


def mail_flows(relay, sink, who):
    c = relay.client()
    assert c.mail("a@example.test", who)[0] == 250
    c.quit()
    assert b"hello" in sink.message(who)


def low_port():
    """A free port that only root can bind."""
    for _ in range(200):
        port = random.randint(600, 1023)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no port below 1024 is free")


# ---- user and sandbox

def test_every_thread_is_sealed(relay, sink):
    mail_flows(relay, sink, "sealed@example.test")
    for name in instances(relay):
        for s in statuses(relay.pid(name)):
            assert (s["NoNewPrivs"], s["Seccomp"]) == ("1", "2"), (name, s["Name"])
    reload_all(relay)
    mail_flows(relay, sink, "sealed2@example.test")


def test_sandbox_can_be_switched_off(sink):
    with Relay("--set", "sandbox=no", route=sink) as r:
        for name in instances(r):
            assert {s["Seccomp"] for s in statuses(r.pid(name))} == {"0"}


def hand_over(folder):
    for at, dirs, files in os.walk(folder):
        for name in [at] + [os.path.join(at, f) for f in files]:
            os.chown(name, NOBODY.pw_uid, NOBODY.pw_gid)


@pytest.fixture(scope="module")
def nobodys_relay(sink):
    """Started by root, with a port below 1024, and run by nobody."""
    r = Relay(route=sink)
    for verb in ("up", "down"):  # makes the certificate
        done = r.sandbox(verb, *(r.options + ["--no-account"] if verb == "up" else []))
        assert done.returncode == 0, done.stdout
    for name in ("data", "run", "log"):
        shutil.rmtree(os.path.join(r.folder, name))
        os.mkdir(os.path.join(r.folder, name), 0o700)
    hand_over(r.folder)
    r.options += ["--set", "user=nobody", "--submission", str(low_port())]
    with r:
        yield r


@as_root
def test_root_becomes_the_user_and_keeps_nothing(nobodys_relay, sink):
    r = nobodys_relay
    assert int(r.submission_port) < 1024
    mail_flows(r, sink, "nobody1@example.test")
    for name in instances(r):
        for s in statuses(r.pid(name)):
            assert s["Uid"].split() == [str(NOBODY.pw_uid)] * 4, (name, s["Name"])
            assert s["Gid"].split() == [str(NOBODY.pw_gid)] * 4, (name, s["Name"])
            assert "0" not in s["Groups"].split(), (name, s["Name"])
            for caps in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(s[caps], 16) == 0, (name, s["Name"], caps)
            assert (s["NoNewPrivs"], s["Seccomp"]) == ("1", "2"), (name, s["Name"])
        owners = {os.stat(p).st_uid for p in glob.glob("%s/data/%s/*" % (r.folder, name))}
        assert owners == {NOBODY.pw_uid}, name


@as_root
def test_it_reloads_stops_and_starts_again(nobodys_relay, sink):
    r = nobodys_relay
    reload_all(r)
    mail_flows(r, sink, "nobody2@example.test")
    for name in instances(r):
        r.kill(name, signal.SIGTERM)
        assert r.log(name).endswith(" info stopped exit=0\n"), r.log(name)[-500:]
    for name in instances(r):
        r.start(name)
    mail_flows(r, sink, "nobody3@example.test")


def run_once(r, name, **more):
    """A start that must fail: its exit code and its log."""
    done = subprocess.run([BIN + "/holdfast-" + name[:-2], "-c", r.folder + "/holdfast.yaml", "-i",
                           name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=60, env=r.environ, **more)
    return done.returncode, done.stdout


@as_root
def test_store_of_another_owner_is_refused(nobodys_relay):
    r = nobodys_relay
    store = r.folder + "/data/policy-1"
    r.kill("policy-1", signal.SIGTERM)
    os.chown(store, 0, 0)
    code, log = run_once(r, "policy-1")
    assert code == 77, log
    assert "%s belongs to user root and we run as nobody" % store in log
    os.chown(store, NOBODY.pw_uid, NOBODY.pw_gid)
    r.start("policy-1")


@as_root
@pytest.mark.parametrize("user,code,said", [
    ("hf-no-such-user", 78, "no user named hf-no-such-user"),
    ("daemon", 77, "only root can become user daemon"),
])
def test_user_that_cannot_be_had_ends_the_start(nobodys_relay, user, code, said):
    r = nobodys_relay
    with open(r.folder + "/holdfast.yaml") as f:
        text = f.read().replace("user: nobody", "user: " + user)
    path = r.folder + "/other.yaml"
    with open(path, "w") as f:
        f.write(text)
    as_user = {} if code == 78 else {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid}
    program = r.folder + "/holdfast-policy"  # the folder of the build may be root's alone
    shutil.copy(BIN + "/holdfast-policy", program)
    done = subprocess.run([program, "-c", path, "-i", "policy-1"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60, env=r.environ, **as_user)
    assert done.returncode == code, done.stdout
    assert said in done.stdout


# ---- listening sockets

def listening(port):
    """The inodes of the sockets that listen on port."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as f:
            rows = [line.split() for line in f][1:]
        found += [r[9] for r in rows if r[3] == "0A" and int(r[1].rsplit(":", 1)[1], 16) == port]
    return found


def activate(r, *addresses):
    """ingest-1 by systemd-socket-activate, which starts it at the first connection."""
    options = [o for a in addresses for o in ("-l", a)]
    options += ["-E" + name for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS") if name in r.environ]
    log = open(r.folder + "/log/ingest-1.log", "a")
    p = subprocess.Popen(["systemd-socket-activate", *options, BIN + "/holdfast-ingest", "-c",
                          r.folder + "/holdfast.yaml", "-i", "ingest-1"], env=r.environ,
                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    log.close()
    with open(r.folder + "/run/ingest-1.pid", "w") as f:
        f.write("%d\n" % p.pid)
    return p


def connects(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 5).close()
        return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def doors(sink):
    """A relay whose ingest the tests start themselves."""
    with Relay(route=sink) as r:
        r.kill("ingest-1", signal.SIGTERM)
        yield r


@pytest.fixture
def ingest(doors):
    """Whatever the test leaves of ingest-1 is stopped after it."""
    started = []
    yield started
    for p in started:
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
        p.wait(30)


def test_passed_socket_is_used(doors, sink, ingest):
    port = int(doors.submission_port)
    p = activate(doors, "127.0.0.1:%d" % port)
    ingest.append(p)
    wait_for("the socket is there", lambda: listening(port))
    inode = listening(port)
    mail_flows(doors, sink, "passed@example.test")
    held = {os.readlink(fd) for fd in glob.glob("/proc/%d/fd/*" % p.pid) if os.path.islink(fd)}
    assert len(inode) == 1 and listening(port) == inode
    assert "socket:[%s]" % inode[0] in held
    assert listening(int(doors.relay_port))  # the others are its own
    p.send_signal(signal.SIGTERM)
    assert p.wait(30) == 0


def test_passed_socket_without_listener_ends_the_start(doors, ingest):
    stranger = free_port()
    p = activate(doors, "127.0.0.1:%s" % doors.submission_port, "127.0.0.1:%d" % stranger)
    ingest.append(p)
    wait_for("the start", lambda: connects(stranger))
    assert p.wait(60) == 78
    log = doors.log("ingest-1")
    assert re.search(r"error listener address=127\.0\.0\.1:%d fd=4 why=.passed to us" % stranger, log)


def test_passed_socket_of_another_kind_ends_the_start(doors, ingest):
    path = doors.folder + "/run/odd"
    p = activate(doors, "127.0.0.1:%s" % doors.submission_port, path)
    ingest.append(p)
    wait_for("the start", lambda: connects(int(doors.submission_port)))
    assert p.wait(60) == 78
    os.remove(path)
    assert "passed to us, but no listener has this address" in doors.log("ingest-1")


def with_listeners(r, *rows):
    """The configuration with these instead of the submission listener."""
    with open(r.folder + "/holdfast.yaml") as f:
        text = f.read()
    row = re.search(r'^ *- \{address: "127\.0\.0\.1:%s", .*\n' % r.submission_port, text, re.M)
    lines = "".join(row.group(0).replace("127.0.0.1:" + r.submission_port, a) for a in rows)
    return text, text.replace(row.group(0), lines)


@pytest.fixture
def rewrite(doors):
    """Write listeners into the configuration; the old ones come back."""
    path = doors.folder + "/holdfast.yaml"
    kept = []

    def write(*rows):
        old, new = with_listeners(doors, *rows)
        kept.append(old)
        with open(path, "w") as f:
            f.write(new)
    yield write
    with open(path, "w") as f:
        f.write(kept[0])


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this host has no IPv6")
def test_both_families_share_a_port(doors, rewrite):
    port = int(doors.submission_port)
    rewrite("0.0.0.0:%d" % port, "[::]:%d" % port)
    doors.start("ingest-1")
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, port), 10) as s:
            assert s.recv(3) == b"220"
    doors.kill("ingest-1", signal.SIGTERM)


def test_address_given_twice_ends_the_start(doors, rewrite):
    rewrite(*["127.0.0.1:%s" % doors.submission_port] * 2)
    code, log = run_once(doors, "ingest-1")
    assert code == 78, log
    assert "is there twice" in log


def test_port_of_a_stranger_ends_the_start(doors, rewrite):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        rewrite("127.0.0.1:%d" % s.getsockname()[1])
        code, log = run_once(doors, "ingest-1")
    assert code == 69, log
    assert re.search(r"error listener address=\S+ why=.Address already in use", log)


# ---- units

@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """The units as installed, but with the programs of this build."""
    folder = tmp_path_factory.mktemp("units")
    for path in glob.glob(ROOT + "/deploy/systemd/holdfast*.*"):
        with open(path) as f:
            text = f.read()
        (folder / os.path.basename(path)).write_text(text.replace("/usr/sbin/", BIN + "/"))
    return folder


def analyze(*args):
    return subprocess.run(["systemd-analyze", *args], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60)


def test_units_are_there(units):
    assert {p.name for p in units.iterdir()} >= {*UNITS, "holdfast.target", "holdfast-ingest.socket"}


@pytest.mark.parametrize("unit", [*UNITS, "holdfast.target", "holdfast-ingest.socket"])
def test_unit_is_without_fault(units, unit):
    done = analyze("verify", "--man=no", str(units / unit))
    assert (done.returncode, done.stdout) == (0, "")


def test_a_fault_in_a_unit_would_be_seen(units):
    path = units / "holdfast-fault@.service"
    path.write_text((units / UNITS[0]).read_text().replace("ProtectHome", "ProtectHouse"))
    assert "ProtectHouse" in analyze("verify", "--man=no", str(path)).stdout


@pytest.mark.parametrize("unit", UNITS)
def test_unit_is_exposed_under_2(unit):
    done = analyze("security", "--offline=true", "--threshold=19",
                   "%s/deploy/systemd/%s" % (ROOT, unit))
    assert done.returncode == 0, done.stdout


def expanded(name):
    """The system calls of a set of systemd."""
    lines = [l.strip() for l in analyze("syscall-filter", name).stdout.splitlines()[1:]]
    calls = set()
    for line in lines:
        if line.startswith("@"):
            calls |= expanded(line)
        elif line and not line.startswith("#"):
            calls.add(line)
    return calls


@pytest.mark.parametrize("unit", UNITS)
def test_unit_allows_what_the_programs_need(unit):
    """These end or lame a program when they are refused: its own filter, ZeroMQ's threads."""
    calls = expanded("@default")
    with open("%s/deploy/systemd/%s" % (ROOT, unit)) as f:
        for value in re.findall(r"^SystemCallFilter=(.*)", f.read(), re.M):
            deny = value.startswith("~")
            for name in value.lstrip("~").split():
                some = expanded(name) if name.startswith("@") else {name}
                calls = calls - some if deny else calls | some
    assert calls >= {"seccomp", "prctl", "sched_setscheduler", "clone", "clone3", "prlimit64",
                     "fdatasync", "fallocate", "sync_file_range", "sendmmsg", "epoll_wait"}
    assert not calls & {"ptrace", "mount", "bpf", "setuid", "chown", "keyctl", "init_module"}
