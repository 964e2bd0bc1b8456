"""Rows about the guest's ports: how soon they are on the host, what that costs the guest, how fast the forwards are."""

import shlex
import socket
import statistics
import subprocess
import time

# Perl is part of every Debian guest. Each line on standard input is a request; each is answered when it is done.
HELPER = r"""
use Socket; use strict; $| = 1; my $s; my $block = "x" x 65536;
while (my $line = <STDIN>) {
  my ($what, $port, $address) = split ' ', $line;
  if ($what eq "listen" or $what eq "keep") {
    socket($s, PF_INET, SOCK_STREAM, 0); setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
    bind($s, sockaddr_in($port, inet_aton($address))) or die $!; listen($s, 128);
    if ($what eq "keep") { our @kept; push @kept, $s }
  } elsif ($what eq "close") { close $s }
  elsif ($what eq "serve") {
    # The client's first byte says what it wants: to send, to receive, or only an answer.
    if (!fork) {
      while (accept(my $c, $s)) {
        sysread $c, my $wish, 1;
        if ($wish eq "r") { for (1 .. 1024) { syswrite $c, $block or last } }
        elsif ($wish eq "s") { while (sysread $c, my $data, 65536) {} syswrite $c, "." }
        else { syswrite $c, "." }
        close $c;
      }
      exit;
    }
  }
  print "done\n";
}
"""
MEGABYTES = 64


class Guest:
    """A guest that a helper runs in."""

    def __init__(self, binary, environment, name, template):
        self.binary, self.environment, self.name = binary, environment, name
        self.config = f"{environment['LIMA_HOME']}/{name}/ssh.config"
        self.run("create", "--name", name, "--cpus", "1", template)
        self.run("start", name)
        self.ssh = ["ssh", "-F", self.config, "-o", "ControlPath=none", f"lima-{name}"]
        self.helper = subprocess.Popen(
            self.ssh + ["perl -e " + shlex.quote(HELPER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def run(self, *words):
        return subprocess.run([self.binary, *words], env=self.environment, check=True, capture_output=True, text=True).stdout

    def ask(self, *words):
        self.helper.stdin.write(" ".join(map(str, words)) + "\n")
        self.helper.stdin.flush()
        assert self.helper.stdout.readline() == "done\n"

    def end(self):
        self.helper.kill()
        self.helper.wait()
        self.run("stop", self.name)
        self.run("delete", self.name)


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _is_open(port):
    """Whether somebody listens, without a connection, which the guest would have to answer."""
    wanted = f"0100007F:{port:04X} 00000000:0000 0A"
    with open("/proc/net/tcp") as table:
        return wanted in table.read()


def _wait(condition):
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > 20:
            raise SystemExit("the port did not change within 20 s")
        time.sleep(0.0005)


def _latencies(guest, address, count):
    """Milliseconds from the answer of listen() in the guest to a connection through the host's port, and back to none."""
    opened, closed = [], []
    for port in _free_ports(count):
        guest.ask("listen", port, address)
        began = time.monotonic()
        _wait(lambda: _is_open(port))
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        opened.append((time.monotonic() - began) * 1000)
        guest.ask("close")
        began = time.monotonic()
        _wait(lambda: not _is_open(port))
        closed.append((time.monotonic() - began) * 1000)
    return opened, closed


def _p99(values):
    return sorted(values)[max(0, int(len(values) * 0.99) - 1)]


def _throughput(port, wish):
    block = b"x" * 65536
    with socket.create_connection(("127.0.0.1", port), timeout=120) as s:
        began = time.monotonic()
        s.sendall(wish)
        if wish == b"r":
            while s.recv(1 << 20):
                pass
        else:
            for _ in range(MEGABYTES * 16):
                s.sendall(block)
            s.shutdown(socket.SHUT_WR)
            s.recv(1)
        return MEGABYTES / (time.monotonic() - began)


def _connections(port, count):
    began = time.monotonic()
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
            s.sendall(b"?")
            assert s.recv(1) == b"."
    return time.monotonic() - began


def _switches(guest):
    """Voluntary context switches of the processes in the guest that watch its ports."""
    script = ("for p in $(ps ax | sed -n 's/^ *\\([0-9]*\\) .*\\(ports[.]sh\\|trace_pipe\\)$/\\1/p'); do "
              "cat /proc/$p/status | grep ^voluntary; done")
    out = subprocess.run(guest.ssh + [script], capture_output=True, text=True, check=True).stdout
    counts = [int(line.split()[1]) for line in out.splitlines()]
    assert len(counts) >= 2, "nobody watches the ports"
    return sum(counts)


def rows(row, rounds, binary, environment):
    guest = Guest(binary, environment, "ports", "debian-local")
    for address in ["0.0.0.0", "127.0.0.1"]:
        opened, closed = _latencies(guest, address, rounds(200, 10))
        row(f"listen() on {address} in a Debian guest to a connection, p99 in ms (median {statistics.median(opened):.0f})",
            round(_p99(opened)), "-", "<= 100", _p99(opened) <= 100)
        row(f"close() to a closed port, p99 in ms (median {statistics.median(closed):.0f})", round(_p99(closed)), "-", "-", None)

    for port in _free_ports(20):
        guest.ask("keep", port, "0.0.0.0")
    time.sleep(2)
    before = _switches(guest)
    time.sleep(rounds(60, 5))
    row("context switches in the guest for 20 listeners, 60 s", _switches(guest) - before, "-", "none", _switches(guest) == before)

    everywhere, loopback, own = _free_ports(3)
    for port, address in [(everywhere, "0.0.0.0"), (loopback, "127.0.0.1")]:
        guest.ask("listen", port, address)
        guest.ask("serve")
        _wait(lambda: _is_open(port))
    # The reference: an ssh -L of its own. A forward of the network is QEMU's own hostfwd.
    by_hand = subprocess.Popen(guest.ssh[:-1] + ["-N", "-L", f"{own}:127.0.0.1:{loopback}", guest.ssh[-1]])
    _wait(lambda: _is_open(own))
    for what, wish in [("from the guest", b"r"), ("to the guest", b"s")]:
        for address, port in [("0.0.0.0", everywhere), ("127.0.0.1", loopback)]:
            ours, theirs = [], []
            for _ in range(rounds(3, 1)):
                ours.append(_throughput(port, wish))
                theirs.append(_throughput(own, wish))
            ours, theirs = statistics.median(ours), statistics.median(theirs)
            row(f"{what}, {address}, MB/s; ssh -L: {ours / theirs:.2f} ×", round(ours, 1), round(theirs, 1), ">= 1 ×", ours >= 0.95 * theirs)
    count = rounds(1000, 50)
    row(f"{count} short connections to 0.0.0.0, s; to 127.0.0.1 beside it", round(_connections(everywhere, count), 2),
        round(_connections(loopback, count), 2), "-", None)
    by_hand.kill()
    by_hand.wait()
    guest.end()
