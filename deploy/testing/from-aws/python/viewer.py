"""A viewer of a camera on KVS signaling: it connects again, offers again, and keeps its ICE servers fresh.

Nothing here knows of a test: boto3 and websockets find the service by the environment.
"""

import asyncio
import base64
import contextlib
import json
import os
import random
import ssl
import threading

import boto3
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

# What another attempt does not change.
FINAL = {"AccessDeniedException", "InvalidSignatureException", "ResourceNotFoundException"}


class Viewer(threading.Thread):
    def __init__(self, channel_name, client_id, *, pause=1.0, answer_within=10.0, ice_margin=60.0):
        super().__init__(daemon=True)
        self.channel_name, self.client_id = channel_name, client_id
        self.pause, self.answer_within, self.ice_margin = pause, answer_within, ice_margin
        self.offers, self.answers, self.ice_fetches, self.refused = 0, [], 0, None
        self.loop = asyncio.new_event_loop()
        self.task = self.loop.create_task(self.live())

    def run(self):
        with contextlib.suppress(asyncio.CancelledError):
            self.loop.run_until_complete(self.task)
        self.loop.close()

    def stop(self):
        if self.is_alive():
            self.loop.call_soon_threadsafe(self.task.cancel)
        self.join()

    async def live(self):
        """Connects until something refuses it for good, with longer pauses while no answer comes."""
        pause = self.pause
        while self.refused is None:
            answers = len(self.answers)
            try:
                await self.serve()
            except ClientError as error:
                code = error.response["Error"]["Code"]
                self.refused = code if code in FINAL else None
            except InvalidStatus as error:
                status = error.response.status_code
                self.refused = f"HTTP {status}" if status in (403, 404) else None
            except (BotoCoreError, WebSocketException, OSError):
                pass
            pause = self.pause if len(self.answers) > answers else min(2 * pause, 30)
            await asyncio.sleep(pause * random.uniform(0.5, 1))

    async def serve(self):
        async with signaling("VIEWER", self.channel_name, self.client_id) as (socket, arn):
            ice_until = self.fetch_ice(arn)
            await self.offer(socket)
            offered = self.loop.time()
            while True:
                due = ice_until if offered is None else min(ice_until, offered + self.answer_within)
                kind = None
                with contextlib.suppress(asyncio.TimeoutError):
                    kind, payload = read(await asyncio.wait_for(socket.recv(), max(0, due - self.loop.time())))
                if kind == "SDP_ANSWER":
                    self.answers.append(payload["sdp"])
                    offered = None
                elif kind == "GO_AWAY":
                    return
                elif kind == "RECONNECT_ICE_SERVER" or self.loop.time() >= due:
                    if kind or self.loop.time() >= ice_until:
                        ice_until = self.fetch_ice(arn)
                    await self.offer(socket)
                    offered = self.loop.time()

    async def offer(self, socket):
        self.offers += 1
        payload = {"type": "offer", "sdp": f"offer {self.offers} of {self.client_id}"}
        await socket.send(json.dumps({"action": "SDP_OFFER", "messagePayload": encode(payload)}))

    def fetch_ice(self, arn):
        """Gets ICE servers; returns until when they are fresh, by the loop's clock."""
        wanted = {"Protocols": ["HTTPS"], "Role": "VIEWER"}
        client = boto3.client("kinesis-video-signaling", endpoint_url=endpoint(arn, wanted))
        servers = client.get_ice_server_config(ChannelARN=arn, ClientId=self.client_id)["IceServerList"]
        self.ice_fetches += 1
        return self.loop.time() + min(300, *(server["Ttl"] for server in servers)) - self.ice_margin


@contextlib.asynccontextmanager
async def signaling(role, channel_name, client_id=None):
    """A WebSocket to a channel, and the channel's ARN."""
    kinesis = boto3.client("kinesisvideo")
    arn = kinesis.describe_signaling_channel(ChannelName=channel_name)["ChannelInfo"]["ChannelARN"]
    url = endpoint(arn, {"Protocols": ["WSS"], "Role": role}).replace("wss:", "https:")
    query = f"X-Amz-ChannelARN={arn}" + (f"&X-Amz-ClientId={client_id}" if client_id else "")
    request, session = AWSRequest("GET", f"{url}/?{query}"), boto3.Session()
    SigV4QueryAuth(session.get_credentials(), "kinesisvideo", session.region_name, expires=299).add_auth(request)
    trust = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
    async with connect(request.url.replace("https:", "wss:"), ssl=trust, proxy=None) as socket:
        yield socket, arn


def endpoint(arn, wanted):
    kinesis = boto3.client("kinesisvideo")
    found = kinesis.get_signaling_channel_endpoint(ChannelARN=arn, SingleMasterChannelEndpointConfiguration=wanted)
    return found["ResourceEndpointList"][0]["ResourceEndpoint"]


def encode(payload):
    return base64.b64encode(json.dumps(payload).encode()).decode()


def read(text):
    """The type of a message and its payload; nothing of one that cannot be read."""
    try:
        message = json.loads(text)
        payload = message.get("messagePayload")
        return message["messageType"], json.loads(base64.b64decode(payload, validate=True)) if payload else {}
    except (ValueError, KeyError, AttributeError):
        return None, {}
