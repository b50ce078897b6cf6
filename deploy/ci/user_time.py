#!/usr/bin/env python3
"""User time of a relayed message, by samples of perf: the kernel's ticks are too coarse for it.

usage: deploy/ci/user_time.py [--rounds 12] [--seconds 3] [--window 4] [--loadgen PATH] NAME=BROKER NAME=BROKER [...]

Servers take turns, each a broker with one shard on CPU 0, as in production with quotas off; the driver is on CPU 1. Prints
for each of them the best and the median of its rounds in microseconds a message, user and kernel apart, and the median of
what each later server took of the first one's time in the same round. Needs perf, two CPUs and nothing else at work.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile

SAMPLES_A_SECOND = 4000
CONFIG = """
auth = "none"
listen = ["http://127.0.0.1:0"]
data_dir = "{folder}/data"
[quotas]
off = true
[admin]
listen = "127.0.0.1:0"
"""
LOAD = "run --create-channels --mode relay --channels 100 --payload 200 --cores 1".split()


def server(text):
    """The name and the binary of a server, of an argument."""
    name, given, broker = text.partition("=")
    if not given or not shutil.which(broker):
        raise argparse.ArgumentTypeError(f"{text}: must be NAME=BROKER, and BROKER a program")
    return name, broker


def start(broker, folder):
    """Starts a broker; returns its process and the port that it listens on."""
    config = os.path.join(folder, "production.toml")
    with open(config, "w") as file:
        file.write(CONFIG.format(folder=folder))
    command = [broker, "serve", "--config", config, "--shards", "1", "--cpus", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        port = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if "ready" in line and port:
            return process, port[1]
    raise SystemExit(f"{broker}: ended before it was ready")


def samples(data):
    """How many samples were in user mode, and how many in the kernel."""
    report = ["perf", "report", "-i", data, "--stdio", "--sort", "sym", "-F", "sample,sym"]
    text = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\s*(\d+)\s+\[(.)\]", text, re.MULTILINE)
    kernel = sum(int(count) for count, mode in found if mode == "k")
    return sum(int(count) for count, _ in found) - kernel, kernel


def measure(broker, options):
    """One round of one server: microseconds a message in user mode and in the kernel."""
    with tempfile.TemporaryDirectory() as folder:
        process, port = start(broker, folder)
        result, data = os.path.join(folder, "load.json"), os.path.join(folder, "perf.data")
        load = [options.loadgen, *LOAD, "--target", f"http://127.0.0.1:{port}", "--window", str(options.window)]
        load += ["--duration", str(options.seconds), "--json", result]
        try:
            driver = subprocess.Popen(load, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            seen = ""
            while "measuring" not in seen:
                more = driver.stderr.read(1)
                if not more:
                    raise SystemExit(f"{options.loadgen}: {seen}")
                seen += more
            seconds = options.seconds * 0.9  # it ends before the load does
            record = f"perf record -q -e cpu-clock -F {SAMPLES_A_SECOND} -p {process.pid} -o".split()
            subprocess.run([*record, data, "--", "sleep", str(seconds)], check=True, stderr=subprocess.DEVNULL)
            driver.communicate()
            with open(result) as file:
                load = json.load(file)
        finally:
            process.terminate()
            process.wait()
        messages = load["latency_us"]["message"]["count"] / load["duration_s"] * seconds
        return [count / SAMPLES_A_SECOND / messages * 1e6 for count in samples(data)]


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1].removeprefix("usage: "))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--window", type=int, default=4)
    parser.add_argument("--loadgen", default="target/dist/loadgen")
    parser.add_argument("servers", nargs="+", metavar="NAME=BROKER", type=server)
    options = parser.parse_args()
    for program in ("perf", options.loadgen):
        if not shutil.which(program):
            parser.error(f"{program}: must be a program that is there")
    servers = dict(options.servers)
    rounds = [{name: measure(broker, options) for name, broker in servers.items()} for _ in range(options.rounds)]
    first = next(iter(servers))
    for name in servers:
        user, kernel = zip(*(one[name] for one in rounds))
        line = f"{name}: user {min(user):.3f}, {statistics.median(user):.3f}"
        line += f"; kernel {min(kernel):.3f}, {statistics.median(kernel):.3f}"
        if name != first:
            line += f"; user time of {first}'s {statistics.median(one[name][0] / one[first][0] for one in rounds):.2f}"
        print(line)


if __name__ == "__main__":
    main()
