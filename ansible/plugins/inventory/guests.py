# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: guests
short_description: The running Linux guests of hosts as hosts
version_added: 0.3.0
author:
  - HostAgent authors (@hostagent)
description:
  - Asks each host over SSH for its instances, and makes a host of each guest that runs. It is named C(GUEST.HOST).
  - A guest is reached through its host, with C(ProxyJump). It must accept a key of the control node; the guests of
    C(hostagent) accept that of their owner on their host, and what a template adds.
  - A host that does not answer is named in a warning, and has no guests.
extends_documentation_fragment:
  - constructed
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [hostagent.hostagent.guests]
  hosts:
    description:
      - The hosts, as C(ssh) knows them, with the account that owns the instances, such as V(ada@server).
    type: list
    elements: str
    required: true
  ssh_arguments:
    description: More arguments of C(ssh), for the hosts and for C(ProxyJump).
    type: list
    elements: str
    default: []
  executable:
    description: C(hostagent) on the hosts.
    type: str
    default: hostagent
  lima_home:
    description: The directory of the instances on the hosts.
    type: str
  timeout:
    description: Seconds that a host may take to answer.
    type: int
    default: 30
"""

EXAMPLES = r"""
# fleet.guests.yml
plugin: hostagent.hostagent.guests
hosts:
  - ada@server-1
  - ada@server-2
keyed_groups:
  - key: hostagent.arch
    prefix: arch
"""

import json
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.utils.unsafe_proxy import wrap_var


class InventoryModule(BaseInventoryPlugin, Constructable):
    NAME = "hostagent.hostagent.guests"

    def verify_file(self, path):
        return super().verify_file(path) and path.endswith((".guests.yml", ".guests.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        hosts = self.get_option("hosts")
        with ThreadPoolExecutor(max_workers=16) as pool:
            for host, rows in zip(hosts, pool.map(self.rows, hosts)):
                for row in rows:
                    self.add(host, row)

    def command(self, host):
        words = [self.get_option("executable"), "list", "--json"]
        if self.get_option("lima_home"):
            words = ["env", "LIMA_HOME=" + self.get_option("lima_home")] + words
        # ssh joins its arguments, and the shell of the host splits them.
        remote = " ".join(shlex.quote(word) for word in words)
        return ["ssh", "-o", "BatchMode=yes"] + self.get_option("ssh_arguments") + ["--", host, remote]

    def rows(self, host):
        """The running guests of a host; none, with a warning, if it does not tell."""
        try:
            answer = subprocess.run(
                self.command(host), stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8",
                errors="replace", check=False, timeout=self.get_option("timeout"))
        except subprocess.TimeoutExpired:
            self.display.warning("%s did not answer within %d s" % (host, self.get_option("timeout")))
            return []
        except OSError as error:
            raise AnsibleParserError("ssh cannot be run: %s" % error) from error
        if answer.returncode:
            self.display.warning("%s: %s" % (host, answer.stderr.strip() or "exit status %d" % answer.returncode))
            return []
        try:
            rows = [json.loads(line) for line in answer.stdout.split("\n") if line.strip()]
            return [row for row in rows if row["status"] in ("Running", "Degraded") and self.is_reachable(row)]
        except (ValueError, KeyError, TypeError):
            self.display.warning("%s: hostagent list gave something else than instances" % host)
            return []

    @staticmethod
    def is_reachable(row):
        """Whether the row has what ssh needs. A host says what it likes, and nothing of it may be an option of ssh."""
        port, user = row.get("sshLocalPort"), row.get("sshUser")
        return (re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*$", row["name"]) and isinstance(port, int) and 0 < port < 65536
                and (user is None or re.match(r"[A-Za-z_][A-Za-z0-9._-]*$", user)))

    def add(self, host, row):
        name = "%s.%s" % (row["name"], host.rpartition("@")[2])
        if name in self.inventory.hosts:
            raise AnsibleParserError("two guests are named %s: give each account of a host an inventory of its own" % name)
        self.inventory.add_host(name)
        row.pop("config", None)
        facts = {
            # The ports of guests are ports of their host's loopback address.
            "ansible_host": "127.0.0.1",
            "ansible_port": row["sshLocalPort"],
            # The guest makes its host key itself, at an address of its host that it has for itself.
            "ansible_ssh_common_args": " ".join(
                shlex.quote(word) for word in [
                    "-o", "ProxyCommand=" + " ".join(
                        ["ssh", "-W", "%h:%p"] + [shlex.quote(word) for word in self.get_option("ssh_arguments") + ["--", host]]),
                    "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                ]),
            # A guest's owner writes texts such as its message. They are no templates here.
            "hostagent": wrap_var(dict(row, host=host)),
        }
        if row.get("sshUser"):
            facts["ansible_user"] = row["sshUser"]
        for key, value in facts.items():
            self.inventory.set_variable(name, key, value)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), facts, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), facts, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), facts, name, strict=strict)
