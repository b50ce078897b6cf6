"""Roles with boto3 as back ends use it: calls of STS, and profiles with `role_arn` and `source_profile`."""

import os
import tempfile
import unittest

import boto3
from botocore.exceptions import ClientError

from broker import ACCOUNT, HTTP, KEYS, REGION, Peer, client, control, new_name

ROLE = f"arn:aws:iam::{ACCOUNT}:role/house"
NEXT = f"arn:aws:iam::{ACCOUNT}:role/next"


def keys(answer):
    got = answer["Credentials"]
    return got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"]


class Roles(unittest.TestCase):
    def setUp(self):
        self.sts = client("sts")
        self.name = new_name()
        self.arn = control().create_signaling_channel(ChannelName=self.name)["ChannelARN"]

    def describes(self, name, with_keys):
        try:
            client("kinesisvideo", keys=with_keys).describe_signaling_channel(ChannelName=name)
        except ClientError as error:
            self.assertEqual(error.response["Error"]["Code"], "AccessDeniedException")
            return False
        return True

    def assume(self, **more):
        return self.sts.assume_role(**{"RoleArn": ROLE, "RoleSessionName": "session-1", **more})

    def test_a_session_has_the_identity_that_its_answer_names(self):
        answer = self.assume(DurationSeconds=900, SourceIdentity="operator")
        user = answer["AssumedRoleUser"]
        self.assertEqual(user["Arn"], f"arn:aws:sts::{ACCOUNT}:assumed-role/house/session-1")
        self.assertRegex(user["AssumedRoleId"], r"^AROA[A-Z2-7]{16}:session-1$")
        self.assertEqual(answer["SourceIdentity"], "operator")
        self.assertIn(answer["PackedPolicySize"], range(101))
        who = client("sts", keys=keys(answer)).get_caller_identity()
        self.assertEqual((who["Arn"], who["UserId"]), (user["Arn"], user["AssumedRoleId"]))
        self.assertEqual(who["Account"], ACCOUNT)

    def test_tags_choose_the_channels_and_go_on(self):
        tags = [{"Key": "channel", "Value": self.name}]
        tagged = keys(self.assume(Tags=tags, TransitiveTagKeys=["channel"]))
        self.assertTrue(self.describes(self.name, tagged))
        self.assertFalse(self.describes(self.name, keys(self.assume())))
        self.assertFalse(self.describes(self.name, keys(self.assume(Tags=[{"Key": "channel", "Value": "x"}]))))
        chained = client("sts", keys=tagged).assume_role(RoleArn=NEXT, RoleSessionName="session-2")
        self.assertTrue(self.describes(self.name, keys(chained)))
        with Peer(self.arn, keys=tagged) as master, Peer(self.arn, "phone-1", keys(chained)) as phone:
            phone.send("SDP_OFFER", "b2ZmZXI=")
            self.assertEqual(master.receive()["senderClientId"], "phone-1")

    def test_a_profile_assumes_its_role(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "config")
            with open(path, "w") as config:
                config.write(
                    f"[profile web]\naws_access_key_id = {KEYS[0]}\naws_secret_access_key = {KEYS[1]}\n"
                    f"[profile house]\nrole_arn = {ROLE}\nsource_profile = web\nrole_session_name = of-a-profile\n"
                    f"[profile next]\nrole_arn = {NEXT}\nsource_profile = house\nregion = {REGION}\n"
                )
            own = {"AWS_CONFIG_FILE": path, "AWS_ENDPOINT_URL": HTTP, "AWS_DEFAULT_REGION": REGION}
            os.environ.update(own)
            try:
                for profile, arn in (("house", "house/of-a-profile"), ("next", "next/botocore-session-")):
                    who = boto3.Session(profile_name=profile).client("sts").get_caller_identity()
                    self.assertTrue(who["Arn"].startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/{arn}"), who)
            finally:
                for name in own:
                    del os.environ[name]

    def test_refusals_are_those_of_aws(self):
        user = f"User: arn:aws:iam::{ACCOUNT}:user/tests is not authorized to perform: sts:AssumeRole on resource: "
        absent = f"arn:aws:iam::{ACCOUNT}:role/absent"
        for code, text, more in (
            ("AccessDenied", user + absent, {"RoleArn": absent}),
            ("AccessDenied", user + NEXT, {"RoleArn": NEXT}),
            ("ValidationError", "exceeds the MaxSessionDuration", {"DurationSeconds": 7201}),
            ("MalformedPolicyDocument", "line 1", {"Policy": "{"}),
        ):
            with self.subTest(code), self.assertRaises(ClientError) as caught:
                self.assume(**more)
            error = caught.exception.response["Error"]
            self.assertEqual(error["Code"], code)
            self.assertIn(text, error["Message"])

    def test_a_session_of_a_user(self):
        session = keys(self.sts.get_session_token(DurationSeconds=900))
        self.assertTrue(self.describes(self.name, session))
        again = client("sts", keys=session)
        self.assertTrue(again.get_caller_identity()["Arn"].endswith(":user/tests"))
        with self.assertRaises(ClientError) as caught:
            again.get_session_token()
        self.assertEqual(caught.exception.response["Error"]["Code"], "AccessDenied")


if __name__ == "__main__":
    unittest.main()
