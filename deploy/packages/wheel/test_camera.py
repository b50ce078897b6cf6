"""Three tests as a user of the wheel writes them."""

import boto3
import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def kinesis(heliograph):
    return boto3.client("kinesisvideo")


def test_a_channel_is_created(kinesis, heliograph):
    name = f"{heliograph.prefix}porch"
    arn = kinesis.create_signaling_channel(ChannelName=name)["ChannelARN"]
    assert kinesis.describe_signaling_channel(ChannelName=name)["ChannelInfo"]["ChannelARN"] == arn


def test_it_has_an_endpoint(kinesis, heliograph):
    arn = kinesis.create_signaling_channel(ChannelName=f"{heliograph.prefix}porch")["ChannelARN"]
    wanted = {"Protocols": ["WSS"], "Role": "MASTER"}
    answer = kinesis.get_signaling_channel_endpoint(ChannelARN=arn, SingleMasterChannelEndpointConfiguration=wanted)
    assert answer["ResourceEndpointList"][0]["ResourceEndpoint"].startswith("wss://")


def test_an_unknown_channel_is_refused(kinesis):
    with pytest.raises(ClientError) as refused:
        kinesis.describe_signaling_channel(ChannelName="nobodys")
    assert refused.value.response["Error"]["Code"] == "ResourceNotFoundException"
