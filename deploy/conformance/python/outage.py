"""boto3 as it comes, with its own retries, while nodes of a cluster end: describes a channel and tags it, again and again.

Says `> well` or `> unwell` for each round; ends with its input. An answer that is no success is one of 503: the service is unavailable."""

import os
import sys
import threading

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from broker import CA, HTTPS, KEYS, REGION

CHANNEL = os.environ["HELIOGRAPH_CHANNEL"]
PAUSE = 0.3

client = boto3.client(
    "kinesisvideo",
    endpoint_url=HTTPS,
    region_name=REGION,
    aws_access_key_id=KEYS[0],
    aws_secret_access_key=KEYS[1],
    verify=CA,
    config=Config(read_timeout=5, connect_timeout=5),
)
ended = threading.Event()


def wait_for_end():
    sys.stdin.read()
    ended.set()


def works():
    try:
        info = client.describe_signaling_channel(ChannelARN=CHANNEL)["ChannelInfo"]
        assert info["ChannelARN"] == CHANNEL, info
        client.tag_resource(ResourceARN=CHANNEL, Tags=[{"Key": "still", "Value": "here"}])
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert status == 503, error.response
        print(error, file=sys.stderr)
        return False
    except (ConnectionError, HTTPClientError) as error:
        print(error, file=sys.stderr)
        return False
    return True


threading.Thread(target=wait_for_end, daemon=True).start()
while not ended.wait(PAUSE):
    print("> well" if works() else "> unwell", flush=True)
