# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of modules share: a directory of their own, and two ways to run a module."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest


class ModuleTest(unittest.TestCase):
    # The name of the module.
    MODULE = ""
    # ansible-core 2.18 reads the arguments from standard input.
    RUNNER = """
import contextlib, json, runpy, sys
try:
    from ansible.module_utils.testing import patch_module_args
    arguments = patch_module_args(json.load(sys.stdin)["ANSIBLE_MODULE_ARGS"])
except ImportError:
    arguments = contextlib.nullcontext()
with arguments:
    runpy.run_module("ansible_collections.hostagent.hostagent.plugins.modules." + sys.argv.pop(), run_name="__main__")
"""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="ha-%d-ansible-" % os.getpid(), dir="/tmp")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        self.environment = dict(
            os.environ, ANSIBLE_NOCOLOR="1", ANSIBLE_LOCALHOST_WARNING="false", ANSIBLE_INVENTORY_UNPARSED_WARNING="false",
        )

    def ansible(self, check=False, module=None, **arguments):
        """Runs the module as Ansible does, and gives its answer."""
        words = ["ansible", "localhost", "-c", "local", "-m", "hostagent.hostagent." + (module or self.MODULE), "-a",
                 json.dumps(arguments), "-e", "ansible_python_interpreter=" + sys.executable]
        result = subprocess.run(
            words + (["--check", "--diff"] if check else []), env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
        )
        try:
            # localhost | CHANGED => {…}
            return json.loads(result.stdout.partition(" => ")[2])
        except ValueError:
            self.fail("ansible said: %s%s" % (result.stdout, result.stderr))

    def module(self, check=False, module=None, **arguments):
        """Runs the module's program without Ansible's engine, which is faster."""
        given = json.dumps({"ANSIBLE_MODULE_ARGS": dict(arguments, _ansible_check_mode=check, _ansible_diff=True)})
        result = subprocess.run(
            [sys.executable, "-c", self.RUNNER, module or self.MODULE], input=given,
            env=dict(self.environment, PYTHONPATH=os.environ["COLLECTIONS"]),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
        )
        try:
            return json.loads(result.stdout)
        except ValueError:
            self.fail("the module said: %s%s" % (result.stdout, result.stderr))
