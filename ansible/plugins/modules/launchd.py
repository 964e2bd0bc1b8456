#!/usr/bin/python
# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: launchd
short_description: Manage jobs of launchd
version_added: 0.3.0
author:
  - HostAgent authors (@hostagent)
description:
  - Starts, stops, enables and disables daemons and agents of macOS with C(launchctl bootstrap) and C(launchctl bootout).
  - Works for any job that has a property list, not only for those of HostAgent.
extends_documentation_fragment:
  - hostagent.hostagent.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  name:
    description:
      - The label of the job.
      - The property list is looked for in the directories that launchd loads for the O(domain).
      - At least one of O(name) and O(plist) is needed.
    type: str
    aliases: [label, service]
  plist:
    description:
      - The path of the property list. The label is read from it.
    type: path
  state:
    description:
      - V(started) loads the job, removes an override that disables it, and starts it. A job that launchd has loaded and
        that has ended with success already is not started again.
      - V(stopped) lets launchd forget the job, which ends it. launchd loads it again at the next login or boot.
      - V(restarted) lets launchd forget the job and loads it again, so that a changed property list counts.
      - V(enabled) removes an override that disables the job. It does not start it.
      - V(disabled) adds an override, so that launchd does not load the job any more, also after the next boot. It does not
        stop it.
      - V(unloaded) and V(reloaded) are deprecated names of V(stopped) and V(restarted).
    type: str
    choices: [started, stopped, restarted, enabled, disabled, unloaded, reloaded]
  enabled:
    description:
      - Whether launchd starts the job when it loads it, which is the key C(RunAtLoad) of the property list.
      - A changed value counts when the job is loaded the next time.
    type: bool
  owner:
    description:
      - The account of the job, as a name or a uid of the managed host. An unknown one is an error.
      - The default is the account that runs the module.
    type: str
  domain:
    description:
      - The domain of the job.
      - V(auto) is V(system) if the O(owner) is root. Otherwise it is V(gui) if the O(owner) is logged in at the screen, and
        V(user) if not.
    type: str
    choices: [auto, gui, user, system]
    default: auto
  force_stop:
    description:
      - Whether a job that is stopped or restarted is killed at once, and not given the time that its property list allows
        it to end.
    type: bool
    default: false
  start_timeout:
    description:
      - Seconds to wait until a job that is started has a process.
      - launchd waits ten seconds between two starts of a job unless its property list says otherwise.
    type: int
    default: 15
seealso:
  - name: launchctl manual page
    description: The program that this module uses.
    link: https://keith.github.io/xcode-man-pages/launchctl.1.html
"""

EXAMPLES = r"""
- name: Start an agent of the account that logs in at the screen
  hostagent.hostagent.launchd:
    name: org.example.agent
    state: started

- name: Start a daemon from its property list
  hostagent.hostagent.launchd:
    plist: /Library/LaunchDaemons/org.example.daemon.plist
    state: started
    enabled: true
  become: true

- name: Keep an agent of another account from being loaded
  hostagent.hostagent.launchd:
    name: org.example.agent
    owner: ada
    state: disabled
  become: true
"""

RETURN = r"""
target:
  description: The job as launchctl names it.
  returned: always
  type: str
  sample: gui/501/org.example.agent
plist:
  description: The path of the property list; empty if there is none.
  returned: always
  type: str
  sample: /Users/ada/Library/LaunchAgents/org.example.agent.plist
status:
  description:
    - What launchd says about the job.
    - In check mode, what it said before.
  returned: always
  type: dict
  contains:
    loaded:
      description: Whether launchd knows the job.
      type: bool
    disabled:
      description: Whether an override keeps launchd from loading it.
      type: bool
    state:
      description: launchd's word for what the job is doing.
      type: str
    pid:
      description: The process of the job.
      type: int
    runs:
      description: How often it was started since it was loaded.
      type: int
    last_exit_code:
      description: The status with which it ended last.
      type: int
    last_signal:
      description: The signal that ended it last.
      type: str
    last_exit_reason:
      description: Why the system ended it last.
      type: str
