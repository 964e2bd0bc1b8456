#!/usr/bin/python
# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: autostart
short_description: Have the service manager of a host start its guests
version_added: 0.3.0
author:
  - HostAgent authors (@hostagent)
description:
  - Registers an instance with systemd or launchd, so that its guest starts at login or when the host boots.
extends_documentation_fragment:
  - hostagent.hostagent.attributes
  - hostagent.hostagent.program
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  name:
    description:
      - The name of the instance.
    type: str
    required: true
  state:
    description:
      - V(present) registers the instance, and V(absent) removes its registration.
      - A guest that the service manager runs is stopped when its registration is removed.
    type: str
    choices: [present, absent]
    default: present
  condition:
    description:
      - V(login) starts the guest when its owner logs in. It never needs C(become).
      - V(boot) starts the guest when the host boots. It needs C(become), and O(owner).
      - V(none) is the same as O(state=absent).
      - An instance that is registered for the other condition must lose that registration before. The task says so, because
        another account has to do it. Only root may remove a registration for the boot, and only the owner one for the login.
    type: str
    choices: [login, boot, none]
    default: login
  owner:
    description:
      - The account that owns the instance, for O(condition=boot).
      - For O(condition=login), it is the account that the module runs as. Use C(become_user) for another one.
    type: str
  keep_alive:
    description:
      - When the service manager starts an agent again that has ended.
      - The default is what the instance's C(hostagent.yaml) says.
    type: str
    choices: [on-failure, always, "no"]
seealso:
  - module: hostagent.hostagent.instance
"""

EXAMPLES = r"""
- name: Start a guest when its owner logs in
  hostagent.hostagent.autostart:
    name: desktop

- name: Start a guest when the host boots
  hostagent.hostagent.autostart:
    name: web
    condition: boot
    owner: ada
    keep_alive: always
  become: true
"""

RETURN = r"""
registration:
  description:
    - What C(hostagent autostart status --format json) shows of the instance.
    - In check mode, what it showed before.
  returned: always
  type: dict
notes:
  description: Remarks of hostagent, such as a time limit of the service manager.
  returned: always
  type: list
  elements: str
hint:
  description: What to do about a failure.
  returned: on failure, where it is known
  type: str
rc:
  description: The exit status of hostagent.
  returned: on failure
  type: int
"""

import os
import pwd

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hostagent.hostagent.plugins.module_utils.hostagent import ARGUMENTS, Failure, HostAgent


def account_home(parameters):
    """Where the instances of an owner are, if the owner is another account and nothing else is said."""
    if parameters["lima_home"] or not parameters["owner"]:
        return parameters["lima_home"]
    try:
        owner = pwd.getpwnam(parameters["owner"])
    except KeyError:
        raise Failure("there is no account %s on this host" % parameters["owner"], None, 64) from None
    return None if owner.pw_uid == os.getuid() else os.path.join(owner.pw_dir, ".lima")


NO_SUCH_INSTANCE = 66


class Task:
    def __init__(self, module):
        self.module = module
        self.parameters = module.params
        self.name = module.params["name"]
        module.params["lima_home"] = account_home(module.params)
        self.agent = HostAgent(module)
        self.notes = []

    def registration(self):
        rows = self.agent.objects(["autostart", "status", "--format", "json", self.name])
        return rows[0] if rows else {"name": self.name}

    def enable_words(self, more=()):
        words = ["autostart", "enable", "--condition", self.parameters["condition"], "--json"]
        if self.parameters["condition"] == "boot" and self.parameters["owner"]:
            words += ["--user", self.parameters["owner"]]
        if self.parameters["keep_alive"]:
            words += ["--keep-alive", self.parameters["keep_alive"]]
        return words + list(more) + [self.name]

    def disable(self):
        plan = self.agent.objects(["autostart", "disable", "--dry-run", "--json", self.name])[0]
        if plan["steps"] and not self.module.check_mode:
            self.notes += self.agent.objects(["autostart", "disable", "--json", self.name])[0]["notes"]
        return bool(plan["steps"])

    def enable(self, before):
        condition = self.parameters["condition"]
        owner = self.parameters["owner"]
        if condition == "login" and owner and pwd.getpwnam(owner).pw_uid != os.getuid():
            raise Failure("only %s can register %s to be started at login" % (owner, self.name), "use become_user: %s" % owner, 77)
        if before.get("ours") and before.get("condition") not in (None, condition):
            raise self.in_the_way(before)
        plan = self.agent.objects(self.enable_words(["--dry-run"]))[0]
        if plan["steps"] and not self.module.check_mode:
            self.notes += self.agent.objects(self.enable_words())[0]["notes"]
        return bool(plan["steps"])

    def in_the_way(self, registration):
        return Failure(
            "%s is registered to be started at %s" % (self.name, registration["condition"]),
            "remove that first, with state: absent and %s" % (
                "become: true" if registration["condition"] == "boot" else "as the owner, without become"), 73)

    def run(self):
        wanted = self.parameters["state"] == "present" and self.parameters["condition"] != "none"
        try:
            before = self.registration()
        except Failure as failure:
            # A registration may be removed whose instance is gone. In check mode, a task before this one would have made the
            # instance.
            if failure.status != NO_SUCH_INSTANCE or wanted and not self.module.check_mode:
                raise
            before = None
        if wanted:
            changed = before is None or self.enable(before)
        else:
            changed = self.disable()
        after = self.registration() if before else {"name": self.name}
        before = before or {}
        if not wanted and not changed and after.get("ours"):
            # It is somebody else's.
            raise self.in_the_way(after)
        facts = {"changed": changed, "registration": after, "notes": self.notes}
        if self.module._diff:
            facts["diff"] = {"before": self.shown(before), "after": self.shown(self.wished() if wanted else {})}
        return facts

    def wished(self):
        return {"condition": self.parameters["condition"]}

    @staticmethod
    def shown(registration):
        return "condition: %s\n" % (registration.get("condition") or "none")


def main():
    module = AnsibleModule(
        argument_spec=dict(
            name=dict(type="str", required=True),
            state=dict(type="str", choices=["present", "absent"], default="present"),
            condition=dict(type="str", choices=["login", "boot", "none"], default="login"),
            owner=dict(type="str"),
            keep_alive=dict(type="str", choices=["on-failure", "always", "no"]),
            **ARGUMENTS,
        ),
        supports_check_mode=True,
    )
    try:
        module.exit_json(**Task(module).run())
    except Failure as failure:
        module.fail_json(**failure.facts)


if __name__ == "__main__":
    main()
