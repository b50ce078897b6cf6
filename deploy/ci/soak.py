"""The rounds of soak.sh: starts a broker, loads it, and judges what it counted and what it holds."""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

# Over the whole run, by the fitted line. Peaks leave 5 MiB more or less from round to round, which few samples do not even out.
MEMORY_GROWTH_BYTES = 8 << 20
MEMORY_GROWTH_BYTES_SHORT = 16 << 20
SHORT_ROUNDS = 20
DESCRIPTOR_GROWTH = 4
QUIET_SECONDS = 60  # until nobody is connected after a round: handshakes of attackers have deadlines of ten seconds
ATTACKER = "127.0.0.3"  # healthy clients come from 127.0.1.0/24
WAIT_SECONDS = 120  # for one loadgen run, which takes some five seconds and loadgen's patience

# One round's loads, all at once. Every channel is made once: the same names in each round.
LOADS = {
    "sessions": "--mode sessions --channels 20 --rate 20 --duration 8",
    "relay": "--mode relay --channels 4 --window 1 --duration 4",
    "storm": "--mode storm --channels 20 --viewers-per-channel 4 --duration 4",
    "idle": "--mode idle --channels 20 --viewers-per-channel 9 --duration 6",
}


class Broker:
    """The process, its addresses, and what it reports of itself."""

    def __init__(self, binary, folder):
        self.log = open(os.path.join(folder, "log"), "w+b")
        command = [binary, "serve", "--dev", "--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0"]
        command += ["--admin", "127.0.0.1:0", "--data-dir", os.path.join(folder, "data")]
        # Descriptors of its output are files: a full pipe would be a fault of the soak itself.
        self.out = open(os.path.join(folder, "out"), "w+b")
        self.process = subprocess.Popen(command, stdout=self.out, stderr=self.log)
        ready = self.ready()
        self.http = re.search(r"http://127.0.0.1:(\d+)", ready).group(0)
        self.https = re.search(r"https://127.0.0.1:(\d+)", ready).group(0)
        self.admin = re.search(r"admin=(\S+)", ready).group(1)
        self.authority = re.search(r"ca=(\S+)", ready).group(1)

    def ready(self):
        for _ in range(300):
            with open(self.out.name, encoding="utf-8") as out:
                line = out.readline()
            if line.startswith("ready ") and line.endswith("\n"):
                return line
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        sys.exit(f"the broker did not start: {self.logged()}")

    def logged(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as log:
            return log.read()

    def port(self, url):
        return int(url.rsplit(":", 1)[1])

    def scrape(self):
        """The metrics as a dictionary from name with labels to number."""
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def memory(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) * 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def total(scrape, name):
    return sum(value for key, value in scrape.items() if key == name or key.startswith(name + "{"))


def conservation(scrape):
    """Nothing where every message received is accounted for; else the equation."""
    received = total(scrape, "heliograph_messages_received_total")
    ended = total(scrape, "heliograph_messages_total")
    gauges = ("pending", "outbox", "written")
    kept = sum(scrape[f"heliograph_{gauge}_messages"] for gauge in gauges)
    return None if received == ended + kept else f"{received:.0f} received, {ended:.0f} ended, {kept:.0f} kept"


# Loads ----------------------------------------------------------------------------------------------------------------


def loadgen(args, broker, name, flags):
    target = broker.https if name in ("sessions", "victim") else broker.http
    command = [args.loadgen, "run", "--target", target, "--quiet", "--channel-prefix", f"soak-{name}-", *flags.split()]
    if target == broker.https:
        command += ["--tls-ca", broker.authority]
    command += ["--source-addresses", "127.0.1.1/24"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finished(name, process):
    try:
        said, _ = process.communicate(timeout=WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return [f"loadgen {name}: not done within {WAIT_SECONDS} s"]
    code = process.returncode
    return [] if code == 0 else [f"loadgen {name}: exit code {code}: {said.decode()[-2000:]}"]


def api_calls(broker, number):
    """Forty calls about two channels; whatever is not 200 is a fault."""
    faults = []
    connection = http.client.HTTPConnection("127.0.0.1", broker.port(broker.http), timeout=30)

    def call(operation, body):
        connection.request("POST", f"/{operation}", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            faults.append(f"{operation}: {answer.status} {text[:200]!r}")
        return json.loads(text or b"{}")

    for turn in range(4):
        name = f"soak-api-{number % 4}-{turn}"
        arn = call("createSignalingChannel", {"ChannelName": name}).get("ChannelARN")
        call("TagResource", {"ResourceARN": arn, "Tags": [{"Key": "round", "Value": str(number)}]})
        call("ListTagsForResource", {"ResourceARN": arn})
        for _ in range(3):
            call("describeSignalingChannel", {"ChannelName": name})
            call("listSignalingChannels", {"MaxResults": 100})
        version = call("describeSignalingChannel", {"ChannelName": name}).get("ChannelInfo", {}).get("Version")
        call("deleteSignalingChannel", {"ChannelARN": arn, "CurrentVersion": version})
    connection.close()
    return faults


def created(broker, name):
    """The ARN of a new channel."""
    request = urllib.request.Request(f"{broker.http}/createSignalingChannel", json.dumps({"ChannelName": name}).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)["ChannelARN"]


# Attackers: each holds a few connections for some seconds, then resets them. What becomes of them is not judged here.


def attack(port, count, first, then=b"", seconds=2.0):
    """Opens connections, sends each its bytes without reading, holds them, resets them."""
    peers = []
    for _ in range(count):
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.bind((ATTACKER, 0))
        peer.settimeout(1)
        peers.append(peer)
        try:
            peer.connect(("127.0.0.1", port))
            peer.sendall(first)
            peer.sendall(then)
        except OSError:
            continue  # closed, or not read: both are answers
    time.sleep(seconds)
    for peer in peers:
        peer.close()


def upgrade(name, role="viewer"):
    arn = f"arn:aws:kinesisvideo:us-west-2:123456789012:channel/{name}/1"
    client = "&X-Amz-ClientId=attacker" if role == "viewer" else ""
    return (
        f"GET /?X-Amz-ChannelARN={arn}{client} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()


def attacks(broker, channel):
    """Names and functions; `channel` is the ARN of one without a master."""
    plain, tls = broker.port(broker.http), broker.port(broker.https)
    alexa = json.dumps({"ChannelARN": channel, "SenderClientId": "attacker", "MessagePayload": "AAAA"}).encode()
    waiting = b"POST /v1/send-alexa-offer-to-master HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(alexa), alexa)
    empty_frames = b"\x81\x80\0\0\0\0" * 4000
    return [
        ("pipelined requests, nothing read", lambda: attack(plain, 4, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000)),
        ("half ClientHellos", lambda: attack(tls, 64, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 100)),
        ("unfinished heads", lambda: attack(plain, 64, b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 8000)),
        ("unfinished bodies", lambda: attack(plain, 32, b"POST /listSignalingChannels HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n" + b" " * 50_000)),
        ("empty frames", lambda: attack(plain, 4, upgrade("soak-empty"), empty_frames)),
        ("unmasked frames", lambda: attack(plain, 8, upgrade("soak-unmasked", "master"), b"\x81\x05hello")),
        ("waiting calls", lambda: attack(plain, 16, waiting)),
        ("silence", lambda: attack(tls, 64, b"")),
    ]


# Rounds ---------------------------------------------------------------------------------------------------------------


def load_round(args, broker, channel, number):
    """All loads at once; what went wrong. Loadgen's runs, attackers and the killed client end within some fifteen seconds."""
    faults = []
    runs = {name: loadgen(args, broker, name, flags) for name, flags in LOADS.items()}
    victim = loadgen(args, broker, "victim", "--mode sessions --channels 10 --rate 20 --duration 20 --hold 5")
    peers = [threading.Thread(target=run) for _, run in attacks(broker, channel)]
    for peer in peers:
        peer.start()
    for _ in range(3):
        try:
            faults += api_calls(broker, number)
        except (OSError, http.client.HTTPException) as error:
            faults.append(f"API: {error!r}")
        broker.process.send_signal(signal.SIGHUP)
        unequal = conservation(broker.scrape())
        faults += [f"under load: {unequal}"] if unequal else []
        time.sleep(1)
    victim.kill()
    victim.communicate()
    for peer in peers:
        peer.join()
    for name, run in runs.items():
        faults += finished(name, run)
    return faults


def quiet(broker):
    """Waits until nobody is connected; the scrape."""
    ends = time.monotonic() + QUIET_SECONDS
    while True:
        scrape = broker.scrape()
        if total(scrape, "heliograph_connections") == 0 and scrape["heliograph_waiting_calls"] == 0:
            return scrape, []
        if time.monotonic() > ends:
            held = {key: value for key, value in scrape.items() if key.startswith("heliograph_connections{") and value}
            return scrape, [f"still connected {QUIET_SECONDS} s after the round: {held}"]
        time.sleep(0.5)


def growth(samples):
    """What a least-squares line through (seconds, bytes) rises from the first to the last."""
    if len(samples) < 2:
        return 0.0
    middle = sum(at for at, _ in samples) / len(samples)
    mean = sum(value for _, value in samples) / len(samples)
    spread = sum((at - middle) ** 2 for at, _ in samples)
    slope = sum((at - middle) * (value - mean) for at, value in samples) / spread
    return slope * (samples[-1][0] - samples[0][0])


def soak(args, broker):
    started = time.monotonic()
    samples, descriptors, faults, number = [], [], [], 0
    channel = created(broker, "soak-waiting")
    # The first round fills pools and creates channels; two more make a line.
    while number < 3 or time.monotonic() - started < args.seconds:
        faults += load_round(args, broker, channel, number)
        if broker.process.poll() is not None:
            return faults + [f"the broker ended: {broker.process.returncode}"]
        scrape, left = quiet(broker)
        unequal = conservation(scrape)
        faults += left + ([f"at rest: {unequal}"] if unequal else [])
        at = time.monotonic() - started
        samples.append((at, broker.memory()))
        descriptors.append(broker.descriptors())
        received = total(scrape, "heliograph_messages_received_total")
        number += 1
        print(f"round {number}: {at:.0f} s, {samples[-1][1] / 2**20:.1f} MiB, {descriptors[-1]} descriptors, "
              f"{received:.0f} messages, {len(faults)} faults", flush=True)
    grown = growth(samples[1:])
    span = samples[-1][0] - samples[1][0]
    bound = MEMORY_GROWTH_BYTES if number >= SHORT_ROUNDS else MEMORY_GROWTH_BYTES_SHORT
    print(f"memory: {grown / 2**20:+.2f} MiB over {span:.0f} s (at most +{bound >> 20}); "
          f"descriptors: {descriptors[0]} to {descriptors[-1]} (at most +{DESCRIPTOR_GROWTH})")
    if grown > bound:
        faults.append(f"memory grew by {grown / 2**20:.2f} MiB")
    if descriptors[-1] > descriptors[0] + DESCRIPTOR_GROWTH:
        faults.append(f"descriptors grew: {descriptors}")
    return faults


def ending(broker):
    """Stops the broker; what was wrong with its end."""
    if broker.process.poll() is None:
        broker.process.send_signal(signal.SIGTERM)
    try:
        code = broker.process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        broker.process.kill()
        return ["the broker did not end within 30 s of SIGTERM"]
    errors = [line for line in broker.logged().splitlines() if " ERROR " in line or "panicked" in line]
    return ([f"the broker ended with {code}"] if code else []) + errors[:10]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--loadgen", required=True)
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="heliograph-soak-")
    broker = Broker(args.broker, folder)
    try:
        faults = soak(args, broker)
    finally:
        ended = ending(broker)
        shutil.rmtree(folder)
    faults += ended
    for fault in faults[:40]:
        print(f"FAULT: {fault}")
    print("soak: " + (f"{len(faults)} faults" if faults else "nothing lost, nothing grew"))
    sys.exit(1 if faults else 0)


main()
