"""boto3: create, describe, list, delete, endpoints and ICE servers, and every error as the exception that boto3 knows."""

import datetime
import re
import unittest

from botocore.exceptions import ClientError

from broker import ACCOUNT, HTTP, HTTPS, REGION, control, new_name, signaling, unknown_arn


class Channels(unittest.TestCase):
    def setUp(self):
        self.control = control()
        self.free = control(validate=False)

    def test_create_and_describe(self):
        name = new_name()
        arn = self.control.create_signaling_channel(ChannelName=name)["ChannelARN"]
        self.assertRegex(arn, rf"^arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:channel/{name}/\d{{13}}$")
        by_name = self.control.describe_signaling_channel(ChannelName=name)["ChannelInfo"]
        by_arn = self.control.describe_signaling_channel(ChannelARN=arn)["ChannelInfo"]
        both = self.control.describe_signaling_channel(ChannelName=name, ChannelARN=arn)["ChannelInfo"]
        self.assertEqual(by_name, by_arn)
        self.assertEqual(by_name, both)
        age = datetime.datetime.now(datetime.timezone.utc) - by_name.pop("CreationTime")
        self.assertLess(abs(age.total_seconds()), 60)
        self.assertRegex(by_name.pop("Version"), r"^[a-zA-Z0-9]{1,64}$")
        self.assertEqual(
            by_name,
            {
                "ChannelName": name,
                "ChannelARN": arn,
                "ChannelType": "SINGLE_MASTER",
                "ChannelStatus": "ACTIVE",
                "SingleMasterConfiguration": {"MessageTtlSeconds": 60},
            },
        )

    def test_create_with_everything(self):
        name = new_name()
        self.control.create_signaling_channel(
            ChannelName=name,
            ChannelType="SINGLE_MASTER",
            SingleMasterConfiguration={"MessageTtlSeconds": 120},
            Tags=[{"Key": "env", "Value": "dev"}, {"Key": "empty", "Value": ""}, {"Key": "größe", "Value": "ü"}],
        )
        info = self.control.describe_signaling_channel(ChannelName=name)["ChannelInfo"]
        self.assertEqual(info["SingleMasterConfiguration"], {"MessageTtlSeconds": 120})

    def test_tls_serves_the_same(self):
        name = new_name()
        arn = control(HTTPS).create_signaling_channel(ChannelName=name)["ChannelARN"]
        self.assertEqual(self.control.describe_signaling_channel(ChannelName=name)["ChannelInfo"]["ChannelARN"], arn)

    def test_list_pages_in_order(self):
        prefix = new_name()
        names = sorted(f"{prefix}-{n:02}" for n in range(25))
        for name in reversed(names):
            self.control.create_signaling_channel(ChannelName=name)
        condition = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": prefix}
        pages = self.control.get_paginator("list_signaling_channels").paginate(
            ChannelNameCondition=condition, PaginationConfig={"PageSize": 7}
        )
        pages = [[info["ChannelName"] for info in page["ChannelInfoList"]] for page in pages]
        self.assertEqual([len(page) for page in pages if page], [7, 7, 7, 4])
        self.assertEqual(sum(pages, []), names)
        everything = self.control.list_signaling_channels()["ChannelInfoList"]
        self.assertLessEqual(set(names), {info["ChannelName"] for info in everything})
        # A page goes on behind the last name, also when that channel is gone.
        first = self.control.list_signaling_channels(MaxResults=5, ChannelNameCondition=condition)
        self.control.delete_signaling_channel(ChannelARN=first["ChannelInfoList"][-1]["ChannelARN"])
        rest = self.control.list_signaling_channels(NextToken=first["NextToken"], ChannelNameCondition=condition)
        self.assertEqual([info["ChannelName"] for info in rest["ChannelInfoList"]], names[5:])

    def test_delete(self):
        name = new_name()
        arn = self.control.create_signaling_channel(ChannelName=name)["ChannelARN"]
        version = self.control.describe_signaling_channel(ChannelName=name)["ChannelInfo"]["Version"]
        with self.assertRaises(self.control.exceptions.VersionMismatchException):
            self.control.delete_signaling_channel(ChannelARN=arn, CurrentVersion="wrong")
        self.control.delete_signaling_channel(ChannelARN=arn, CurrentVersion=version)
        for call in (
            lambda: self.control.delete_signaling_channel(ChannelARN=arn),
            lambda: self.control.describe_signaling_channel(ChannelARN=arn),
            lambda: self.control.describe_signaling_channel(ChannelName=name),
            lambda: self.control.get_signaling_channel_endpoint(ChannelARN=arn),
        ):
            with self.assertRaises(self.control.exceptions.ResourceNotFoundException):
                call()

    def test_errors_are_exceptions_with_a_text(self):
        name = new_name()
        arn = self.control.create_signaling_channel(ChannelName=name)["ChannelARN"]
        other = self.control.create_signaling_channel(ChannelName=new_name())["ChannelARN"]
        errors = self.free.exceptions
        invalid = errors.InvalidArgumentException
        tag = {"Key": "k", "Value": "v"}
        cases = [
            (errors.ResourceInUseException, "create_signaling_channel", {"ChannelName": name}),
            (invalid, "create_signaling_channel", {}),
            (invalid, "create_signaling_channel", {"ChannelName": "a/b"}),
            (invalid, "create_signaling_channel", {"ChannelName": "n" * 257}),
            (invalid, "create_signaling_channel", {"ChannelName": new_name(), "ChannelType": "FULL_MESH"}),
            (invalid, "create_signaling_channel", {"ChannelName": new_name(), "Tags": [tag, tag]}),
            (
                invalid,
                "create_signaling_channel",
                {"ChannelName": new_name(), "SingleMasterConfiguration": {"MessageTtlSeconds": 4}},
            ),
            (invalid, "describe_signaling_channel", {}),
            (invalid, "describe_signaling_channel", {"ChannelName": name, "ChannelARN": other}),
            (invalid, "describe_signaling_channel", {"ChannelARN": arn.replace(":channel/", ":stream/")}),
            (errors.ResourceNotFoundException, "describe_signaling_channel", {"ChannelARN": arn + "0"}),
            (errors.ResourceNotFoundException, "describe_signaling_channel", {"ChannelARN": unknown_arn()}),
            (invalid, "list_signaling_channels", {"MaxResults": 10001}),
            (invalid, "list_signaling_channels", {"NextToken": "****"}),
            (invalid, "delete_signaling_channel", {"CurrentVersion": "a"}),
            (invalid, "delete_signaling_channel", {"ChannelARN": arn, "CurrentVersion": "a-b"}),
            (invalid, "get_signaling_channel_endpoint", {"ChannelARN": "x"}),
        ]
        for kind, call, arguments in cases:
            with self.subTest(call, **arguments), self.assertRaises(kind) as caught:
                getattr(self.free, call)(**arguments)
            answer = caught.exception.response
            self.assertTrue(answer["Error"]["Message"])
            self.assertTrue(answer["message"] if "message" in answer else answer["Message"])
            self.assertRegex(answer["ResponseMetadata"]["RequestId"], r"^[0-9a-f-]{36}$")

    def test_wrong_types_are_named(self):
        with self.assertRaises(ClientError) as caught:
            self.free.list_signaling_channels(ChannelNameCondition={"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": 7})
        self.assertEqual(caught.exception.response["Error"]["Code"], "SerializationException")

    def test_operations_of_other_services_are_unknown(self):
        with self.assertRaises(ClientError) as caught:
            self.control.create_stream(StreamName="stream")
        self.assertEqual(caught.exception.response["Error"]["Code"], "UnknownOperationException")
        self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], 404)


