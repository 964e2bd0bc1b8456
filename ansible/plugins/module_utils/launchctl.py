# Copyright the HostAgent authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""launchctl(1) as modules use it: what it answers, what its exit codes mean, and the waits that it needs."""

from __future__ import annotations

import os
import plistlib
import pwd
import re
import time

# Exit codes of launchctl, known from reports. `launchctl error CODE` describes some of them.
NOT_PERMITTED = 1
NOT_LOADED = 3
INPUT_OUTPUT = 5
IN_PROGRESS = 36
LOADED = 37
NO_SUCH_DOMAIN = 112
UNKNOWN_SERVICE = 113
DISABLED = 119
BAD_OWNERSHIP = 122
NO_DOMAIN_SUPPORT = 125

MEANINGS = {
    NOT_PERMITTED: ("launchd does not permit it", "only root may change jobs of the system and of other accounts: use become"),
    NOT_LOADED: ("launchd has no such job", None),
    UNKNOWN_SERVICE: ("launchd has no such job", None),
    INPUT_OUTPUT: ("launchd refuses: the job is being ended, is loaded already, or is disabled", "launchctl print shows what it is doing"),
    IN_PROGRESS: ("the job is being ended", None),
    LOADED: ("the job is loaded already, or is just being ended", None),
    NO_SUCH_DOMAIN: ("there is no such domain: nobody is logged in there", "log in at the screen, or use domain: user"),
    NO_DOMAIN_SUPPORT: ("there is no such domain: nobody is logged in there", "log in at the screen, or use domain: user"),
    DISABLED: ("the job is disabled by an override", "state: enabled removes the override"),
    BAD_OWNERSHIP: (
        "launchd does not accept the owner or the mode of the property list",
        "it must belong to its account, or to root for a daemon, and only the owner may write it",
    ),
}

# launchd gives these codes for a job that is being ended or is loaded. Its state says which.
BUSY = (INPUT_OUTPUT, IN_PROGRESS, LOADED)
# launchd's own limit for a job that is told to end, in seconds, where its property list has none (launchd.plist(5)).
DEFAULT_EXIT_TIMEOUT = 5
# Seconds to wait for a job whose limit is not known.
LONGEST_WAIT = 60


class LaunchdError(Exception):
    """A sentence for the person, with what to do."""

    def __init__(self, message, hint=None, **facts):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts


class Account:
    """The account that owns a job."""

    def __init__(self, uid, name, home):
        self.uid = uid
        self.name = name
        self.home = home

    @classmethod
    def named(cls, owner):
        """The account of a name or a uid. An unknown one is an error, never a default."""
        if owner is None:
            uid = os.geteuid()
        elif re.fullmatch(r"[0-9]+", str(owner)):
            uid = int(owner)
        else:
            try:
                entry = pwd.getpwnam(str(owner))
            except KeyError:
                raise LaunchdError("there is no account %s on this host" % owner)
            return cls(entry.pw_uid, entry.pw_name, entry.pw_dir)
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            raise LaunchdError("there is no account with the uid %s on this host" % uid)
        return cls(entry.pw_uid, entry.pw_name, entry.pw_dir)


class Job:
    """What launchd says about one job. `loaded` is false if launchd does not know it."""

    def __init__(self, text=None):
        self.loaded = text is not None
        values = {}
        for line in (text or "").splitlines():
            key, equals, value = line.partition(" = ")
            # Nested blocks repeat keys. The job's own values come first.
            if equals and key.strip() not in values:
                values[key.strip()] = value.strip()
        self.state = values.get("state")
        self.pid = self._number(values.get("pid"))
        self.runs = self._number(values.get("runs"))
        self.last_exit_code = self._number(values.get("last exit code"))
        self.last_signal = values.get("last terminating signal")
        reason = values.get("last exit reason", "")
        self.last_exit_reason = reason if reason.startswith("OS_REASON_") else None

    @staticmethod
    def _number(text):
        match = re.match(r"-?[0-9]+", text or "")
        return int(match.group()) if match else None

    @property
    def is_draining(self):
        """Whether it is being ended: its state is SIGTERMed or SIGKILLed, and it has a process."""
        return (self.state or "").startswith("SIG")

    @property
    def is_up(self):
        """Whether it runs, or launchd is about to run it."""
        return self.loaded and not self.is_draining and (
            self.pid is not None or self.state in ("running", "spawning", "xpcproxy", "spawn scheduled")
        )

    @property
    def has_done_its_work(self):
        """Whether it has ended with success. A job that does not stay is not started again and again."""
        return self.loaded and bool(self.runs) and self.last_exit_code == 0 and not self.last_signal

    def facts(self):
        return {
            "loaded": self.loaded,
            "state": self.state,
            "pid": self.pid,
            "runs": self.runs,
            "last_exit_code": self.last_exit_code,
            "last_signal": self.last_signal,
            "last_exit_reason": self.last_exit_reason,
        }


