#!/usr/bin/python
# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance_info
short_description: Tell about the Linux guests of a host
version_added: 0.3.0
author:
  - HostAgent authors (@hostagent)
description:
  - Returns what C(hostagent list) and C(hostagent autostart status) know.
extends_documentation_fragment:
  - hostagent.hostagent.attributes
  - hostagent.hostagent.program
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  names:
    description:
      - Only these instances. One that does not exist is left out.
      - The default is all.
    type: list
    elements: str
  config:
    description:
      - Whether the configuration of each instance is returned, with its defaults.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Look at all guests
  hostagent.hostagent.instance_info:
  register: guests

- name: Wait for nothing, but name those that do not run
  ansible.builtin.debug:
    msg: "{{ guests.instances | rejectattr('status', 'equalto', 'Running') | map(attribute='name') | join(', ') }}"
"""

RETURN = r"""
instances:
  description: The instances, sorted by name.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
    status:
      description: What it does, such as V(Running) or V(Stopped).
      type: str
    sshLocalPort:
      description: The port of the host's loopback address that leads to the guest's SSH server, if it runs.
      type: int
    sshConfigFile:
      description: The file for C(ssh -F), if it runs.
      type: str
    errors:
      description: What is wrong with it.
      type: list
      elements: str
    autostart:
      description: How it is registered with the service manager.
      type: dict
    config:
      description: Its configuration, if O(config) is true.
      type: dict
hint:
  description: What to do about a failure.
  returned: on failure, where it is known
  type: str
rc:
  description: The exit status of hostagent.
  returned: on failure
  type: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hostagent.hostagent.plugins.module_utils.hostagent import ARGUMENTS, Failure, HostAgent


def rows(module):
    agent = HostAgent(module)
    wanted = module.params["names"]
    found = [row for row in agent.objects(["list", "--json"]) if wanted is None or row["name"] in wanted]
    names = [row["name"] for row in found]
    registrations = agent.objects(["autostart", "status", "--format", "json"] + names) if names else []
    by_name = {row["name"]: row for row in registrations}
    for row in found:
        row["autostart"] = by_name.get(row["name"], {})
        if not module.params["config"]:
            row.pop("config", None)
    return found


def main():
    module = AnsibleModule(
        argument_spec=dict(
            names=dict(type="list", elements="str"), config=dict(type="bool", default=False), **ARGUMENTS),
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, instances=rows(module))
    except Failure as failure:
        module.fail_json(**failure.facts)


if __name__ == "__main__":
    main()
