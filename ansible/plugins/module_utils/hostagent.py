# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program hostagent as modules use it: one process for each question, JSON for each answer."""

from __future__ import annotations

import json
import os
import re

# Where hostagent is on hosts whose PATH does not name it in a login without a shell.
USUAL_DIRECTORIES = ["/usr/local/bin", "/opt/homebrew/bin", "~/.local/bin"]

ARGUMENTS = {
    "executable": {"type": "path"},
    "lima_home": {"type": "path"},
}


class Failure(Exception):
    """What hostagent says of a command that failed: its sentence, its hint and its exit status."""

    def __init__(self, message, hint=None, status=1):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status

    @classmethod
    def said(cls, text, status):
        """hostagent writes "hostagent: SENTENCE", and what to do in an indented line. Notes and warnings come before."""
        lines = [line for line in text.splitlines() if line.strip()]
        sentence, hint = [], []
        for line in lines:
            if line.startswith("hostagent: ") and not line.startswith(("hostagent: note: ", "hostagent: warning: ")):
                sentence, hint = [line[len("hostagent: "):]], []
            elif sentence and line.startswith("  "):
                hint.append(line.strip())
            elif sentence:
                sentence.append(line)
        message = "\n".join(sentence) or text.strip() or "hostagent ended with status %d" % status
        return cls(message, "\n".join(hint) or None, status)

    @property
    def facts(self):
        facts = {"msg": self.message, "rc": self.status}
        if self.hint:
            facts["hint"] = self.hint
        return facts


def document(value):
    """A JSON text that means the same as YAML, which has more line ends and fewer printable characters."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff]", lambda found: "\\u%04x" % ord(found.group()), text)


class HostAgent:
    def __init__(self, module):
        self.module = module
        self.program = module.params["executable"] or module.get_bin_path(
            "hostagent", opt_dirs=[os.path.expanduser(path) for path in USUAL_DIRECTORIES])
        if not self.program:
            raise Failure(
                "hostagent is not installed on this host",
                "the role hostagent.hostagent.host installs it; executable names it where it is", 127)
        self.environment = {"LC_ALL": "C", "NO_COLOR": "1"}
        if module.params["lima_home"]:
            self.environment["LIMA_HOME"] = module.params["lima_home"]

    def run(self, words, data=None, may_fail=False):
        """Runs hostagent with arguments, never through a shell. Returns its standard output."""
        status, output, said = self.module.run_command(
            [self.program] + words, data=data, binary_data=True, environ_update=self.environment)
        if status < 0 or (status and not may_fail):
            raise Failure.said(said or output, status)
        return output, said, status

    def objects(self, words, data=None, may_fail=False):
        """The JSON objects that hostagent answers with, one in each line."""
        output, said, status = self.run(words, data, may_fail)
        if status and not output.strip():
            raise Failure.said(said, status)
        try:
            # splitlines() would also split at line ends of Unicode, which JSON has in texts.
            return [json.loads(line) for line in output.split("\n") if line.strip()]
        except ValueError:
            raise Failure.said(said or output, status) from None
