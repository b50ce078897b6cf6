"""Every fault of calls as boto3 sees it: type, status, headers and text are those that the service's models have."""

import unittest
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from heliograph_testing import Heliograph

from broker import ADMIN, CA, HTTP, HTTPS, KEYS, REGION, SECONDS, client

# One call of each service, and how it names its channel.
CALLS = {
    "kinesisvideo": ("describe_signaling_channel", "ChannelARN"),
    "kinesis-video-signaling": ("get_ice_server_config", "ChannelARN"),
    "kinesis-video-webrtc-storage": ("join_storage_session", "channelArn"),
}

# Errors that AWS services have in common: in no model.
COMMON = {
    "ExpiredTokenException": 403,
    "IncompleteSignature": 400,
    "InternalFailure": 500,
    "InvalidSignatureException": 403,
    "MalformedHttpRequestException": 400,
    "MissingAuthenticationTokenException": 403,
    "NotAuthorized": 401,
    "OptInRequired": 403,
    "RequestAbortedException": 400,
    "RequestEntityTooLargeException": 413,
    "RequestExpired": 400,
    "RequestTimeoutException": 408,
    "SerializationException": 400,
    "ServiceUnavailable": 503,
    "ThrottlingException": 400,
    "UnknownOperationException": 404,
    "UnrecognizedClientException": 403,
    "ValidationError": 400,
}


class Faults(unittest.TestCase):
    def setUp(self):
        self.heliograph = Heliograph(ADMIN)
        self.faults = self.heliograph.faults
        self.addCleanup(self.heliograph.reset)
        name = self.heliograph.channel("cam")
        self.arn = client("kinesisvideo").create_signaling_channel(ChannelName=name)["ChannelARN"]

    def call(self, **options):
        return self.client("kinesisvideo", **options).describe_signaling_channel(ChannelARN=self.arn)

    def client(self, service, url=HTTP, attempts=1, seconds=SECONDS):
        return boto3.client(
            service,
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=KEYS[0],
            aws_secret_access_key=KEYS[1],
            verify=CA if url == HTTPS else None,
            config=Config(retries={"total_max_attempts": attempts, "mode": "standard"}, read_timeout=seconds),
        )

    def refused(self, service, error, status, text):
        """The error that boto3 raises for the next call; what it read is what the model has."""
        client, (method, member) = self.client(service), CALLS[service]
        with self.assertRaises(ClientError) as caught:
            getattr(client, method)(**{member: self.arn})
        got = caught.exception
        self.assertIs(type(got), ClientError if error in COMMON else getattr(client.exceptions, error))
        self.assertEqual(got.response["Error"], {"Code": error, "Message": text})
        meta = got.response["ResponseMetadata"]
        self.assertEqual((meta["HTTPStatusCode"], meta["HTTPHeaders"]["x-amzn-errortype"]), (status, error))
        self.assertEqual(meta["HTTPHeaders"]["content-type"], "application/json")
        return got.response


class Refuse(Faults):
    def test_each_error_of_each_model(self):
        seen = 0
        for service in CALLS:
            model = client(service).meta.service_model
            for shape in model.error_shapes:
                with self.subTest(service, error=shape.name):
                    self.faults.refuse(shape.name, message="Not today.")
                    status = shape.metadata["error"]["httpStatusCode"]
                    response = self.refused(service, shape.name, status, "Not today.")
                    # boto3 fills a modelled member on its exact name only.
                    [member] = shape.members
                    self.assertEqual(response.get(member), "Not today.", member)
                    seen += 1
        self.assertEqual(seen, 25)

    def test_errors_that_services_have_in_common(self):
        for error, status in COMMON.items():
            with self.subTest(error):
                self.faults.refuse(error)
                self.refused("kinesisvideo", error, status, "A test had this request refused.")

    def test_a_status_of_its_own_and_its_reason(self):
        self.faults.refuse("InternalFailure", status=502, message="Bad gateway.")
        response = self.refused("kinesisvideo", "InternalFailure", 502, "Bad gateway.")
        why = self.heliograph.why(response["ResponseMetadata"]["RequestId"])
        cam = self.heliograph.channel("cam")
        self.assertEqual((why["check"], why["status"], why["channel"]), ("fault_injected", 502, cam))

    def test_calls_without_a_channel(self):
        fault = self.faults.refuse("ClientLimitExceededException", channel=None, operation="ListSignalingChannels")
        self.call()
        kinesis = client("kinesisvideo")
        with self.assertRaises(kinesis.exceptions.ClientLimitExceededException):
            kinesis.list_signaling_channels()
        self.assertEqual(fault.hits, 1)
        kinesis.list_signaling_channels()


    def test_all_names_are_tried(self):
        models = {shape.name for service in CALLS for shape in client(service).meta.service_model.error_shapes}
        allowed = self.heliograph.request("GET", "/dev/faults/allowed")["error"]
        self.assertEqual(set(allowed), models | set(COMMON))


class Others(Faults):
    def test_throttle(self):
        self.faults.throttle()
        self.refused("kinesisvideo", "ClientLimitExceededException", 400, "Rate exceeded.")

    def test_what_boto3_tries_again(self):
        """Each 5xx and each reset is one attempt; a throttled call of this service is none of boto3's codes."""
        for make in (self.faults.refuse, self.faults.reset):
            arguments = ["ServiceUnavailable"] if make == self.faults.refuse else []
            fault = make(*arguments, times=2)
            answer = self.call(attempts=3)
            self.assertEqual((answer["ResponseMetadata"]["RetryAttempts"], fault.hits), (2, 2))
        throttled = self.faults.throttle(times=2)
        with self.assertRaises(ClientError):
            self.call(attempts=3)
        self.assertEqual(throttled.hits, 1)
        throttled.end()
        throttled = self.faults.refuse("ThrottlingException", times=2)
        self.call(attempts=3)
        self.assertEqual(throttled.hits, 2)

    def test_delay(self):
        fault = self.faults.delay("10m", on="api")
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(self.call)
            while fault.hits == 0:
                self.assertFalse(call.done())
            self.heliograph.clock.advance("601s")
            self.assertEqual(call.result(SECONDS)["ChannelInfo"]["ChannelARN"], self.arn)

    def test_hang(self):
        for url in (HTTP, HTTPS):
            fault = self.faults.hang()
            with self.assertRaises(ReadTimeoutError):
                self.call(url=url, seconds=0.5)
            self.assertEqual(fault.hits, 1)
        self.call()

    def test_reset(self):
        # Over TLS, Python reports RST as the end of the stream.
        for url, kind in ((HTTP, "ConnectionResetError"), (HTTPS, "RemoteDisconnected")):
            self.faults.reset()
            with self.assertRaises(ConnectionClosedError) as caught:
                self.call(url=url)
            self.assertIn(kind, repr(caught.exception.kwargs["error"]))
        self.call()

    def test_a_clock_that_is_wrong_shows_in_the_date(self):
        date = lambda: parsedate_to_datetime(self.call()["ResponseMetadata"]["HTTPHeaders"]["date"])
        right = date()
        self.skew("-10m")
        minutes = (right - date()).total_seconds() / 60
        self.assertTrue(9 < minutes < 11, minutes)
        self.skew("0s")
        self.assertGreaterEqual(date(), right)

    def skew(self, span):
        """Without signatures the date is all that shows, so the helper has no function for it."""
        self.heliograph.request("POST", "/dev/clock", {"wallSkew": span})


if __name__ == "__main__":
    unittest.main()
