"""A broker that checks signatures: what the AWS CLI says to wrong keys, and temporary keys from `aws sts get-federation-token`."""

import json
import unittest

from botocore.exceptions import ClientError
from websockets.exceptions import InvalidStatus

from broker import ACCOUNT, HTTP, HTTPS, KEYS, Peer, client, control, new_name
from test_cli import finish, start

POWERLESS = ("AKIDPOWERLESS", "powerless-example-secret")
PAST = ("AKIDPAST", "past-example-secret")
BORROWER = ("AKIDBORROWER", "borrower-example-secret", "borrower-example-token")
STRANGER = ("AKIDSTRANGER", "stranger-example-secret")

MISMATCH = "The request signature we calculated does not match the signature you provided."
BAD_KEY = "The security token included in the request is invalid."


class Signed(unittest.TestCase):
    def setUp(self):
        self.name = new_name()
        self.arn = control().create_signaling_channel(ChannelName=self.name)["ChannelARN"]
        self.describe = ["kinesisvideo", "describe-signaling-channel", "--channel-arn", self.arn]

    def aws(self, *arguments, url=HTTP, **options):
        code, out, err = finish(start(url, *arguments, **options))
        self.assertEqual(code, 0, err)
        return json.loads(out) if out.strip() else {}

    def fails(self, kind, text, *arguments, url=HTTP, **options):
        """The line that the CLI prints, as it does for AWS."""
        code, out, err = finish(start(url, *arguments, **options))
        operation = "".join(word.capitalize() for word in arguments[1].split("-"))
        line = f"An error occurred ({kind}) when calling the {operation} operation: {text}"
        said = " ".join(err.split())
        self.assertTrue(said.removeprefix("aws: [ERROR]: ").startswith(line), f"{said!r} instead of {line!r}")
        self.assertNotEqual(code, 0)
        self.assertEqual(out, "")

    def denied(self, name):
        return f"is not authorized to perform: kinesisvideo:{name} on resource: {self.arn}"

    def upgrade_fails(self, status, kind, client_id, keys, arn=None, tamper=str):
        with self.assertRaises(InvalidStatus) as caught:
            Peer(arn or self.arn, client_id, keys, tamper)
        answer = caught.exception.response
        self.assertEqual((answer.status_code, answer.headers["x-amzn-ErrorType"]), (status, kind), answer.body)
        return json.loads(answer.body)["message"]


