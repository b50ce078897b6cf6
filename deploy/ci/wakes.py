"""The rows of wakes.sh: starts a broker for each, with a receiver of its hook in this process."""

import argparse
import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import time

ARN = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/{}/1700000000000"
READY_SECONDS = 60
MESSAGES_A_SECOND = 5000  # of the busy channels together
JOINS_A_SECOND = 4000
QUICK, SLOW = 0.01, 1.0  # seconds until a receiver answers
HOOK = """
[[hook]]
name = "figures"
url = "http://127.0.0.1:{port}/{{channel}}"
events = [{events}]
channels = "*"
secret_file = "{secret}"
"""


class Receiver:
    """Takes events, and notes when the first call for each channel came."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.called = {}
        self.events = 0

    async def start(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                came = time.perf_counter()
                body = await reader.readexactly(int(re.search(rb"content-length: (\d+)", head.lower()).group(1)))
                self.events += 1
                if b'"channel.wake"' in body:
                    channel = head.split(b" ", 2)[1].decode().strip("/")
                    self.called.setdefault(channel, asyncio.get_running_loop().create_future())
                    if not self.called[channel].done():
                        self.called[channel].set_result(came)
                await asyncio.sleep(self.seconds)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def call_of(self, channel):
        future = self.called.setdefault(channel, asyncio.get_running_loop().create_future())
        return await asyncio.wait_for(future, 30)


class Broker:
    """One process in a folder, with this configuration."""

    def __init__(self, binary, folder, config):
        path = os.path.join(folder, "broker.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        out = os.path.join(folder, "out")
        command = [binary, "serve", "--dev", "--config", path, "--shards", "1", "--cpus", "0"]
        command += ["--listen", "http://127.0.0.1:0", "--admin", "127.0.0.1:0"]
        command += ["--data-dir", os.path.join(folder, "data")]
        with open(out, "wb") as to, open(os.path.join(folder, "log"), "wb") as log:
            self.process = subprocess.Popen(command, stdout=to, stderr=log)
        deadline = time.monotonic() + READY_SECONDS
        ready = ""
        while not ready.endswith("\n"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit("the broker did not get ready")
            time.sleep(0.01)
            with open(out, encoding="utf-8") as file:
                ready = file.readline()
        self.url = re.search(r"http://127.0.0.1:\d+", ready).group(0)
        self.port = int(self.url.rsplit(":", 1)[1])

    def kib(self, name):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            return int(re.search(name + r":\s+(\d+) kB", status.read()).group(1))

    def end(self):
        self.process.terminate()
        self.process.wait()


def config(folder, port, events):
    """A configuration with a hook for a receiver on this port; without one, if there is none."""
    text = "[presence]\nwake_poll = true\n"
    if port:
        secret = os.path.join(folder, "secret")
        with open(secret, "w", encoding="ascii") as file:
            file.write("whsec_" + base64.b64encode(bytes(32)).decode() + "\n")
        os.chmod(secret, 0o600)
        text += HOOK.format(port=port, events=events, secret=secret)
    return text


async def offer(port, channel):
    """A viewer's offer: when it was sent, and the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    query = f"X-Amz-ChannelARN={ARN.format(channel)}&X-Amz-ClientId=v1"
    writer.write(
        f"GET /?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head:
        sys.exit(f"refused: {head}")
    text = json.dumps({"action": "SDP_OFFER", "messagePayload": "b2ZmZXI="}).encode()
    frame = bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text
    sent = time.perf_counter()
    writer.write(frame)
    return sent, writer


def load(arguments, broker, folder, *flags):
    """loadgen, with its figures in a file."""
    report = os.path.join(folder, "report.json")
    command = [arguments.loadgen, "run", "--target", broker.url, "--cores", "1", "--json", report, "--quiet"]
    return subprocess.Popen([*command, "--source-addresses", "127.0.1.1/24", *flags]), report


def of(report):
    with open(report, encoding="utf-8") as file:
        found = json.load(file)
    times = found["latency_us"]["message"]
    if found["messages"]["lost"]:
        sys.exit("messages were lost")
    return f"message p50 {times['p50'] / 1000:.2f} ms, p99 {times['p99'] / 1000:.2f} ms"


def percentile(times, part):
    times = sorted(times)
    return times[min(int(len(times) * part), len(times) - 1)]


async def calls(arguments, channels):
    """From an offer to its POST, beside busy channels, all of them watched."""
    with tempfile.TemporaryDirectory() as folder:
        receiver = Receiver(QUICK)
        await receiver.start()
        broker = Broker(arguments.broker, folder, config(folder, receiver.port, '"wake"'))
        seconds = arguments.calls * 0.05 + channels / 1000 + 5
        flags = ["--mode", "relay", "--channels", str(channels), "--rate", str(MESSAGES_A_SECOND)]
        busy, report = load(arguments, broker, folder, *flags, "--duration", f"{seconds:.0f}")
        while broker.kib("VmRSS") and not connected(broker, 2 * channels):
            if busy.poll() is not None:
                sys.exit("loadgen ended early")
            await asyncio.sleep(0.2)
        times = []
        for number in range(arguments.calls + 10):
            sent, writer = await offer(broker.port, f"cam-{number}")
            took = await receiver.call_of(f"cam-{number}") - sent
            writer.close()
            times += [took * 1000] if number >= 10 else []  # the first ones open connections
            await asyncio.sleep(0.02)
        median, late = percentile(times, 0.5), percentile(times, 0.99)
        print(f"{channels} busy channels, {arguments.calls} calls")
        print(f"  POST after p50 {median:.2f} ms, p99 {late:.2f} ms, most {max(times):.2f} ms")
        if busy.wait() != 0:
            sys.exit(f"loadgen ended with {busy.returncode}")
        print(f"  {of(report)} of {MESSAGES_A_SECOND} a second", flush=True)
        broker.end()


def connected(broker, wanted):
    """Whether this many connections are established to the broker."""
    local = f":{broker.port:04X} "
    with open("/proc/net/tcp", encoding="ascii") as sockets:
        lines = sockets.read().splitlines()[1:]
    return sum(local in line.split(":", 1)[1][:16] and line.split()[3] == "01" for line in lines) >= wanted


async def storm(arguments, told):
    """Sessions that join and leave: nobody is told, or a slow receiver is."""
    with tempfile.TemporaryDirectory() as folder:
        receiver = Receiver(SLOW)
        await receiver.start()
        events = '"wake", "presence"'
        broker = Broker(arguments.broker, folder, config(folder, told and receiver.port, events))
        sessions = JOINS_A_SECOND * arguments.storm
        flags = ["--mode", "sessions", "--channels", "1000", "--rate", str(JOINS_A_SECOND), "--trickle", "0"]
        driver, report = load(arguments, broker, folder, *flags, "--sessions", str(sessions))
        while driver.poll() is None:
            await asyncio.sleep(0.2)
        if driver.returncode != 0:
            sys.exit(f"loadgen ended with {driver.returncode}")
        who = f"a receiver that takes {SLOW:.0f} s, {receiver.events} events" if told else "no hook"
        print(f"{JOINS_A_SECOND} joins a second for {arguments.storm} s, {who}")
        print(f"  {of(report)}; most memory {broker.kib('VmHWM')} KiB", flush=True)
        broker.end()


async def devices(arguments):
    """Memory for each device that waits."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(arguments.broker, folder, config(folder, None, ""))
        names = [f"cam-{number}" for number in range(arguments.devices)]
        await create(broker.port, names)
        await asyncio.sleep(3)
        before = broker.kib("VmRSS")
        writers = []
        for number, name in enumerate(names):
            source = (f"127.0.1.{1 + number % 200}", 0)
            _, writer = await asyncio.open_connection("127.0.0.1", broker.port, local_addr=source, limit=256)
            query = f"X-Amz-ChannelARN={ARNS[name]}&wait=600"
            writer.write(f"GET /wake?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            writers.append(writer)
        await asyncio.sleep(3)
        if not connected(broker, len(names)):
            sys.exit("a device was refused")
        within = broker.kib("VmRSS")
        each = (within - before) * 1024 / len(names)
        print(f"{len(names)} devices that wait: {each:.0f} B each", flush=True)
        broker.end()


ARNS = {}


async def create(port, names):
    """Creates channels over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for name in names:
        body = json.dumps({"ChannelName": name})
        head = f"POST /createSignalingChannel HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", answer).group(1)))
        ARNS[name] = json.loads(body)["ChannelARN"]
    writer.close()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker", required=True)
    parser.add_argument("--loadgen", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--storm", type=int, required=True)
    parser.add_argument("--devices", type=int, required=True)
    parser.add_argument("--channels", type=int, nargs="*", default=[])
    arguments = parser.parse_args()
    for channels in arguments.channels:
        await calls(arguments, channels)
    if arguments.storm:
        await storm(arguments, False)
        await storm(arguments, True)
    if arguments.devices:
        await devices(arguments)


asyncio.run(main())
