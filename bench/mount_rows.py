"""Rows about the host's directories in a guest, beside sshfs as a person would set it up, and beside the guest's own disk."""

import os
import shutil
import socket
import subprocess
import tempfile
import time

FILES = 20000
MEGABYTES = 1024
SERVER = next(p for p in ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server"] if os.path.exists(p))


class Guest:
    def __init__(self, binary, environment, shared):
        self.binary, self.environment = binary, environment
        self.home = f"{environment['LIMA_HOME']}/mounts"
        self.run("disk", "create", "own", "--size", "3GiB", "--format", "raw")
        disk = environment["LIMA_HOME"] + "/_disks/own/datadisk"
        subprocess.run(["mke2fs", "-q", "-t", "ext4", disk], check=True)
        self.run("create", "--name", "mounts", "--memory", "512MiB", "mini")
        with open(self.home + "/lima.yaml", "a") as out:
            out.write(f'mounts:\n- {{location: "{shared}", mountPoint: /mnt/shared, writable: true}}\n'
                      'additionalDisks: [{name: own, format: false}]\n')
        self.run("start", "mounts")
        self.ssh("""for d in /sys/block/*; do [ "$(cat $d/serial 2> /dev/null)" != hostagent-disk-0 ] || disk=/dev/${d##*/}; done
            mkdir -p /mnt/own && mount -t ext4 $disk /mnt/own""")

    def run(self, *words):
        return subprocess.run([self.binary, *words], env=self.environment, check=True, capture_output=True, text=True).stdout

    def ssh(self, script, **more):
        return subprocess.run(
            ["ssh", "-F", self.home + "/ssh.config", "lima-mounts", "sudo sh"], input=script, check=True,
            capture_output=True, text=True, **more).stdout

    def seconds(self, script):
        began = time.monotonic()
        self.ssh(script)
        return time.monotonic() - began


def _by_hand(guest, shared):
    """Lima's way: sshfs in the guest speaks through a connection of ssh to a server on the host."""
    ours, theirs = socket.socketpair()
    server = subprocess.Popen([SERVER], stdin=ours, stdout=ours)
    client = subprocess.Popen(
        ["ssh", "-F", guest.home + "/ssh.config", "-o", "ControlPath=none", "lima-mounts",
         f"sudo sh -c 'mkdir -p /mnt/hand && exec sshfs :{shared}/hand /mnt/hand -o passive,allow_other'"],
        stdin=theirs, stdout=theirs)
    for _ in range(200):
        if "/mnt/hand" in guest.ssh("cat /proc/mounts"):
            return server, client
        time.sleep(0.1)
    raise SystemExit("sshfs by hand did not mount")


def rows(row, rounds, binary, environment):
    shared = tempfile.mkdtemp(prefix="ha-mounts-", dir="/var/tmp")
    os.mkdir(shared + "/hand")
    files, megabytes = rounds(FILES, 200), rounds(MEGABYTES, 16)
    guest = Guest(binary, environment, shared)
    processes = _by_hand(guest, shared)
    guest.ssh(f"""mkdir -p /mnt/own/tree && cd /mnt/own/tree && i=0
        while [ $i -lt {files // 100} ]; do
            mkdir d$i; j=0; while [ $j -lt 100 ]; do echo $i $j > d$i/f$j; j=$((j+1)); done; i=$((i+1))
        done; cd /mnt/own && tar cf tree.tar tree && rm -rf tree && sync""")
    ways = [("/mnt/own", "own disk"), ("/mnt/hand", "sshfs by hand"), ("/mnt/shared", "mount")]
    scripts = [
        (f"tar x of {files} small files, s", "cd {0} && tar xf /mnt/own/tree.tar && sync"),
        (f"find of {files} files, s", "find {0}/tree | wc -l"),
        (f"{megabytes} MB sequential write, s", f"dd if=/dev/zero of={{0}}/large bs=1M count={megabytes} conv=fsync"),
        (f"{megabytes} MB sequential read, s", "echo 3 > /proc/sys/vm/drop_caches; cat {0}/large > /dev/null"),
    ]
    for figure, script in scripts:
        taken = {}
        for directory, way in ways:
            taken[way] = guest.seconds(script.format(directory))
        row(f"{figure} (own disk: {taken['own disk']:.1f})", round(taken["mount"], 1), round(taken["sshfs by hand"], 1),
            "<= 1.0 x", taken["mount"] <= taken["sshfs by hand"])
    helpers = subprocess.run(["pgrep", "-f", f"bwrap .*{shared} "], capture_output=True, text=True).stdout.split()
    helpers += subprocess.run(["pgrep", "-P", ",".join(helpers)], capture_output=True, text=True).stdout.split()
    memory = {}
    for pid in helpers + [str(subprocess.run(["pgrep", "-f", f"ssh -F {guest.home}/ssh.config.*ControlMaster=yes"],
                                             capture_output=True, text=True).stdout.split()[0])]:
        status = open(f"/proc/{pid}/status").read()
        name = status.split()[1]
        memory[name] = memory.get(name, 0) + int(status.split("RssAnon:")[1].split()[0])
    total = sum(memory.values()) / 1024
    said = ", ".join(f"{name} {kilobytes} KB" for name, kilobytes in memory.items())
    row(f"anonymous memory of the helpers, MB ({said})", round(total, 1), "-", "<= 12", total <= 12)
    for process in processes:
        process.kill()
        process.wait()
    guest.run("stop", "mounts")
    guest.run("delete", "mounts")
    guest.run("disk", "delete", "own")
    shutil.rmtree(shared)
