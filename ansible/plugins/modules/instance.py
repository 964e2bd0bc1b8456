#!/usr/bin/python
# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: instance
short_description: Manage the Linux guests of a host
version_added: 0.3.0
author:
  - HostAgent authors (@hostagent)
description:
  - Creates, configures, starts, stops, restarts and removes instances.
  - It runs C(hostagent apply) once, however many instances there are.
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
      - Exactly one of O(name) and O(instances) is needed.
    type: str
  instances:
    description:
      - Several instances, which are taken in this order. Each has the options of this module.
      - Guests are restarted one after the other. Guests that are only started boot at the same time, after everything else.
      - The failure of one does not concern the others. The task fails after all of them.
    type: list
    elements: dict
    suboptions:
      name:
        description: See O(name).
        type: str
        required: true
      state:
        description: See O(state).
        type: str
        choices: [present, started, stopped, restarted, absent]
        default: present
      template:
        description: See O(template).
        type: str
      config:
        description: See O(config).
        type: dict
      params:
        description: See O(params).
        type: dict
      apply:
        description: See O(apply).
        type: str
        choices: [none, live, restart]
        default: live
      wait:
        description: See O(wait).
        type: bool
        default: true
      timeout:
        description: See O(timeout).
        type: int
      force:
        description: See O(force).
        type: bool
        default: false
  state:
    description:
      - V(present) creates the instance if it does not exist, and sets O(config) and O(params).
      - V(started) and V(stopped) start and stop it, too.
      - V(restarted) stops it and starts it again, or starts it.
      - V(absent) stops it and removes it with its disk.
    type: str
    choices: [present, started, stopped, restarted, absent]
    default: present
  template:
    description:
      - What a missing instance is made from. It is the name of a template, an address, or the path of a file of the managed
        host.
      - It has no effect on an instance that exists.
    type: str
  config:
    description:
      - Keys of C(lima.yaml) with their values. A key that is V(null) is removed. Keys that are not named stay as they are.
      - A list or a mapping replaces what the key had before, also what a O(template) has there.
      - Without O(template), a missing instance is made from it alone. The key C(base) may name templates then.
    type: dict
  params:
    description:
      - Parameters of the template, which are set in C(param). Others stay as they are.
    type: dict
  apply:
    description:
      - How far a change of the configuration is carried into a guest that runs.
      - With V(live), what needs no restart counts at once. The rest is in RV(instances[].pending_restart), and counts from
        the next start.
      - With V(restart), the guest is restarted if it has anything that counts only after a restart.
      - With V(none), only the file is changed.
    type: str
    choices: [none, live, restart]
    default: live
  wait:
    description:
      - Whether to wait until the guest is ready. Otherwise the task goes on when its machine runs.
      - A guest of another account, which root starts, is always waited for.
    type: bool
    default: true
  timeout:
    description:
      - Seconds that a start may take. The default is what the agent allows.
    type: int
  force:
    description:
      - Whether a guest that is stopped, restarted or removed is ended without being asked. It loses what it has not written
        to its disk.
    type: bool
    default: false
notes:
  - An instance that starts when the host boots is started and stopped by the service manager of the host. Use C(become) for
    it, and O(lima_home) for the home of its owner. The instances of the account itself never need C(become).
seealso:
  - module: hostagent.hostagent.autostart
  - module: hostagent.hostagent.instance_info
"""

EXAMPLES = r"""
- name: A guest that runs
  hostagent.hostagent.instance:
    name: web
    template: debian
    state: started
    config:
      cpus: 4
      memory: 8GiB

- name: More memory, at once
  hostagent.hostagent.instance:
    name: web
    config:
      memory: 16GiB
    apply: restart

- name: Several guests
  hostagent.hostagent.instance:
    instances:
      - name: web
        template: debian
        state: started
      - name: old
        state: absent
