"""Users of an OpenID provider with boto3 and the AWS CLI as apps use them: AssumeRoleWithWebIdentity, and the variables
AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from broker import ACCOUNT, HTTP, REGION, Peer, client, control, new_name

ROLE = f"arn:aws:iam::{ACCOUNT}:role/watcher"
ISSUER = "https://id.example.com/home"
with open(os.path.join(os.path.dirname(__file__), "..", "home.pem"), "rb") as file:
    KEY = load_pem_private_key(file.read(), None)


def encoded(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def token(subject, **changes):
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": subject, "aud": "home-app", "iat": now, "exp": now + 600, **changes}
    header = {"alg": "ES256", "typ": "JWT", "kid": "home-1"}
    message = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    r, s = utils.decode_dss_signature(KEY.sign(message.encode(), ec.ECDSA(SHA256())))
    return f"{message}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class WebIdentity(unittest.TestCase):
    def setUp(self):
        self.name = new_name()
        self.arn = control().create_signaling_channel(ChannelName=self.name)["ChannelARN"]
        config = Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1})
        self.sts = boto3.client("sts", endpoint_url=HTTP, region_name=REGION, config=config)

    def assume(self, its, **more):
        call = {"RoleArn": ROLE, "RoleSessionName": "app", "WebIdentityToken": its, **more}
        return self.sts.assume_role_with_web_identity(**call)

    def test_a_user_connects_as_a_viewer_of_their_own_channel(self):
        answer = self.assume(token(self.name), DurationSeconds=900)
        self.assertEqual(answer["SubjectFromWebIdentityToken"], self.name)
        self.assertEqual((answer["Audience"], answer["Provider"]), ("home-app", ISSUER))
        self.assertEqual(answer["AssumedRoleUser"]["Arn"], f"arn:aws:sts::{ACCOUNT}:assumed-role/watcher/app")
        self.assertIn(answer["PackedPolicySize"], range(101))
        got = answer["Credentials"]
        keys = got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"]
        with Peer(self.arn) as master, Peer(self.arn, "phone-1", keys) as phone:
            phone.send("SDP_OFFER", "b2ZmZXI=")
            self.assertEqual(master.receive()["senderClientId"], "phone-1")
        with self.assertRaises(ClientError):
            other = control().create_signaling_channel(ChannelName=new_name())["ChannelARN"]
            client("kinesisvideo", keys=keys).describe_signaling_channel(ChannelARN=other)

    def test_the_variables_sign_in_by_themselves(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "token")
            with open(path, "w") as file:
                file.write(token(self.name))
            own = {
                "AWS_ROLE_ARN": ROLE,
                "AWS_WEB_IDENTITY_TOKEN_FILE": path,
                "AWS_ROLE_SESSION_NAME": "of-a-file",
                "AWS_ENDPOINT_URL": HTTP,
                "AWS_DEFAULT_REGION": REGION,
            }
            arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/watcher/of-a-file"
            for legacy in ("regional", "legacy"):
                os.environ.update(own, AWS_STS_REGIONAL_ENDPOINTS=legacy)
                try:
                    session = boto3.Session()
                    self.assertEqual(session.client("sts").get_caller_identity()["Arn"], arn)
                    found = session.client("kinesisvideo").describe_signaling_channel(ChannelName=self.name)
                    self.assertEqual(found["ChannelInfo"]["ChannelARN"], self.arn)
                finally:
                    for name in (*own, "AWS_STS_REGIONAL_ENDPOINTS"):
                        del os.environ[name]
            aws = os.path.join(os.path.dirname(sys.executable), "aws")
            said = subprocess.run(
                [aws, "sts", "get-caller-identity", "--output", "json"],
                env={**os.environ, **own},
                capture_output=True,
                check=True,
            )
            self.assertEqual(json.loads(said.stdout)["Arn"], arn)

    def test_refusals_are_those_of_aws(self):
        past = int(time.time()) - 3600
        forged = token(self.name)[:-8] + "AAAAAAAA"
        for name, its, more in (
            ("InvalidIdentityTokenException", forged, {}),
            ("InvalidIdentityTokenException", token(self.name, aud="another"), {}),
            ("ExpiredTokenException", token(self.name, exp=past), {}),
            ("IDPRejectedClaimException", token(self.name, iat=past + 9000), {}),
            ("MalformedPolicyDocumentException", token(self.name), {"Policy": "{"}),
        ):
            with self.subTest(name), self.assertRaises(getattr(self.sts.exceptions, name)):
                self.assume(its, **more)
        for role in ("house", "absent"):
            with self.assertRaises(ClientError) as caught:
                self.assume(token(self.name), RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}")
            error = caught.exception.response["Error"]
            text = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
            self.assertEqual((error["Code"], error["Message"]), ("AccessDenied", text))


if __name__ == "__main__":
    unittest.main()
