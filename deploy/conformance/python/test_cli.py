"""The AWS CLI as a person types it: `aws --endpoint-url …`."""

import json
import os
import subprocess
import sys
import unittest

from broker import CA, HTTP, HTTPS, KEYS, REGION, Peer, new_name, unknown_arn

AWS = os.path.join(os.path.dirname(sys.executable), "aws")


def start(url, *arguments, keys=KEYS, region=REGION):
    key_id, secret, *token = keys
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": region,
        "AWS_CA_BUNDLE": CA,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_MAX_ATTEMPTS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if token:
        environment["AWS_SESSION_TOKEN"] = token[0]
    command = [sys.executable, AWS, "--endpoint-url", url, "--output", "json", *arguments]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


class Cli(unittest.TestCase):
    def aws(self, *arguments, url=HTTP):
        code, out, err = finish(start(url, *arguments))
        self.assertEqual(code, 0, err)
        return json.loads(out) if out.strip() else {}

    def refused(self, kind, *arguments):
        code, _, err = finish(start(HTTP, *arguments))
        self.assertNotEqual(code, 0)
        self.assertIn(f"({kind})", err)

    def test_a_channels_life(self):
        name = new_name()
        self.refused("ResourceNotFoundException", "kinesisvideo", "describe-signaling-channel", "--channel-name", name)
        created = self.aws(
            "kinesisvideo", "create-signaling-channel", "--channel-name", name,
            "--single-master-configuration", "MessageTtlSeconds=30", "--tags", "Key=env,Value=dev",
        )
        arn = created["ChannelARN"]
        self.refused("ResourceInUseException", "kinesisvideo", "create-signaling-channel", "--channel-name", name)
        info = self.aws("kinesisvideo", "describe-signaling-channel", "--channel-name", name, url=HTTPS)["ChannelInfo"]
        self.assertEqual((info["ChannelARN"], info["ChannelStatus"]), (arn, "ACTIVE"))
        self.assertEqual(self.aws("kinesisvideo", "describe-signaling-channel", "--channel-arn", arn)["ChannelInfo"], info)
        listed = self.aws(
            "kinesisvideo", "list-signaling-channels", "--channel-name-condition",
            f"ComparisonOperator=BEGINS_WITH,ComparisonValue={name}",
        )
        self.assertEqual(listed["ChannelInfoList"], [info])
        endpoints = self.aws(
            "kinesisvideo", "get-signaling-channel-endpoint", "--channel-arn", arn,
            "--single-master-channel-endpoint-configuration", "Protocols=WSS,HTTPS,Role=MASTER",
        )
        by_protocol = {entry["Protocol"]: entry["ResourceEndpoint"] for entry in endpoints["ResourceEndpointList"]}
        self.assertEqual(by_protocol, {"WSS": HTTPS.replace("https:", "wss:") + "/master", "HTTPS": HTTPS})
        ice = self.aws(
            "kinesis-video-signaling", "get-ice-server-config", "--channel-arn", arn, "--client-id", "viewer-1",
            url=by_protocol["HTTPS"],
        )
        self.assertTrue(ice["IceServerList"][0]["Uris"])
        self.refused(
            "VersionMismatchException", "kinesisvideo", "delete-signaling-channel", "--channel-arn", arn,
            "--current-version", "wrong",
        )
        self.aws(
            "kinesisvideo", "delete-signaling-channel", "--channel-arn", arn, "--current-version", info["Version"]
        )
        self.refused("ResourceNotFoundException", "kinesisvideo", "describe-signaling-channel", "--channel-arn", arn)

    def test_changing_a_channel(self):
        arn = self.aws("kinesisvideo", "create-signaling-channel", "--channel-name", new_name())["ChannelARN"]

        def info():
            return self.aws("kinesisvideo", "describe-signaling-channel", "--channel-arn", arn)["ChannelInfo"]

        before = info()
        update = [
            "kinesisvideo", "update-signaling-channel", "--channel-arn", arn, "--current-version", before["Version"],
            "--single-master-configuration", "MessageTtlSeconds=90",
        ]
        self.aws(*update)
        self.refused("VersionMismatchException", *update)
        self.assertEqual(info()["SingleMasterConfiguration"], {"MessageTtlSeconds": 90})
        self.assertNotEqual(info()["Version"], before["Version"])
        of_arn = ["--resource-arn", arn]
        self.aws("kinesisvideo", "tag-resource", *of_arn, "--tags", "Key=env,Value=dev", "Key=owner,Value=größe")
        self.aws("kinesisvideo", "untag-resource", *of_arn, "--tag-key-list", "env", "absent")
        self.assertEqual(self.aws("kinesisvideo", "list-tags-for-resource", *of_arn), {"Tags": {"owner": "größe"}})
        storage = self.aws("kinesisvideo", "describe-media-storage-configuration", "--channel-arn", arn)
        self.assertEqual(storage["MediaStorageConfiguration"]["Status"], "DISABLED")
        self.refused("InvalidArgumentException", "kinesis-video-webrtc-storage", "join-storage-session", "--channel-arn", arn)

    def test_paging(self):
        prefix = new_name()
        for n in range(3):
            self.aws("kinesisvideo", "create-signaling-channel", "--channel-name", f"{prefix}-{n}")
        listed = self.aws(
            "kinesisvideo", "list-signaling-channels", "--page-size", "2", "--channel-name-condition",
            f"ComparisonOperator=BEGINS_WITH,ComparisonValue={prefix}",
        )
        self.assertEqual([info["ChannelName"] for info in listed["ChannelInfoList"]], [f"{prefix}-{n}" for n in range(3)])

    def test_an_offer_of_alexa(self):
        arn = self.aws("kinesisvideo", "create-signaling-channel", "--channel-name", new_name())["ChannelARN"]
        with Peer(arn) as master:
            call = start(
                HTTPS, "kinesis-video-signaling", "send-alexa-offer-to-master", "--channel-arn", arn,
                "--sender-client-id", "alexa.1", "--message-payload", "b2ZmZXI=",
            )
            self.assertEqual(master.receive()["messagePayload"], "b2ZmZXI=")
            master.send("SDP_ANSWER", "YW5zd2Vy", "alexa.1")
            code, out, err = finish(call)
        self.assertEqual(code, 0, err)
        self.assertEqual(json.loads(out), {"Answer": "YW5zd2Vy"})

    def test_errors_are_named(self):
        arn = unknown_arn()
        self.refused("ResourceNotFoundException", "kinesisvideo", "get-signaling-channel-endpoint", "--channel-arn", arn)
        self.refused("ResourceNotFoundException", "kinesis-video-signaling", "get-ice-server-config", "--channel-arn", arn)
        self.refused("InvalidArgumentException", "kinesisvideo", "create-signaling-channel", "--channel-name", "a/b")


if __name__ == "__main__":
    unittest.main()
