"""The rows of memory.sh: starts a broker for each, and reads what it holds."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

# Channels, viewers of each, TLS. The first connections fill the rings of the log and the recorder: the difference of the
# first two rows is what each further connection takes.
IDLE = [(2000, 1, False), (4500, 1, False), (400, 9, False), (1000, 1, True)]
READY_SECONDS = 60
SETTLED_SECONDS = 3  # longer than the allocator's delay and two rounds of the main thread


class Broker:
    """One process, its addresses, and what it holds."""

    def __init__(self, binary, folder, *flags):
        self.out = os.path.join(folder, "out")
        command = [binary, "serve", "--shards", "1", "--admin", "off", "--data-dir", os.path.join(folder, "data"), *flags]
        with open(self.out, "wb") as out, open(os.path.join(folder, "log"), "wb") as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(command, stdout=out, stderr=log)
        self.ready = self.await_ready()

    def await_ready(self):
        while time.monotonic() < self.started + READY_SECONDS:
            with open(self.out, encoding="utf-8") as out:
                line = out.readline()
            if line.startswith("ready ") and line.endswith("\n"):
                self.ready_seconds = time.monotonic() - self.started
                return line
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        sys.exit("the broker did not get ready")

    def url(self, scheme):
        return re.search(scheme + r"://127.0.0.1:\d+", self.ready).group(0)

    def holds(self):
        """Resident KiB: all, and what is no file's."""
        time.sleep(SETTLED_SECONDS)
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            sizes = dict(re.findall(r"(\w+):\s+(\d+) kB", status.read()))
        return int(sizes["VmRSS"]), int(sizes["RssAnon"])

    def end(self):
        self.process.terminate()
        self.process.wait()


def idle(arguments, channels, viewers, tls):
    """Before the first connection, and with all of them idle."""
    with tempfile.TemporaryDirectory() as folder:
        listeners = ["--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0"]
        broker = Broker(arguments.broker, folder, "--dev", *listeners)
        before, own_before = broker.holds()
        command = [arguments.loadgen, "run", "--target", broker.url("https" if tls else "http"), "--mode", "idle"]
        command += ["--channels", str(channels), "--viewers-per-channel", str(viewers), "--duration", "8"]
        command += ["--source-addresses", "127.0.1.1/24", *(["--insecure"] if tls else [])]
        load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in load.stderr:
            if line.startswith("measuring"):
                break
        within, own_within = broker.holds()
        load.communicate()
        if load.returncode != 0:
            sys.exit(f"loadgen ended with {load.returncode}")
        after, _ = broker.holds()
        broker.end()
    connections = channels * (1 + viewers)
    kind = "TLS" if tls else "plain"
    print(f"{channels} channels with a master and {viewers} viewers, {kind}")
    print(f"  before {before} KiB ({own_before} without files), idle {within} KiB, after {after} KiB")
    each = (within - before) * 1024 / connections
    own = (own_within - own_before) * 1024 / connections
    print(f"  a connection: {each:.0f} B, {own:.0f} without files", flush=True)
    return connections, own_within - own_before


def on_disk(arguments):
    """A start with channels on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data")
        os.mkdir(data)
        subprocess.run([arguments.fill, data, str(arguments.channels)], check=True)
        broker = Broker(arguments.broker, folder, "--auth", "none", "--listen", "http://127.0.0.1:0")
        at_once, _ = broker.holds()
        broker.end()
    each = at_once * 1024 / arguments.channels
    print(f"{arguments.channels} channels on the disk")
    print(f"  ready after {broker.ready_seconds:.2f} s, {at_once} KiB, {each:.0f} B a channel")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--loadgen", required=True)
    parser.add_argument("--fill", default="")
    parser.add_argument("--channels", type=int, default=0)
    arguments = parser.parse_args()
    (fewer, held_by_fewer), (more, held_by_more) = [idle(arguments, *row) for row in IDLE[:2]]
    each = (held_by_more - held_by_fewer) * 1024 / (more - fewer)
    print(f"  a connection beyond the first {fewer}: {each:.0f} B without files", flush=True)
    for row in IDLE[2:]:
        idle(arguments, *row)
    if arguments.channels:
        on_disk(arguments)


main()
