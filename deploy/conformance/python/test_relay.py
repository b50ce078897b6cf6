"""aiortc, with media by a TURN server alone: the credentials of GetIceServerConfig open a relay for the camera and for its viewer,
over UDP and over TCP, and no other candidate is told.
"""

import asyncio
import unittest

from aiortc import RTCConfiguration, RTCIceServer
from aiortc.rtcconfiguration import RTCIceTransportPolicy

import broker
from test_media import Broker, Camera, Viewer, within


class Relay(unittest.IsolatedAsyncioTestCase):
    async def test_video_over_udp_and_over_tcp(self):
        for transport in ("udp", "tcp"):
            with self.subTest(transport):
                given = Given(transport)
                camera, viewer = Camera(given, given.arn), Viewer(given, given.arn, "visitor")
                serves = asyncio.create_task(camera.serve())
                await within(camera.connected.wait(), "the camera connects")
                track = await within(viewer.watch(), "the viewer gets its answer")
                frame = await within(track.recv(), "a frame comes")
                self.assertGreater(frame.width, 0)
                for peer in (viewer.peer, *camera.peers):
                    lines = peer.localDescription.sdp.splitlines()
                    candidates = [line for line in lines if line.startswith("a=candidate:")]
                    self.assertTrue(candidates and all(" typ relay " in line for line in candidates), candidates)
                serves.cancel()
                await viewer.peer.close()
                await camera.close()


class Given(Broker):
    """The broker of the environment, with a channel, and the way to its TURN server over one transport."""

    def __init__(self, transport):
        self.listen, self.authority = [broker.HTTP, broker.HTTPS], broker.CA
        self.arn = self.control().create_signaling_channel(ChannelName=broker.new_name())["ChannelARN"]
        given = broker.signaling().get_ice_server_config(ChannelARN=self.arn, ClientId="visitor")["IceServerList"]
        servers = [
            RTCIceServer(urls=uri, username=server["Username"], credential=server["Password"])
            for server in given for uri in server["Uris"] if uri.endswith(f"?transport={transport}")
        ]
        self.ice = RTCConfiguration(iceServers=servers, iceTransportPolicy=RTCIceTransportPolicy.RELAY)


if __name__ == "__main__":
    unittest.main()
