"""botocore's models, driven whole: each operation with valid input at every bound, each bound of each member broken one by one."""

import base64
import contextlib
import json
import threading
import unittest

from botocore import xform_name
from botocore.exceptions import ClientError

import models
from broker import ACCOUNT, REGION, Peer, client, control, new_name

INVALID = ("InvalidArgumentException", 400)
SERIALIZATION = ("SerializationException", 400)
NOT_FOUND = ("ResourceNotFoundException", 404)

# The part of `kinesisvideo` that is about channels; its other operations are about streams, which are not served.
CHANNELS = [
    "CreateSignalingChannel", "DescribeSignalingChannel", "ListSignalingChannels", "UpdateSignalingChannel",
    "DeleteSignalingChannel", "TagResource", "UntagResource", "ListTagsForResource", "GetSignalingChannelEndpoint",
    "DescribeMediaStorageConfiguration", "UpdateMediaStorageConfiguration", "DescribeMappedResourceConfiguration",
]
SERVED = [("kinesisvideo", name) for name in CHANNELS] + [
    (service, name)
    for service in ("kinesis-video-signaling", "kinesis-video-webrtc-storage")
    for name in models.operations(service)
]

# Valid input that is refused all the same, as codec/PROTOCOL.md, CHAN to MEDIA, says; with what the refusal's text says.
NO_STORAGE = "Media storage is not supported by this server."
REFUSED_OPERATIONS = {"JoinStorageSession": NO_STORAGE, "JoinStorageSessionAsViewer": NO_STORAGE}
REFUSED_VALUES = {
    ("ChannelType", "FULL_MESH"): "ChannelType",
    ("Protocols", "WEBRTC"): "WEBRTC",
    ("Status", "ENABLED"): NO_STORAGE,
    # Tokens are names in base64 here, hence never as long as they may be; where all is one page, none is valid.
    ("NextToken", "a" * 1024): "NextToken",
}
# Required by the text of the API Reference, not by the model.
REQUIRED_BY_TEXT = {
    ("ListSignalingChannels", "ComparisonOperator"), ("ListSignalingChannels", "ComparisonValue"),
    ("UpdateSignalingChannel", "SingleMasterConfiguration"), ("UpdateSignalingChannel", "MessageTtlSeconds"),
}
# What a value within its bounds leads to when nothing bears it.
NAMES_NOTHING = {
    "ChannelARN": NOT_FOUND, "ResourceARN": NOT_FOUND, "ChannelName": NOT_FOUND, "CurrentVersion": ("VersionMismatchException", 400),
}
# A list of tags that is too long has an error of its own.
TOO_MANY_TAGS = ("TagsPerResourceExceededLimitException", 400)
# Members that say the same in two ways: with another value in one, the other must go.
EITHER = [("ChannelName", "ChannelARN"), ("StreamName", "StreamARN")]
# Answers without these are whole: the last page.
OPTIONAL_OUTPUT = {"output has no NextToken"}
# TURN credentials hold characters outside the modelled pattern, as AWS's own do: `:` and base64.
LENIENT = {"Username", "Password"}


class Caller:
    """A boto3 client whose next body is ours, byte for byte, signed and parsed by botocore; keeps the last answer's body."""

    def __init__(self, service):
        self.client = client(service, validate=False)
        self.body = None
        self.client.meta.events.register("before-call", self.put)
        self.client.meta.events.register("response-received", self.take)

    def put(self, params, **_):
        if self.body is not None:
            params["body"] = self.body
            params["headers"]["Content-Type"] = "application/json"

    def take(self, response_dict, **_):
        self.raw = response_dict["body"]

    def call(self, operation, body):
        """(error type, status) or None for success; and the error's text or the answer."""
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            answer = getattr(self.client, xform_name(operation))()
        except ClientError as error:
            return self.judged(operation, error)
        answer.pop("ResponseMetadata")
        return None, answer

    def judged(self, operation, error):
        answer = error.response
        code, status = answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]
        said = answer["Error"]["Message"]
        modelled = {shape.name: shape for shape in models.operation(self.service, operation).error_shapes}
        if code in modelled:
            shape = modelled[code]
            assert type(error) is self.client.exceptions.from_code(code), f"{type(error)} for {code}"
            assert status == shape.metadata["error"]["httpStatusCode"], f"{code} with status {status}"
            assert list(shape.members) == [name for name in shape.members if answer.get(name) == said], answer
        else:
            assert code in ("SerializationException", "UnknownOperationException"), f"{operation}: {code} is in no model"
        assert said and said.endswith(".") and said.isascii(), f"{code}: {said!r}"
        return (code, status), said

    @property
    def service(self):
        return self.client.meta.service_model.service_name


