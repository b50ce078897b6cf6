"""Devices with certificates: awsiot-credentialhelper, AWS's own session of boto3 for the IoT credentials provider.

HELIOGRAPH_DEVICE  directory with device.pem and device.key, of the thing cam-1
"""

import os
import unittest
from urllib.parse import urlparse

from awsiot_credentialhelper.boto3_session import Boto3SessionProvider
from botocore.exceptions import ClientError

from broker import CA, HTTP, HTTPS, REGION

DEVICE = os.environ["HELIOGRAPH_DEVICE"]
ALIAS = "KvsCameraIoTRoleAlias"


def of_device(name):
    with open(os.path.join(DEVICE, name), "rb") as file:
        return file.read()


def session(alias=ALIAS, thing="cam-1"):
    with open(CA, "rb") as file:
        authority = file.read()
    provider = Boto3SessionProvider(
        endpoint=f"localhost:{urlparse(HTTPS).port}",
        role_alias=alias,
        thing_name=thing,
        certificate=of_device("device.pem"),
        private_key=of_device("device.key"),
        ca=authority,
    )
    return provider.get_session(region=REGION)


class Things(unittest.TestCase):
    def test_a_device_creates_and_uses_its_own_channel_alone(self):
        video = session().client("kinesisvideo", endpoint_url=HTTP)
        arn = video.create_signaling_channel(ChannelName="cam-1")["ChannelARN"]
        info = video.describe_signaling_channel(ChannelName="cam-1")["ChannelInfo"]
        self.assertEqual(info["ChannelARN"], arn)
        way = {"Protocols": ["WSS", "HTTPS"], "Role": "MASTER"}
        answer = video.get_signaling_channel_endpoint(ChannelARN=arn, SingleMasterChannelEndpointConfiguration=way)
        self.assertEqual(len(answer["ResourceEndpointList"]), 2)
        with self.assertRaises(ClientError) as caught:
            video.create_signaling_channel(ChannelName="cam-2")
        self.assertEqual(caught.exception.response["Error"]["Code"], "AccessDeniedException")

    def test_caller_identity_names_role_and_certificate(self):
        mine = session().client("sts", endpoint_url=HTTP).get_caller_identity()
        role, name = mine["Arn"].split("/")[1:]
        self.assertEqual((role, len(name)), ("camera", 64))

    def test_refusals_say_why(self):
        for alias, thing, said in [
            (ALIAS, "cam-2", "Invalid thing name passed"),
            ("forbidden", "cam-1", "Access Denied"),
            ("none", "cam-1", "Role alias does not exist"),
            ("untrusted", "cam-1", "Unable to assume the role, or the role to assume does not exist"),
        ]:
            with self.subTest(said), self.assertRaisesRegex(ValueError, said):
                session(alias, thing).get_credentials().get_frozen_credentials()


if __name__ == "__main__":
    unittest.main()
