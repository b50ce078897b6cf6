"""A slow link between two network namespaces that loses packets.

usage: lossy_link.py NAMESPACE ADDRESS NAMESPACE ADDRESS DELAY_MS PERCENT

Packets of each namespace to the other one's address arrive so many milliseconds later, and of so many percent none.
Prints "ready" when the link is there. A line on standard input has it lose packets, the next one has it lose none, and
so on. It ends with its standard input.
Wants root and /dev/net/tun.
"""

import collections
import ctypes
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
TUN_WITHOUT_HEADER = 0x1001
PACKET_BYTES_MAX = 65536


def end_of_link(namespace, own, other):
    """Opens an end in a namespace: a card that leads from one address to one other."""
    with open(namespace) as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
            raise SystemExit(f"{namespace}: {os.strerror(ctypes.get_errno())}")
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH", b"lossy", TUN_WITHOUT_HEADER))
    subprocess.run(["ip", "link", "set", "lossy", "up"], check=True)
    subprocess.run(["ip", "route", "add", f"{other}/32", "dev", "lossy", "src", own], check=True)
    return end


def carry(ends, delay, share):
    """Carries packets between both ends until standard input ends."""
    dice, loses = random.Random(1), False
    under_way = collections.deque()
    print("ready", flush=True)
    while True:
        wait = max(0, under_way[0][0] - time.monotonic()) if under_way else None
        readable, _, _ = select.select([*ends, sys.stdin], [], [], wait)
        if sys.stdin in readable:
            if not sys.stdin.readline():
                return
            loses = not loses
        for end, other in (ends, ends[::-1]):
            if end in readable:
                packet = os.read(end, PACKET_BYTES_MAX)
                if not (loses and dice.random() < share):
                    under_way.append((time.monotonic() + delay, other, packet))
        while under_way and under_way[0][0] <= time.monotonic():
            _, end, packet = under_way.popleft()
            os.write(end, packet)


here, one, there, other, delay, percent = sys.argv[1:]
both = [end_of_link(here, one, other), end_of_link(there, other, one)]
carry(both, int(delay) / 1000, int(percent) / 100)