class World:
    """A channel of its own, and what inputs say of it."""

    def __init__(self):
        self.name = new_name()
        self.arn = control().create_signaling_channel(ChannelName=self.name, Tags=[{"Key": "k", "Value": "v"}])["ChannelARN"]

    def info(self):
        tags = control().list_tags_for_resource(ResourceARN=self.arn)["Tags"]
        return control().describe_signaling_channel(ChannelARN=self.arn)["ChannelInfo"], tags

    def values(self, operation):
        values = {
            "ChannelARN": self.arn, "ResourceARN": self.arn, "channelArn": self.arn, "ChannelName": self.name,
            "CurrentVersion": self.info()[0]["Version"], "StreamName": "stream",
            "StreamARN": f"arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:stream/stream/1700000000123",
            "NextToken": "", "Status": "DISABLED", "TagKeyList": ["k"], "Key": "k", "Value": "v",
        }
        if operation == "CreateSignalingChannel":
            values["ChannelName"] = new_name()
        if operation == "ListSignalingChannels":
            values["NextToken"] = base64.b64encode(b"a").decode()
            values["ComparisonValue"] = self.name[:-1]
            values["MaxResults"] = 2
        return values

    @contextlib.contextmanager
    def master(self, operation):
        """Answers what Alexa offers, and is not there for any other operation."""
        if operation != "SendAlexaOfferToMaster":
            yield
            return

        def answer():
            with contextlib.suppress(Exception):
                while True:
                    peer.send("SDP_ANSWER", "YW5zd2Vy", peer.receive()["senderClientId"])

        with Peer(self.arn) as peer:
            thread = threading.Thread(target=answer)
            thread.start()
            try:
                yield
            finally:
                peer.connection.close()
                thread.join()


