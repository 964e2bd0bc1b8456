#!/usr/bin/python
# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Tell whether a host can run Linux guests
version_added: 0.3.0
author:
  - HostAgent authors (@hostagent)
description:
  - Returns the findings of C(hostagent doctor), each with its remedy.
  - A host with problems is no failure of the task. RV(problems) names them.
extends_documentation_fragment:
  - hostagent.hostagent.attributes
  - hostagent.hostagent.program
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Look at the host
  hostagent.hostagent.host_info:
  register: host

- name: Refuse a host that cannot run guests
  ansible.builtin.assert:
    that: host.problems | length == 0
    fail_msg: "{{ host.problems | map(attribute='fix') | join('; ') }}"
"""

RETURN = r"""
version:
  description: The version of hostagent.
  returned: always
  type: str
  sample: 0.3.0
findings:
  description: All findings.
  returned: always
  type: list
  elements: dict
  contains:
    check:
      description: What was looked at.
      type: str
    verdict:
      description: C(ok), C(warning) or C(problem).
      type: str
    detail:
      description: What was found.
      type: str
    fix:
      description: What to do about it.
      type: str
problems:
  description: The findings that keep guests, or their start by the service manager, from working.
  returned: always
  type: list
  elements: dict
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


def main():
    module = AnsibleModule(argument_spec=dict(ARGUMENTS), supports_check_mode=True)
    try:
        agent = HostAgent(module)
        version = agent.run(["--version"])[0].split(",")[0].split()[-1]
        # Its status tells that there are problems.
        findings = agent.objects(["doctor", "--format", "json"], may_fail=True)
    except Failure as failure:
        module.fail_json(**failure.facts)
    problems = [finding for finding in findings if finding["verdict"] == "problem"]
    module.exit_json(changed=False, version=version, findings=findings, problems=problems)


if __name__ == "__main__":
    main()
