"""moto beside this broker in one boto3 program: its server by AWS_ENDPOINT_URL, and its decorator in the process."""

import json
import os
import subprocess
import sys
import unittest
import uuid

import boto3
from moto import mock_aws
from moto.server import ThreadedMotoServer

from broker import ADMIN, SECONDS
from heliograph_testing import Heliograph

# A program that knows of no endpoint: S3 for its pictures, Kinesis Video Streams for its cameras.
PROGRAM = """
import boto3, json, sys
name = sys.argv[1]
boto3.client("s3").create_bucket(
    Bucket=name, CreateBucketConfiguration={"LocationConstraint": boto3.Session().region_name}
)
boto3.client("s3").put_object(Bucket=name, Key="still.jpg", Body=b"a picture")
arn = boto3.client("kinesisvideo").create_signaling_channel(ChannelName=name)["ChannelARN"]
servers = boto3.client("kinesis-video-signaling").get_ice_server_config(ChannelARN=arn)["IceServerList"]
buckets = [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]]
print(json.dumps({"buckets": buckets, "arn": arn, "servers": len(servers)}))
"""


class Moto(unittest.TestCase):
    def setUp(self):
        self.heliograph = Heliograph(ADMIN)
        self.addCleanup(self.heliograph.reset)
        self.name = self.heliograph.channel(uuid.uuid4().hex)

    def channels(self):
        """As the broker itself shows them."""
        listed = self.heliograph.request("GET", f"/channels?prefix={self.heliograph.prefix}")["channels"]
        return [channel["name"] for channel in listed]

    def test_moto_server_has_the_other_services(self):
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        self.addCleanup(server.stop)
        host, port = server.get_host_and_port()
        moto = {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, self.name],
            env={**os.environ, **moto, **self.heliograph.environment},
            stdout=subprocess.PIPE,
            timeout=4 * SECONDS,
            check=True,
        )
        got = json.loads(ran.stdout)
        self.assertIn(f"channel/{self.name}/", got["arn"])
        self.assertEqual((got["buckets"], got["servers"]), ([self.name], 1))
        self.assertEqual(self.channels(), [self.name])

    def test_the_decorator_leaves_the_broker_alone(self):
        before = dict(os.environ)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(before)))
        os.environ.update(self.heliograph.environment)
        with mock_aws():
            storage = boto3.client("s3", region_name="us-east-1")
            storage.create_bucket(Bucket=self.name)
            kinesis = boto3.client("kinesisvideo")
            arn = kinesis.create_signaling_channel(ChannelName=self.name)["ChannelARN"]
            boto3.client("kinesis-video-signaling").get_ice_server_config(ChannelARN=arn)
            self.assertEqual([bucket["Name"] for bucket in storage.list_buckets()["Buckets"]], [self.name])
            # Also what tests do with the broker itself.
            self.heliograph.faults.throttle(operation="DescribeSignalingChannel")
            with self.assertRaises(kinesis.exceptions.ClientLimitExceededException):
                kinesis.describe_signaling_channel(ChannelARN=arn)
        self.assertEqual(self.channels(), [self.name])


if __name__ == "__main__":
    unittest.main()
