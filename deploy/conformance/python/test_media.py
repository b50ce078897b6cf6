"""aiortc, boto3 and websockets, as AWS' Python samples use them: a master that signs the ClientId MASTER and relies on its endpoint
for its role, viewers, and video between them, also after drains and a crash of the broker, which the script starts itself.

Requires an interface with an address: aiortc gathers no candidates of 127.0.0.1.
"""

import asyncio
import base64
import json
import os
import signal
import ssl
import tempfile
import unittest
from urllib.parse import quote
from urllib.request import Request, urlopen

import boto3
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import HTTPClientError
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

SECONDS = 20  # how long anything may take
RETRY_SECONDS = 0.2  # a supervisor's pause before it starts the master again
REGION = "us-west-2"
KEYS = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


class Media(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.broker = Broker()
        self.addCleanup(self.broker.directory.cleanup)
        await self.broker.start()
        self.addAsyncCleanup(self.broker.stop, signal.SIGKILL)
        self.arn = self.broker.control().create_signaling_channel(ChannelName="porch")["ChannelARN"]
        self.camera = Camera(self.broker, self.arn)
        supervisor = asyncio.create_task(self.camera.supervised())
        self.addAsyncCleanup(self.camera.close)
        self.addCleanup(supervisor.cancel)

    async def test_video_by_the_masters_endpoint_and_after_drains_and_a_crash(self):
        first = await self.meet("visitor-1")
        for end in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            self.camera.connected.clear()
            self.assertEqual(await self.broker.stop(end), 0 if end == signal.SIGTERM else -end)
            await within(first.recv(), "the video goes on without the broker")
            await self.broker.start()
            await self.meet(f"visitor-after-{end.name}-{self.broker.starts}")

    async def test_players_by_whep(self):
        await within(self.camera.connected.wait(), "the camera connects")
        for _ in range(2):
            peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
            self.addAsyncCleanup(peer.close)
            peer.addTransceiver("video", direction="recvonly")
            await peer.setLocalDescription(await peer.createOffer())
            answer = await within(asyncio.to_thread(self.broker.post_offer, "porch", peer.localDescription.sdp), "an answer comes")
            self.assertEqual((answer.status, answer.headers["Content-Type"]), (201, "application/sdp"))
            self.assertRegex(answer.headers["Location"], "^/whep/porch/[A-Za-z0-9]{16}$")
            await peer.setRemoteDescription(RTCSessionDescription(answer.read().decode(), "answer"))
            frame = await within(peer.getReceivers()[0].track.recv(), "a frame comes")
            self.assertGreater(frame.width, 0)

    async def meet(self, client_id):
        """The video track of a new viewer, of which a frame has come."""
        await within(self.camera.connected.wait(), "the camera connects")
        viewer = Viewer(self.broker, self.arn, client_id)
        self.addAsyncCleanup(viewer.peer.close)
        track = await within(viewer.watch(), "the viewer gets its answer")
        frame = await within(track.recv(), "a frame comes")
        self.assertGreater(frame.width, 0)
        return track


class Broker:
    """A broker under --dev that keeps its ports and its channels from one start to the next."""

    ice = RTCConfiguration(iceServers=[])

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory()
        self.listen = ["http://127.0.0.1:0", "https://127.0.0.1:0"]
        self.process = None
        self.starts = 0

    async def start(self):
        listen = [word for url in self.listen for word in ("--listen", url)]
        self.process = await asyncio.create_subprocess_exec(
            os.environ["HELIOGRAPH_BROKER"], "serve", "--dev", "--admin", "off", "--data-dir", self.directory.name, *listen,
            stdout=asyncio.subprocess.PIPE,
        )
        ready = (await within(self.process.stdout.readline(), "the broker is ready")).decode().split()
        assert ready[:1] == ["ready"], ready
        self.listen = ready[1:3]
        self.authority = next(word.removeprefix("ca=") for word in ready if word.startswith("ca="))
        self.starts += 1

    async def stop(self, end):
        """Its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(end)
        return await within(self.process.wait(), "the broker ends")

    def control(self):
        key_id, secret = KEYS
        return boto3.client(
            "kinesisvideo",
            endpoint_url=self.listen[1],
            region_name=REGION,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            verify=self.authority,
        )

    def post_offer(self, channel, sdp):
        """The answer to a player without an SDK."""
        headers = {"Content-Type": "application/sdp"}
        request = Request(f"{self.listen[0]}/whep/{channel}", sdp.encode(), headers)
        return urlopen(request, timeout=SECONDS)

    async def connect(self, arn, role, client_id):
        """A WebSocket to the endpoint of a role, its URL signed with a client id."""
        url = await asyncio.to_thread(self.signed_endpoint, arn, role, client_id)
        return await connect(url, ssl=ssl.create_default_context(cafile=self.authority))

    def signed_endpoint(self, arn, role, client_id):
        endpoint = self.control().get_signaling_channel_endpoint(
            ChannelARN=arn, SingleMasterChannelEndpointConfiguration={"Protocols": ["WSS"], "Role": role}
        )["ResourceEndpointList"][0]["ResourceEndpoint"]
        url = f"{endpoint}?X-Amz-ChannelARN={quote(arn, safe='')}&X-Amz-ClientId={client_id}"
        request = AWSRequest("GET", url)
        SigV4QueryAuth(Credentials(*KEYS), "kinesisvideo", REGION, expires=299).add_auth(request)
        return request.url


class Camera:
    """The master. Like the samples it ends on a message without a payload, and is started again by `supervised`."""

    def __init__(self, broker, arn):
        self.broker, self.arn = broker, arn
        self.connected = asyncio.Event()
        self.peers = []

    async def supervised(self):
        while True:
            try:
                await self.serve()
            except (ConnectionError, ConnectionClosed, InvalidHandshake, HTTPClientError, NoPayload):
                pass
            await asyncio.sleep(RETRY_SECONDS)

    async def serve(self):
        async with await self.broker.connect(self.arn, "MASTER", "MASTER") as socket:
            self.connected.set()
            async for text in socket:
                message = json.loads(text)
                if not message.get("messagePayload"):
                    raise NoPayload(text)
                payload = json.loads(base64.b64decode(message["messagePayload"]))
                if message["messageType"] == "SDP_OFFER":
                    await self.answer(socket, message["senderClientId"], payload)

    async def answer(self, socket, viewer, offer):
        peer = RTCPeerConnection(self.broker.ice)
        self.peers.append(peer)
        peer.addTrack(VideoStreamTrack())
        await peer.setRemoteDescription(RTCSessionDescription(**offer))
        await peer.setLocalDescription(await peer.createAnswer())
        await socket.send(encoded("SDP_ANSWER", peer.localDescription, viewer))

    async def close(self):
        await asyncio.gather(*(peer.close() for peer in self.peers))


class NoPayload(Exception):
    pass


class Viewer:
    def __init__(self, broker, arn, client_id):
        self.broker, self.arn, self.client_id = broker, arn, client_id
        self.peer = RTCPeerConnection(broker.ice)

    async def watch(self):
        """The track that the master sends."""
        self.peer.addTransceiver("video", direction="recvonly")
        await self.peer.setLocalDescription(await self.peer.createOffer())
        async with await self.broker.connect(self.arn, "VIEWER", self.client_id) as socket:
            await socket.send(encoded("SDP_OFFER", self.peer.localDescription))
            async for text in socket:
                message = json.loads(text)
                if message.get("messageType") == "SDP_ANSWER":
                    await self.answered(json.loads(base64.b64decode(message["messagePayload"])))
                    return self.peer.getReceivers()[0].track

    async def answered(self, answer):
        await self.peer.setRemoteDescription(RTCSessionDescription(**answer))


def encoded(action, description, recipient=None):
    text = json.dumps({"type": description.type, "sdp": description.sdp})
    message = {"action": action, "messagePayload": base64.b64encode(text.encode()).decode()}
    if recipient is not None:
        message["recipientClientId"] = recipient
    return json.dumps(message)


async def within(awaitable, what):
    try:
        return await asyncio.wait_for(awaitable, SECONDS)
    except TimeoutError as error:
        raise AssertionError(f"not within {SECONDS} s: {what}") from error