class WrongKeys(Signed):
    def test_the_cli_tells_what_is_wrong(self):
        for kind, text, keys in (
            ("InvalidSignatureException", MISMATCH, (KEYS[0], "another secret")),
            ("UnrecognizedClientException", BAD_KEY, ("AKIDNOBODY", KEYS[1])),
            ("UnrecognizedClientException", BAD_KEY, (*KEYS, "a token that it does not have")),
            ("UnrecognizedClientException", BAD_KEY, BORROWER[:2]),
            ("UnrecognizedClientException", BAD_KEY, (*BORROWER[:2], "another token")),
            ("ExpiredTokenException", "The security token included in the request is expired", PAST),
        ):
            with self.subTest(keys[0]):
                self.fails(kind, text, *self.describe, keys=keys)
        self.assertEqual(self.aws(*self.describe, keys=BORROWER)["ChannelInfo"]["ChannelName"], self.name)
        self.assertEqual(self.aws(*self.describe, url=HTTPS)["ChannelInfo"]["ChannelName"], self.name)

    def test_the_cli_tells_what_is_not_allowed(self):
        user = f"User: arn:aws:iam::{ACCOUNT}:user/powerless "
        self.fails(
            "AccessDeniedException", user + self.denied("DescribeSignalingChannel"), *self.describe, keys=POWERLESS
        )
        ice = ["kinesis-video-signaling", "get-ice-server-config", "--channel-arn", self.arn]
        self.fails("NotAuthorizedException", user + self.denied("GetIceServerConfig"), *ice, keys=POWERLESS)
        # Permission comes before existence: who may nothing learns nothing.
        absent = self.arn.replace(self.name, new_name())
        text = f"{user}is not authorized to perform: kinesisvideo:DeleteSignalingChannel on resource: {absent}"
        delete = ["kinesisvideo", "delete-signaling-channel", "--channel-arn", absent]
        self.fails("AccessDeniedException", text, *delete, keys=POWERLESS)

    def test_another_account_sees_nothing(self):
        self.fails("ResourceNotFoundException", "", *self.describe, keys=STRANGER)
        by_name = ["kinesisvideo", "describe-signaling-channel", "--channel-name", self.name]
        self.fails("ResourceNotFoundException", "", *by_name, keys=STRANGER)
        listed = client("kinesisvideo", keys=STRANGER).list_signaling_channels()["ChannelInfoList"]
        self.assertNotIn(self.name, [info["ChannelName"] for info in listed])
        self.upgrade_fails(404, "ResourceNotFoundException", "viewer-1", STRANGER)

    def test_upgrades_are_refused_alike(self):
        for status, kind, keys in (
            (403, "InvalidSignatureException", (KEYS[0], "another secret")),
            (403, "UnrecognizedClientException", ("AKIDNOBODY", KEYS[1])),
            (403, "UnrecognizedClientException", BORROWER[:2]),
            (403, "ExpiredTokenException", PAST),
            (403, "AccessDeniedException", POWERLESS),
        ):
            for client_id in (None, "viewer-1"):
                with self.subTest(keys[0], client_id=client_id):
                    self.upgrade_fails(status, kind, client_id, keys)

    def test_a_presigned_url_is_good_for_what_was_signed(self):
        with Peer(self.arn) as master, Peer(self.arn, "viewer-1", BORROWER) as viewer:
            viewer.send("SDP_OFFER", "b2ZmZXI=")
            self.assertEqual(master.receive()["senderClientId"], "viewer-1")
        time = self.arn.rpartition("/")[2]
        for old, new in (("viewer-1", "viewer-2"), ("Expires=299", "Expires=604800"), (time, "1700000000123"), ("/?", "/porch?")):
            with self.subTest(new):
                self.upgrade_fails(403, "InvalidSignatureException", "viewer-1", KEYS, tamper=lambda url: url.replace(old, new))
        self.upgrade_fails(403, "MissingAuthenticationTokenException", "viewer-1", KEYS, tamper=lambda url: url.partition("&X-Amz-Alg")[0])


