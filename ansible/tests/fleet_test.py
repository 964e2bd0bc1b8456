# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks against hosts of their own: machines with a real systemd (scripts/lab), reached by a real SSH.

The SSH server of a machine is at the other end of ssh's ProxyCommand, so no network is needed. Two machines are Debian 12
with systemd 252 and Dropbear, one is Debian 13 with systemd 257 and OpenSSH. The last one also has the emulator of launchd.
Run by scripts/test-ansible as root. HOSTAGENT_HOSTS is the number of machines, 2 or 3 (the default). HOSTAGENT_TRANSCRIPT
names a file for what Ansible prints when the role makes everything.
"""

from __future__ import annotations

import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
LAB = os.path.join(ROOT, "scripts/lab")
DATA = os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "hostagent")
# Dropbear wants a connection of TCP.
BOOKWORM = (None, "busybox nc 127.0.0.1 22")
TRIXIE = (os.path.join(DATA, "lab-trixie"), "/usr/sbin/sshd -i -e")
HOSTS = dict([("bookworm", BOOKWORM), ("trixie", TRIXIE), ("bookworm2", BOOKWORM)][:int(os.environ.get("HOSTAGENT_HOSTS", "3"))])
ACCOUNT = """
set -e
useradd --create-home --shell /bin/bash tester
echo 'tester ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/tester
install -d -m 0700 -o tester -g tester /home/tester/.ssh
printf '%%s\\n' '%(key)s' > /home/tester/.ssh/authorized_keys
chown tester: /home/tester/.ssh/authorized_keys
chmod 0600 /home/tester/.ssh/authorized_keys
echo 'XDG_DATA_HOME=/opt/guests' >> /etc/environment
chmod -R a+rX /opt/guests
if command -v sshd > /dev/null; then ssh-keygen -A > /dev/null; mkdir -p /run/sshd; fi
if command -v dropbear > /dev/null; then
    dropbearkey -t ed25519 -f /etc/fleet_host_key > /dev/null 2>&1
    systemd-run --quiet --unit=fleet-ssh dropbear -F -s -W 1048576 -r /etc/fleet_host_key -p 127.0.0.1:22
