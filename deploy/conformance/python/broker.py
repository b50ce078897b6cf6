"""Where the broker is, and clients for it. The Rust test that runs these scripts sets the environment:

HELIOGRAPH_HTTP   base URL of the plain listener
HELIOGRAPH_HTTPS  base URL of the TLS listener
HELIOGRAPH_CA     file with the authority of its certificate
HELIOGRAPH_ADMIN  base URL of the admin listener
"""

import json
import os
import uuid
from urllib.parse import quote

import boto3
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from websockets.sync.client import connect

HTTP = os.environ["HELIOGRAPH_HTTP"]
HTTPS = os.environ["HELIOGRAPH_HTTPS"]
CA = os.environ["HELIOGRAPH_CA"]
ADMIN = os.environ["HELIOGRAPH_ADMIN"]
REGION = "us-west-2"
ACCOUNT = "123456789012"
SECONDS = 15  # how long anything may take

# Access key id, secret and perhaps a session token: the principal `tests` of credentials.toml.
KEYS = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


def client(service, url=HTTP, validate=True, keys=KEYS):
    """A boto3 client without retries, so that each error is seen as it came."""
    key_id, secret, *token = keys
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        aws_session_token=token[0] if token else None,
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


def presigned(url, keys=KEYS, seconds=299):
    """A URL signed in its query by botocore's own signer."""
    request = AWSRequest("GET", url)
    SigV4QueryAuth(Credentials(*keys), "kinesisvideo", REGION, expires=seconds).add_auth(request)
    return request.url


class Peer:
    """A master, or with an id a viewer, over plain WebSocket; its URL is presigned, whether the broker asks for it or not, and
    then changed by `tamper`."""

    def __init__(self, arn, client_id=None, keys=KEYS, tamper=str):
        query = "X-Amz-ChannelARN=" + quote(arn, safe="")
        if client_id is not None:
            query += "&X-Amz-ClientId=" + client_id
        url = presigned(f"{HTTP}/?{query}", keys).replace("http:", "ws:", 1)
        self.connection = connect(tamper(url), open_timeout=SECONDS, close_timeout=5)

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
