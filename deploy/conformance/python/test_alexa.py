"""boto3: SendAlexaOfferToMaster, with a master of another library that answers."""

import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import ClientError

from broker import HTTPS, SECONDS, Peer, control, new_name, signaling, unknown_arn


class Alexa(unittest.TestCase):
    def setUp(self):
        self.arn = control().create_signaling_channel(ChannelName=new_name())["ChannelARN"]
        self.pool = ThreadPoolExecutor(16)
        self.addCleanup(self.pool.shutdown)

    def offer(self, sender, payload, url=HTTPS, arn=None):
        """The call, waiting on a thread of its own."""
        return self.pool.submit(
            lambda: signaling(url).send_alexa_offer_to_master(
                ChannelARN=arn or self.arn, SenderClientId=sender, MessagePayload=payload
            ).get("Answer")
        )

    def test_the_masters_answer_is_returned(self):
        with Peer(self.arn) as master:
            call = self.offer("alexa.1", "b2ZmZXI=")
            offer = {"messagePayload": "b2ZmZXI=", "messageType": "SDP_OFFER", "senderClientId": "alexa.1"}
            self.assertEqual(master.receive(), offer)
            master.send("ICE_CANDIDATE", "Y2Fu", "alexa.1")
            master.send("SDP_ANSWER", "YW5zd2Vy", "alexa.1")
            self.assertEqual(call.result(SECONDS), "YW5zd2Vy")

    def test_the_offer_waits_for_a_master(self):
        call = self.offer("alexa.1", "b2ZmZXI=")
        time.sleep(0.5)
        self.assertFalse(call.done())
        with Peer(self.arn) as master:
            self.assertEqual(master.receive()["senderClientId"], "alexa.1")
            master.send("SDP_ANSWER", "YW5zd2Vy", "alexa.1")
            self.assertEqual(call.result(SECONDS), "YW5zd2Vy")

    def test_many_callers_at_once(self):
        with Peer(self.arn) as master:
            calls = {f"alexa.{n}": self.offer(f"alexa.{n}", f"offer{n:03}") for n in range(12)}
            for _ in calls:
                offer = master.receive()
                master.send("SDP_ANSWER", offer["messagePayload"].replace("offer", "answer"), offer["senderClientId"])
            for n in range(12):
                self.assertEqual(calls[f"alexa.{n}"].result(SECONDS), f"answer{n:03}")

    def test_the_largest_payload(self):
        with Peer(self.arn) as master:
            call = self.offer("a" * 256, "A" * 10_000)
            self.assertEqual(master.receive()["messagePayload"], "A" * 10_000)
            master.send("SDP_ANSWER", "B" * 10_000, "a" * 256)
            self.assertEqual(call.result(SECONDS), "B" * 10_000)

    def test_a_call_without_an_answer_expires(self):
        short = control().create_signaling_channel(
            ChannelName=new_name(), SingleMasterConfiguration={"MessageTtlSeconds": 5}
        )["ChannelARN"]
        started = time.monotonic()
        calls = [self.offer(f"alexa.{n}", "b2ZmZXI=", arn=short) for n in range(4)]
        answers = [call.result(SECONDS) for call in calls]
        took = time.monotonic() - started
        # boto3 leaves a member out that is null.
        self.assertEqual(answers, [None] * 4)
        self.assertTrue(4 < took < 9, took)

    def test_the_same_sender_again(self):
        with Peer(self.arn) as master:
            older = self.offer("alexa.1", "b2xk")
            master.receive()
            newer = self.offer("alexa.1", "bmV3")
            self.assertIsNone(older.result(SECONDS))
            self.assertEqual(master.receive()["messagePayload"], "bmV3")
            master.send("SDP_ANSWER", "YW5zd2Vy", "alexa.1")
            self.assertEqual(newer.result(SECONDS), "YW5zd2Vy")

    def test_deleting_the_channel_ends_the_call(self):
        with Peer(self.arn) as master:
            call = self.offer("alexa.1", "b2ZmZXI=")
            master.receive()
            control().delete_signaling_channel(ChannelARN=self.arn)
            with self.assertRaises(ClientError) as caught:
                call.result(SECONDS)
            self.assertEqual(caught.exception.response["Error"]["Code"], "ResourceNotFoundException")

    def test_refusals(self):
        free = signaling(validate=False)
        good = {"ChannelARN": self.arn, "SenderClientId": "alexa.1", "MessagePayload": "b2ZmZXI="}
        invalid = free.exceptions.InvalidArgumentException
        for kind, change in (
            (free.exceptions.ResourceNotFoundException, {"ChannelARN": unknown_arn()}),
            (invalid, {"ChannelARN": "x"}),
            (invalid, {"SenderClientId": "a b"}),
            (invalid, {"SenderClientId": ""}),
            (invalid, {"MessagePayload": "A" * 10_001}),
            (invalid, {"MessagePayload": "***"}),
            (invalid, {"MessagePayload": None}),
        ):
            with self.subTest(change), self.assertRaises(kind) as caught:
                free.send_alexa_offer_to_master(**{**good, **change})
            self.assertTrue(caught.exception.response["Error"]["Message"])


if __name__ == "__main__":
    unittest.main()