class Models(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.refusals = 0
        cls.callers = {service: Caller(service) for service in dict.fromkeys(service for service, _ in SERVED)}

    @classmethod
    def tearDownClass(cls):
        print(f"{cls.refusals} refusals")
        assert cls.refusals > 1300, "the models were not driven whole"

    def each(self, check):
        """Runs a check for each operation, with a channel of its own and an input that has every member."""
        for service, operation in SERVED:
            world = World()
            shape = models.operation(service, operation).input_shape
            with self.subTest(operation):
                check(self.callers[service], operation, world, shape, models.sample(shape, world.values(operation)))

    def test_valid_input(self):
        """With all members, by botocore's own validator and serializer; and the answer against its model."""
        def check(caller, operation, world, _, whole):
            valid = client(caller.service)
            valid.meta.events.register("response-received", caller.take)
            call = getattr(valid, xform_name(operation))
            with world.master(operation):
                if operation in REFUSED_OPERATIONS:
                    with self.assertRaises(valid.exceptions.InvalidArgumentException) as caught:
                        call(**whole)
                    self.assertEqual(caught.exception.response["message"], REFUSED_OPERATIONS[operation])
                else:
                    call(**whole)
                    self.fits_the_model(caller, operation)

        self.each(check)

    def test_required_members_alone(self):
        def check(caller, operation, world, shape, whole):
            least = [name for name in shape.members if name in shape.required_members or (operation, name) in REQUIRED_BY_TEXT]
            if not least:
                least = [name for name in ("ChannelName", "StreamName") if name in shape.members]
            body = {name: whole[name] for name in least}
            body["Unknown"] = {"deep": [None, 1, {"er": "x"}]}
            with world.master(operation):
                self.accepted(caller, operation, (), body)

        self.each(check)

    def test_values_within_bounds(self):
        def check(caller, operation, world, shape, whole):
            for path, member, required in models.members(shape):
                edges = list(models.within(member, self.at(whole, path)))
                if not required and path[-1] != 0:
                    edges.append(("null", None))
                for what, edge in edges:
                    world = World()
                    body = models.sample(shape, world.values(operation))
                    body = models.replaced(self.without_other(body, path, edge), path, edge)
                    with self.subTest(member=path, value=what), world.master(operation):
                        self.accepted(caller, operation, path, body)

        self.each(check)

    def test_values_beyond_bounds(self):
        def check(caller, operation, world, shape, whole):
            before = world.info()
            for path, member, required in models.members(shape):
                for what, edge in models.beyond(member, self.at(whole, path)):
                    expected = TOO_MANY_TAGS if path == ("Tags",) and edge else INVALID
                    body = models.replaced(self.without_other(whole, path, edge), path, edge)
                    with self.subTest(member=path, value=what):
                        self.refused(caller, operation, path, body, expected)
                if required:
                    with self.subTest(member=path, value="missing"):
                        self.refused(caller, operation, path, models.removed(whole, path), INVALID)
                    with self.subTest(member=path, value="null"):
                        self.refused(caller, operation, path, models.replaced(whole, path, None), INVALID)
            self.nothing_happened(operation, world, before, whole)

        self.each(check)

    def test_values_of_other_types(self):
        def check(caller, operation, world, shape, whole):
            before = world.info()
            for path, member, _ in models.members(shape):
                for what, value in models.of_other_types(member):
                    with self.subTest(member=path, value=what):
                        self.refused(caller, operation, path, models.replaced(whole, path, value), SERIALIZATION)
            self.nothing_happened(operation, world, before, whole)

        self.each(check)

    def test_bodies_that_are_no_object(self):
        def check(caller, operation, world, _, whole):
            before = world.info()
            good = json.dumps(whole).encode()
            bodies = [b"[]", b'"text"', b"7", b"null", b"true", b"{", b"}", b"\xff", good[:-1], good + b"x", good + good, b"'" + good]
            bodies += [b"[" + good + b"]", b"[" * 5000, b'{"a":' * 5000, good.replace(b'": "', b'": "\xc3\x28', 1)]
            for body in bodies:
                with self.subTest(body=body[:40]):
                    self.refused(caller, operation, (), body, SERIALIZATION)
            self.nothing_happened(operation, world, before, whole)

        self.each(check)

    def test_other_operations_are_unknown(self):
        caller = self.callers["kinesisvideo"]
        others = set(models.operations("kinesisvideo")) - set(CHANNELS)
        self.assertGreater(len(others), 15)
        for operation in sorted(others):
            with self.subTest(operation):
                self.assertEqual(caller.call(operation, {})[0], ("UnknownOperationException", 404))

    def accepted(self, caller, operation, path, body):
        """Asserts success, or the one refusal that such a valid input has."""
        expected, text = self.expected(operation, path, self.at(body, path))
        got, said = caller.call(operation, body)
        self.assertEqual(got, expected, said)
        if got is not None:
            self.assertIn(text, said)
            return
        self.fits_the_model(caller, operation)
        if operation == "CreateSignalingChannel":  # short names are few
            control().delete_signaling_channel(ChannelARN=said["ChannelARN"])

    def expected(self, operation, path, value):
        name = self.names(path)[-1] if path else None
        if operation in REFUSED_OPERATIONS:
            return INVALID, REFUSED_OPERATIONS[operation]
        if value is None and (operation, name) in REQUIRED_BY_TEXT:
            return INVALID, name
        if isinstance(value, str) and (name, value) in REFUSED_VALUES:
            return INVALID, REFUSED_VALUES[name, value]
        if value is not None and name in NAMES_NOTHING and operation != "CreateSignalingChannel":
            return NAMES_NOTHING[name], ""
        return None, None

    def refused(self, caller, operation, path, body, expected):
        got, said = caller.call(operation, body)
        type(self).refusals += 1
        self.assertEqual(got, expected, said)
        if path:
            self.assertTrue(any(name in said for name in self.names(path)), f"{said!r} names no member of {path}")

    def fits_the_model(self, caller, operation):
        shape = models.operation(caller.service, operation).output_shape
        answer = json.loads(caller.raw)
        found = [] if shape is None else list(models.complaints(shape, answer, LENIENT))
        self.assertEqual([fault for fault in found if fault not in OPTIONAL_OUTPUT], [], answer)

    def nothing_happened(self, operation, world, before, whole):
        self.assertEqual(world.info(), before)
        if operation == "CreateSignalingChannel":
            condition = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": whole["ChannelName"]}
            self.assertEqual(control().list_signaling_channels(ChannelNameCondition=condition)["ChannelInfoList"], [])

    @staticmethod
    def names(path):
        return [step for step in path if step != 0]

    @staticmethod
    def at(whole, path):
        for step in path:
            whole = whole[step]
        return whole

    @staticmethod
    def without_other(whole, path, edge):
        """A member that is null needs its other; one with a value of its own cannot have it."""
        for pair in EITHER:
            if edge is not None and path[0] in pair and set(pair) <= whole.keys():
                return models.removed(whole, (pair[1 - pair.index(path[0])],))
        return whole


if __name__ == "__main__":
    unittest.main()