class Federation(Signed):
    def policy(self, client_id):
        """What a web back end gives a page: one channel, and one client id on it."""
        at = {"Effect": "Allow", "Resource": self.arn}
        return json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {**at, "Action": ["kinesisvideo:DescribeSignalingChannel", "kinesisvideo:GetSignalingChannelEndpoint"]},
                    {
                        **at,
                        "Action": ["kinesisvideo:ConnectAsViewer", "kinesisvideo:GetIceServerConfig"],
                        "Condition": {"StringEquals": {"kinesisvideo:ClientId": client_id}},
                    },
                ],
            }
        )

    def federate(self, *more, name="phone-1"):
        answer = self.aws("sts", "get-federation-token", "--name", name, *more)
        got = answer["Credentials"]
        return answer, (got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"])

    def test_who_am_i(self):
        got = self.aws("sts", "get-caller-identity")
        self.assertEqual((got["Account"], got["Arn"]), (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/tests"))
        self.assertRegex(got["UserId"], r"^[A-Z0-9]{16,}$")
        # Every key may ask, also one without any other permission.
        self.assertTrue(self.aws("sts", "get-caller-identity", keys=POWERLESS)["Arn"].endswith(":user/powerless"))

    def test_keys_for_one_channel_and_one_client_id(self):
        answer, keys = self.federate("--duration-seconds", "900", "--policy", self.policy("phone-1"))
        arn = f"arn:aws:sts::{ACCOUNT}:federated-user/phone-1"
        self.assertEqual(answer["FederatedUser"], {"FederatedUserId": f"{ACCOUNT}:phone-1", "Arn": arn})
        self.assertRegex(keys[0], r"^ASIA[A-Z0-9]{16}$")
        self.assertEqual(self.aws("sts", "get-caller-identity", keys=keys)["Arn"], arn)

        self.assertEqual(self.aws(*self.describe, keys=keys)["ChannelInfo"]["ChannelName"], self.name)
        ice = ["kinesis-video-signaling", "get-ice-server-config", "--channel-arn", self.arn, "--client-id"]
        self.assertTrue(self.aws(*ice, "phone-1", keys=keys)["IceServerList"])
        user = f"User: {arn} "
        self.fails("NotAuthorizedException", user + self.denied("GetIceServerConfig"), *ice, "phone-2", keys=keys)
        delete = ["kinesisvideo", "delete-signaling-channel", "--channel-arn", self.arn]
        self.fails("AccessDeniedException", user + self.denied("DeleteSignalingChannel"), *delete, keys=keys)
        again = ["sts", "get-federation-token", "--name", "again"]
        self.fails("AccessDenied", user + "is not authorized to perform: sts:GetFederationToken", *again, keys=keys)

        with Peer(self.arn) as master, Peer(self.arn, "phone-1", keys) as phone:
            phone.send("SDP_OFFER", "b2ZmZXI=")
            self.assertEqual(master.receive(), {"messagePayload": "b2ZmZXI=", "messageType": "SDP_OFFER", "senderClientId": "phone-1"})
            master.send("SDP_ANSWER", "YW5zd2Vy", "phone-1")
            self.assertEqual(phone.receive()["messagePayload"], "YW5zd2Vy")
        other = control().create_signaling_channel(ChannelName=new_name())["ChannelARN"]
        for client_id, arn in (("phone-2", self.arn), (None, self.arn), ("phone-1", other)):
            with self.subTest(client_id=client_id, arn=arn):
                self.assertIn("is not authorized to perform", self.upgrade_fails(403, "AccessDeniedException", client_id, keys, arn))

    def test_tokens_that_are_not_ours(self):
        _, keys = self.federate("--policy", self.policy("phone-1"))
        _, others = self.federate("--policy", self.policy("phone-2"), name="phone-2")
        token = keys[2]
        middle = len(token) // 2
        for wrong in (
            keys[:2],
            (*keys[:2], others[2]),
            (*keys[:2], token[:-4]),
            (*keys[:2], token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1:]),
        ):
            with self.subTest(wrong[2:]):
                self.upgrade_fails(403, "UnrecognizedClientException", "phone-1", wrong)
        self.upgrade_fails(403, "InvalidSignatureException", "phone-1", (keys[0], others[1], token))

    def test_without_a_policy_there_are_no_rights(self):
        _, keys = self.federate()
        self.upgrade_fails(403, "AccessDeniedException", "phone-1", keys)
        with self.assertRaises(ClientError) as caught:
            client("kinesisvideo", keys=keys).describe_signaling_channel(ChannelARN=self.arn)
        self.assertEqual(caught.exception.response["Error"]["Code"], "AccessDeniedException")

    def test_refusals(self):
        ask = ["sts", "get-federation-token", "--name"]
        denied = f"User: arn:aws:iam::{ACCOUNT}:user/powerless is not authorized to perform: sts:GetFederationToken"
        self.fails("AccessDenied", denied, *ask, "phone-1", keys=POWERLESS)
        self.fails("MalformedPolicyDocument", "", *ask, "phone-1", "--policy", "{")
        for wrong in ({"Name": "x"}, {"Name": "phone-1", "DurationSeconds": 59}, {"Name": "phone-1", "DurationSeconds": 43201}):
            with self.subTest(wrong), self.assertRaises(ClientError) as caught:
                client("sts", validate=False).get_federation_token(**wrong)
            self.assertEqual(caught.exception.response["Error"]["Code"], "ValidationError")
        self.fails("InvalidAction", "", "sts", "get-access-key-info", "--access-key-id", "AKIAIOSFODNN7EXAMPLE")
        self.fails("SignatureDoesNotMatch", MISMATCH, *ask, "phone-1", keys=(KEYS[0], "another secret"))
        self.fails("InvalidClientTokenId", BAD_KEY, *ask, "phone-1", keys=("AKIDNOBODY", KEYS[1]))


if __name__ == "__main__":
    unittest.main()