"""

RETURN = r"""
instances:
  description: What was done to each instance, in the order of the option.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The name.
      type: str
      returned: always
    changed:
      description: Whether anything was done.
      type: bool
      returned: always
    steps:
      description:
        - The steps that were carried out, in their order. In check mode, those that would be.
        - They are C(create), C(configure), C(reload), C(start), C(restart), C(stop) and C(delete).
      type: list
      elements: str
      returned: always
      sample: [configure, reload]
    keys:
      description: The keys of C(lima.yaml) that were set.
      type: list
      elements: str
      returned: always
    pending_restart:
      description: The keys whose values count only after a restart of the guest, which was not asked for.
      type: list
      elements: str
      returned: always
    without_effect:
      description: The keys that were set and count only when an instance is created.
      type: list
      elements: str
      returned: always
    info:
      description:
        - What C(hostagent list --json) shows of it. Empty if it does not exist.
        - In check mode, what it showed before.
      type: dict
      returned: always
    failure:
      description: What failed. Empty if nothing did.
      type: dict
      returned: always
      contains:
        message:
          description: The sentence of hostagent.
          type: str
        hint:
          description: What to do about it.
          type: str
        status:
          description: The exit status of a command that fails like this.
          type: int
info:
  description: The same as RV(instances[].info).
  returned: if O(name) is given
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

import json

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hostagent.hostagent.plugins.module_utils.hostagent import ARGUMENTS, Failure, HostAgent, document

INSTANCE = {
    "state": {"type": "str", "choices": ["present", "started", "stopped", "restarted", "absent"], "default": "present"},
    "template": {"type": "str"},
    "config": {"type": "dict"},
    "params": {"type": "dict"},
    "apply": {"type": "str", "choices": ["none", "live", "restart"], "default": "live"},
    "wait": {"type": "bool", "default": True},
    "timeout": {"type": "int"},
    "force": {"type": "bool", "default": False},
}


def desired(parameters):
    """One element of the document of `hostagent apply`."""
    element = {key: parameters[key] for key in ("name", "state", "template", "config", "apply", "wait", "force")}
    element["param"] = {key: text(value) for key, value in (parameters["params"] or {}).items()}
    if parameters["timeout"] is not None:
        element["timeout"] = "%ds" % parameters["timeout"]
    return {key: value for key, value in element.items() if value is not None}


def text(value):
    """A parameter as Lima has it: always a text."""
    if value is None or isinstance(value, (dict, list)):
        raise Failure("a parameter is a text, not %s" % json.dumps(value), None, 64)
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def result(answer):
    """What the module returns of one instance."""
    return {
        "name": answer["name"],
        "changed": answer["changed"],
        "steps": answer["steps"],
        "keys": answer["keys"],
        "pending_restart": answer["pendingRestart"],
        "without_effect": answer["withoutEffect"],
        "info": answer.get("instance") or {},
        "failure": answer.get("failure") or {},
    }


def main():
    several = dict(type="list", elements="dict", options=dict({"name": {"type": "str", "required": True}}, **INSTANCE))
    module = AnsibleModule(
        argument_spec=dict({"name": {"type": "str"}, "instances": several}, **INSTANCE, **ARGUMENTS),
        mutually_exclusive=[("name", "instances")],
        required_one_of=[("name", "instances")],
        supports_check_mode=True,
    )
    single = module.params["instances"] is None
    try:
        wanted = [desired(one) for one in ([module.params] if single else module.params["instances"])]
        answers = []
        if wanted:
            words = ["apply", "--json"] + (["--dry-run"] if module.check_mode else []) + ["-"]
            answers = HostAgent(module).objects(words, document({"instances": wanted}), may_fail=True)[0]["instances"]
    except IndexError:
        module.fail_json(msg="hostagent apply gave no answer")
    except Failure as failure:
        module.fail_json(**failure.facts)
    results = [result(answer) for answer in answers]
    facts = {"changed": any(one["changed"] for one in results), "instances": results}
    if single:
        facts["info"] = results[0]["info"]
    if module._diff:
        facts["diff"] = [
            dict(
                before=answer["difference"]["before"], after=answer["difference"]["after"],
                before_header="lima.yaml of %s" % answer["name"], after_header="lima.yaml of %s" % answer["name"])
            for answer in answers if answer.get("difference")
        ]
    for answer in answers:
        for warning in answer["warnings"]:
            module.warn("%s: %s" % (answer["name"], warning))
    failed = [one for one in results if one["failure"]]
    if failed:
        first = failed[0]["failure"]
        message = first["message"] if single else "; ".join("%s: %s" % (one["name"], one["failure"]["message"]) for one in failed)
        module.fail_json(**dict(facts, **Failure(message, first.get("hint"), first["status"]).facts))
    module.exit_json(**facts)


if __name__ == "__main__":
    main()