fi
loginctl enable-linger tester
tries=0
until [ -S /run/user/$(id -u tester)/bus ]; do sleep 0.1; tries=$((tries+1)); [ $tries -lt 300 ]; done
"""


class Host:
    """A machine with a systemd of its own."""

    def __init__(self, system, key):
        self.system = system
        root, self.server = HOSTS[system]
        self.name = "t-%d-fleet-%s" % (os.getpid(), system)
        self.environment = dict(os.environ, **({"LAB_ROOT": root} if root else {}))
        self.lab("up", self.name)
        self.lab("put", self.name, os.path.join(DATA, "mini"), "/opt/guests/hostagent")
        self.root(ACCOUNT % {"key": key})

    def lab(self, *words, data=None):
        result = subprocess.run(
            [LAB] + list(words), env=self.environment, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode:
            raise AssertionError("lab %s: %s" % (words, result.stdout))
        return result.stdout

    def root(self, script):
        return self.lab("exec", self.name, "sh", "-c", script)

    def tester(self, script):
        return self.lab("user", self.name, "tester", "env", "XDG_DATA_HOME=/opt/guests", "sh", "-c", script)

    def cut_connections(self):
        """Kills the SSH servers of connections, and what they run for Ansible."""
        servers = "$(systemctl show -P MainPID fleet-ssh.service)"
        kill = "pkill -KILL -P " + servers if HOSTS[self.system] is BOOKWORM else "pkill -KILL -x 'sshd|sshd-session|sshd-auth'"
        self.root("%s; pkill -KILL -f 'hostagent [a]pply'; true" % kill)

    @property
    def proxy(self):
        return "%s exec %s %s" % (LAB, self.name, self.server)


class Fleet:
    """The machines, and a directory for playbooks."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="ha-%d-fleet-" % os.getpid(), dir="/tmp")
        self.hosts = {}
        try:
            self.key = os.path.join(self.directory, "key")
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
            with open(self.key + ".pub") as file:
                public = file.read().strip()
            with ThreadPoolExecutor() as pool:
                for host in pool.map(lambda system: Host(system, public), HOSTS):
                    self.hosts[host.system] = host
            # What people install has no debugging symbols, and is copied over SSH here.
            self.binary = os.path.join(self.directory, "hostagent")
            subprocess.run(["strip", "--strip-debug", "-o", self.binary, os.environ["HOSTAGENT"]], check=True)
        except BaseException:
            self.end()
            raise

    def end(self):
        for system in HOSTS:
            subprocess.run([LAB, "down", "t-%d-fleet-%s" % (os.getpid(), system)], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def write(self, name, value):
        path = os.path.join(self.directory, name)
        with open(path, "w") as file:
            json.dump(value, file)
        return path

    def inventory(self, down=False):
        def variables(proxy):
            return {
                "ansible_user": "tester", "ansible_ssh_private_key_file": self.key, "ansible_python_interpreter": "/usr/bin/python3",
                "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
                                           "-o ProxyCommand='%s'" % proxy,
            }
        hosts = {system: variables(host.proxy) for system, host in self.hosts.items()}
        if down:
            hosts["broken"] = variables("false")
        return self.write("inventory.json", {"all": {"hosts": hosts}})

    def play(self, tasks, *words, down=False, **keys):
        """Runs a playbook. Gives its output, and the numbers of its recap for each host."""
        play = {"hosts": "all", "gather_facts": False, "environment": {"XDG_DATA_HOME": "/opt/guests"}, "tasks": tasks}
        playbook = self.write("play.json", [dict(play, **keys)])
        result = subprocess.run(
            ["ansible-playbook", "-i", self.inventory(down), playbook] + list(words), env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        recap = {}
        for line in result.stdout.partition("PLAY RECAP")[2].splitlines():
            found = re.match(r"(\S+)\s+: (.*)", line)
            if found:
                recap[found.group(1)] = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", found.group(2))}
        return result.stdout, recap

    @property
    def environment(self):
        return dict(os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_HOST_KEY_CHECKING="false", ANSIBLE_PIPELINING="true",
                    ANSIBLE_DEPRECATION_WARNINGS="false", ANSIBLE_TIMEOUT="60")


def instance(**arguments):
    return {"name": "instance", "hostagent.hostagent.instance": arguments, "register": "answer"}


WEB = {"name": "web", "template": "mini", "state": "started", "autostart": {"condition": "boot", "keep_alive": "always"}}
DESK = {"name": "desk", "template": "mini", "state": "stopped", "config": {"message": "for {{ inventory_hostname }}"},
        "autostart": {"condition": "login"}}
OLD = {"name": "old", "template": "mini", "state": "absent"}


class FleetTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = Fleet()

    @classmethod
    def tearDownClass(cls):
        cls.fleet.end()

    def expect(self, output, recap, changed=None, others=()):
        self.assertEqual(set(recap), set(HOSTS).union(others), output)
        for host in HOSTS:
            self.assertEqual((recap[host]["failed"], recap[host]["unreachable"]), (0, 0), output)
            if changed is not None:
                self.assertEqual(recap[host]["changed"], changed, output)

    def role(self, *words):
        return self.fleet.play(
            [{"ansible.builtin.import_role": {"name": "hostagent.hostagent.host"}}], *words, gather_facts=True,
            vars={"host_binary": self.fleet.binary, "host_install_packages": False, "host_instances": [WEB, DESK, OLD]})

    def test_1_the_role_from_nothing(self):
        # Without the program, a host cannot say what else would change.
        self.expect(*self.role("--check"), changed=1)
        # The binary, the instances, two registrations, and the start.
        output, recap = self.role()
        if "HOSTAGENT_TRANSCRIPT" in os.environ:
            with open(os.environ["HOSTAGENT_TRANSCRIPT"], "w") as file:
                file.write(output)
        self.expect(output, recap, changed=5)
        for host in self.fleet.hosts.values():
            rows = {row["name"]: row for row in map(json.loads, host.tester("hostagent list --json").strip().split("\n"))}
            self.assertEqual((rows["web"]["status"], rows["desk"]["status"]), ("Running", "Stopped"), rows)
            self.assertEqual(rows["web"]["autoStartedIdentifier"], "lima-vm@web.service")
            self.assertEqual(rows["desk"]["message"], "for " + host.system)
            self.assertIn("enabled", host.root("systemctl is-enabled lima-vm@web.service"))
            self.assertIn("enabled", host.tester("systemctl --user is-enabled lima-vm@desk.service"))
        self.expect(*self.role(), changed=0)
        self.expect(*self.role("--check"), changed=0)

    def test_2_restart_one_host_after_the_other(self):
        before = {system: self.guest(host) for system, host in self.fleet.hosts.items()}
        output, recap = self.fleet.play(
            [instance(name="web", state="restarted", lima_home="/home/tester/.lima")], serial=1, become=True)
        self.expect(output, recap, changed=1)
        after = {system: self.guest(host) for system, host in self.fleet.hosts.items()}
        for system in HOSTS:
            self.assertNotEqual(before[system]["guestPID"], after[system]["guestPID"])
            self.assertEqual(after[system]["state"], "Running")
        # Each one was ready before the next one began.
        systems = list(HOSTS)
        for first, second in zip(systems, systems[1:]):
            self.assertLess(after[first]["readyAt"], after[second]["startedAt"])

    def guest(self, host):
        return json.loads(host.tester("hostagent info web"))

    def test_3_a_host_that_is_down_fails_alone(self):
        output, recap = self.fleet.play([instance(name="web", state="started", lima_home="/home/tester/.lima")],
                                        down=True, become=True)
        self.expect(output, recap, changed=0, others=["broken"])
        self.assertEqual(recap["broken"]["unreachable"], 1, output)

    def test_4_a_connection_that_is_cut(self):
        """The next run converges, wherever the one before was cut."""
        task = instance(name="cut", template="mini", state="started", config={"message": "whole"})
        playbook = self.fleet.write("cut.json", [{"hosts": "all", "gather_facts": False, "environment": {"XDG_DATA_HOME": "/opt/guests"}, "tasks": [task]}])
        process = subprocess.Popen(
            ["ansible-playbook", "-i", self.fleet.inventory(), playbook], env=self.fleet.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 120
        watched = self.fleet.hosts["trixie"]
        while "qemu.pid" not in watched.tester("ls ~/.lima/cut 2> /dev/null || true"):
            self.assertLess(time.monotonic(), deadline, "no guest was started")
            time.sleep(0.02)
        # Ansible, the SSH servers at the other end, with which Ansible's own ssh ends, and what they run.
        os.killpg(process.pid, 9)
        process.wait()
        for host in self.fleet.hosts.values():
            host.cut_connections()
        output, recap = self.fleet.play([task])
        self.expect(output, recap)
        output, recap = self.fleet.play([task])
        self.expect(output, recap, changed=0)
        for host in self.fleet.hosts.values():
            self.assertEqual(json.loads(host.tester("hostagent list --json cut"))["status"], "Running")
        self.expect(*self.fleet.play([instance(name="cut", state="absent")]), changed=1)

    def test_5_conditions_change(self):
        def autostart(*words, become=False, **arguments):
            return self.fleet.play([{"hostagent.hostagent.autostart": dict(arguments, name="desk")}], *words, become=become)
        self.expect(*autostart(), changed=0)
        # Only root may register it with the machine's manager, and only its owner can remove the other registration before.
        output, recap = autostart(become=True, condition="boot", owner="tester")
        self.assertTrue(all(numbers["failed"] == 1 for numbers in recap.values()), output)
        self.assertIn("desk is registered to be started at login", output)
        output, recap = autostart(become=True, condition="login", owner="tester")
        self.assertIn("use become_user: tester", output)
        output, recap = autostart(become=True, state="absent", owner="tester")
        self.assertTrue(all(numbers["failed"] == 1 for numbers in recap.values()), output)
        self.expect(*autostart("--check", condition="none"), changed=1)
        self.expect(*autostart(condition="none"), changed=1)
        self.expect(*autostart(condition="none"), changed=0)
        self.expect(*autostart("--check", become=True, condition="boot", owner="tester"), changed=1)
        self.expect(*autostart(become=True, condition="boot", owner="tester"), changed=1)
        self.expect(*autostart(become=True, condition="boot", owner="tester"), changed=0)
        self.expect(*autostart(become=True, condition="boot", owner="tester", keep_alive="no"), changed=1)
        self.expect(*autostart(become=True, condition="boot", owner="tester", keep_alive="no"), changed=0)
        output, recap = autostart(become=True, condition="boot", owner="nobody-here")
        self.assertIn("there is no account nobody-here on this host", output)
        self.assertTrue(all(numbers["failed"] == 1 for numbers in recap.values()), output)

    def test_6_guests_as_hosts(self):
        for system, host in self.fleet.hosts.items():
            with open(os.path.join(self.fleet.directory, "ssh-" + system), "w") as file:
                file.write(host.tester("cat ~/.lima/_config/user"))
            os.chmod(file.name, 0o600)
        config = os.path.join(self.fleet.directory, "config")
        with open(config, "w") as file:
            for system, host in self.fleet.hosts.items():
                file.write(
                    "Host %s\n  User tester\n  IdentityFile %s\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n"
                    "  LogLevel ERROR\n  ProxyCommand %s\n" % (system, self.fleet.key, host.proxy))
        path = self.fleet.write("fleet.guests.yml", {
            "plugin": "hostagent.hostagent.guests", "hosts": list(HOSTS) + ["nowhere"],
            "ssh_arguments": ["-F", config, "-o", "ConnectTimeout=10"],
            "keyed_groups": [{"key": "hostagent.name", "prefix": "guest"}],
            "compose": {"ansible_ssh_private_key_file": "'%s/ssh-' ~ hostagent.host" % self.fleet.directory},
        })
        with open(config, "a") as file:
            file.write("Host nowhere\n  ProxyCommand false\n")
        listed = subprocess.run(["ansible-inventory", "-i", path, "--list"], env=self.fleet.environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        groups = json.loads(listed.stdout)
        self.assertEqual(sorted(groups["guest_web"]["hosts"]), sorted("web." + system for system in HOSTS), listed)
        self.assertIn("nowhere", listed.stderr)
        answer = subprocess.run(
            ["ansible", "-i", path, "all", "-m", "ansible.builtin.raw", "-a", "hostname"], env=self.fleet.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(answer.stdout.count("lima-web"), len(HOSTS), answer.stdout)

    def test_7_two_hundred_instances(self):
        """One task, one process on each host. The disks are small, because a host of the test has little room."""
        for host in self.fleet.hosts.values():
            host.tester("truncate --size 64K ~/small.img")
        task = {"hostagent.hostagent.instance": {
            "lima_home": "~/many", "instances": [
                {"name": "small%03d" % number, "config": {"images": [{"location": "/home/tester/small.img"}], "disk": "1MiB"}}
                for number in range(200)]}}
        self.expect(*self.fleet.play([task], "--check"), changed=1)
        self.expect(*self.fleet.play([task]), changed=1)
        for host in self.fleet.hosts.values():
            self.assertEqual(host.tester("LIMA_HOME=~/many hostagent list --quiet | wc -l").strip(), "200")
        self.expect(*self.fleet.play([task]), changed=0)
        task["hostagent.hostagent.instance"]["instances"] = [
            {"name": "small%03d" % number, "state": "absent"} for number in range(200)]
        self.expect(*self.fleet.play([task]), changed=1)
        for host in self.fleet.hosts.values():
            self.assertEqual(host.tester("LIMA_HOME=~/many hostagent list --quiet | wc -l").strip(), "0")

    def test_8_packages_are_installed(self):
        """The distribution's packages, from its real mirror. The session uses the network of this machine for that."""
        host = self.fleet.hosts["trixie"]
        host.root("dpkg --purge --force-depends zstd > /dev/null 2>&1")
        for path in ("/etc/resolv.conf", "/etc/hosts"):
            with open(path) as file:
                host.lab("exec", host.name, "sh", "-c", "rm -f '%s'; cat > '%s'" % (path, path), data=file.read())
        # Connections of earlier tests are still there for a while, and their sessions have no network.
        network = {"LAB_NETWORK": "host", "ANSIBLE_SSH_CONTROL_PATH_DIR": os.path.join(self.fleet.directory, "control")}
        for name, value in network.items():
            os.environ[name] = value
            self.addCleanup(os.environ.pop, name)
        role = ([{"ansible.builtin.import_role": {"name": "hostagent.hostagent.host"}}], "--limit", "trixie")
        for changed in (1, 0):
            output, recap = self.fleet.play(*role, gather_facts=True)
            self.assertEqual((recap["trixie"]["failed"], recap["trixie"]["changed"]), (0, changed), output)
        host.root("command -v zstd && command -v xz && dpkg-query --show ovmf")

    def test_9_launchd_beside_systemd(self):
        """One play: the guests of all hosts, and a job of launchd on the last. The emulator is in the place of macOS's launchd."""
        host = list(self.fleet.hosts.values())[-1]
        host.lab("put", host.name, os.path.join(ROOT, "Tests/launchctl-emulator"), "/opt")
        host.root("chmod 755 /opt/launchctl-emulator")
        host.tester("""set -e
            mkdir -p ~/bin ~/launchd ~/Library/LaunchAgents
            ln -s /opt/launchctl-emulator ~/bin/launchctl
            setsid env LAUNCHD_STATE=$HOME/launchd python3 /opt/launchctl-emulator daemon ~/launchd --throttle 0.3 \\
                > ~/launchd.log 2>&1 < /dev/null &
            tries=0
            until [ -S ~/launchd/launchd.sock ]; do sleep 0.05; tries=$((tries+1)); [ $tries -lt 200 ]; done""")
        self.addCleanup(host.root, "pkill -KILL -f '[l]aunchctl-emulator'; true")
        plist = "/home/tester/Library/LaunchAgents/org.example.job.plist"
        job = plistlib.dumps({"Label": "org.example.job", "ProgramArguments": ["/bin/sleep", "1000"], "RunAtLoad": True}).decode()
        only = {"when": "inventory_hostname == '%s'" % host.system}

        def tasks(state):
            return [
                {"hostagent.hostagent.instance": {"name": "web", "state": "started"}},
                dict({"ansible.builtin.copy": {"dest": plist, "content": job, "mode": "0644"}}, **only),
                dict({"hostagent.hostagent.launchd": {"plist": plist, "state": state, "domain": "user"}, "environment": {
                    "PATH": "/home/tester/bin:/usr/local/bin:/usr/bin:/bin", "LAUNCHD_STATE": "/home/tester/launchd"}}, **only),
            ]

        for state, changed in (("started", 2), ("started", 0), ("restarted", 1), ("stopped", 1), ("stopped", 0)):
            output, recap = self.fleet.play(tasks(state))
            self.expect(output, recap)
            for system in HOSTS:
                self.assertEqual(recap[system]["changed"], changed if system == host.system else 0, output)
            listed = host.tester("LAUNCHD_STATE=~/launchd ~/bin/launchctl print user/$(id -u)/org.example.job 2>&1; true")
            self.assertEqual("state = running" in listed, state != "stopped", listed)


if __name__ == "__main__":
    if os.getuid():
        sys.exit("fleet_test.py needs root")
    unittest.main()
