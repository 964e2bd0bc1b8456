# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module launchd with a real ansible-core, and with the emulator of launchd in the place of macOS's.

Run by scripts/test-ansible, which makes the environment: the collection is installed, launchctl is the emulator.
"""

from __future__ import annotations

import json
import os
import plistlib
import random
import subprocess
import sys
import time
import unittest

from support import ModuleTest

EMULATOR = os.path.join(os.path.dirname(__file__), "../../Tests/launchctl-emulator")
UID = os.getuid()


class LaunchdTest(ModuleTest):
    MODULE = "launchd"
    daemon_options = []

    def setUp(self):
        super().setUp()
        state = os.path.join(self.directory, "launchd")
        binaries = os.path.join(self.directory, "bin")
        self.agents = os.path.join(self.directory, "Library/LaunchAgents")
        for path in (state, binaries, self.agents):
            os.makedirs(path)
        os.symlink(os.path.abspath(EMULATOR), os.path.join(binaries, "launchctl"))
        self.state = state
        self.environment.update(PATH=binaries + ":" + os.environ["PATH"], LAUNCHD_STATE=state)
        self.daemon = subprocess.Popen(
            [sys.executable, os.path.abspath(EMULATOR), "daemon", state, "--throttle", "0.3"] + self.daemon_options,
            env=self.environment,
        )
        self.addCleanup(self.end_daemon)
        deadline = time.monotonic() + 10
        while not os.path.exists(os.path.join(state, "launchd.sock")):
            self.assertLess(time.monotonic(), deadline, "the emulator does not begin")
            time.sleep(0.01)

    def end_daemon(self):
        self.daemon.kill()
        self.daemon.wait()
        subprocess.run(["pkill", "-KILL", "-f", self.directory + "/program"], check=False)

    def job(self, label="org.example.job", script="exec sleep 1000", **keys):
        """Writes a property list whose program is a script of its own; gives its path."""
        program = os.path.join(self.directory, "program-" + label)
        with open(program, "w") as file:
            file.write("#!/bin/sh\n%s\n" % script)
        os.chmod(program, 0o755)
        path = os.path.join(self.agents, label + ".plist")
        with open(path, "wb") as file:
            plistlib.dump(dict({"Label": label, "ProgramArguments": [program], "ExitTimeOut": 2}, **keys), file)
        os.chmod(path, 0o644)
        return path

    def wait_for(self, name):
        """Waits until a job has made a file."""
        deadline = time.monotonic() + 30
        while not os.path.exists(os.path.join(self.directory, name)):
            self.assertLess(time.monotonic(), deadline, "the job has not made " + name)
            time.sleep(0.01)

    def launchctl(self, *words):
        return subprocess.run(
            ["launchctl"] + list(words), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )


class StateTests(LaunchdTest):
    def test_the_whole_life_of_a_job(self):
        path = self.job(RunAtLoad=True)
        started = self.ansible(plist=path, state="started", domain="gui")
        self.assertTrue(started["changed"], started)
        self.assertEqual(started["commands"], ["bootstrap"])
        self.assertEqual(started["target"], "gui/%d/org.example.job" % UID)
        self.assertEqual(started["status"]["state"], "running", started)
        again = self.ansible(plist=path, state="started", domain="gui")
        self.assertFalse(again["changed"], again)
        restarted = self.ansible(plist=path, state="restarted", domain="gui")
        self.assertEqual(restarted["commands"], ["bootout", "bootstrap"])
        self.assertNotEqual(restarted["status"]["pid"], started["status"]["pid"])
        stopped = self.ansible(plist=path, state="stopped", domain="gui")
        self.assertTrue(stopped["changed"] and not stopped["status"]["loaded"], stopped)
        self.assertFalse(self.ansible(plist=path, state="stopped", domain="gui")["changed"])

    def test_enabled_and_disabled_are_states(self):
        path = self.job(RunAtLoad=True)
        self.module(plist=path, state="started", domain="gui")
        disabled = self.module(plist=path, state="disabled", domain="gui")
        self.assertTrue(disabled["changed"] and disabled["status"]["disabled"], disabled)
        self.assertTrue(disabled["status"]["pid"], "a job that runs is not stopped")
        self.assertFalse(self.module(plist=path, state="disabled", domain="gui")["changed"])
        self.module(plist=path, state="stopped", domain="gui")
        # A start removes the override, because launchd would refuse the job.
        started = self.module(plist=path, state="started", domain="gui")
        self.assertEqual(started["commands"], ["enable", "bootstrap"])
        self.assertFalse(self.module(plist=path, state="enabled", domain="gui")["changed"])

    def test_deprecated_states(self):
        path = self.job(RunAtLoad=True)
        self.module(plist=path, state="started", domain="gui")
        reloaded = self.module(plist=path, state="reloaded", domain="gui")
        self.assertEqual(reloaded["commands"], ["bootout", "bootstrap"])
        self.assertIn("is now called restarted", json.dumps(reloaded["deprecations"]))
        self.assertFalse(self.module(plist=path, state="unloaded", domain="gui")["status"]["loaded"])

    def test_a_job_that_is_started_by_hand_and_ends(self):
        path = self.job(script="exit 0")
        started = self.module(plist=path, state="started", domain="gui")
        self.assertEqual(started["commands"], ["bootstrap", "kickstart"])
        self.assertEqual(started["status"]["last_exit_code"], 0, started)
        self.assertFalse(self.module(plist=path, state="started", domain="gui")["changed"], "it has done its work")

    def test_a_job_that_fails(self):
        path = self.job(script="exit 3")
        failed = self.module(plist=path, state="started", domain="gui", start_timeout=2)
        self.assertTrue(failed.get("failed"), failed)
        self.assertIn("it ended with status 3", failed["msg"])
        self.assertIn("launchctl print", failed["hint"])

    def test_a_job_that_does_not_want_to_end(self):
        # With 0, launchd itself never kills it.
        script = "trap '' TERM; touch %s/ready; while :; do sleep 0.1; done" % self.directory
        path = self.job(script=script, RunAtLoad=True, ExitTimeOut=0)
        self.module(plist=path, state="started", domain="gui")
        self.wait_for("ready")
        stopped = self.module(plist=path, state="stopped", domain="gui", force_stop=True)
        self.assertFalse(stopped["status"]["loaded"], stopped)

    def test_a_job_that_is_being_ended_is_waited_for(self):
        script = "trap 'sleep 1; exit 0' TERM; touch %s/ready; while :; do sleep 0.1; done" % self.directory
        path = self.job(script=script, RunAtLoad=True, ExitTimeOut=20)
        self.module(plist=path, state="started", domain="gui")
        self.wait_for("ready")
        self.launchctl("bootout", "gui/%d/org.example.job" % UID)
        started = self.module(plist=path, state="started", domain="gui")
        self.assertEqual(started["commands"], ["bootstrap"], started)
        self.assertEqual(started["status"]["state"], "running")

    def test_launchd_that_is_busy(self):
        path = self.job(RunAtLoad=True)
        with open(os.path.join(self.state, "busy"), "w") as file:
            file.write("3")
        started = self.module(plist=path, state="started", domain="gui")
        self.assertEqual(started["status"]["state"], "running", started)

    def test_run_at_load(self):
        path = self.job()
        changed = self.module(plist=path, enabled=True, domain="gui")
        self.assertTrue(changed["changed"] and changed["diff"]["after"]["run_at_load"], changed)
        with open(path, "rb") as file:
            self.assertTrue(plistlib.load(file)["RunAtLoad"])
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o644)
        self.assertFalse(self.module(plist=path, enabled=True, domain="gui")["changed"])
        self.assertEqual(self.module(plist=path, state="started", domain="gui")["commands"], ["bootstrap"])

    def test_a_binary_property_list_stays_one(self):
        path = self.job()
        with open(path, "rb") as file:
            content = plistlib.load(file)
        with open(path, "wb") as file:
            plistlib.dump(content, file, fmt=plistlib.FMT_BINARY)
        self.module(plist=path, enabled=True, domain="gui")
        with open(path, "rb") as file:
            self.assertTrue(file.read().startswith(b"bplist"))


class OldStateTests(StateTests):
    """The same with the answers of macOS 10.15."""

    daemon_options = ["--old"]


class WithoutScreenTests(LaunchdTest):
    daemon_options = ["--no-gui"]

    def test_the_domain_of_a_login_without_a_screen(self):
        path = self.job(RunAtLoad=True)
        owner = "nobody" if UID == 0 else None
        probed = self.module(check=True, plist=path, state="started", owner=owner)
        self.assertTrue(probed["target"].startswith("user/"), probed)
        refused = self.module(plist=path, state="started", domain="gui")
        self.assertIn("nobody is logged in", refused["msg"])
        self.assertIn("domain: user", refused["hint"])


class InputTests(LaunchdTest):
    def test_what_cannot_be(self):
        path = self.job()
        broken = os.path.join(self.directory, "broken.plist")
        with open(broken, "w") as file:
            file.write("<plist><dict>")
        for arguments, words in [
            (dict(plist=path, state="started", owner="no-such-account"), "there is no account no-such-account"),
            (dict(plist=path, state="started", owner="4294967"), "no account with the uid 4294967"),
            (dict(plist=broken, state="started"), "is not a property list"),
            (dict(plist=self.directory + "/none.plist", state="started"), "cannot read"),
            (dict(name="org.example.none", state="started", domain="gui"), "there is no property list for org.example.none"),
            (dict(name="org.example.other", plist=path, state="started"), "is the property list of org.example.job"),
            (dict(state="started"), "one of the following is required: name, plist"),
            (dict(name="x"), "one of the following is required: state, enabled"),
        ]:
            with self.subTest(words):
                answer = self.module(**arguments)
                self.assertTrue(answer.get("failed"), answer)
                self.assertIn(words, answer["msg"])
                self.assertFalse(answer.get("changed"))

    def test_others_may_write_the_property_list(self):
        path = self.job(RunAtLoad=True)
        os.chmod(path, 0o666)
        answer = self.module(plist=path, state="started", domain="gui")
        self.assertEqual(answer["rc"], 122, answer)
        self.assertIn("only the owner may write it", answer["hint"])

    def test_a_job_without_a_file(self):
        self.assertFalse(self.module(name="org.example.none", state="stopped", domain="gui")["changed"])
        self.assertTrue(self.module(name="org.example.none", state="disabled", domain="gui")["changed"])


class PredictionTests(LaunchdTest):
    """Check mode changes nothing and predicts what the real run does. A second run changes nothing."""

    def snapshot(self, label):
        target = "gui/%d/%s" % (UID, label)
        shown = self.launchctl("print", target)
        disabled = '"%s" => disabled' % label in self.launchctl("print-disabled", "gui/%d" % UID).stdout
        return shown.returncode == 0, disabled

    def test_random_states(self):
        seed = int(os.environ.get("HOSTAGENT_SEED", "2026"))
        chance = random.Random(seed)
        for turn in range(int(os.environ.get("HOSTAGENT_ROUNDS", "15"))):
            label = "org.example.job%d" % turn
            path = self.job(
                label, RunAtLoad=chance.random() < 0.5, KeepAlive=chance.choice([False, True, {"SuccessfulExit": False}]),
                script=chance.choice(["exec sleep 1000", "exec sleep 1000", "exit 0"]),
            )
            target = "gui/%d/%s" % (UID, label)
            if chance.random() < 0.6:
                self.module(plist=path, state="started", domain="gui")
            if chance.random() < 0.3:
                self.launchctl("disable", target)
            arguments = dict(
                plist=path, domain="gui", state=chance.choice(["started", "stopped", "restarted", "enabled", "disabled"]))
            if chance.random() < 0.3:
                arguments["enabled"] = chance.random() < 0.5
            before = self.snapshot(label)
            with open(path, "rb") as file:
                content = file.read()
            predicted = self.module(check=True, **arguments)
            story = "seed %d, turn %d: %s, %s, before %s" % (seed, turn, arguments, predicted, before)
            self.assertEqual(self.snapshot(label), before, "check mode has changed something: " + story)
            with open(path, "rb") as file:
                self.assertEqual(file.read(), content, story)
            done = self.module(**arguments)
            self.assertFalse(done.get("failed"), "%s: %s" % (story, done))
            for key in ("changed", "commands", "target", "diff"):
                self.assertEqual(done[key], predicted[key], "%s: %s" % (story, done))
            after = predicted["diff"]["after"]
            self.assertEqual(self.snapshot(label), (after["loaded"], after["disabled"]), "%s: %s" % (story, done))
            if arguments["state"] != "restarted":
                again = self.module(**arguments)
                self.assertFalse(again["changed"], "%s: then %s" % (story, again))


if __name__ == "__main__":
    unittest.main()