class Endpoints(unittest.TestCase):
    def setUp(self):
        self.arn = control().create_signaling_channel(ChannelName=new_name())["ChannelARN"]

    def endpoints(self, url=HTTP, **configuration):
        answer = control(url).get_signaling_channel_endpoint(
            ChannelARN=self.arn, SingleMasterChannelEndpointConfiguration=configuration
        )
        return {entry["Protocol"]: entry["ResourceEndpoint"] for entry in answer["ResourceEndpointList"]}

    def test_each_role_and_protocol(self):
        port = HTTPS.rsplit(":", 1)[1]
        for role in ("MASTER", "VIEWER"):
            got = self.endpoints(Protocols=["WSS", "HTTPS"], Role=role)
            wss = f"wss://127.0.0.1:{port}" + ("/master" if role == "MASTER" else "")
            self.assertEqual(got, {"WSS": wss, "HTTPS": f"https://127.0.0.1:{port}"})
            self.assertEqual(self.endpoints(Protocols=["HTTPS"], Role=role), {"HTTPS": f"https://127.0.0.1:{port}"})
        self.assertEqual(list(self.endpoints()), ["WSS"])

    def test_the_host_is_the_one_that_was_asked(self):
        by_name = control(HTTP.replace("127.0.0.1", "localhost"))
        entries = by_name.get_signaling_channel_endpoint(ChannelARN=self.arn)["ResourceEndpointList"]
        self.assertTrue(entries[0]["ResourceEndpoint"].startswith("wss://localhost:"), entries)

    def test_refusals(self):
        errors = control().exceptions
        for kind, arn, configuration in (
            (errors.InvalidArgumentException, self.arn, {"Protocols": ["WEBRTC"], "Role": "MASTER"}),
            (errors.InvalidArgumentException, self.arn, {"Protocols": ["FTP"]}),
            (errors.InvalidArgumentException, self.arn, {"Role": "NOBODY"}),
            (errors.ResourceNotFoundException, unknown_arn(), {"Protocols": ["WSS"]}),
        ):
            with self.subTest(configuration), self.assertRaises(ClientError) as caught:
                control(validate=False).get_signaling_channel_endpoint(
                    ChannelARN=arn, SingleMasterChannelEndpointConfiguration=configuration
                )
            self.assertEqual(caught.exception.response["Error"]["Code"], kind.__name__)

    def test_ice_servers_on_the_endpoint_returned(self):
        https = self.endpoints(Protocols=["HTTPS"])["HTTPS"]
        self.assertEqual(https, HTTPS)
        for arguments in ({}, {"ClientId": "viewer-1", "Service": "TURN", "Username": "u1"}):
            servers = signaling(https).get_ice_server_config(ChannelARN=self.arn, **arguments)["IceServerList"]
            self.assertGreaterEqual(len(servers), 1)
            for server in servers:
                self.assertIn(":", server["Username"])
                self.assertTrue(server["Password"])
                self.assertGreater(server["Ttl"], 30)
                for uri in server["Uris"]:
                    self.assertTrue(re.match("^(turns?|stun):", uri), uri)

    def test_ice_server_refusals(self):
        errors = signaling().exceptions
        free = signaling(validate=False)
        for kind, arguments in (
            (errors.ResourceNotFoundException, {"ChannelARN": unknown_arn()}),
            (errors.InvalidArgumentException, {}),
            (errors.InvalidArgumentException, {"ChannelARN": "x"}),
            (errors.InvalidArgumentException, {"ChannelARN": self.arn, "ClientId": "a b"}),
            (errors.InvalidArgumentException, {"ChannelARN": self.arn, "Service": "STUN"}),
            (errors.InvalidArgumentException, {"ChannelARN": self.arn, "Username": "u" * 257}),
        ):
            with self.subTest(arguments), self.assertRaises(ClientError) as caught:
                free.get_ice_server_config(**arguments)
            self.assertEqual(caught.exception.response["Error"]["Code"], kind.__name__)


if __name__ == "__main__":
    unittest.main()
