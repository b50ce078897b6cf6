"""Where the broker is, and clients for it. The Rust test that runs these scripts sets the environment:

HELIOGRAPH_HTTP   base URL of the plain listener
HELIOGRAPH_HTTPS  base URL of the TLS listener
HELIOGRAPH_CA     file with the authority of its certificate
"""

import json
import os
import uuid
from urllib.parse import quote, urlsplit

import boto3
from botocore.config import Config
from websockets.sync.client import connect

HTTP = os.environ["HELIOGRAPH_HTTP"]
HTTPS = os.environ["HELIOGRAPH_HTTPS"]
CA = os.environ["HELIOGRAPH_CA"]
REGION = "us-west-2"
ACCOUNT = "123456789012"
SECONDS = 15  # how long anything may take


def client(service, url=HTTP, validate=True):
    """A boto3 client without retries, so that each error is seen as it came."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        verify=CA if url == HTTPS else None,
        config=Config(
            retries={"total_max_attempts": 1},
            parameter_validation=validate,
            read_timeout=SECONDS,
            connect_timeout=SECONDS,
            max_pool_connections=32,
        ),
    )


def control(url=HTTP, validate=True):
    return client("kinesisvideo", url, validate)


def signaling(url=HTTP, validate=True):
    return client("kinesis-video-signaling", url, validate)


def new_name():
    return "conformance-" + uuid.uuid4().hex


def unknown_arn():
    return f"arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:channel/{new_name()}/1700000000123"


class Peer:
    """A master, or with an id a viewer, over plain WebSocket."""

    def __init__(self, arn, client_id=None):
        query = "X-Amz-ChannelARN=" + quote(arn, safe="")
        if client_id is not None:
            query += "&X-Amz-ClientId=" + client_id
        url = f"ws://{urlsplit(HTTP).netloc}/?{query}"
        self.connection = connect(url, open_timeout=SECONDS, close_timeout=5)

    def __enter__(self):
        self.socket = self.connection.__enter__()
        return self

    def __exit__(self, *error):
        return self.connection.__exit__(*error)

    def send(self, action, payload, recipient=None):
        message = {"action": action, "messagePayload": payload}
        if recipient is not None:
            message["recipientClientId"] = recipient
        self.socket.send(json.dumps(message))

    def receive(self):
        return json.loads(self.socket.recv(timeout=SECONDS))
