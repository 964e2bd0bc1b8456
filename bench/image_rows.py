"""Rows about images and real guests: downloads, creation, templates, the shared connection, starts of a Debian guest."""

import http.server
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time


def _serve(directory):
    """A web server on the loopback interface; returns it and its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments, **more):
            super().__init__(*arguments, directory=directory, **more)

        def copyfile(self, source, target):
            shutil.copyfileobj(source, target, 1 << 20)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def _random_file(path, size):
    with open(path, "wb") as out:
        for _ in range(size >> 20):
            out.write(os.urandom(1 << 20))
    os.sync()


def _anonymous(pid):
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Anonymous:")) / 1024


def _download(binary, environment, address, digest, name):
    """Seconds until the file is in the cache, and the most anonymous memory meanwhile in MB."""
    yaml = f"disk: 1MiB\nimages:\n- {{location: \"{address}\", digest: \"sha256:{digest}\"}}\n"
    began = time.time()
    process = subprocess.Popen(
        [binary, "create", "--name", name, "-"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True)
    process.stdin.write(yaml)
    process.stdin.close()
    done = {}

    def read():
        for line in process.stderr:
            if "downloaded" in line:
                done["at"] = time.time()

    reader = threading.Thread(target=read)
    reader.start()
    peak = 0.0
    while "at" not in done and process.poll() is None:
        try:
            peak = max(peak, _anonymous(process.pid))
        except (OSError, StopIteration):
            pass
        time.sleep(0.02)
    process.wait()
    reader.join()
    if "at" not in done:
        raise RuntimeError(f"hostagent did not download: status {process.returncode}")
    return done["at"] - began, peak


def download_rows(row, rounds, binary, environment):
    work = tempfile.mkdtemp(prefix="ha-bench-images-", dir="/tmp")
    try:
        size = rounds(1024, 64) << 20
        _random_file(f"{work}/image", size)
        digest = subprocess.run(["sha256sum", f"{work}/image"], capture_output=True, text=True, check=True).stdout[:64]
        server, address = _serve(work)
        ours, theirs, peaks = [], [], []
        for turn in range(rounds(3, 1)):
            cache = f"{work}/cache{turn}"
            seconds, peak = _download(
                binary, dict(environment, XDG_CACHE_HOME=cache), address + "/image", digest, f"download{turn}")
            ours.append(seconds)
            peaks.append(peak)
            shutil.rmtree(cache)
            began = time.time()
            subprocess.run(["curl", "-s", "-o", f"{work}/curl", address + "/image"], check=True)
            subprocess.run(["sha256sum", f"{work}/curl"], check=True, capture_output=True)
            theirs.append(time.time() - began)
            os.remove(f"{work}/curl")
            subprocess.run([binary, "delete", f"download{turn}"], env=environment, check=True, capture_output=True)
        server.shutdown()
        value, reference = statistics.median(ours), statistics.median(theirs)
        row(f"download and hash of {size >> 20} MB, s; curl, then sha256sum: {value / reference:.2f} ×", round(value, 2),
            round(reference, 2), "<= 0.75 ×", value <= 0.75 * reference)
        row("most anonymous memory of that, MB", round(max(peaks), 1), "-", "<= 40", max(peaks) <= 40)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def create_row(row, rounds, binary, environment):
    work = tempfile.mkdtemp(prefix="ha-bench-create-", dir="/tmp")
    try:
        size = rounds(500, 50) << 20
        _random_file(f"{work}/raw", size)
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", f"{work}/raw", f"{work}/image"], check=True)
        ours, theirs = [], []
        yaml = f"disk: 1MiB\nimages: [{{location: {work}/image}}]\n"
        for turn in range(rounds(5, 1)):
            began = time.time()
            subprocess.run([binary, "create", "--name", f"copy{turn}", "-"], env=environment, input=yaml, text=True,
                           check=True, capture_output=True)
            ours.append(time.time() - began)
            subprocess.run([binary, "delete", f"copy{turn}"], env=environment, check=True, capture_output=True)
            began = time.time()
            subprocess.run(["cp", "--reflink=never", f"{work}/image", f"{work}/copy"], check=True)
            descriptor = os.open(f"{work}/copy", os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
            theirs.append(time.time() - began)
            os.remove(f"{work}/copy")
        value, reference = statistics.median(ours), statistics.median(theirs)
        row(f"create from an image of {size >> 20} MB, s; cp and fsync: {value / reference:.2f} ×", round(value, 2),
            round(reference, 2), "<= 1.1 ×", value <= 1.1 * reference)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def validate_row(row, rounds, binary, environment):
    work = tempfile.mkdtemp(prefix="ha-bench-validate-", dir="/tmp")
    try:
        with open(f"{work}/base.yaml", "w") as out:
            out.write("images: [{location: /i.qcow2}]\nparam: {a: b}\n")
        with open(f"{work}/middle.yaml", "w") as out:
            out.write("base: base.yaml\nprovision:\n" + "- script: 'echo {{.Param.a}}'\n" * 10)
        files = [f"{work}/t{number}.yaml" for number in range(60)]
        for file in files:
            with open(file, "w") as out:
                out.write("base: [middle.yaml, base.yaml]\ncpus: 2\nmessage: hello\n" + "# a comment\n" * 100)
        times = []
        for _ in range(rounds(7, 1)):
            began = time.time()
            subprocess.run([binary, "validate", *files], env=environment, check=True, capture_output=True)
            times.append(time.time() - began)
        value = statistics.median(times)
        row("validate of 60 templates with bases, s", round(value, 3), "-", "<= 0.5", value <= 0.5)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def shell_row(row, rounds, binary, environment, directory):
    """The instance must run; `directory` is its directory."""
    name = os.path.basename(directory)
    deadline = time.time() + 20
    while not os.path.exists(f"{directory}/ssh.sock") and time.time() < deadline:
        time.sleep(0.05)
    shared, own = [], []
    for _ in range(rounds(20, 3)):
        began = time.time()
        subprocess.run([binary, "shell", name, "true"], env=environment, check=True, capture_output=True)
        shared.append(time.time() - began)
        began = time.time()
        subprocess.run(["ssh", "-F", f"{directory}/ssh.config", "-o", "ControlPath=none", f"lima-{name}", "true"],
                       check=True, capture_output=True)
        own.append(time.time() - began)
    value, reference = statistics.median(shared), statistics.median(own)
    row(f"hostagent shell true, ms; ssh of its own: {value / reference:.2f} ×", round(value * 1000),
        round(reference * 1000), "<= 0.25 ×", value <= 0.25 * reference)


def apply_rows(row, rounds, binary, environment, directory):
    """`apply` of instances that are as they should be."""
    home = f"{environment['LIMA_HOME']}/apply"
    for number in range(200):
        os.makedirs(f"{home}/g{number:03}")
        shutil.copy(f"{directory}/lima.yaml", f"{home}/g{number:03}")
    environment = dict(environment, LIMA_HOME=home)

    def seconds(count):
        wanted = [{"name": f"g{number:03}", "state": "stopped", "config": {"cpus": 1}} for number in range(count)]
        document = json.dumps({"instances": wanted}).encode()
        times = []
        for _ in range(rounds(9, 3)):
            began = time.perf_counter()
            subprocess.run([binary, "apply", "-"], env=environment, input=document, check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    few, many = seconds(20), seconds(200)
    row("apply, 20 instances that are as they should be, s", round(few, 3), "-", "<= 3", few <= 3)
    row("apply, 200 of them, s; ten times the 20", round(many, 3), round(10 * few, 3), "<= 1 ×", many <= 10 * few)
    shutil.rmtree(home)


def debian_raw(binary, environment, name):
    """Seconds that the machine of an instance takes, without an agent, to the first login with cloud-init done."""
    directory = f"{environment['LIMA_HOME']}/{name}"
    subprocess.run([binary, "create", "--name", name, "debian-local"], env=environment, check=True, capture_output=True)
    # The agent makes the files and the command line. Both are ended before the guest has written anything.
    agent = subprocess.Popen([binary, "start", "--foreground", name], env=environment, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    pid = None
    while pid is None:
        try:
            pid = json.load(open(f"{directory}/guest.json"))["process"]["pid"]
        except (OSError, ValueError):
            time.sleep(0.02)
    command = open(f"/proc/{pid}/cmdline").read().split("\0")[:-1]
    agent.kill()
    agent.wait()
    os.kill(pid, 9)
    while os.path.exists(f"/proc/{pid}/exe"):
        time.sleep(0.02)
    for socket in ("qmp.sock", "chan.sock"):
        if os.path.exists(f"{directory}/{socket}"):
            os.unlink(f"{directory}/{socket}")
    began = time.time()
    machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    login = ["ssh", "-F", f"{directory}/ssh.config", "-o", "ControlPath=none", "-o", "ConnectTimeout=5", f"lima-{name}",
             "cloud-init status --wait"]
    while subprocess.run(login, capture_output=True).returncode == 255:
        time.sleep(0.2)
    seconds = time.time() - began
    machine.kill()
    machine.wait()
    subprocess.run([binary, "delete", "--force", name], env=environment, check=True, capture_output=True)
    return seconds


def debian_start(binary, environment, guest, *template):
    """Seconds of the first and of the second start of a guest made from a template."""
    subprocess.run([binary, "create", "--name", guest, *template], env=environment, check=True, capture_output=True)
    times = []
    for _ in range(2):
        began = time.time()
        subprocess.run([binary, "start", guest], env=environment, check=True, capture_output=True)
        times.append(time.time() - began)
        # The guest confirms what it was set up with when cloud-init has ended, after the guest is usable.
        while not os.path.exists(f"{environment['LIMA_HOME']}/{guest}/seed-applied"):
            time.sleep(0.05)
        subprocess.run([binary, "stop", guest], env=environment, check=True, capture_output=True)
    subprocess.run([binary, "delete", guest], env=environment, check=True, capture_output=True)
    return times


def debian_row(row, rounds, binary, environment, directory):
    # In turns, because the speed of a shared machine drifts.
    raw, starts = [], []
    for turn in range(rounds(3, 1)):
        raw.append(debian_raw(binary, environment, f"raw{turn}"))
        starts.append(debian_start(binary, environment, f"debian{turn}", "debian-local"))
    bare = statistics.median(raw)
    first, second = (statistics.median(times) for times in zip(*starts))
    row(f"Debian guest, first start, s; its machine to a login with cloud-init done: {first / bare:.2f} ×",
        round(first, 1), round(bare, 1), "<= 1.03 ×", first <= 1.03 * bare)
    row(f"Debian guest, second start, s; its first start: {second / first:.2f} ×", round(second, 1),
        round(first, 1), "<= 0.5 ×", second <= 0.5 * first)
    if not os.path.exists(f"{directory}/bootable.qcow2"):
        print("  the row about a disk that boots needs scripts/build-debian-guest --bootable", file=sys.stderr)
        return
    template = f"{environment['LIMA_HOME']}/bootable.yaml"
    with open(template, "w") as file:
        file.write(f"cpus: 2\nmemory: 1GiB\ndisk: 8GiB\nimages: [{{location: {directory}/bootable.qcow2}}]\n")
    starts = [debian_start(binary, environment, f"disk{turn}", template) for turn in range(rounds(3, 1))]
    first, second = (statistics.median(times) for times in zip(*starts))
    row(f"the same from its disk, second start, s; its first start: {second / first:.2f} ×", round(second, 1),
        round(first, 1), "<= 0.75 ×", second <= 0.75 * first)
