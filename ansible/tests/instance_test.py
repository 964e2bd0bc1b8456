# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules for instances with a real ansible-core, a real hostagent and real guests.

Run by scripts/test-ansible, which makes the environment: the collection is installed, HOSTAGENT is the program.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
import unittest

from support import ModuleTest

HOSTAGENT = os.environ.get("HOSTAGENT", "")
MINI = {"template": "mini"}


@unittest.skipUnless(HOSTAGENT, "no hostagent was built")
class InstanceTest(ModuleTest):
    MODULE = "instance"

    def setUp(self):
        super().setUp()
        self.home = os.path.join(self.directory, "lima")
        self.addCleanup(self.end_guests)
        self.environment["LIMA_HOME"] = self.home

    def end_guests(self):
        if os.path.isdir(self.home):
            names = [name for name in os.listdir(self.home) if not name.startswith(("_", "."))]
            for name in names:
                self.hostagent("delete", "--force", name)

    def hostagent(self, *words, data=None):
        return subprocess.run(
            [HOSTAGENT] + list(words), env=self.environment, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    def instance(self, check=False, real=False, **arguments):
        run = self.ansible if real else self.module
        return run(check=check, executable=HOSTAGENT, **arguments)

    def steps(self, result):
        self.assertFalse(result.get("failed"), result)
        return [one["steps"] for one in result["instances"]]


class LifeTests(InstanceTest):
    def test_from_nothing_to_nothing(self):
        created = self.instance(real=True, name="a", state="started", config={"message": "one"}, **MINI)
        self.assertEqual(self.steps(created), [["create", "start"]])
        self.assertEqual(created["info"]["status"], "Running", created)
        again = self.instance(real=True, name="a", state="started", config={"message": "one"}, **MINI)
        self.assertEqual((self.steps(again), again["changed"]), ([[]], False))
        live = self.instance(name="a", config={"message": "two", "memory": "192MiB"})
        self.assertEqual(self.steps(live), [["configure", "reload"]])
        self.assertEqual(live["instances"][0]["pending_restart"], ["memory"])
        self.assertEqual(live["diff"][0]["before_header"], "lima.yaml of a")
        self.assertIn('message: "one"', live["diff"][0]["before"])
        self.assertIn('message: "two"', live["diff"][0]["after"])
        restarted = self.instance(name="a", config={"message": "two", "memory": "192MiB"}, apply="restart")
        self.assertEqual(self.steps(restarted), [["restart"]])
        self.assertEqual(self.steps(self.instance(name="a", state="stopped")), [["stop"]])
        self.assertEqual(self.steps(self.instance(name="a", state="absent")), [["delete"]])
        self.assertEqual(self.steps(self.instance(name="a", state="absent")), [[]])

    def test_check_mode_predicts_and_changes_nothing(self):
        rounds = int(os.environ.get("HOSTAGENT_ROUNDS", "5"))
        generator = random.Random(10)
        for turn in range(rounds):
            arguments = dict(
                name="a", state=generator.choice(["present", "started", "stopped", "restarted", "absent"]),
                config=generator.choice([{}, {"message": "m"}, {"message": None}, {"memory": "192MiB"}, {"memory": "256MiB"}]),
                params=generator.choice([{}, {"p": 1}, {"p": True}]), apply=generator.choice(["none", "live", "restart"]), **MINI)
            before = self.picture()
            predicted = self.instance(check=True, **arguments)
            self.assertEqual(self.picture(), before, arguments)
            real = self.instance(**arguments)
            for key in ("changed", "diff"):
                self.assertEqual(predicted.get(key), real.get(key), (turn, arguments))
            for key in ("steps", "keys", "pending_restart", "without_effect"):
                self.assertEqual(predicted["instances"][0][key], real["instances"][0][key], (turn, arguments))
            if arguments["state"] != "restarted":
                self.assertFalse(self.instance(**arguments)["changed"], (turn, arguments))

    def picture(self):
        """The files of the instance, without those that tell of time, and its processes."""
        rows = json.loads("[%s]" % ",".join(self.hostagent("list", "--json").stdout.strip().split("\n")))
        texts = {}
        for row in rows:
            with open(os.path.join(row["dir"], "lima.yaml")) as file:
                texts[row["name"]] = file.read()
        return [(row["name"], row["status"], row.get("driverPID"), row.get("hostAgentPID")) for row in rows], texts

    def test_many_at_once(self):
        wanted = [dict(name="g%d" % number, config={"message": "é \u2028 \u0085 # %d" % number}, **MINI) for number in range(20)]
        first = self.instance(instances=wanted)
        self.assertEqual(self.steps(first), [["create"]] * 20)
        self.assertEqual(first["instances"][3]["info"]["message"].rstrip(), "é \u2028 \u0085 # 3")
        again = self.instance(instances=wanted)
        self.assertEqual((self.steps(again), again["changed"]), ([[]] * 20, False))
        gone = self.instance(instances=[dict(name=one["name"], state="absent") for one in wanted])
        self.assertEqual(self.steps(gone), [["delete"]] * 20)

    def test_a_run_that_is_cut_in_the_middle(self):
        """The next run finishes what a killed one left."""
        document = json.dumps({"instances": [dict(name="a", state="started", **MINI)]})
        process = subprocess.Popen([HOSTAGENT, "apply", "--json", "-"], env=self.environment, stdin=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        process.stdin.write(document.encode())
        process.stdin.close()
        deadline = time.monotonic() + 60
        while not os.path.exists(os.path.join(self.home, "a/guest.json")):
            self.assertLess(time.monotonic(), deadline, "no guest was started")
            time.sleep(0.005)
        process.kill()
        process.wait()
        result = self.instance(name="a", state="started", **MINI)
        self.assertEqual(result["info"]["status"], "Running", result)
        self.assertFalse(self.instance(name="a", state="started", **MINI)["changed"])


class FailureTests(InstanceTest):
    def test_the_sentence_the_hint_and_the_status(self):
        result = self.instance(real=True, name="a", state="started")
        self.assertEqual(result["rc"], 66, result)
        self.assertIn('there is no instance "a"', result["msg"])
        self.assertEqual(result["hint"], "give a template or a config")

    def test_all_faults_of_a_configuration(self):
        result = self.instance(name="a", config={"cpus": "many", "nonsense": 1}, **MINI)
        self.assertEqual(result["rc"], 65)
        self.assertIn("nonsense: unknown key", result["msg"])
        self.assertIn("cpus: expected a whole number", result["msg"])
        self.assertFalse(os.path.exists(os.path.join(self.home, "a")))

    def test_one_of_several(self):
        result = self.instance(instances=[dict(name="a", template="nowhere"), dict(name="b", **MINI)])
        self.assertTrue(result["failed"] and result["changed"], result)
        self.assertTrue(result["msg"].startswith("a: "), result)
        self.assertEqual(result["instances"][1]["steps"], ["create"])

    def test_names_that_are_none(self):
        for name in ("../x", "a b", "", "-f", "a\nb", "$(touch x)"):
            result = self.instance(name=name, **MINI)
            self.assertTrue(result["failed"], name)
            self.assertEqual(result["rc"], 65, result)

    def test_a_program_that_is_not_there(self):
        self.environment["PATH"] = os.path.dirname(os.environ["PATH"].split(":")[0]) + ":/usr/bin:/bin"
        result = self.module(name="a")
        self.assertEqual(result["rc"], 127, result)
        self.assertIn("not installed", result["msg"])


class InformationTests(InstanceTest):
    def test_instances(self):
        self.instance(instances=[dict(name="a", **MINI), dict(name="b", **MINI)])
        result = self.module(module="instance_info", executable=HOSTAGENT, names=["b", "nothing"])
        self.assertEqual([row["name"] for row in result["instances"]], ["b"])
        self.assertEqual(result["instances"][0]["status"], "Stopped")
        self.assertEqual(result["instances"][0]["autostart"]["enabled"], False)
        self.assertNotIn("config", result["instances"][0])
        whole = self.ansible(module="instance_info", executable=HOSTAGENT, config=True)
        self.assertEqual([row["config"]["cpus"] for row in whole["instances"]], [1, 1])
        self.assertFalse(whole["changed"])

    def test_the_host(self):
        result = self.module(module="host_info", executable=HOSTAGENT)
        self.assertFalse(result.get("failed"), result)
        version = self.hostagent("--version").stdout
        self.assertIn("hostagent %s," % result["version"], version)
        self.assertIn("qemu-img", [finding["check"] for finding in result["findings"]])
        self.assertEqual(result["problems"], [finding for finding in result["findings"] if finding["verdict"] == "problem"])


if __name__ == "__main__":
    unittest.main()
