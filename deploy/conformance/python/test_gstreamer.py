"""GStreamer's awskvswebrtcsink as a camera, watched by aiortc and by GStreamer's whepclientsrc, a player: its video within the time
of the other scripts. HELIOGRAPH_PIPELINE is the program (deploy/conformance/rust). Requires an interface with an address, as
test_media does.
"""

import asyncio
import base64
import json
import os
import signal
import unittest

from aiortc.sdp import candidate_from_sdp

from test_media import KEYS, REGION, Broker, Viewer, encoded, within


class Pipelines(unittest.IsolatedAsyncioTestCase):
    async def test_video_of_a_camera_with_gstreamer(self):
        broker = Broker()
        self.addCleanup(broker.directory.cleanup)
        await broker.start()
        self.addAsyncCleanup(broker.stop, signal.SIGKILL)
        arn = broker.control().create_signaling_channel(ChannelName="porch")["ChannelARN"]
        camera = await self.play(
            "videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=15/1 ! awskvswebrtcsink "
            "video-caps=video/x-vp8 congestion-control=disabled signaller::channel-name=porch "
            f"signaller::cafile={broker.authority}",
            AWS_ENDPOINT_URL=broker.listen[1], AWS_REGION=REGION, SSL_CERT_FILE=broker.authority,
            AWS_ACCESS_KEY_ID=KEYS[0], AWS_SECRET_ACCESS_KEY=KEYS[1],
        )
        viewer = TrickleViewer(broker, arn, "visitor")
        self.addAsyncCleanup(viewer.peer.close)
        frame = await within(viewer.frame(), "a frame comes")
        self.assertEqual((frame.width, frame.height), (320, 240))
        url = f"{broker.listen[0]}/whep/porch"
        vp8 = "application/x-rtp,media=video,encoding-name=VP8,payload=97,clock-rate=90000"
        for source in (
            f'whepclientsrc signaller::whep-endpoint="{url}" audio-codecs="<>" ! decodebin',
            f'whepsrc whep-endpoint="{url}" video-caps="{vp8}" ! rtpvp8depay ! vp8dec',
        ):
            player = await self.play(f"{source} ! video/x-raw,width=320,height=240 ! fakesink num-buffers=5")
            self.assertEqual(await within(player.wait(), f"frames come to a player: {source}"), 0)
        self.assertIsNone(camera.returncode)

    async def play(self, pipeline, **variables):
        """Starts a pipeline, which is killed when the test ends."""
        process = await asyncio.create_subprocess_exec(os.environ["HELIOGRAPH_PIPELINE"], pipeline, env=os.environ | variables)
        self.addAsyncCleanup(process.wait)
        self.addCleanup(lambda: process.returncode is None and process.kill())
        return process


class TrickleViewer(Viewer):
    """The same for a camera that sends its candidates behind its answer."""

    async def frame(self):
        tracks = asyncio.Queue()
        self.peer.on("track", tracks.put_nowait)
        self.peer.addTransceiver("video", direction="recvonly")
        await self.peer.setLocalDescription(await self.peer.createOffer())
        async with await self.broker.connect(self.arn, "VIEWER", self.client_id) as socket:
            await socket.send(encoded("SDP_OFFER", self.peer.localDescription))
            reads = asyncio.create_task(self.read(socket))
            try:
                return await (await tracks.get()).recv()
            finally:
                reads.cancel()

    async def read(self, socket):
        async for text in socket:
            message = json.loads(text)
            payload = json.loads(base64.b64decode(message.get("messagePayload") or "e30="))
            if message.get("messageType") == "SDP_ANSWER":
                await self.answered(payload)
            elif message.get("messageType") == "ICE_CANDIDATE" and payload.get("candidate"):
                candidate = candidate_from_sdp(payload["candidate"].removeprefix("candidate:"))
                candidate.sdpMid, candidate.sdpMLineIndex = payload.get("sdpMid"), payload.get("sdpMLineIndex")
                await self.peer.addIceCandidate(candidate)


if __name__ == "__main__":
    unittest.main()
