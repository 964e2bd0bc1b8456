"""Rows that compare QEMU's own user network with passt(1), with the argv of a Debian guest run by hand."""

import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

import port_rows


def rows(row, rounds, binary, environment):
    if not shutil.which("passt"):
        print("  the rows about passt need passt (apt-get install passt)")
        return
    guest = port_rows.Guest(binary, environment, "network", "debian-local")
    home = f"{environment['LIMA_HOME']}/network"
    pid = re.search(r'"guestPID" : (\d+)', guest.run("info", "network")).group(1)
    with open(f"/proc/{pid}/cmdline") as file:
        argv = file.read().split("\0")[:-1]
    guest.helper.kill()
    guest.helper.wait()
    guest.run("stop", "network")
    results = {}
    for name in ["user", "passt"]:
        results[name] = _measure(name, list(argv), guest, home, rounds)
    for index, what in enumerate(["from the guest, MB/s", "to the guest, MB/s", f"{rounds(1000, 50)} short connections, s"]):
        row(f"passt: {what}; QEMU's user network beside it", round(results["passt"][index], 2),
            round(results["user"][index], 2), "-", None)
    guest.run("delete", "network")


def _measure(name, argv, guest, home, rounds):
    """Throughput each way, and seconds for short connections, through a forwarded port."""
    ssh, port = port_rows._free_ports(2)
    work = tempfile.mkdtemp(prefix="ha-passt-", dir="/tmp")
    at = argv.index("-netdev") + 1
    passt = None
    if name == "passt":
        passt = subprocess.Popen(
            ["passt", "-f", "-q", "--runas", str(os.getuid()), "-s", work + "/socket", "-a", "192.168.5.15", "-n", "24",
             "-g", "192.168.5.2", "-t", f"127.0.0.1/{ssh}:22,127.0.0.1/{port}:{port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not os.path.exists(work + "/socket"):
            time.sleep(0.01)
        argv[at] = f"stream,id=net,server=off,addr.type=unix,addr.path={work}/socket"
    else:
        argv[at] = re.sub(r"127\.0\.0\.1:\d+-:22", f"127.0.0.1:{ssh}-:22", argv[at]) + f",hostfwd=tcp:127.0.0.1:{port}-:{port}"
    # Disks are not changed: what is measured boots from the same state.
    machine = subprocess.Popen(argv + ["-snapshot"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        with open(home + "/ssh.config") as file:
            text = re.sub(r"(?m)^(\s*Port ).*", rf"\g<1>{ssh}", file.read())
        with open(work + "/ssh.config", "w") as file:
            file.write(text)
        login = ["ssh", "-F", work + "/ssh.config", "-o", "ControlPath=none", "-o", "ConnectTimeout=5", "lima-network"]
        deadline = time.monotonic() + 240
        while subprocess.run(login + ["true"], capture_output=True).returncode:
            if time.monotonic() > deadline or machine.poll() is not None:
                raise SystemExit(f"the guest with {name} cannot be reached: {machine.poll()}")
            time.sleep(1)
        guest.helper = subprocess.Popen(
            login + ["perl -e '%s'" % port_rows.HELPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        guest.ask("listen", port, "0.0.0.0")
        guest.ask("serve")
        found = [statistics.median(port_rows._throughput(port, wish) for _ in range(rounds(3, 1))) for wish in [b"r", b"s"]]
        found.append(port_rows._connections(port, rounds(1000, 50)))
        guest.helper.kill()
        guest.helper.wait()
        return found
    finally:
        machine.kill()
        machine.wait()
        if passt:
            passt.kill()
            passt.wait()
        shutil.rmtree(work)
