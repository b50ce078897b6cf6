import asyncio
import json
import threading
import time

import boto3
import pytest
from heliograph_testing import wait_factor
from viewer import Viewer, encode, read, signaling


@pytest.fixture
def channel(heliograph):
    name = heliograph.channel("porch")
    boto3.client("kinesisvideo").create_signaling_channel(ChannelName=name)
    return name


@pytest.fixture
def camera(heliograph, channel):
    """The other side: it answers every offer."""
    loop = asyncio.new_event_loop()

    async def answer():
        async with signaling("MASTER", channel) as (socket, _):
            async for text in socket:
                message, (kind, offer) = json.loads(text), read(text)
                if kind == "SDP_OFFER":
                    payload = encode({"type": "answer", "sdp": "answer to " + offer["sdp"]})
                    viewer = message["senderClientId"]
                    answer = {"action": "SDP_ANSWER", "messagePayload": payload, "recipientClientId": viewer}
                    await socket.send(json.dumps(answer))

    task = loop.create_task(answer())
    task.add_done_callback(lambda _: loop.stop())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    heliograph.connections("porch", role="master").wait(1)
    yield
    loop.call_soon_threadsafe(task.cancel)
    thread.join()


@pytest.fixture
def view(channel):
    """Starts a viewer with short waits, which ends with the test."""
    viewers = []

    def start(**options):
        viewer = Viewer(channel, "phone", **{"pause": 0.01, "answer_within": 0.3, **options})
        viewers.append(viewer)
        viewer.start()
        return viewer

    yield start
    for viewer in viewers:
        viewer.stop()


@pytest.fixture
def until():
    """Waits for what only the app knows; what the service knows is waited for there."""

    def wait(met):
        end = time.monotonic() + 5 * wait_factor()
        while not met():
            assert time.monotonic() < end, "not within 5s"
            time.sleep(0.005)

    return wait
