"""Rows about passt (passt(1)) beside QEMU's own network: the same machine boots with one and the other in turn."""

import os
import shlex
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

import port_rows


def _until_off(path):
    """Waits for the event SHUTDOWN (QMP)."""
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.settimeout(120)
        monitor.connect(path)
        lines = monitor.makefile("rw")
        lines.write('{"execute":"qmp_capabilities"}\n{"execute":"query-status"}\n')
        lines.flush()
        for line in lines:
            if '"SHUTDOWN"' in line or '"status": "shutdown"' in line:
                return


class Machine:
    """A Debian guest without an agent, whose network is QEMU's own or passt."""

    def __init__(self, line, config, network):
        ssh, self.port = port_rows._free_ports(2)
        arguments = list(line)
        self.monitor = next(word for word in line if word.startswith("socket,id=qmp,")).split("path=")[1].split(",")[0]
        place = next(i for i, word in enumerate(arguments) if word.startswith("user,id=net"))
        self.passt = None
        if network == "passt":
            # passt gives up the rights of root, and still has to make its socket.
            self.directory = tempfile.mkdtemp(prefix="ha-passt-", dir="/tmp")
            os.chmod(self.directory, 0o777)
            path = f"{self.directory}/socket"
            with open(f"{self.directory}/log", "w") as log:
                self.passt = subprocess.Popen(["passt", "-f", "--socket", path, "-t", f"{ssh}:22", "-t", str(self.port)], stdout=log, stderr=log)
            port_rows._wait(lambda: os.path.exists(path))
            arguments[place] = f"stream,id=net,server=off,addr.type=unix,addr.path={path}"
        else:
            arguments[place] = (f"user,id=net,net=192.168.5.0/24,dhcpstart=192.168.5.15,hostfwd=tcp:127.0.0.1:{ssh}-:22,"
                                f"hostfwd=tcp:127.0.0.1:{self.port}-:{self.port}")
        self.helper = None
        self.qemu = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        self.ssh = ["ssh", "-F", config, "-o", "ControlPath=none", "-o", "ConnectTimeout=5", "-p", str(ssh), "lima-networks"]
        began = time.monotonic()
        while subprocess.run(self.ssh + ["true"], capture_output=True).returncode:
            if self.qemu.poll() is not None or time.monotonic() - began > 240:
                self.kill()
                raise SystemExit(f"the guest with the network {network} does not let anybody in")
            time.sleep(0.5)
        self.helper = subprocess.Popen(
            self.ssh + ["perl -e " + shlex.quote(port_rows.HELPER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(self, *words):
        port_rows.Guest.ask(self, *words)

    def has_own_ipv6(self):
        """Whether the guest has an address of IPv6 that is not only QEMU's or the link's."""
        said = subprocess.run(self.ssh + ["ip -6 -brief address show scope global"], capture_output=True, text=True).stdout
        return any(not word.startswith("fec0:") for word in said.split() if ":" in word)

    def memory(self):
        with open(f"/proc/{self.passt.pid}/smaps_rollup") as rollup:
            return int(rollup.read().split("Anonymous:")[1].split()[0]) / 1024

    def end(self):
        subprocess.run(self.ssh + ["sudo systemctl poweroff"], capture_output=True)
        # QEMU stays when its guest has powered itself off (-no-shutdown), and says so on its monitor.
        _until_off(self.monitor)

    def kill(self):
        for process in [self.helper, self.qemu, self.passt]:
            if process:
                process.kill()
                process.wait()
        if self.passt:
            shutil.rmtree(self.directory)


def rows(row, rounds, binary, environment):
    def run(*words):
        return subprocess.run([binary, *words], env=environment, check=True, capture_output=True, text=True).stdout

    directory = f"{environment['LIMA_HOME']}/networks"
    run("create", "--name", "networks", "--cpus", "1", "debian-local")
    run("start", "networks")
    with open(f"{directory}/qemu.pid") as pid, open(f"/proc/{int(pid.read())}/cmdline") as line:
        arguments = line.read().split("\0")[:-1]
    run("stop", "networks")

    figures, memory, ipv6 = {}, [], {}
    for _ in range(rounds(3, 1)):
        for network in ["user", "passt"]:
            machine = Machine(arguments, f"{directory}/ssh.config", network)
            try:
                machine.ask("listen", machine.port, "0.0.0.0")
                machine.ask("serve")
                measured = {
                    "from the guest, MB/s": port_rows._throughput(machine.port, b"r"),
                    "to the guest, MB/s": port_rows._throughput(machine.port, b"s"),
                    "1000 short connections, s": port_rows._connections(machine.port, 1000),
                }
                for what, value in measured.items():
                    figures.setdefault(what, {}).setdefault(network, []).append(value)
                ipv6[network] = machine.has_own_ipv6()
                if machine.passt:
                    memory.append(machine.memory())
                machine.end()
            finally:
                machine.kill()
    for what, values in figures.items():
        passt, user = (statistics.median(values[network]) for network in ["passt", "user"])
        row(f"passt, {what}; QEMU's network: {passt / user:.2f} ×", f"{passt:.1f}", f"{user:.1f}", "-", None)
    row("passt, anonymous memory, MB", f"{statistics.median(memory):.0f}", "0", "-", None)
    row("passt, the guest has an IPv6 address of its own", ipv6["passt"], ipv6["user"], "-", None)
    run("delete", "networks")