class PropertyList:
    """The file that describes a job (launchd.plist(5))."""

    def __init__(self, path):
        self.path = path
        try:
            with open(path, "rb") as file:
                self.bytes = file.read()
        except OSError as error:
            raise LaunchdError("cannot read %s: %s" % (path, error.strerror))
        try:
            self.content = plistlib.loads(self.bytes)
        except Exception as error:
            # The parser raises errors of many kinds for files that are not property lists.
            raise LaunchdError("%s is not a property list: %s" % (path, error), hint="plutil -lint shows where it is wrong")
        if not isinstance(self.content, dict) or not isinstance(self.content.get("Label"), str):
            raise LaunchdError("%s describes no job: it has no Label" % path)

    @property
    def label(self):
        return self.content["Label"]

    @property
    def runs_at_load(self):
        """Whether launchd is told to start the job when it loads it. A start of one that runs already does nothing."""
        return bool(self.content.get("RunAtLoad", False))

    @property
    def exit_timeout(self):
        """Seconds that a job has to end. launchd waits for ever if the property list says 0; a module does not."""
        return self.content.get("ExitTimeOut", DEFAULT_EXIT_TIMEOUT) or LONGEST_WAIT

    def with_run_at_load(self, wanted):
        """The bytes of the file with RunAtLoad set, in the format that it has."""
        content = dict(self.content, RunAtLoad=wanted)
        form = plistlib.FMT_BINARY if self.bytes.startswith(b"bplist") else plistlib.FMT_XML
        return plistlib.dumps(content, fmt=form, sort_keys=False)


def find_property_list(label, account, domain):
    """The path of the property list of a label, in the directories that launchd loads; None if there is none."""
    if domain == "system":
        directories = ["/Library/LaunchDaemons", "/System/Library/LaunchDaemons"]
    else:
        directories = [
            os.path.join(account.home, "Library/LaunchAgents"), "/Library/LaunchAgents", "/System/Library/LaunchAgents",
        ]
    for directory in directories:
        path = os.path.join(directory, label + ".plist")
        if os.path.isfile(path):
            return path
    # The name of the file is only a convention.
    for directory in directories:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            continue
        for name in names:
            if not name.endswith(".plist"):
                continue
            try:
                if PropertyList(os.path.join(directory, name)).label == label:
                    return os.path.join(directory, name)
            except LaunchdError:
                continue
    return None


class Launchctl:
    """launchctl, run for one job.

    `run` is called with a list of words, and gives the exit status, the output and the error output.
    """

    def __init__(self, run):
        self._run = run

    def call(self, *words, accepting=()):
        """Runs a verb. A code that is not accepted is an error."""
        status, output, error = self._run(["launchctl"] + list(words))
        if status == 0 or status in accepting:
            return status, output
        raise self.refusal(words, status, output, error)

    @staticmethod
    def refusal(words, status, output, error):
        meaning, hint = MEANINGS.get(status, (None, None))
        if meaning is None:
            # The first line says what happened. A last one may advise to try again as root.
            lines = (error or output).strip().splitlines()
            meaning = lines[0] if lines else "it ended with status %s" % status
            hint = "launchctl error %s describes the code" % status
        return LaunchdError("launchctl %s: %s" % (" ".join(words), meaning), hint=hint, rc=status, stderr=error)

    def domain(self, wanted, account):
        """The domain of an account's jobs: `gui/UID` needs a graphical login, `user/UID` any login."""
        if wanted == "system" or (wanted == "auto" and account.uid == 0):
            return "system"
        if wanted in ("gui", "user"):
            return "%s/%s" % (wanted, account.uid)
        graphical = "gui/%s" % account.uid
        status, _output, _error = self._run(["launchctl", "print", graphical])
        return graphical if status == 0 else "user/%s" % account.uid

    def job(self, target):
        status, output, error = self._run(["launchctl", "print", target])
        if status == 0:
            return Job(output)
        if status in (NOT_LOADED, UNKNOWN_SERVICE, NO_SUCH_DOMAIN, NO_DOMAIN_SUPPORT):
            return Job()
        raise self.refusal(("print", target), status, output, error)

    def is_disabled(self, domain, label):
        """Whether an override keeps launchd from loading the job. It outlives reboots."""
        status, output, _error = self._run(["launchctl", "print-disabled", domain])
        if status != 0:
            return False
        for line in output.splitlines():
            name, arrow, value = line.strip().partition(" => ")
            # Older versions print true.
            if arrow and name.strip('"') == label:
                return value in ("disabled", "true")
        return False

    def bootstrap(self, domain, path, target, deadline):
        """Loads a job. A job that is still being ended is waited for."""
        while True:
            status, output, error = self._run(["launchctl", "bootstrap", domain, path])
            if status == 0:
                return
            if status not in BUSY or time.monotonic() > deadline:
                raise self.refusal(("bootstrap", domain, path), status, output, error)
            job = self.job(target)
            if job.loaded and not job.is_draining:
                return
            time.sleep(0.2)

    def bootout(self, target):
        """Tells launchd to let go of a job. It returns before the job is gone."""
        status, output, error = self._run(["launchctl", "bootout", target])
        if status == 0 or status in (NOT_LOADED, UNKNOWN_SERVICE, IN_PROGRESS):
            return
        job = self.job(target)
        if status in BUSY and (not job.loaded or job.is_draining):
            return
        raise self.refusal(("bootout", target), status, output, error)

    def await_gone(self, target, seconds):
        """Waits until launchd does not know the job any more. There is no event for that."""
        deadline = time.monotonic() + seconds + 10
        pause = 0.05
        while self.job(target).loaded:
            if time.monotonic() > deadline:
                raise LaunchdError(
                    "launchd still has %s, %s s after it was told to let it go" % (target, seconds + 10),
                    hint="launchctl print %s shows what it is doing; force_stop: true kills it" % target,
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 1)

    def await_up(self, target, seconds):
        """Waits until the job runs or has done its work; gives what launchd says then."""
        deadline = time.monotonic() + seconds
        pause = 0.05
        while True:
            job = self.job(target)
            if job.pid is not None or job.has_done_its_work or time.monotonic() > deadline:
                return job
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