commands:
  description: The verbs of launchctl that were run, or would be in check mode.
  returned: always
  type: list
  elements: str
  sample: [bootstrap, kickstart]
hint:
  description: What to do about a failure.
  returned: on failure, where it is known
  type: str
"""

import os
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hostagent.hostagent.plugins.module_utils.launchctl import (
    LONGEST_WAIT, Account, Launchctl, LaunchdError, PropertyList, find_property_list,
)

DEPRECATED_STATES = {"unloaded": "stopped", "reloaded": "restarted"}
REMOVED_IN = "2.0.0"


def plan(state, job, is_disabled, runs_at_load):
    """The verbs that bring a job into a state, in their order. Nothing is asked or done here."""
    load = ["enable"] if is_disabled else []
    load.append("bootstrap")
    if not runs_at_load:
        load.append("kickstart")
    if state == "started":
        if not job.loaded or job.is_draining:
            return load
        verbs = ["enable"] if is_disabled else []
        return verbs if job.is_up or job.has_done_its_work else verbs + ["kickstart"]
    if state == "restarted":
        return (["bootout"] if job.loaded else []) + load
    if state == "stopped":
        return ["bootout"] if job.loaded else []
    if state == "enabled":
        return ["enable"] if is_disabled else []
    if state == "disabled":
        return [] if is_disabled else ["disable"]
    return []


class Task:
    def __init__(self, module):
        self.module = module
        self.launchctl = Launchctl(lambda words: module.run_command(words, environ_update={"LC_ALL": "C"}))
        parameters = module.params
        self.account = Account.named(parameters["owner"])
        self.domain = self.launchctl.domain(parameters["domain"], self.account)
        self.plist = self.property_list(parameters["plist"], parameters["name"])
        self.label = self.plist.label if self.plist else parameters["name"]
        if parameters["name"] not in (None, self.label):
            raise LaunchdError("%s is the property list of %s, not of %s" % (self.plist.path, self.label, parameters["name"]))
        self.target = "%s/%s" % (self.domain, self.label)

    def property_list(self, path, label):
        if path is None:
            path = find_property_list(label, self.account, self.domain)
            return None if path is None else PropertyList(path)
        if os.path.exists(path) or self.module.params["state"] not in ("stopped", "enabled", "disabled") or not label:
            return PropertyList(path)
        return None

    def required(self):
        """The property list, for what needs it."""
        if self.plist is None:
            raise LaunchdError(
                "there is no property list for %s in the directories of the domain %s" % (self.label, self.domain),
                hint="give its path with plist",
            )
        return self.plist

    def run(self):
        module, state = self.module, self.module.params["state"]
        if state in DEPRECATED_STATES:
            module.deprecate(
                "The state %s is now called %s" % (state, DEPRECATED_STATES[state]),
                version=REMOVED_IN, collection_name="hostagent.hostagent",
            )
            state = DEPRECATED_STATES[state]
        job = self.launchctl.job(self.target)
        is_disabled = self.launchctl.is_disabled(self.domain, self.label)
        before = {"loaded": job.loaded, "running": job.is_up, "disabled": is_disabled}
        new_file, runs_at_load = self.wanted_file()
        verbs = plan(state, job, is_disabled, runs_at_load)
        if "bootstrap" in verbs:
            self.required()
        result = {
            "changed": bool(verbs) or new_file is not None,
            "target": self.target,
            "plist": self.plist.path if self.plist else "",
            "commands": verbs,
        }
        if not module.check_mode:
            if new_file is not None:
                self.write(new_file)
            for verb in verbs:
                self.perform(verb, job)
            job = self.launchctl.job(self.target) if verbs else job
            is_disabled = self.launchctl.is_disabled(self.domain, self.label) if verbs else is_disabled
        result["status"] = dict(job.facts(), disabled=is_disabled)
        result["diff"] = self.diff(before, self.after(before, verbs), new_file)
        if not module.check_mode and {"bootstrap", "kickstart"} & set(verbs) and not (job.is_up or job.has_done_its_work):
            raise LaunchdError(
                "%s was loaded and does not run%s" % (self.target, self.reason(job)),
                hint="launchctl print %s, and the files StandardErrorPath and StandardOutPath of the job, show why" % self.target,
                **result
            )
        return result

    @staticmethod
    def reason(job):
        if job.last_signal:
            return ": it was ended by the signal %s" % job.last_signal
        if job.last_exit_reason:
            return ": the system ended it, %s" % job.last_exit_reason
        if job.last_exit_code is not None:
            return ": it ended with status %s" % job.last_exit_code
        return ""

    def wanted_file(self):
        """The new bytes of the property list, or None, and whether the job then runs when it is loaded."""
        wanted = self.module.params["enabled"]
        if wanted is None:
            return None, self.plist is not None and self.plist.runs_at_load
        plist = self.required()
        new = None if plist.runs_at_load == wanted and "RunAtLoad" in plist.content else plist.with_run_at_load(wanted)
        if new is not None and plist.runs_at_load == wanted:
            # A missing key means the same as false.
            new = None
        return new, wanted

    def write(self, content):
        """Replaces the property list. Its owner and mode stay as they are, because launchd looks at them."""
        path = os.path.realpath(self.plist.path)
        descriptor, temporary = tempfile.mkstemp(dir=self.module.tmpdir)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        self.module.atomic_move(temporary, path)

    def perform(self, verb, job):
        launchctl, parameters = self.launchctl, self.module.params
        if verb == "enable" or verb == "disable":
            launchctl.call(verb, self.target)
        elif verb == "bootstrap":
            limit = self.plist.exit_timeout
            if job.is_draining:
                launchctl.await_gone(self.target, limit)
            launchctl.bootstrap(self.domain, self.plist.path, self.target, time.monotonic() + limit + 10)
            launchctl.await_up(self.target, parameters["start_timeout"])
        elif verb == "kickstart":
            launchctl.call("kickstart", self.target)
            launchctl.await_up(self.target, parameters["start_timeout"])
        elif verb == "bootout":
            launchctl.bootout(self.target)
            if parameters["force_stop"]:
                # A job that has ended meanwhile needs no signal.
                launchctl.call("kill", "SIGKILL", self.target, accepting=range(1, 256))
            launchctl.await_gone(self.target, self.plist.exit_timeout if self.plist else LONGEST_WAIT)

    def after(self, before, verbs):
        after = dict(before)
        for verb in verbs:
            if verb == "enable":
                after["disabled"] = False
            elif verb == "disable":
                after["disabled"] = True
            elif verb == "bootout":
                after.update(loaded=False, running=False)
            else:
                after.update(loaded=True, running=True)
        return after

    def diff(self, before, after, new_file):
        diff = {"before": dict(before), "after": after, "before_header": self.target, "after_header": self.target}
        if self.plist is not None:
            diff["before"]["run_at_load"] = self.plist.runs_at_load
            diff["after"]["run_at_load"] = self.module.params["enabled"] if new_file is not None else self.plist.runs_at_load
        return diff


def main():
    module = AnsibleModule(
        argument_spec=dict(
            name=dict(type="str", aliases=["label", "service"]),
            plist=dict(type="path"),
            state=dict(
                type="str",
                choices=["started", "stopped", "restarted", "enabled", "disabled", "unloaded", "reloaded"],
            ),
            enabled=dict(type="bool"),
            owner=dict(type="str"),
            domain=dict(type="str", choices=["auto", "gui", "user", "system"], default="auto"),
            force_stop=dict(type="bool", default=False),
            start_timeout=dict(type="int", default=15),
        ),
        required_one_of=[("name", "plist"), ("state", "enabled")],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**Task(module).run())
    except LaunchdError as error:
        facts = dict(error.facts)
        if error.hint:
            facts["hint"] = error.hint
        facts.pop("changed", None)
        module.fail_json(msg=error.message, **facts)


if __name__ == "__main__":
    main()
